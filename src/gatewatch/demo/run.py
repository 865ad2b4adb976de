"""One run: a simulated day through the whole flow, chunk by chunk, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gatewatch.clock import stopwatch
from gatewatch.demo.coverage import COVERAGE
from gatewatch.demo.score import Scoreboard, Truth, score
from gatewatch.flow import Flow, Outcome
from gatewatch.records import Alert, Decision, Finding, Mode
from gatewatch.registry import load_all
from gatewatch.settings import Settings, Source, parse
from gatewatch.simulate.labels import Episode
from gatewatch.simulate.scenario import DEMO_HOURS, Simulation

# A Tuesday, 06:00 UTC: the first day is quiet, the attacks fall into the second working day.
_START = 1772517600.0
# What the whole flow with its simulator was measured to do on one core is twice this: a slow machine should not make
# the demo long.
_EVENTS_PER_WALL_S = 25_000.0
_HOSTILE = 30_000  # events of all attacks together, at any rate
_CHUNK_EVENTS = 4000  # fed at a time: enough that a batch's fixed cost does not matter, and a table still moves
_JUST_OVER_S = 60.0  # so long an attack stays in the table of what is under way
_RATES = (3.0, 40.0)  # below, people are too few for the attacks on accounts; above, a minute shows nothing more


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is simulated: a pure function of the options, so that a run can be repeated anywhere."""

    seed: int
    rate: float
    hours: float = DEMO_HOURS
    start: float = _START

    @classmethod
    def lasting(cls, wall_s: float, seed: int) -> Plan:
        """A run of about so many seconds on an ordinary machine; the same hours, with fewer or more callers."""
        events = max(0.0, wall_s * _EVENTS_PER_WALL_S - _HOSTILE)
        low, high = _RATES
        return cls(seed, rate=round(min(high, max(low, events / (DEMO_HOURS * 3600.0))), 1))


@dataclass(slots=True)
class Progress:
    """What somebody who watches sees: counts so far, newest things last."""

    now: float = 0.0  # event time
    share: float = 0.0  # of the run
    events: int = 0
    wall_s: float = 0.0
    under_way: list[str] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)  # by id, the last revision of each that was sent
    decisions: dict[str, Decision] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that the last page tells."""

    plan: Plan
    board: Scoreboard
    episodes: tuple[Episode, ...]
    services: int
    people: int
    events: int
    dead: int
    alerts: dict[str, Alert]
    shadows: int
    wall_s: float
    detectors: tuple[str, ...]


def settings() -> Settings:
    """The settings of the demo: those of a small site that lets Gatewatch block addresses that try passwords."""
    return parse(
        {
            "kafka": {"partitions": 4},
            "detectors": {"credential_stuffing": {"mode": "block", "block": {"scope": "ip", "ttl": "10m"}}},
        },
        Settings,
    )


def run(plan: Plan, on_progress: Callable[[Progress], None]) -> Result:
    """Simulate, judge, score. Calls ``on_progress`` after each chunk, with an object that it goes on changing."""
    entries = load_all()
    simulation = Simulation("demo", rate=plan.rate, duration_s=plan.hours * 3600.0, start=plan.start, seed=plan.seed)
    flow = Flow(settings(), Source(topic="simulated", format="native"), entries=entries)
    progress = Progress(now=simulation.start)
    revisions: list[Alert] = []
    decisions: list[Decision] = []
    findings: list[Finding] = []
    dead = 0

    def take(outcome: Outcome) -> None:
        nonlocal dead
        revisions.extend(outcome.alerts)
        decisions.extend(outcome.decisions)
        findings.extend(outcome.findings)
        dead += len(outcome.dead)
        progress.events += outcome.events
        progress.alerts |= {alert.id: alert for alert in outcome.alerts if alert.mode is not Mode.SHADOW}
        progress.decisions |= {d.id: d for d in outcome.decisions if d.mode is not Mode.SHADOW}

    began = stopwatch()
    for now, values in chunks(simulation):
        take(flow.feed(values))
        progress.now, progress.wall_s = now, stopwatch() - began
        progress.share = (now - simulation.start) / (simulation.stop - simulation.start)
        progress.under_way = [e.attack for e in simulation.episodes if e.first_ts <= now <= e.last_ts + _JUST_OVER_S]
        on_progress(progress)
    take(flow.finish())
    hostile = simulation.hostile
    truths = [
        Truth(simulation.world, episode, hostile[hostile["episode"] == episode.episode])
        for episode in simulation.episodes
    ]
    covered = {attack for attack, sees in COVERAGE.items() if sees.is_in(entries)}
    return Result(
        plan=plan,
        board=score(truths, revisions, decisions, findings, covered, plan.hours / 24.0),
        episodes=tuple(simulation.episodes),
        services=simulation.world.services,
        people=simulation.world.people,
        events=progress.events,
        dead=dead,
        alerts=progress.alerts,
        shadows=len({alert.id for alert in revisions if alert.mode is Mode.SHADOW}),
        wall_s=stopwatch() - began,
        detectors=tuple(entries),
    )


def chunks(simulation: Simulation) -> Iterator[tuple[float, list[bytes]]]:
    """The stream in pieces of some thousand events, each with the event time that it reaches."""
    values: list[bytes] = []
    now = simulation.start
    for window in simulation.windows():
        values += window.values
        now = window.stop
        if len(values) >= _CHUNK_EVENTS:
            yield now, values
            values = []
    if values:
        yield now, values
