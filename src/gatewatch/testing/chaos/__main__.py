"""The long form: all faults in random order, round after round, until the time is over.

    python -m gatewatch.testing.chaos --minutes 30 --seed 1

Each round is a site of its own, so a round that fails can be repeated by its seed. Exits with 1 on any difference.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.clock import SystemClock
from gatewatch.errors import GatewatchError
from gatewatch.testing.chaos.ends import Ends
from gatewatch.testing.chaos.faults import FAULTS
from gatewatch.testing.chaos.run import Result, run
from gatewatch.testing.kafka import running_broker

DETECTORS = {"credential_stuffing": "block", "rate_spike": "shadow", "restricted_probe": "alert"}
_console = Console()


def main(
    minutes: Annotated[float, typer.Option(min=1, help="No round begins after that.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the first round; the next has the next number.")] = 1,
    only: Annotated[str, typer.Option(help="Only faults whose name holds this.")] = "",
) -> None:
    """Hurt a site on a real broker and compare what it says with what an undisturbed one says."""
    clock, results, failed = SystemClock(), list[Result](), False
    until = clock.monotonic() + 60.0 * minutes
    while not failed and (not results or clock.monotonic() < until):
        folder = Path(tempfile.mkdtemp(prefix="gatewatch-chaos-"))
        result, failed = _round(folder, seed, only, 60.0 * minutes)
        if result is not None:
            results.append(result)
        if failed:
            _console.print(f"[red]seed {seed} failed[/red]: what its workers wrote is in {folder}")
        else:
            shutil.rmtree(folder)
        seed += 1
    _console.print(table(results))
    raise typer.Exit(int(failed))


def _round(folder: Path, seed: int, only: str, seconds: float) -> tuple[Result | None, bool]:
    """One site and all faults; the result, and whether anything was wrong."""
    names = [name for name in FAULTS if only in name]
    random.Random(seed).shuffle(names)  # noqa: S311 - to be repeated, not to be secret
    _console.rule(f"seed {seed}")
    try:
        with running_broker() as broker, Ends() as ends:
            result = run(
                folder, broker.bootstrap, iter(names), seed=seed, seconds=seconds, detectors=DETECTORS, broker=broker,
                ends=ends, say=_console.print,
            )  # fmt: skip
    except GatewatchError as error:
        _console.print(f"[red]{error}[/red]")
        return None, True
    for difference in result.differences:
        _console.print(str(difference))
    _console.print(f"exit codes of lives that ended: {result.restarts}; not committed at the end: {result.undone}")
    return result, not result.ok


def table(results: Sequence[Result]) -> Table:
    """What docs/delivery.md shows: each kind of fault, and what followed."""
    made = Table(title=f"{sum(len(r.suffered) for r in results)} faults, {sum(r.events for r in results):,} events")
    for name in ("fault", "number", "normal again after (median)", "(longest)", "rows again", "records again"):
        made.add_column(name, justify="left" if name == "fault" else "right")
    for name in FAULTS:
        times = [s.recovery_s for r in results for s in r.suffered if s.name == name]
        again = sum((r.again(name) for r in results), Counter[str]())
        if times:
            records = sum(again.values()) - again["rows"]
            cells = (f"{statistics.median(times):.1f} s", f"{max(times):.1f} s", f"{again['rows']}", f"{records}")
            made.add_row(name, str(len(times)), *cells)
    differences = [d for r in results for d in r.differences]
    totals = {what: sum(len(getattr(d, what)) for d in differences) for what in ("lost", "extra", "differing")}
    made.caption = ", ".join(f"{n} {what}" for what, n in totals.items())
    return made


if __name__ == "__main__":
    typer.run(main)
