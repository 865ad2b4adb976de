"""``gatewatch silences``: alerts that are recorded and not sent, for a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch import verdicts
from gatewatch.cli import own, screen
from gatewatch.cli.options import Config, Json, ending
from gatewatch.clock import SystemClock
from gatewatch.notify.record import read
from gatewatch.notify.silence import Tally, described, week_of
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
        typer.echo(f"{made.id}: {described(made)} until {own.when(made.until)} UTC")


@app.command("list")
def list_command(
    config: Config = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
) -> None:
    """List the silences that hold, the latest last, and what each held back; weeks begin on Monday at nine, UTC."""
    tally = Tally()
    with own.own_log(config) as (settings, log):
        book, _bad = verdicts.Book.load(log, settings)
        for _place, value in own.in_topic(log, settings.kafka.topic("actions")):
            if (action := read(value)) is not None:
                tally.note(action)
    now = _clock.now()
    chosen = book.silences(None if everything else now)
    hidden = {s.id: (tally.count(s.id, week_of(now)), tally.count(s.id, week_of(now) - 1)) for s in chosen}

    def plain(silence: Silence) -> object:
        weeks = ("held_back_this_week", "held_back_last_week")
        return silence.model_dump(mode="json") | dict(zip(weeks, hidden[silence.id], strict=True))

    own.print_list(
        chosen, lambda rows, on: _table(rows, hidden, on), "nothing is silenced", as_json=as_json, plain=plain
    )


@app.command("remove")
def remove_command(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence, or its beginning.")],
    config: Config = None,
) -> None:
    """End a silence now."""
    with own.own_log(config) as (settings, log):
        book, _bad = verdicts.Book.load(log, settings)
        found = own.one(book.silences(), silence_id, "silence", "`gatewatch silences list --all`")
        ended = verdicts.lifted(found, actor=own.actor(), now=_clock.now(), settings=settings.verdicts)
        verdicts.send(log, settings, [ended])
    typer.echo(f"{ended.id}: {described(ended)} is told again")


def _table(chosen: Sequence[Silence], hidden: dict[str, tuple[int, int]], on: Console) -> Table:
    rows = []
    for s in chosen:
        end = own.when(s.until) if s.removed is None else f"removed by {s.removed_by}"
        this, last = hidden[s.id]
        what, why = own.shown(described(s), 500), own.shown(s.reason, 500)
        rows.append((s.id, own.shown(end), own.shown(s.owner), f"{this:,} this week, {last:,} last", what, why))
    return screen.listing(("id", "until (UTC)", "owner", "held back", "what", "why"), rows, on)
