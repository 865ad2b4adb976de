"""What commands share that read or write our own topics, or the folder that a replay left."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatewatch import log as log_room
from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import duration
from gatewatch.clock import SystemClock
from gatewatch.decide.text import clean
from gatewatch.errors import ConfigError, StateError
from gatewatch.log.base import Log
from gatewatch.records import Alert, Decision, Incident, Silence
from gatewatch.settings import Settings

T = TypeVar("T")
R = TypeVar("R", Alert, Incident)
N = TypeVar("N", bound=Alert | Incident | Decision | Silence)

NOTHING = 1  # exit code: there is none, or it was refused
FLUSH_S = 10.0
From = Annotated[
    Path | None, typer.Option("--from", help="Folder that `gatewatch replay --out` wrote, instead of Kafka.")
]


@contextmanager
def own_log(config: Path | None) -> Iterator[tuple[Settings, Log]]:
    """The settings, and the log that they name.

    Raises:
        ConfigError: the settings are wrong.
        BrokerError: no broker, or it refused us.
    """
    settings = settings_module.load(config)
    log = log_room.open_log(settings.kafka)
    try:
        yield settings, log
    finally:
        log.close()


def in_topic(log: Log, topic: str) -> Iterator[tuple[str, bytes]]:
    """Each value of a topic with its place; tombstones are left out."""
    for chunk in log.read(topic):
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is not None:
                yield f"{topic}-{chunk.tp.partition} offset {offset}", value


def in_folder(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Each line of a file in a replay's folder with its place.

    Raises:
        ConfigError: there is no such file.
    """
    path = folder / name
    if not path.is_file():
        raise ConfigError("--from", f"{path} does not exist: name the folder that `gatewatch replay --out` wrote")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path} line {number}", line


def in_shadow(folder: Path, kind: str) -> Iterator[tuple[str, bytes]]:
    """What a replay recorded and would never have sent: records of that kind (alert, decision) with their places."""
    if (folder / "shadow.jsonl").is_file():
        for place, line in in_folder(folder, "shadow.jsonl"):
            record = json.loads(line)
            if record.pop("kind", None) == kind:
                yield place, json.dumps(record).encode()


def readable(values: Iterator[tuple[str, bytes]], read: Callable[[bytes, str], T]) -> Iterator[T]:
    """Those that can be read; of the others the last is said, with their number, on stderr."""
    bad = 0
    last: deque[StateError] = deque(maxlen=1)
    for place, value in values:
        try:
            yield read(value, place)
        except StateError as error:
            bad += 1
            last.append(error)
    if bad:
        typer.secho(f"{bad} records cannot be read; the last: {clean(str(last[0]), 500)}", fg="yellow", err=True)


def latest(revisions: Iterable[R]) -> list[R]:
    """The last revision of every alert or incident, by its last finding."""
    last: dict[str, R] = {}
    for revision in revisions:
        if revision.id not in last or last[revision.id].revision <= revision.revision:
            last[revision.id] = revision
    return sorted(last.values(), key=lambda r: (r.last_ts, r.id))


def one(records: Iterable[N], beginning: str, kind: str, commands: str) -> N:
    """The record with that id, or the only one whose id begins so.

    Raises:
        typer.Exit: there is none, or there are several; ``commands`` list them.
    """
    found = [record for record in records if record.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        raise nothing(f"{beginning} is the beginning of {len(found)} ids: {', '.join(r.id for r in found[:5])}")
    raise nothing(f"no {kind} {beginning}; see {commands}")


def oldest(found: Iterable[R], since: str | None, *, live: bool) -> float:
    """Event time from which ``--since`` wants them: back from now, or in a replay's folder from the data's own end."""
    if since is None:
        return float("-inf")
    now = SystemClock().now() if live else max((r.last_ts for r in found), default=0.0)
    return now - duration(since)


def actor() -> str:
    """Who runs the command, as the system knows them."""
    return clean(os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown", 64)


def nothing(text: str) -> typer.Exit:
    """Say that there is none, or why not, on stderr; raise what it returns."""
    typer.echo(clean(text, 1000), err=True)
    return typer.Exit(NOTHING)


def shown(text: object, cap: int = 128) -> str:
    """A stranger's text for a table: one line, cut, without markup."""
    return escape(clean(str(text), cap))


def when(ts: float) -> str:
    """A time, UTC. Epoch seconds where the calendar has no such year."""
    try:
        return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{ts:.0f}"


def print_list(
    records: Sequence[T],
    table: Callable[[Sequence[T], Console], Table],
    none: str,
    *,
    as_json: bool,
    plain: Callable[[T], object],
) -> None:
    """Records as a table, or as JSON: each as ``plain`` makes it.

    Raises:
        typer.Exit: there are none.
    """
    if as_json:
        print_json([plain(record) for record in records])
    elif records:
        on = screen.console()
        on.print(table(records, on))
    if not records:
        raise nothing(none)


def model(record: BaseModel) -> object:
    """One of our records as plain data."""
    return record.model_dump(mode="json")


def print_json(data: object) -> None:
    """One JSON document on stdout."""
    screen.console().print_json(data=data)
