"""A worker that does not fit the topics' layout refuses to start, and says which setting to put back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gatewatch.errors import ConfigError, StateError
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.layout import KEY, check_layout, ensure_layout, read_layout

SETTINGS = Settings(kafka=KafkaSettings(partitions=3))
STATE = SETTINGS.kafka.topic("state")


@pytest.fixture
def log() -> MemoryLog:
    """A log with all topics and no layout."""
    made = MemoryLog()
    made.admin().create(specs(SETTINGS))
    return made


@pytest.fixture
def seeded(tmp_path: Path) -> Settings:
    """Settings with a secret of their own."""
    (tmp_path / "seed").write_text("secret", encoding="utf-8")
    return SETTINGS.model_copy(update={"hash_seed_file": tmp_path / "seed"})


def test_a_log_without_a_layout_says_what_to_run(log: MemoryLog) -> None:
    """A worker would route by a seed of its own, and keys would meet nowhere."""
    with pytest.raises(StateError, match="gatewatch topics create"):
        check_layout(log, SETTINGS)


def test_without_a_secret_one_is_drawn_once(log: MemoryLog) -> None:
    """Every worker would hash with another key, or all installations with the same."""
    layout, written = ensure_layout(log, SETTINGS)
    assert written
    assert layout.secret is not None
    assert layout.secret not in repr(layout)
    assert ensure_layout(log, SETTINGS) == (layout, False)
    assert check_layout(log, SETTINGS) == HashSeed.from_secret(layout.secret)
    other = MemoryLog()
    other.admin().create(specs(SETTINGS))
    assert ensure_layout(other, SETTINGS)[0].seed_id != layout.seed_id


def test_a_secret_of_the_settings_is_not_stored(log: MemoryLog, seeded: Settings) -> None:
    """Whoever may read our topics would have the secret."""
    ensure_layout(log, seeded)
    assert check_layout(log, seeded) == HashSeed.from_secret("secret")
    assert all(b'"secret":null' in (value or b"") for c in log.read(STATE) for value in c.values)
    with pytest.raises(ConfigError, match="hash_seed_file"):
        check_layout(log, SETTINGS)


def test_another_secret_is_refused(log: MemoryLog, seeded: Settings) -> None:
    """Half of the workers would route a key to one partition, half to another."""
    ensure_layout(log, SETTINGS)
    with pytest.raises(StateError, match=r"hash_seed_env or hash_seed_file back"):
        check_layout(log, seeded)
    with pytest.raises(StateError, match=r"hash_seed_env or hash_seed_file back"):
        ensure_layout(log, seeded)


def test_another_number_of_partitions_is_refused(log: MemoryLog) -> None:
    """The same, after somebody edited `kafka.partitions`."""
    ensure_layout(log, SETTINGS)
    other = SETTINGS.model_copy(update={"kafka": KafkaSettings(partitions=4)})
    with pytest.raises(StateError, match=r"kafka\.partitions is 4, .* laid out for 3"):
        check_layout(log, other)


def test_another_schema_is_refused(log: MemoryLog) -> None:
    """A new version would read columns that mean something else."""
    layout, _ = ensure_layout(log, SETTINGS)
    newer = msgspec.structs.replace(layout, schema="routed/999")
    log.producer().send(STATE, msgspec.json.encode(newer), partition=0, key=KEY)
    with pytest.raises(StateError, match="routed/999"):
        check_layout(log, SETTINGS)


def test_a_damaged_layout_is_an_error_of_ours(log: MemoryLog) -> None:
    """A worker would end in a traceback."""
    log.producer().send(STATE, b"{", partition=0, key=KEY)
    with pytest.raises(StateError, match="cannot be read"):
        read_layout(log, STATE)
