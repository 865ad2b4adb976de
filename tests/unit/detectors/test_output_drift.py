"""output_drift: which changes it tells of, which it must not, and what it says they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from gatewatch import registry
from gatewatch.decide.episodes import cool_down_s
from gatewatch.errors import StateError
from gatewatch.events.rollup import BINS, Kind, Rollup
from gatewatch.records import Opinion, Scope
from gatewatch.sdk import PopulationDetector, RawFinding
from gatewatch.state.hashing import hash_text
from gatewatch.testing.batches import SEED
from gatewatch.testing.populations import START, Line, build_population, rollup_of, told

ENTRY = registry.load("output_drift")
LABEL = {"endpoint": "/chat", "model": "m"}
DAY_H = 24
Bins = Mapping[str, Mapping[int, float]]


def bucket(rng: np.random.Generator, start: float, *, n: int = 20, **how: Any) -> Rollup:
    """One bucket of answers; ``how`` says what is unusual about them."""
    sizes = np.clip(np.rint(rng.normal(how.get("size", 15.0), 2.0, n)), 0, BINS["tokens_out"] - 1)
    finish = rng.choice(3, n, p=how.get("finish", (0.9, 0.07, 0.03)))
    caller = rng.choice(64, n, p=how.get("callers", np.full(64, 1 / 64)))
    latency = np.clip(np.rint(rng.normal(how.get("latency", 20.0), 1.5, n)), 0, BINS["latency_ms"] - 1)
    bins = {name: _counted(values) for name, values in
            {"tokens_out": sizes, "finish": finish, "principal": caller, "latency_ms": latency}.items()}  # fmt: skip
    bins["version"] = {how.get("version", 3): float(n)}
    refused = float(rng.binomial(n, how.get("refuses", 0.02)))
    counts = {"requests": float(n), "outputs": float(n), "refusals": refused}
    return rollup_of(start, [Line(Kind.ENDPOINT, how.get("label", LABEL), counts, bins)])


def _counted(values: np.ndarray) -> dict[int, float]:
    places, counts = np.unique(values.astype(int), return_counts=True)
    return dict(zip(places.tolist(), counts.astype(float).tolist(), strict=True))


def hours(
    first: float, length: float, *, seed: int = 1, how: Callable[[float], Mapping[str, Any]] | None = None, **same: Any
) -> list[Rollup]:
    """A bucket every two minutes, for hours since START; ``how`` depends on the hour."""
    rng = np.random.default_rng([seed, int(first)])
    times = np.arange(first, first + length, 1 / 30)
    return [bucket(rng, START + 3600.0 * h, **{**same, **(how(h) if how else {})}) for h in times.tolist()]


def known() -> PopulationDetector:
    """A detector that has seen a day and two hours of the endpoint."""
    detector = build_population(ENTRY)
    assert told(detector, hours(0, DAY_H + 2)) == []
    return detector


def found(detector: PopulationDetector, rollups: list[Rollup]) -> list[RawFinding]:
    """Findings, in order."""
    return [finding for _, finding in told(detector, rollups)]


@pytest.mark.parametrize(
    "change",
    [{"size": 11.0}, {"finish": (0.6, 0.37, 0.03)}, {"refuses": 0.3}],
    ids=["shorter", "cut off", "refusing"],
)
def test_a_change_for_all_callers_is_told_within_an_hour(change: dict[str, Any]) -> None:
    """A broken prompt or a swapped model would be noticed by the customers first."""
    detector = known()
    finding = found(detector, hours(DAY_H + 2, 1, **change))[0]
    assert (finding.key, finding.reason.name) == ("/chat m", "drift")
    assert "all callers see it" in detector.explain(finding).baseline


def test_a_new_version_is_named() -> None:
    """The owner would look for an attacker, while somebody shipped a release."""
    detector = known()
    finding = found(detector, hours(DAY_H + 2, 1, size=11.0, version=9))[0]
    assert finding.reason.name == "release"
    assert "100% of the answers come from a model version" in detector.explain(finding).baseline


def test_a_new_version_that_answers_alike_is_no_finding() -> None:
    """Each release would be an alarm."""
    assert found(known(), hours(DAY_H + 2, 8, version=9)) == []


def test_one_caller_is_told_from_everyone() -> None:
    """A new customer with long answers would page the owner of the model."""
    shares = np.full(64, 0.2 / 63)
    shares[7] = 0.8
    detector = known()
    finding = found(detector, hours(DAY_H + 2, 1, size=20.0, callers=shares))[0]
    assert finding.reason.name == "one_caller"
    assert "one caller makes" in detector.explain(finding).baseline


def test_latency_alone_is_told_as_such() -> None:
    """A slow network would be called a model that answers differently."""
    assert {f.reason.name for f in found(known(), hours(DAY_H + 2, 1, latency=24.0))} == {"latency"}


def test_a_small_change_adds_up() -> None:
    """A model that refuses a little more, in no window remarkable, would go unnoticed for ever."""
    finding = found(known(), hours(DAY_H + 2, 20, size=15.45))[0]
    assert finding.detail["slow"] > finding.detail["fast"]


@pytest.mark.parametrize("seed", range(5))
def test_three_days_in_order_are_quiet(seed: int) -> None:
    """False alarms: days and nights differ by half of everything."""
    detector = build_population(ENTRY)

    def day_and_night(h: float) -> dict[str, Any]:
        return {"size": 15.0 + math.sin(h / 12.0 * math.pi), "n": 12 + int(8 * math.sin(h / 12.0 * math.pi))}

    assert found(detector, hours(0, 72, seed=seed, how=day_and_night)) == []


def test_nothing_is_told_before_a_day() -> None:
    """Night would be measured by the one morning that is known."""
    detector = build_population(ENTRY)
    assert found(detector, hours(0, 22) + hours(22, 1, size=8.0)) == []
    assert detector.opinion(Scope.ENDPOINT, hash_text("/chat m", SEED)) is Opinion.WARMING


def test_the_reference_does_not_learn_what_it_told_of() -> None:
    """A change would become the norm within a window, and its end would be told as the change."""
    detector = known()
    assert len(found(detector, hours(DAY_H + 2, 12, size=11.0))) >= 10
    assert detector.opinion(Scope.ENDPOINT, hash_text("/chat m", SEED)) is Opinion.FINDING
    told(detector, hours(DAY_H + 14, 1))  # the window in which it ends is half of it
    assert found(detector, hours(DAY_H + 15, 4)) == []


@pytest.mark.parametrize("n", [20, 5], ids=["busy", "slow"])
def test_a_change_that_lasts_is_one_alert(n: int) -> None:
    """An alert and an incident an hour, for a day, would come of one release."""
    detector = build_population(ENTRY)
    told(detector, hours(0, DAY_H + 2, n=n))
    changed = told(detector, hours(DAY_H + 2, 10, n=n, size=11.0))
    ends = [ts + cool_down_s(finding.window_s) for ts, finding in changed]
    assert len(changed) > 10
    assert all(ts <= end for (ts, _), end in zip(changed[1:], ends, strict=False))


def test_a_change_that_stays_is_the_new_normal_after_a_day() -> None:
    """A release that was meant would alarm for ever."""
    detector = known()
    told(detector, hours(DAY_H + 2, 26, size=11.0))
    assert detector.opinion(Scope.ENDPOINT, hash_text("/chat m", SEED)) is not Opinion.QUIET
    assert found(detector, hours(2 * DAY_H + 5, 40, size=11.0)) == []
    assert found(detector, hours(4 * DAY_H, 1, size=15.0)), "the way back is a change again"


def test_a_change_that_a_person_expects_is_the_new_normal_at_once() -> None:
    """The owner says that the new model was meant, and is told of it each hour until tomorrow all the same."""
    detector, key = known(), hash_text("/chat m", SEED)
    assert found(detector, hours(DAY_H + 2, 1, size=11.0))
    detector.release(Scope.ENDPOINT, key, START + 3600.0 * 5 * DAY_H)
    assert found(detector, hours(DAY_H + 3, 26, size=11.0)) == []
    assert detector.opinion(Scope.ENDPOINT, key) is Opinion.QUIET
    assert found(detector, hours(6 * DAY_H, 1, size=15.0)), "what a person expected ends"


def test_endpoints_do_not_know_each_other() -> None:
    """One endpoint's answers would be measured by another's."""
    other = {"endpoint": "/embed", "model": "e"}
    assert found(known(), hours(DAY_H + 2, 4, size=5.0, label=other)) == []


def test_a_snapshot_of_another_capacity_is_refused() -> None:
    """Rows of one size would be read as rows of another."""
    saved = build_population(ENTRY, {"keys_total": 16}).snapshot()
    with pytest.raises(StateError, match="output_drift"):
        build_population(ENTRY).restore(saved)


def test_the_counterfactual_is_the_inverse_of_the_test() -> None:
    """The alert would name a difference that had fired all the same."""
    detector = known()
    finding = found(detector, hours(DAY_H + 2, 1, size=11.0))[0]
    text = detector.explain(finding).counterfactual
    assert 1.0 < float(text.split("below ")[1].split(" ")[0]) < finding.observed
