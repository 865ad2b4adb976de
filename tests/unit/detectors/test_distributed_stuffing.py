"""Stuffing at one try an address, on sums as detect tasks tell them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gatewatch import registry
from gatewatch.events.rollup import COUNTS, Kind, Rollup
from gatewatch.records import Opinion, Scope
from gatewatch.sdk import Context, PopulationDetector, RawFinding
from gatewatch.settings import DetectorSettings
from gatewatch.testing.batches import SEED
from gatewatch.testing.populations import START, Line, rollup_of, told

ENTRY = registry.load("credential_stuffing")
DAY_S = 86_400.0
MONTHLY = 1 / 30  # one false alarm in 30 days, the budget of the published comparisons
LOGINS_AN_HOUR = 2000.0


def _detector(alarms_per_day: float = MONTHLY) -> PopulationDetector:
    return ENTRY.build_population(None, Context(SEED, partitions=1, alarms_per_day=alarms_per_day))


def _site(
    days: float, seed: int, *, attack_at: float = np.inf, tries_an_hour: float = 0.0, unknown: float = 0.6
) -> Iterator[Rollup]:
    """A minute a rollup: logins with a rhythm of the day; people's failures over-dispersed (Javed and Paxson 2013).

    One first contact in eight logins; 8 % of them fail, one in five of those on a name that does not exist.
    """
    rng = np.random.default_rng(seed)
    for minute in range(int(days * 1440)):
        start = START + 60.0 * minute
        rhythm = 1.0 + 0.6 * np.sin(2 * np.pi * (start % DAY_S) / DAY_S)
        logins = rng.poisson(LOGINS_AN_HOUR / 60 * rhythm)
        firsts = rng.binomial(logins, 0.125)
        bad = rng.binomial(firsts, rng.beta(1.6, 18.4))
        attack = rng.poisson(tries_an_hour / 60) if start - START >= attack_at else 0
        caught = rng.binomial(attack, 0.997)
        counts = {
            "requests": logins + attack,
            "successes": logins - bad + attack - caught,
            "account_hours": logins - bad + attack - caught,
            "first_successes": firsts - bad + attack - caught,
            "failures": bad + caught,
            "first_failures": bad + caught,
            "unknown_failures": rng.binomial(bad, 0.2) + rng.binomial(caught, unknown),
        }
        yield rollup_of(start, [Line(Kind.ALL, {}, {k: float(v) for k, v in counts.items()})])


def _first(found: list[tuple[float, RawFinding]], at: float) -> float:
    """Minutes from ``at`` to the first finding after it; inf if there is none."""
    return min((ts - START - at for ts, _ in found if ts - START > at), default=np.inf) / 60.0


@pytest.mark.slow
@pytest.mark.parametrize(("share", "within_min"), [(0.03, 120.0), (0.06, 60.0), (0.12, 30.0)])
def test_a_distributed_attack_is_found_in_time(share: float, within_min: float) -> None:
    """A botnet would try a whole list unseen (>= .95 found, these medians, at one false alarm a month)."""
    at, delays = 2.3 * DAY_S, []
    for seed in range(4):
        site = _site(2.6, seed, attack_at=at, tries_an_hour=share * LOGINS_AN_HOUR)
        delays.append(_first(told(_detector(), list(site)), at))
    assert np.isfinite(delays).mean() >= 0.95, delays
    assert np.median(delays) <= within_min, delays


@pytest.mark.slow
def test_people_alone_raise_nothing_in_a_month() -> None:
    """At one false alarm in 30 days allowed, a month of people's typing errors may give one, not twenty."""
    alarms = told(_detector(), list(_site(30.0, 100)))
    assert len(alarms) <= 1, alarms


def test_an_outage_is_no_attack() -> None:
    """When the identity provider fails, everybody fails: paging the security team helps nobody."""
    detector = _detector(1.0)
    rollups = list(_site(1.0, 3))
    for i in range(60):
        counts = {"requests": 40.0, "failures": 40.0, "first_failures": 12.0, "successes": 0.0}
        rollups.append(rollup_of(START + DAY_S + 60.0 * i, [Line(Kind.ALL, {}, counts)]))
    after = [ts for ts, _ in told(detector, rollups) if ts > START + DAY_S + 15 * 60]
    assert not after, "accused during an outage"


@pytest.mark.parametrize(("recover", "accused"), [(0.9, False), (0.0, True)])
def test_people_who_forgot_their_passwords_are_no_botnet(recover: float, accused: bool) -> None:
    """A forced reset, or a release of an app, would page the security team; nine of ten who fail get in soon after."""
    detector, rng = _detector(1.0), np.random.default_rng(21)
    told(detector, [rollup_of(r.start, _recovering(r)) for r in _site(1.0, 22)])
    rush = 12.0 * np.sin(np.linspace(0.0, np.pi, 180))  # failed first contacts a minute, for three hours
    bad = rng.poisson(rush + 0.33)
    later = rng.exponential(2.0, bad.sum()).astype(int) + np.repeat(np.arange(180), bad)
    back = np.bincount(later[rng.random(len(later)) < recover], minlength=400)
    minutes = [{**_minute(float(bad[i]) if i < 180 else 0.0), "recovered": float(back[i])} for i in range(240)]
    found = told(
        detector, [rollup_of(START + DAY_S + 60.0 * i, [Line(Kind.ALL, {}, now)]) for i, now in enumerate(minutes)]
    )
    assert bool(found) is accused


