"""An hour of load with faults, and whether memory, files, threads and lag stay flat (`make soak`).

    python -m gatewatch.testing.chaos.soak --minutes 60 --rate 150

Of each role one worker lives from start to end: it is watched. The other one is hurt, a minute after another, and the
broker is killed twice. Exits with 1 where something rose by more than its bound, or the site did not come back.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.clock import SystemClock
from gatewatch.errors import GatewatchError
from gatewatch.registry import names
from gatewatch.roles import Role
from gatewatch.testing.chaos.faults import CONT, KILL, STOP, TERM
from gatewatch.testing.chaos.feed import Feeder
from gatewatch.testing.chaos.site import Fleet, Site, Watch
from gatewatch.testing.kafka import Broker, running_broker
from gatewatch.testing.sinks import PagerDutyStandIn

ROLES = (Role.INGEST, Role.DETECT, Role.DECIDE, Role.NOTIFY, Role.ENFORCE)
SAMPLE_S, FAULT_S = 5.0, 60.0
START_LIMIT_S, RECOVERY_LIMIT_S = 280.0, 120.0
KEY_ENV = "GATEWATCH_SOAK_KEY"
# What may come on top between the second quarter of the run and the last: Python keeps some of what it freed.
BOUNDS = {"RSS, MB": 64.0, "files": 8.0, "threads": 2.0}
# Tables of detectors are 299 MB in all (benchmarks/RESULTS.md), and memory that nobody has touched is not counted: they
# fill up with each attacker's new accounts, a copy of them is on its way to `state`, and partitions move.
DETECT_RSS_MB = 2 * 299.0
_SHORT_PAUSE_S = 3.0
_console = Console()


@dataclass(slots=True)
class Samples:
    """What was measured, by worker and measure, and by role for lag."""

    of: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, fleet: Fleet, site: Site) -> None:
        """Look at all workers that are watched, and at the lag of each group."""
        for name, pid in fleet.pids(0).items():
            for measure, value in usage(pid).items():
                self.of[name, measure].append(value)
        for role, lag in site.lags().items():
            self.of[str(role), "lag"].append(float(lag))

    def rises(self) -> list[tuple[str, str, float, float, float]]:
        """Worker, measure, median of the second quarter and of the last, and the largest value."""
        return [
            (name, measure, quarter(values, 1), quarter(values, 3), max(values))
            for (name, measure), values in sorted(self.of.items())
            if len(values) >= 4
        ]


def quarter(values: Sequence[float], i: int) -> float:
    """Median of the i-th quarter of the values.

    >>> quarter([1, 1, 2, 4, 3, 3, 9, 7], 1), quarter([1, 1, 2, 4, 3, 3, 9, 7], 3)
    (3.0, 8.0)
    """
    n = len(values)
    return float(statistics.median(values[n * i // 4 : n * (i + 1) // 4]))


def usage(pid: int) -> dict[str, float]:
    """Memory, open files and threads of a process, from Linux's /proc; nothing where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - /proc vanishes under an iterator
    except OSError:
        return {}
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {
        "RSS, MB": int(fields["VmRSS"].split()[0]) / 1024,
        "files": float(files),
        "threads": float(fields["Threads"]),
    }


