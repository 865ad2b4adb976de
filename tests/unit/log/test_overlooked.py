"""How often a member looks for partitions that nobody has, and asks for a round of the group."""

from __future__ import annotations

import pytest

from gatewatch.clock import ManualClock
from gatewatch.log.base import TopicPartition
from gatewatch.log.overlooked import AGAIN_S, Overlooked

THERE = {"t": {0, 1}}
ALL = {TopicPartition("t", 0), TopicPartition("t", 1)}


class Broker:
    """Answers what it is told to, and counts."""

    def __init__(self, answer: set[TopicPartition] | None) -> None:
        self.answer, self.asked = answer, 0

    def __call__(self) -> set[TopicPartition] | None:
        self.asked += 1
        return self.answer


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock(1000.0)


def test_it_asks_for_one_round_and_no_more(clock: ManualClock) -> None:
    """If this fails, a group whose leader cannot share a partition out rebalances for ever."""
    overlooked, broker = Overlooked("g", clock), Broker(set())
    assert overlooked.found(THERE, broker)
    assert not overlooked.found(THERE, broker)
    assert broker.asked == 1


def test_it_looks_again_when_the_topics_have_other_partitions(clock: ManualClock) -> None:
    """If this fails, partitions that come later stay unread."""
    overlooked, broker = Overlooked("g", clock), Broker(ALL)
    assert not overlooked.found(THERE, broker)
    assert overlooked.found({"t": {0, 1, 2}}, broker)


def test_what_cannot_be_known_is_asked_again_later(clock: ManualClock) -> None:
    """If this fails, a member that looks amid a rebalance never looks again; or it asks a broker at each poll."""
    overlooked, broker = Overlooked("g", clock), Broker(None)
    assert not overlooked.found(THERE, broker)
    assert not overlooked.due
    broker.answer = ALL - {TopicPartition("t", 1)}
    assert not overlooked.found(THERE, broker)
    assert broker.asked == 1
    clock.advance(AGAIN_S)
    assert overlooked.due
    assert overlooked.found(THERE, broker)
    assert not overlooked.due


def test_topics_that_cannot_be_looked_up_are_looked_up_later(clock: ManualClock) -> None:
    """If this fails, a member whose broker restarts as it joins takes its topics for empty."""
    overlooked, broker = Overlooked("g", clock), Broker(set())
    assert not overlooked.found(None, broker)
    assert not overlooked.due
    clock.advance(AGAIN_S)
    assert overlooked.found(THERE, broker)
