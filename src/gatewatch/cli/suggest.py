"""``gatewatch suggest``: what budgets and limits cost on a file of one's own, and the settings that follow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import Config, Json
from gatewatch.cli.replaying import Files, Format, bar_over, source_of
from gatewatch.tune.suggest import FACTORS, LEAST_DAYS, Advice, Price, suggest


def command(
    files: Files,
    fmt: Format,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", "-l", help="What was an attack, as for `evaluate`; else all is taken as benign."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Replay files with five budgets and five times each limit, and say what each would have cost.

    Prints the settings that would have cost no more than the budget you have, as a diff. Changes nothing.
    """
    settings = settings_module.load(config)
    source = source_of(settings, fmt)
    with bar_over(files, "replaying", quiet=as_json) as bar:
        advice = suggest(files, source, settings, labels=labels, progress=lambda _step, _steps: bar)
    if as_json:
        screen.console().print_json(data={**asdict(advice), "changes": advice.changes(), "diff": advice.diff()})
        return
    _print(advice)


def _print(advice: Advice) -> None:
    console = screen.console()
    console.print(f"{advice.events:,} events over {advice.days:.1f} days; alarms are those of medium severity or worse")
    console.print(_budgets(advice))
    if advice.limits:
        console.print(_limits(advice))
    for noisy in advice.noisy:
        console.print(
            escape(
                f"{noisy.alarms} of {noisy.of} alarms of {noisy.detector} are about {noisy.scope} {noisy.key}: "
                "look at that key (allow-list, a limit of its own) before you move a threshold"
            )
        )
    if advice.days < LEAST_DAYS:
        console.print("less than a day of data: no advice, it has not seen a whole day's cycle")
    elif advice.diff():
        console.print(advice.diff(), markup=False, highlight=False)
    else:
        console.print("nothing to change: what is set now is what this file asks for")


def _budgets(advice: Advice) -> Table:
    """A row for each budget, a column for each detector."""
    names = [name for name, prices in advice.by_detector.items() if any(price.alarms for price in prices)]
    table = Table("budget a day", "alarms a day here", *(escape(name) for name in names))
    for step, price in enumerate(advice.budgets):
        mark = " (now)" if price.value == advice.budget_now else ""
        row = [f"{advice.by_detector[name][step].alarms_per_day:.2f}" for name in names]
        table.add_row(f"{price.value:g}{mark}", f"{price.alarms_per_day:.2f}", *row)
    return table


def _limits(advice: Advice) -> Table:
    """A row for each limit: on how many keys it would have fired, at each step."""
    table = Table("limit", *(f"x{factor:g}" for factor in FACTORS), title="a limit of ... would have fired on ... keys")
    for limit in advice.limits:
        table.add_row(escape(f"{limit.detector}.{limit.option}"), *(_step(price) for price in limit.steps))
    return table


def _step(price: Price) -> str:
    return f"{price.value:g}: {price.keys}"