def _recovering(rollup: Rollup) -> list[Line]:
    """The same minute, in which most of those who failed get in."""
    counts = {name: float(rollup.column(name)[0]) for name in COUNTS}
    return [Line(Kind.ALL, {}, {**counts, "recovered": float(np.floor(0.85 * counts["first_failures"]))})]


def test_one_hour_of_three_times_the_failures_is_people() -> None:
    """Failures wander by the hour; sixty minutes of one bad hour would be taken for sixty proofs of an attack."""
    detector = _detector(1.0)
    told(detector, list(_site(1.0, 7)))
    rng = np.random.default_rng(8)
    hours = [
        rollup_of(START + DAY_S + 60.0 * i, [Line(Kind.ALL, {}, _minute(float(rng.poisson(1.0 if i < 60 else 0.33))))])
        for i in range(240)
    ]
    assert told(detector, hours) == []


def test_an_attack_that_is_over_is_not_told_of_again() -> None:
    """For hours after an attack each bad minute would call the team anew."""
    detector = _detector(1.0)
    told(detector, list(_site(1.0, 9)))
    rng = np.random.default_rng(10)
    minutes = [
        rollup_of(START + DAY_S + 60.0 * i, [Line(Kind.ALL, {}, _minute(float(rng.poisson(8.0 if i < 60 else 0.33))))])
        for i in range(480)
    ]
    times = [ts - START - DAY_S for ts, _ in told(detector, minutes)]
    assert times
    assert max(times) < 2 * 3600.0


@pytest.mark.parametrize(("expected", "opinion"), [(False, Opinion.FINDING), (True, Opinion.QUIET)])
def test_failures_that_a_person_expects_become_usual(expected: bool, opinion: Opinion) -> None:
    """A partner whose old passwords fail for a month is an attack for a month: what surprises teaches 5 % a day."""
    detector, rng = _detector(1.0), np.random.default_rng(12)
    told(detector, list(_site(1.0, 11)))
    if expected:
        detector.release(Scope.ALL, 0, START + 9 * DAY_S)
    minutes = (_minute(float(bad)) for bad in rng.poisson(1.0, 1440))
    told(detector, [rollup_of(START + DAY_S + 60.0 * i, [Line(Kind.ALL, {}, now)]) for i, now in enumerate(minutes)])
    assert detector.opinion(Scope.ALL, 0) is opinion


def _minute(bad: float) -> dict[str, float]:
    """A minute of 33 logins, some failing at the first contact."""
    good = {"successes": 33.0, "account_hours": 33.0, "first_successes": 4.0}
    return {**good, "requests": 33.0 + bad, "failures": bad, "first_failures": bad}


def test_what_it_says_adds_up_and_names_the_agent() -> None:
    """A responder could not follow why it fired, nor see what the botnet's tool calls itself."""
    detector = _detector(1.0)
    told(detector, list(_site(1.0, 4)))
    found: list[tuple[float, RawFinding]] = []
    contexts = []
    for i in range(60):
        bad = {"requests": 45.0, "successes": 30.0, "account_hours": 30.0, "first_successes": 4.0, "failures": 12.0,
               "first_failures": 12.0, "unknown_failures": 7.0}  # fmt: skip
        tool = {"requests": 12.0, "failures": 12.0, "first_failures": 12.0}
        browser = {"requests": 30.0, "account_hours": 30.0}
        rollup = rollup_of(START + DAY_S + 60.0 * i, [
            Line(Kind.ALL, {}, bad), Line(Kind.CLIENT, {"user_agent": "botkit/2", "asn": "64500"}, tool),
            Line(Kind.CLIENT, {"user_agent": "browser", "asn": "64501"}, browser),
        ])  # fmt: skip
        hits = detector.process(rollup)
        contexts += [hit.context for hit in hits]
        found += [(rollup.start, RawFinding(h.reason, h.scope, "all", h.nats, h.threshold_nats, h.observed, h.expected,
                                            h.window_s, h.detail)) for h in hits]  # fmt: skip
    assert found
    assert contexts[-1] == {"user_agent": "botkit/2"}
    for _, finding in found:
        explanation = detector.explain(finding)
        assert sum(c.nats for c in explanation.contributions) == pytest.approx(finding.nats)
        assert "would not have fired with" in explanation.counterfactual
    assert detector.opinion(Scope.ALL, 0) is Opinion.FINDING


def test_an_attack_does_not_teach() -> None:
    """After a week of stuffing the next week would be normal."""
    detector = _detector(1.0)
    at = 1.0 * DAY_S
    found = told(detector, list(_site(4.0, 5, attack_at=at, tries_an_hour=120.0)))
    last_day = [ts for ts, _ in found if ts - START > 3.0 * DAY_S]
    assert last_day, "three days of attack, and it is silent"


def test_switched_off_it_is_blind() -> None:
    """An operator who switched it off would believe it quiet."""
    options = DetectorSettings.model_validate({"distributed": False})
    detector = ENTRY.build_population(options, Context(SEED, partitions=1, alarms_per_day=1.0))
    assert not told(detector, list(_site(0.1, 6)))
    assert detector.opinion(Scope.ALL, 0) is Opinion.BLIND
