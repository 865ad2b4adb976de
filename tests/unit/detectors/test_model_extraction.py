"""model_extraction: whom it accuses, whom it must not, and how it learns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gatewatch import registry
from gatewatch.events.event import AccessEvent
from gatewatch.records import Opinion, Scope, Severity
from gatewatch.sdk import Detector, RawFinding
from gatewatch.state.hashing import hash_text
from gatewatch.testing.batches import SEED, batch_of
from gatewatch.testing.detector_runs import build, findings

ENTRY = registry.load("model_extraction")
T = 1_770_001_200.0  # a whole hour
HOUR_S, DAY_S = 3600.0, 86_400.0

Event = dict[str, Any]


def usual(hours: int = 30, callers: int = 24, *, start: float = T, seed: int = 1) -> list[Event]:
    """Callers in order: four requests in about half of the hours, of three templates in natural sizes."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for hour in range(hours):
        for caller in np.flatnonzero(rng.random(callers) < 0.5).tolist():
            events += [
                request(
                    f"app-{caller}",
                    start + HOUR_S * (hour + rng.random()),
                    shape=f"{caller}-{rng.integers(0, 3)}",
                    size=int(2000 * np.exp(0.6 * rng.standard_normal())),
                )
                for _ in range(4)
            ]
    return sorted(events, key=lambda event: float(event["ts"]))


def request(who: str, ts: float, *, shape: str = "a", size: int = 1000, **more: Any) -> Event:
    """One query to the model."""
    return {
        "ts": ts, "principal": who, "model": "large", "status": 200, "tokens_out": 200,
        "shape": {"hash": shape, "body_size": size}, **more,
    }  # fmt: skip


def sweep(who: str, n: int = 300, *, start: float = T + 30 * HOUR_S, **more: Any) -> list[Event]:
    """One template over a word list, a query every ten seconds, within the hour as far as it goes."""
    return [request(who, start + 10.0 * i, shape="swept", size=1000 + i * 7 % 13, **more) for i in range(n)]


def told(d: Detector, events: Iterable[Event]) -> list[RawFinding]:
    """Findings, in order."""
    return [f for _, _, f in findings(d, batch_of(list(events)))]


def warm_of(d: Detector, events: list[Event]) -> list[bool]:
    """Whether each finding is one to be sent."""
    hits = d.process(batch_of(events))
    return [bool(hits.warm[i]) for i in range(len(hits))]


def test_a_new_caller_who_sweeps_with_log_probabilities_is_found() -> None:
    """A model would be copied by a trial account in an afternoon, and nobody would know."""
    found = told(build(ENTRY), usual() + sweep("trial-1", features=["logprobs"]))
    assert {(f.key, f.reason.name) for f in found} == {("trial-1", "harvest")}
    assert found[0].observed <= 60  # at the first look, after 50 queries


def test_nothing_is_sent_before_a_day_is_known() -> None:
    """On the first day everybody is new and everything is rare: each busy caller would be accused."""
    events = usual(hours=20) + sweep("trial-1", start=T + 20 * HOUR_S, features=["logprobs"])
    assert not any(warm_of(build(ENTRY), events))


def test_few_callers_are_no_peers() -> None:
    """Two callers who know each other would be measured by each other, and the third accused."""
    events = usual(hours=60, callers=4) + sweep("trial-1", start=T + 60 * HOUR_S, features=["logprobs"])
    assert not any(warm_of(build(ENTRY), events))


def test_volume_alone_is_no_extraction() -> None:
    """Each new customer with a backlog would be accused of copying the model."""
    rng = np.random.default_rng(3)
    backlog = [
        request("new", T + 30 * HOUR_S + 10.0 * i, shape="n", size=int(2000 * np.exp(0.6 * rng.standard_normal())))
        for i in range(300)
    ]
    assert told(build(ENTRY), usual() + backlog) == []


def test_log_probabilities_without_volume_are_no_extraction() -> None:
    """Who scores a few texts would be accused."""
    few = [{**event, "ts": event["ts"] + 60.0 * i} for i, event in enumerate(sweep("new", 40, features=["logprobs"]))]
    assert told(build(ENTRY), usual() + few) == []


def test_a_job_that_always_did_so_is_left_alone() -> None:
    """A classifier that has asked for log-probabilities every hour since it exists would be accused every hour."""
    job = [
        {**event, "ts": event["ts"] + HOUR_S * hour}
        for hour in range(34)
        for event in sweep("tagger", 80, start=T, features=["logprobs"])
    ]
    events = sorted(usual(34) + job, key=lambda event: float(event["ts"]))
    assert told(build(ENTRY), events) == []


def test_a_known_caller_is_measured_by_its_own_past_too() -> None:
    """A customer's stolen key could be used to copy the model, since the customer is known."""
    known = [request("app-1", T + HOUR_S * hour + 60.0 * i, size=900 + 31 * hour + 7 * i) for hour in range(30)
             for i in range(4)]  # fmt: skip
    events = sorted(usual() + known, key=lambda event: float(event["ts"]))
    mixed = sweep("app-1", features=["logprobs"])
    for i, event in enumerate(mixed):
        event["shape"] = {"hash": f"t{i % 15}", "body_size": 1000 + i % 15}
    assert {f.key for f in told(build(ENTRY), events + mixed)} == {"app-1"}


