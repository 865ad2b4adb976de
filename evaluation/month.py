"""A month of a small site: a deploy, weekends, a customer who grows, one attack, and what the budget says to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
from figures import DAY_S, Figure, replayed

from gatewatch.records import Alert, Mode, Severity
from gatewatch.settings import Settings, parse
from gatewatch.simulate.scenario import Simulation

TITLE = "Budgets: a simulated month"
ON = (
    "All of it invented: scenario `stuffing` of the simulator for 30 days at .3 events a second (a bad deploy, "
    "forgotten passwords, an expired key, weekends, one attack on the 16th day), and one more customer whose calls "
    "grow from 1 to 4 a minute. Counted are alerts of medium severity or worse that name neither the attacker nor one "
    "of his accounts, against `budget.false_alarms_per_day`; the first week apart, when hardly anything learned may "
    "speak. Thresholds begin where the detectors' own models have them, and move within two decades to where the "
    "site's scores so far have them (`gatewatch.state.calibrator`): downwards from the second week of a test on, by "
    "half after its second; keys count from their second week on. What is benign and lies far beyond every threshold "
    "(runs of jobs, retries) is told at every budget."
)
DAYS, RATE, START = 30, 0.3, 1_772_409_600.0
BUDGETS = (0.1, 1.0, 10.0)
WEEK = 7
GROWING = {"growing-customer", "203.0.113.77"}


def run() -> list[Figure]:
    """Alarms a day at each budget."""
    values, keys, attack = _month()
    return [_figure(budget, values, keys, attack) for budget in BUDGETS]


def _figure(budget: float, values: list[bytes], keys: set[str], attack: tuple[float, float]) -> Figure:
    settings = parse({"budget": {"false_alarms_per_day": budget}}, Settings)
    done = replayed(values, settings=settings)
    alerts = [a for a in done.last_alerts() if a.mode is not Mode.SHADOW and a.severity.rank >= Severity.MEDIUM.rank]
    caught = any(_about(a, keys, attack) for a in alerts)
    false = [a for a in alerts if not _about(a, keys, attack)]
    day = np.array([(a.first_ts - START) // DAY_S for a in false], np.int64)
    late = int((day >= WEEK).sum())
    per_day = late / (DAYS - WEEK)
    counts = np.bincount(day, minlength=DAYS)
    growing = sum(a.key in GROWING for a in false)
    names = Counter(f"{a.detector} {a.reason} on {a.scope}" for a in false).most_common(6)
    return Figure(
        what=f"budget {budget:g} a day: false alarms a day, from the second week on",
        value=f"{per_day:.2f} ({late} in {DAYS - WEEK} days)",
        target=f"<= {budget:g}" if budget >= 1.0 else "",
        met=per_day <= budget if budget >= 1.0 else None,
        note=f"first week {int((day < WEEK).sum())}, worst day {int(counts.max())}; the attack was "
        f"{'caught' if caught else 'missed'}"
        + (
            f"; {growing} are about the growing customer; most: " + ", ".join(f"{n} {name}" for name, n in names)
            if names
            else ""
        ),
    )


def _about(alert: Alert, keys: set[str], attack: tuple[float, float]) -> bool:
    overlaps = alert.first_ts <= attack[1] + 900.0 and alert.last_ts >= attack[0]
    return overlaps and (alert.key in keys or alert.scope in {"endpoint", "project", "all"})


def _month() -> tuple[list[bytes], set[str], tuple[float, float]]:
    """Values in time order, the attack's keys, from when to when."""
    simulation = Simulation("stuffing", rate=RATE, duration_s=DAYS * DAY_S, start=START, seed=1)
    timed = [
        pair for window in simulation.windows() for pair in zip(window.rows["ts"].tolist(), window.values, strict=True)
    ]
    timed += _growing()
    timed.sort(key=lambda pair: pair[0])
    episode = simulation.episodes[0]
    keys = {key for found in episode.keys.values() for key in found}
    return [value for _, value in timed], keys, (episode.first_ts, episode.last_ts)


def _growing() -> Iterator[tuple[float, bytes]]:
    """A customer of 1 call a minute who makes 4 a month later, by day more than by night."""
    rng = np.random.default_rng(2)
    minutes = np.arange(DAYS * 1440)
    rate = 4.0 ** (minutes / len(minutes)) * (1.0 + 0.6 * np.sin(2 * np.pi * (minutes / 1440 - 0.375)))
    at = np.repeat(minutes, rng.poisson(rate))
    for ts in np.sort(START + (at + rng.random(len(at))) * 60.0).tolist():
        event = {
            "ts": ts,
            "principal": "growing-customer",
            "ip": "203.0.113.77",
            "endpoint": "/v1/chat/completions",
            "status": 200,
            "tokens_in": 400,
            "tokens_out": 200,
        }
        yield ts, msgspec.json.encode(event)
