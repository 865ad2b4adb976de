"""What an adapter does for its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewatch.adapters import EventModel, PerEventConfig, PerEventDetector
from gatewatch.sdk import Context, Need, Opinion, Reason, Scope, Severity, hash_text
from gatewatch.testing.batches import SEED, batch_of


class Bytes:
    """Scores a size by itself; remembers what it was given."""

    def __init__(self) -> None:
        self.learned: list[Any] = []

    def score(self, event: Any) -> float | None:
        return float(event.bytes_out) if event.user_agent != "silent" else None

    def learn(self, event: Any) -> None:
        self.learned.append(event)


class Big(PerEventDetector):
    """Only for these tests."""

    name = "big"
    version = 1
    scopes = (Scope.PRINCIPAL,)
    reasons = (Reason(0, "big", "Big", "bytes", Severity.LOW, learned=False),)
    needs = (Need(Scope.PRINCIPAL, ("bytes_out",), "log sizes"),)
    reads = ("bytes_out", "user_agent", "k_ip")
    calibrated = True

    def model(self) -> EventModel:
        self.made = Bytes()
        return self.made


def big(**options: Any) -> Big:
    """One with a limit of 10."""
    return Big(
        PerEventConfig(threshold_nats=10.0, freeze_nats=10.0, **options),
        Context(seed=SEED, partitions=1, alarms_per_day=1.0),
    )


def event(i: int, size: float | None, **fields: Any) -> dict[str, Any]:
    """One a minute."""
    return {"ts": 1.77e9 + 61.0 * i, "principal": "app", "status": 200, "bytes_out": size, **fields}


def test_events_have_the_columns_by_name() -> None:
    """Otherwise a team's model must know how batches are laid out."""
    detector = big()
    long = "x" * 100
    detector.process(batch_of([event(0, 3, user_agent=long, ip="192.0.2.1"), event(1, 4)]))
    first, second = detector.made.learned
    assert first.bytes_out == 3.0
    assert first.user_agent == long[:64]
    assert second.user_agent == ""
    assert first.key == hash_text("app", SEED)
    assert first.k_ip == hash_text("192.0.2.1", SEED)
    assert first.ts == 1.77e9


def test_who_was_refused_does_not_teach() -> None:
    """Otherwise whoever sprays bad keys trains the model for nothing."""
    detector = big()
    detector.process(batch_of([event(0, 1), event(1, 2, status=401), event(2, 3, status=403, auth="none")]))
    assert [e.bytes_out for e in detector.made.learned] == [1.0]


def test_what_alarms_does_not_teach_and_is_told_of_with_its_numbers() -> None:
    """Otherwise an attack is normal the second time, or an alert gives no reason."""
    detector = big()
    hits = detector.process(batch_of([event(0, 1), event(1, 20), event(2, 20), event(3, 5)]))
    assert hits.row[: len(hits)].tolist() == [1, 2]
    assert hits.nats[: len(hits)].tolist() == [20.0, 20.0]
    assert [e.bytes_out for e in detector.made.learned] == [1.0, 5.0]
    assert detector.opinion(Scope.PRINCIPAL, hash_text("app", SEED)) is Opinion.QUIET


def test_it_is_told_once_a_minute_while_it_goes_on() -> None:
    """Otherwise one careless client fills the channel."""
    detector = big()
    rows = [{**event(0, 1), "ts": 1.77e9}, *({**event(0, 20), "ts": 1.77e9 + i} for i in range(1, 122))]
    hits = detector.process(batch_of(rows))
    assert hits.row[: len(hits)].tolist() == [1, 61, 121]
    assert np.unique(hits.since[: len(hits)]).tolist() == [1.77e9 + 1]
    assert detector.opinion(Scope.PRINCIPAL, hash_text("app", SEED)) is Opinion.FINDING


def test_no_opinion_is_no_finding() -> None:
    """Otherwise a model cannot say that it does not know yet."""
    assert len(big().process(batch_of([event(0, 1), event(1, 99, user_agent="silent")]))) == 0


@pytest.mark.parametrize("size", [None, float("nan")])
def test_rows_without_what_is_needed_are_not_looked_at(size: float | None) -> None:
    """Otherwise each model must guard against NaN, and a blind detector calls itself quiet."""
    detector = big()
    detector.process(batch_of([event(0, size)]))
    assert detector.opinion(Scope.PRINCIPAL, hash_text("app", SEED)) is Opinion.BLIND
    assert detector.made.learned == []