def test_what_was_told_of_does_not_teach() -> None:
    """An extraction that goes on for hours would become the norm, for the caller and its peers."""
    d = build(ENTRY)
    d.process(batch_of(usual()))
    for hour in range(30, 36):
        more = sweep("trial-1", 200, start=T + hour * HOUR_S, features=["logprobs"])
        assert told(d, more), f"silent in hour {hour}"


def test_what_a_person_expects_becomes_the_callers_own_past() -> None:
    """A partner's nightly evaluation that was called expected would alert every hour of every night, for weeks."""
    d = build(ENTRY)
    d.process(batch_of(usual()))
    callers, heard = ("partner", "other"), dict[int, set[str]]()
    for hour in range(30, 70):
        events = [e for who in callers for e in sweep(who, 200, start=T + hour * HOUR_S, features=["logprobs"])]
        heard[hour] = {f.key for f in told(d, sorted(events, key=lambda event: float(event["ts"])))}
        if hour == 30:
            d.release(Scope.PRINCIPAL, hash_text("partner", SEED), T + 70 * HOUR_S)
    quiet = min(hour for hour in heard if "partner" not in heard[hour])
    assert quiet > 30
    assert quiet < 60, "a day of active hours is a past"
    assert heard[quiet] == {"other"}, "of whom nobody said anything"
    assert not any("partner" in heard[hour] for hour in range(quiet, 70))


def test_the_limit_needs_no_baseline() -> None:
    """Who sets a limit would wait a day for it; or it would be moved by what is usual."""
    d = build(ENTRY, {"queries_per_hour": 100})
    found = told(d, [request("bulk", T + i, size=i * 37) for i in range(150)])
    assert [(f.key, f.reason.name, f.observed) for f in found] == [("bulk", "limit", 100.0)]
    assert warm_of(build(ENTRY, {"queries_per_hour": 100}), [request("b", T + i) for i in range(120)])


def test_a_newcomers_sweep_needs_no_peers() -> None:
    """A site of four callers would never be told of a copy: its baseline has nothing to compare with."""
    few = usual(callers=4)
    found = told(build(ENTRY), few + sweep("trial-1", 340, start=T + 30 * HOUR_S))
    assert {(f.key, f.reason.name) for f in found} == {("trial-1", "sweep")}
    assert {f.reason.severity for f in found} == {Severity.LOW}
    assert (
        told(build(ENTRY, {"sweep_queries_per_hour": None}), few + sweep("trial-1", 340, start=T + 30 * HOUR_S)) == []
    )


def test_who_always_swept_is_left_alone() -> None:
    """A tagger with one template would be mentioned every hour of its life."""
    hours = [sweep("tagger", 340, start=T + hour * HOUR_S) for hour in range(40)]
    assert told(build(ENTRY), [event for hour in hours for event in hour]) == []


def test_what_was_refused_is_no_answer() -> None:
    """A caller without a right to the model would be said to have copied it."""
    refused = [{**event, "status": 403} for event in sweep("trial-1", features=["logprobs"])]
    assert told(build(ENTRY), usual() + refused) == []


def test_models_are_counted_apart() -> None:
    """Queries to many models would add up to the extraction of one."""
    d = build(ENTRY, {"queries_per_hour": 100})
    assert told(d, [request("c", T + i, model=f"m{i % 3}") for i in range(240)]) == []


def request_without_behaviour(ts: float) -> Event:
    """A gateway that logs callers and models, and nothing of what they ask."""
    return {"ts": ts, "principal": "app-1", "model": "large", "status": 200}


def test_without_sizes_shapes_or_options_it_is_blind() -> None:
    """The user would believe to be watched where nothing can be seen."""
    d = build(ENTRY)
    d.process(batch_of([request_without_behaviour(T + i) for i in range(100)]))
    assert d.opinion(Scope.PRINCIPAL, hash_text("app-1", SEED)) is Opinion.BLIND


def test_the_counterfactual_holds() -> None:
    """An alert would promise that something else had been fine, and it is not."""
    events = sweep("trial-1", features=["logprobs"])
    found = told(build(ENTRY), usual() + events)[0]
    text = build(ENTRY).explain(found).counterfactual
    assert "fewer requests of the same shape and size" in text
    rng = np.random.default_rng(1)
    for event in events:  # natural sizes, and what else the counterfactual may name
        event["shape"] = {"hash": "swept", "body_size": int(rng.integers(500, 50_000))}
        if "for what an extraction needs" in text:
            del event["features"]
        if "acquaintance" in text:
            event["principal"] = "app-1"
    assert told(build(ENTRY), usual() + events) == []


def test_cases_are_small_and_valid() -> None:
    """The cases are what a reader learns the detector from."""
    for file in sorted((Path(str(ENTRY.folder)) / "cases").glob("*.jsonl")):
        assert file.stat().st_size < 400_000
        assert msgspec.convert(json.loads(file.read_text().splitlines()[0]), AccessEvent).principal