def main(
    minutes: Annotated[float, typer.Option(min=1, help="How long the load lasts.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="Events a second, beside the attackers'.")] = 150.0,
    seed: Annotated[int, typer.Option(help="Of the traffic and of the order of faults.")] = 1,
) -> None:
    """Run a site for an hour under load and faults; nothing may grow."""
    samples, faults = Samples(), list[str]()
    os.environ[KEY_ENV] = "0123456789abcdef0123456789abcdef"
    try:
        with tempfile.TemporaryDirectory(prefix="gatewatch-soak-") as folder, running_broker() as broker:
            pages = _soak(Path(folder), broker, 60.0 * minutes, rate, seed, samples, faults)
    except GatewatchError as error:
        _console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from error
    _console.print(table(samples))
    twice = sum(n > 1 for n in pages.values())
    _console.print(f"{len(faults)} faults; {len(pages)} incidents paged, {twice} of them more than once")
    raise typer.Exit(int(not flat(samples) or any(n > 1 for n in pages.values())))


def _soak(
    folder: Path, broker: Broker, seconds: float, rate: float, seed: int, samples: Samples, faults: list[str]
) -> dict[str, int]:
    """The run; how often somebody was paged, by incident."""
    clock, rng = SystemClock(), random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    pager = PagerDutyStandIn()
    extra = {
        "notify": {"pagerduty": {"routing_key_env": KEY_ENV, "url": pager.url}},
        "enforce": {"listen": "127.0.0.1:0", "bouncers": {"soak": {"key_env": KEY_ENV}}},
        "state": {"every": 60},
    }
    modes = dict.fromkeys(names(), "alert") | {"credential_stuffing": "block"}
    site = Site(broker.bootstrap, folder, detectors=modes, extra=extra)
    with closing(pager), closing(site.log), Fleet(site) as fleet:
        watch = Watch(site, events_a_second=rate + 30.0)
        for role in ROLES:
            for index in range(2):
                fleet.add(role, index)
        feeder = Feeder(site, "mixed", seed=seed, seconds=seconds + 600.0, rate=rate, remember=False)
        feeder.start()
        _console.print(f"normal after {watch.wait(START_LIMIT_S):.1f} s")
        end, next_fault = clock.monotonic() + seconds, clock.monotonic() + FAULT_S
        kills = [clock.monotonic() + seconds * part for part in (1 / 3, 2 / 3)]
        while clock.monotonic() < end:
            samples.take(fleet, site)
            pager.seen.clear()
            pager.events.clear()
            if kills and clock.monotonic() >= kills[0]:
                kills.pop(0)
                _hurt("broker killed", lambda: _kill_broker(broker), watch, faults)
            elif clock.monotonic() >= next_fault:
                name, act = rng.choice(_faults(fleet, rng.choice(ROLES)))
                _hurt(name, act, watch, faults)
                next_fault = clock.monotonic() + FAULT_S
            pause(SAMPLE_S)
        feeder.finish()
        watch.wait(RECOVERY_LIMIT_S)
        fleet.stop()
        return dict(pager.pages)


def _faults(fleet: Fleet, role: Role) -> list[tuple[str, Callable[[], None]]]:
    victim, watched = f"{role}-1", f"{role}-0"

    def hang() -> None:
        fleet.signal([watched], STOP)
        pause(_SHORT_PAUSE_S)
        fleet.signal([watched], CONT)

    return [
        (f"kill -9 of {victim}", lambda: fleet.signal([victim], KILL)),
        (f"SIGTERM of {victim}", lambda: fleet.signal([victim], TERM)),
        (f"{watched} paused for {_SHORT_PAUSE_S:.0f} s", hang),
    ]


def _hurt(name: str, act: Callable[[], None], watch: Watch, faults: list[str]) -> None:
    act()
    faults.append(name)
    _console.print(f"{len(faults)}. {name}: normal after {watch.wait(RECOVERY_LIMIT_S):.1f} s")


def _kill_broker(broker: Broker) -> None:
    broker.kill()
    broker.restart()


def pause(seconds: float) -> None:
    """Let the others run."""
    threading.Event().wait(seconds)


def flat(samples: Samples) -> bool:
    """Whether nothing rose by more than its bound."""
    return all(late - early <= bound_of(name, measure) for name, measure, early, late, _ in samples.rises())


def bound_of(worker: str, measure: str) -> float:
    """How much more of it a worker may have at the end; endless for lag, which the watch has looked at.

    >>> bound_of("ingest-0", "files"), bound_of("detect-0", "RSS, MB"), bound_of("detect", "lag")
    (8.0, 598.0, inf)
    """
    if measure == "RSS, MB" and worker.startswith(Role.DETECT):
        return DETECT_RSS_MB
    return BOUNDS.get(measure, math.inf)


def table(samples: Samples) -> Table:
    """What docs/delivery.md shows."""
    made = Table(title="medians of the second quarter and of the last")
    for name in ("worker", "what", "second", "last", "largest", "bound of the rise"):
        made.add_column(name, justify="left" if name in ("worker", "what") else "right")
    for name, measure, early, late, largest in samples.rises():
        bound = f"{bound_of(name, measure):g}" if measure in BOUNDS else ""
        made.add_row(name, measure, f"{early:,.0f}", f"{late:,.0f}", f"{largest:,.0f}", bound)
    return made


if __name__ == "__main__":
    typer.run(main)
