"""What an installation was laid out for: number of routed partitions, hash seed, schema.

Written once, by ``gatewatch topics create``, as a compacted record of the ``state`` topic. Which partition a key's
events go to depends on all three, so a worker that finds others refuses to start.
"""

from __future__ import annotations

import secrets
from contextlib import closing

import msgspec

from gatewatch.errors import ConfigError, StateError
from gatewatch.events.batch import VERSION
from gatewatch.log.base import Log
from gatewatch.settings import Settings, read_secret
from gatewatch.state.hashing import HashSeed

KEY = b"layout"
PARTITION = 0  # of the state topic
_FLUSH_S = 30.0


class Layout(msgspec.Struct, frozen=True):
    """The record. ``secret`` is there only where the settings name none: then it was drawn for this installation.

    It keeps strangers from choosing keys that meet in one row of a table, and whoever may read our topics sees the keys
    themselves; so the topic is a safe enough place for it.
    """

    partitions: int
    seed_id: str
    schema: str
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Layout(partitions={self.partitions}, seed_id={self.seed_id!r}, schema={self.schema!r})"


def check_layout(log: Log, settings: Settings) -> HashSeed:
    """The installation's hash seed, once it is certain that the settings fit the installation.

    Raises:
        StateError: there is no layout, or the settings are of another one.
        ConfigError: the settings name a secret that is not there, or must name one.
        LogError: the log cannot be read.
    """
    topic = settings.kafka.topic("state")
    layout = read_layout(log, topic)
    if layout is None:
        raise StateError(f"topic {topic!r} holds no layout: run `gatewatch topics create` first")
    return _fitting_seed(layout, settings)


def ensure_layout(log: Log, settings: Settings) -> tuple[Layout, bool]:
    """Write the layout where there is none; returns it, and whether it was written now.

    Raises:
        StateError: there is another one.
        ConfigError: see :func:`check_layout`.
        LogError: the log cannot be read or written.
    """
    topic = settings.kafka.topic("state")
    layout = read_layout(log, topic)
    if layout is not None:
        _fitting_seed(layout, settings)
        return layout, False
    secret = _configured_secret(settings)
    seed = secret or secrets.token_hex(16)
    layout = Layout(
        partitions=settings.kafka.partitions,
        seed_id=HashSeed.from_secret(seed).id,
        schema=VERSION.decode(),
        secret=None if secret else seed,
    )
    with closing(log.producer()) as producer:
        producer.send(topic, msgspec.json.encode(layout), partition=PARTITION, key=KEY)
        producer.flush(_FLUSH_S)
    return layout, True


def read_layout(log: Log, topic: str) -> Layout | None:
    """The newest layout record.

    Raises:
        StateError: it cannot be read.
        LogError: the log cannot be read.
    """
    newest: bytes | None = None
    for chunk in log.read(topic, partitions=[PARTITION]):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            if key == KEY:
                newest = value
        if newest is not None:  # it was written before any worker ran: what follows are snapshots, and many
            break
    if newest is None:
        return None
    try:
        return msgspec.json.decode(newest, type=Layout)
    except msgspec.DecodeError as error:
        raise StateError(f"the layout in topic {topic!r} cannot be read: {error}") from error


def _fitting_seed(layout: Layout, settings: Settings) -> HashSeed:
    if layout.partitions != settings.kafka.partitions:
        raise StateError(
            f"kafka.partitions is {settings.kafka.partitions}, and the topics of prefix {settings.kafka.prefix!r} were "
            f"laid out for {layout.partitions}, which is for good: set it back, or start anew under another prefix"
        )
    if layout.schema != VERSION.decode():
        raise StateError(
            f"the topics of prefix {settings.kafka.prefix!r} hold schema {layout.schema!r}, this version writes "
            f"{VERSION.decode()!r}: start anew under another kafka.prefix, or run the version that wrote them"
        )
    secret = _configured_secret(settings) or layout.secret
    if secret is None:
        raise ConfigError(
            "hash_seed_env",
            "this installation was set up with a secret of its own: set hash_seed_env or hash_seed_file to it",
        )
    seed = HashSeed.from_secret(secret)
    if seed.id != layout.seed_id:
        raise StateError(
            f"the hash seed of the settings ({seed.id}) is not the one that the topics of prefix "
            f"{settings.kafka.prefix!r} were laid out for ({layout.seed_id}): set hash_seed_env or hash_seed_file back"
        )
    return seed


def _configured_secret(settings: Settings) -> str | None:
    if settings.hash_seed_env is None and settings.hash_seed_file is None:
        return None
    return read_secret("hash_seed", settings.hash_seed_env, settings.hash_seed_file).get_secret_value()
