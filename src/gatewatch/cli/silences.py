"""``gatewatch silences``: alerts that are recorded and not sent, for a time."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch import verdicts
from gatewatch.cli import own
from gatewatch.cli.options import Config, Json, ending
from gatewatch.clock import SystemClock
from gatewatch.decide.text import clean
from gatewatch.records import Matchers, Scope, Severity, Silence

app = typer.Typer(help="Hold alerts back for a time.", no_args_is_help=True, pretty_exceptions_enable=False)

Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded with your name.")]
_clock = SystemClock()


@app.command("add")
def add_command(
    reason: Why,
    until: Annotated[str, typer.Option(help="For how long (8h, 7d), or an ISO date and time.")],
    config: Config = None,
    detector: Annotated[str | None, typer.Option(help="Only this detector's.")] = None,
    scope: Annotated[Scope | None, typer.Option(help="Only on this scope.")] = None,
    key: Annotated[str | None, typer.Option(help="Only on this key; a network also covers its addresses.")] = None,
    project: Annotated[str | None, typer.Option(help="Only in this project.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity and lower.")] = None,
    as_json: Json = False,
) -> None:
    """Record what matches, and send nothing of it. Your name must be on verdicts.actors."""
    with own.own_log(config) as (settings, log):
        now = _clock.now()
        made = verdicts.silence(
            Matchers(detector=detector, scope=scope, key=key, project=project, severity=severity),
            owner=own.actor(),
            reason=reason,
            until=ending(until, now),
            now=now,
            settings=settings.verdicts,
        )
        verdicts.send(log, settings, [made])
    if as_json:
        own.print_json(made.model_dump(mode="json"))
    else:
        typer.echo(f"{made.id}: {_what(made)} until {own.when(made.until)} UTC")


@app.command("list")
def list_command(
    config: Config = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
) -> None:
    """List the silences that hold, the latest last."""
    with own.own_log(config) as (settings, log):
        book, _bad = verdicts.Book.load(log, settings)
    chosen = book.silences(None if everything else _clock.now())
    if as_json:
        own.print_json([s.model_dump(mode="json") for s in chosen])
    elif chosen:
        Console().print(_table(chosen))
    if not chosen:
        raise own.nothing("nothing is silenced")


@app.command("remove")
def remove_command(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence, or its beginning.")],
    config: Config = None,
) -> None:
    """End a silence now."""
    with own.own_log(config) as (settings, log):
        book, _bad = verdicts.Book.load(log, settings)
        found = [s for s in book.silences() if s.id.startswith(silence_id)]
        if len(found) != 1:
            many = f"{silence_id} is the beginning of {len(found)} ids" if found else f"no silence {silence_id}"
            raise own.nothing(f"{many}; `gatewatch silences list --all` names them")
        ended = verdicts.lifted(found[0], actor=own.actor(), now=_clock.now(), settings=settings.verdicts)
        verdicts.send(log, settings, [ended])
    typer.echo(f"{ended.id}: {_what(ended)} is told again")


def _what(silence: Silence) -> str:
    parts = silence.matchers.model_dump(mode="json", exclude_none=True)
    return ", ".join(f"{name} {clean(str(value))}" for name, value in parts.items())


def _table(chosen: list[Silence]) -> Table:
    table = Table("id", "what", "until (UTC)", "owner", "why", show_edge=False)
    table.columns[0].no_wrap = True
    for s in chosen:
        end = own.when(s.until) if s.removed is None else f"removed by {s.removed_by}"
        table.add_row(s.id, own.shown(_what(s), 500), own.shown(end), own.shown(s.owner), own.shown(s.reason, 500))
    return table
