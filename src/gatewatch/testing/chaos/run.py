"""One run: a site under load, faults one after the other, the end in good order, and the comparison."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gatewatch.clock import SystemClock, stopwatch
from gatewatch.errors import LogError
from gatewatch.roles import Role
from gatewatch.state.layout import check_layout
from gatewatch.testing.chaos.check import Difference, compare
from gatewatch.testing.chaos.ends import Ends
from gatewatch.testing.chaos.faults import ALL_KILLED, FAULTS, NOTIFY_KILLED, Scene
from gatewatch.testing.chaos.feed import Feeder
from gatewatch.testing.chaos.site import SESSION_S, Fleet, Site, Watch
from gatewatch.testing.kafka import Broker

START_LIMIT_S = 280.0  # kernels may have to be compiled first: two minutes and more on two busy cores
RECOVERY_LIMIT_S = 120.0  # a limit that only something broken reaches; what is usual stands in the table
CREW = ((Role.INGEST, 2), (Role.DETECT, 2), (Role.DECIDE, 2))
ENDS_CREW = ((Role.NOTIFY, 1), (Role.ENFORCE, 1))  # one each, so that no other covers for it
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Suffered:
    """One fault, and how long until everything was normal again, from its begin on."""

    name: str
    at: float  # epoch seconds
    recovery_s: float


@dataclass(slots=True)
class Result:
    """What a run found."""

    seed: int
    events: int = 0
    suffered: list[Suffered] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    stop_s: float = 0.0
    undone: dict[Role, int] = field(default_factory=dict)  # records left uncommitted by a clean stop
    restarts: dict[str, list[int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing more, nothing different."""
        return all(difference.ok for difference in self.differences)

    def again(self, name: str) -> Counter[str]:
        """Rows and records that were sent again after faults of this name, by topic."""
        found: Counter[str] = Counter()
        for difference in self.differences:
            for written in difference.again:
                cause = max((s for s in self.suffered if s.at <= written), key=lambda s: s.at, default=None)
                if cause is not None and cause.name == name:
                    found[difference.what] += 1
        return found


def run(
    folder: Path,
    bootstrap: str,
    faults: Iterator[str],
    *,
    seed: int,
    seconds: float,
    detectors: dict[str, str],
    broker: Broker | None = None,
    crew: Sequence[tuple[Role, int]] = CREW,
    scenario: str = "quiet",
    rate: float = 40.0,
    session_s: float = SESSION_S,
    ends: Ends | None = None,
    say: Say = lambda _line: None,
) -> Result:
    """Play faults until ``seconds`` of load are over or there are no more. With ``ends``, notify and enforce are there.

    Raises:
        LogError: the site did not come back from a fault, or a worker did not end in good order.
    """
    result, clock = Result(seed), SystemClock()
    site = Site(bootstrap, folder, detectors=detectors, session_s=session_s, extra=ends.extra if ends else None)
    with closing(site.log), Fleet(site) as fleet:
        watch = Watch(site, events_a_second=rate + 30.0)
        for role, n in (*crew, *(ENDS_CREW if ends else ())):
            for index in range(n):
                fleet.add(role, index)
        # The load outlasts the run, however slow this machine is; it is ended when the faults are over.
        feeder = Feeder(site, scenario, seed=seed, seconds=10 * seconds + 600.0, rate=rate)
        feeder.start()
        say(f"normal after {watch.wait(START_LIMIT_S):.1f} s")
        until = clock.monotonic() + seconds
        scene = Scene(site, fleet, feeder, broker, random.Random(seed), ends)  # noqa: S311 - to be repeated, not to be secret
        for name in faults:
            if clock.monotonic() >= until:
                break
            scene.sleep(scene.random.uniform(0.0, 1.0))
            at, began = clock.now(), stopwatch()
            FAULTS[name](scene)
            watch.wait(RECOVERY_LIMIT_S)
            result.suffered.append(Suffered(name, at, stopwatch() - began))
            say(f"{name}: normal after {result.suffered[-1].recovery_s:.1f} s")
        feeder.finish()
        _drain(site, scene)
        result.stop_s = fleet.stop(*(role for role in Role if role not in {Role.NOTIFY, Role.ENFORCE}))
        blocked = [] if ends is None else [ends.settle(site)]
        result.stop_s = max(result.stop_s, fleet.stop())
        result.undone = site.lags()
        result.restarts, result.events = fleet.restarts, feeder.written
        say(f"stopped in {result.stop_s:.1f} s; {result.events:,} events; comparing")
        result.differences = compare(site, feeder.lives, check_layout(site.log, site.settings)) + blocked
        if ends is not None:
            result.differences += ends.told(site, sum(s.name in {NOTIFY_KILLED, ALL_KILLED} for s in result.suffered))
    return result


def _drain(site: Site, scene: Scene) -> None:
    """Wait until the source is read to its end."""
    began = stopwatch()
    while site.lags()[Role.INGEST]:
        if stopwatch() - began > RECOVERY_LIMIT_S:
            raise LogError(f"the source was not read to its end within {RECOVERY_LIMIT_S:.0f} s")
        scene.sleep(0.2)
