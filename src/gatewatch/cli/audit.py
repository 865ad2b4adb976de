"""``gatewatch audit``: what notify did, and whether its record is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.cli import own, screen
from gatewatch.cli.options import Config, Json, duration
from gatewatch.clock import SystemClock
from gatewatch.log.base import Log
from gatewatch.notify.chain import Report, link_of, verify
from gatewatch.notify.record import Action, read

app = typer.Typer(
    help="What was told to whom, and whether the record of it is whole.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

TOPIC = "actions"
_PROBLEMS_MAX = 100  # lines on a terminal; --json has them all


@app.command("verify")
def verify_command(
    config: Config = None,
    head: Annotated[
        str | None,
        typer.Option("--head", help="Head that an earlier run printed: it must still be in the chain."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find any record of `actions` that was changed, removed or moved. Exit code 1 where there is one.

    Keep the head that it prints in another place: only that shows when the newest records were cut off.
    """
    with own.own_log(config) as (settings, log):
        topic = settings.kafka.topic(TOPIC)
        report = verify(_values(log, topic))
        kept = head is None or any(str(link) == head for link in _links(log, topic))
    if as_json:
        own.print_json(_as_json(report, kept=kept))
    else:
        _show(report, kept=kept)
    if report.problems or not kept:
        raise own.nothing("the record is not whole")


@app.command("list")
def list_command(
    config: Config = None,
    receiver: Annotated[str | None, typer.Option("--receiver", help="Only this receiver.")] = None,
    alert: Annotated[str | None, typer.Option("--alert", help="Only this alert or incident.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only the last 90, 10m, 8h, 7d.")] = None,
    as_json: Json = False,
) -> None:
    """List what was told to whom, and why something was not."""
    oldest = float("-inf") if since is None else SystemClock().now() - duration(since)
    with own.own_log(config) as (settings, log):
        actions = [a for _offset, value in _values(log, settings.kafka.topic(TOPIC)) if (a := read(value)) is not None]
    chosen = [
        a for a in actions if receiver in (None, a.receiver) and alert in (None, a.alert_id, a.group) and a.ts >= oldest
    ]
    own.print_list(chosen, _table, "nothing was told", as_json=as_json, plain=_builtins)


def _values(log: Log, topic: str) -> Iterator[tuple[int, bytes]]:
    for chunk in log.read(topic):
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is not None:
                yield offset, value


def _links(log: Log, topic: str) -> Iterator[object]:
    return (link_of(value) for _offset, value in _values(log, topic))


def _show(report: Report, *, kept: bool) -> None:
    typer.echo(
        f"{report.records:,} records of {report.writers} writers in chains, {report.unchained:,} beside them "
        "(refusals of guards, and what older versions wrote)"
    )
    for problem in report.problems[:_PROBLEMS_MAX]:
        place = f"offset {problem.offset}: number {problem.seq} of {own.shown(problem.writer)}"
        typer.echo(f"{problem.fault}: {place}: {problem.text}")
    if len(report.problems) > _PROBLEMS_MAX:
        typer.echo(f"and {len(report.problems) - _PROBLEMS_MAX:,} more; --json has them all")
    if not kept:
        typer.echo("missing: the head that you gave is not there any more")
    if report.head is not None:
        typer.echo(f"head {report.head}")


def _as_json(report: Report, *, kept: bool) -> dict[str, object]:
    return {
        "records": report.records,
        "writers": report.writers,
        "unchained": report.unchained,
        "head": str(report.head) if report.head is not None else None,
        "head_kept": kept,
        "problems": [
            {"fault": p.fault.value, "offset": p.offset, "writer": p.writer, "seq": p.seq, "text": p.text}
            for p in report.problems
        ],
    }


def _table(actions: Sequence[Action], on: Console) -> Table:
    rows = [
        (
            own.when(a.ts), own.shown(a.alert_id), own.shown(a.receiver or "-"), a.severity, a.result, str(a.revision),
            own.shown(a.detail),
        )
        for a in actions
    ]  # fmt: skip
    return screen.listing(("when (UTC)", "alert", "receiver", "severity", "result", "revision", "detail"), rows, on)


def _builtins(action: Action) -> dict[str, object]:
    return {name: getattr(action, name) for name in action.__struct_fields__}
