"""``gatewatch dead-letters``: what could not be read, and another try at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gatewatch.cli import own, screen
from gatewatch.cli.errors import printable
from gatewatch.cli.options import Config, Json
from gatewatch.decide import records_io
from gatewatch.errors import BadReason
from gatewatch.log.base import Log
from gatewatch.records import DeadLetter

app = typer.Typer(
    help="List, show and retry events that could not be read.", no_args_is_help=True, pretty_exceptions_enable=False
)

ReasonFilter = Annotated[BadReason | None, typer.Option("--reason", help="Only those with this reason.")]
TopicFilter = Annotated[str | None, typer.Option("--topic", help="Only those from this topic.")]
_KEEP = "`ingest: {raw_dead_letters: true}` keeps it from now on (it may hold content)"


@app.command("list")
def list_command(
    config: Config = None,
    folder: own.From = None,
    reason: ReasonFilter = None,
    topic: TopicFilter = None,
    as_json: Json = False,
) -> None:
    """List them, in the order in which they came."""
    letters = _chosen(_load(config, folder), reason, topic)
    own.print_list(letters, _table, "no dead letters", as_json=as_json, plain=_builtins)


@app.command("show")
def show_command(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="topic-partition-offset-index, as list shows it.")],
    config: Config = None,
    folder: own.From = None,
    as_json: Json = False,
) -> None:
    """Show one, with the raw element where it was kept."""
    found = [letter for letter in _load(config, folder) if address(letter) == letter_id]
    if not found:
        raise own.nothing(f"no dead letter {letter_id}")
    letter = found[-1]
    if as_json:
        own.print_json(_builtins(letter))
        return
    table = Table("field", "value", show_edge=False)
    for name in ("reason", "detail", "topic", "partition", "offset", "index", "format", "size", "sha256"):
        table.add_row(name, own.shown(getattr(letter, name), 1000))
    screen.console().print(table)
    if letter.raw is None:
        typer.echo(f"the element was not kept; {_KEEP}")
    else:
        typer.echo(printable(letter.raw.decode(errors="replace")))


@app.command("retry")
def retry_command(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which; default all that match.")] = None,
    config: Config = None,
    reason: ReasonFilter = None,
    topic: TopicFilter = None,
) -> None:
    """Send elements back to the topic that they came from, to be read again.

    Do this after the cause is gone (a format or a map corrected). What fails again becomes a dead letter again; what
    is retried twice is counted twice.
    """
    with own.own_log(config) as (settings, log):
        letters = _chosen(_read(log, settings.kafka.topic("dead-letters")), reason, topic)
        if ids:
            known = {address(letter) for letter in letters}
            if missing := [name for name in ids if name not in known]:
                raise own.nothing(f"no dead letter {', '.join(missing)}")
            letters = [letter for letter in letters if address(letter) in ids]
        if not letters:
            raise own.nothing("no dead letters")
        whole = [letter for letter in letters if _is_whole(letter)]
        if whole:
            _send_back(log, whole)
    typer.echo(f"{len(whole)} sent back")
    if refused := len(letters) - len(whole):
        raise own.nothing(f"{refused} cannot be retried: the element was not kept, or not whole; {_KEEP}")


def address(letter: DeadLetter) -> str:
    """Where the element was: topic-partition-offset-index."""
    return f"{letter.topic}-{letter.partition}-{letter.offset}-{letter.index}"


def _load(config: Path | None, folder: Path | None) -> list[DeadLetter]:
    if folder is not None:
        values = own.in_folder(folder, "dead-letters.jsonl")
        return _once(list(own.readable(values, records_io.read_letter)))
    with own.own_log(config) as (settings, log):
        return _read(log, settings.kafka.topic("dead-letters"))


def _read(log: Log, topic: str) -> list[DeadLetter]:
    return _once(list(own.readable(own.in_topic(log, topic), records_io.read_letter)))


def _once(letters: list[DeadLetter]) -> list[DeadLetter]:
    """Each element once: a worker that was killed writes some of them again."""
    return list({(address(letter), letter.sha256): letter for letter in letters}.values())


def _chosen(letters: list[DeadLetter], reason: BadReason | None, topic: str | None) -> list[DeadLetter]:
    return [
        letter
        for letter in letters
        if (reason is None or letter.reason == reason.value) and (topic is None or letter.topic == topic)
    ]


def _is_whole(letter: DeadLetter) -> bool:
    return letter.raw is not None and len(letter.raw) == letter.size


def _send_back(log: Log, letters: list[DeadLetter]) -> None:
    """Send, and wait until all are acknowledged.

    Raises:
        SendError: they are not.
        TopicMissingError: the topic that one came from is gone.
    """
    producer = log.producer()
    try:
        for letter in letters:
            producer.send(letter.topic, letter.raw, partition=letter.partition)
        producer.flush(own.FLUSH_S)
    finally:
        producer.close(flush=False)


def _table(letters: Sequence[DeadLetter], on: Console) -> Table:
    rows = [
        (
            own.shown(address(letter)), f"{letter.size:,} bytes", letter.reason, letter.format,
            "kept" if _is_whole(letter) else ("cut" if letter.raw is not None else "not kept"),
            own.shown(letter.detail, 300),
        )
        for letter in letters
    ]  # fmt: skip
    return screen.listing(("id", "size", "reason", "format", "raw", "what is wrong"), rows, on)


def _builtins(letter: DeadLetter) -> dict[str, object]:
    record: dict[str, object] = msgspec.to_builtins(letter)  # raw as base64
    return {"id": address(letter), **record}
