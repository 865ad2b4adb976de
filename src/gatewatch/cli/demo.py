"""``gatewatch demo``: simulated traffic and attacks through the whole flow, then a scoreboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gatewatch.cli.errors import printable
from gatewatch.cli.options import Json, Seed
from gatewatch.demo import page
from gatewatch.demo.run import Plan, Progress, Result, run
from gatewatch.simulate.attacks import ATTACKS

_NEWEST = 6  # alerts that the live table shows
_LINE_EVERY_S = 3600.0  # of event time, where nobody watches a table
_MISSED = 1


def command(
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=3600, help="About how long to run: fewer seconds, fewer callers.")
    ] = 30.0,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Simulated traffic and attacks through the whole flow, then a scoreboard.

    Needs no Kafka, writes no file and opens no connection. Ends with exit code 0 if every attack was caught that the
    detectors here are made for, else 1.
    """
    plan = Plan.lasting(seconds, seed)
    if as_json:
        result = run(plan, lambda _: None)
        Console(soft_wrap=True).print_json(data=page.as_json(result))
    else:
        console = Console()  # a page to read: in a pipe it has 80 columns
        console.print(page.opening(plan.seed, plan.hours, plan.rate))
        console.print()
        with _watched(console) as watch:
            result = run(plan, watch)
        _print(console, result)
    if not result.board.passed:
        raise typer.Exit(_MISSED)


@contextmanager
def _watched(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A live table on a terminal, else a line for each hour of event time."""
    if not console.is_terminal:
        yield _lines(console)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield lambda progress: live.update(_table(progress))


def _lines(console: Console) -> Callable[[Progress], None]:
    due = 0.0

    def say(progress: Progress) -> None:
        nonlocal due
        due = due or progress.now
        if progress.now >= due or progress.share >= 1.0:
            due += _LINE_EVERY_S
            console.print(_line(progress), highlight=False, soft_wrap=True)

    return say


def _line(progress: Progress) -> str:
    under_way = ", ".join(progress.under_way) or "none"
    return (
        f"{page.clock_time(progress.now)}  {progress.events:,} requests  {len(progress.alerts)} alerts  "
        f"{len(progress.decisions)} blocks  attacks under way: {under_way}"
    )


def _table(progress: Progress) -> Group:
    facts = Table.grid(padding=(0, 3))
    speed = progress.events / progress.wall_s if progress.wall_s else 0.0
    facts.add_row("time in the simulation", page.clock_time(progress.now), f"{progress.share:.0%}")
    facts.add_row("requests", f"{progress.events:,}", f"{speed:,.0f} a second")
    facts.add_row("attacks under way", ", ".join(progress.under_way) or "none", "")
    facts.add_row("blocks ordered", str(len(progress.decisions)), "")
    alerts = Table(
        "time", "severity", "detector", "alert", show_edge=False, title="Newest alerts", title_justify="left"
    )
    for alert in list(progress.alerts.values())[-_NEWEST:]:
        alerts.add_row(
            page.clock_time(alert.first_ts), alert.severity.value, alert.detector, escape(printable(alert.summary))
        )
    return Group(facts, Text(), alerts)


def _print(console: Console, result: Result) -> None:
    console.rule("What happened", align="left")
    grid = Table.grid(padding=(0, 2))
    for verdict in result.board.verdicts:
        style = "green" if verdict.caught else "bold red" if verdict.covered else "dim"
        what = f"[bold]{verdict.attack}[/bold]: {ATTACKS[verdict.attack].text}"
        grid.add_row(Text(page.status(verdict), style), page.clock_time(verdict.first_ts), what)
        grid.add_row("", "", escape(printable(page.told(verdict))))
    console.print(grid, highlight=False)
    console.print()
    for line in page.summary(result):
        console.print(escape(printable(line)), highlight=False)
    _print_alert(console, result)
    console.rule("What next", align="left")
    steps = Table.grid(padding=(0, 2))
    for name, text in page.next_steps(result):
        steps.add_row(name, text)
    console.print(steps)


def _print_alert(console: Console, result: Result) -> None:
    alert = page.worked_alert(result)
    if alert is None:
        return
    console.print()
    console.rule("One alert, explained", align="left")
    grid = Table.grid(padding=(0, 2))
    for name, text in page.explained(alert):
        grid.add_row(name, escape(printable(text)))
    console.print(grid)
    console.print()
