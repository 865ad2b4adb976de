"""How often the same line is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from gatewatch.clock import ManualClock
from gatewatch.observe.throttle import Throttle

Say = Callable[..., str | None]


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until a test moves it."""
    return ManualClock(1000.0)


@pytest.fixture
def dropped() -> list[int]:
    """One entry for each line that was left out."""
    return []


@pytest.fixture
def say(clock: ManualClock, dropped: list[int]) -> Say:
    """Log through a throttle of two lines a minute; what came out, or None."""
    throttle = Throttle(2, lambda: dropped.append(1), clock)

    def say(template: object, *args: object, level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("kafka", level, __file__, 1, template, args, None)
        return record.getMessage() if throttle.filter(record) else None

    return say


def test_repeats_are_left_out_and_counted(say: Say, dropped: list[int]) -> None:
    """Otherwise a broker that is down for an hour fills the disk with one sentence."""
    assert [say("no broker %d", n) for n in range(4)] == ["no broker 0", "no broker 1", None, None]
    assert len(dropped) == 2


def test_the_next_minute_says_how_many_were_left_out(say: Say, clock: ManualClock) -> None:
    """Otherwise a reader takes two lines for two failures when there were thousands."""
    for n in range(7):
        say("no broker %d", n)
    clock.advance(60.0)
    assert say("no broker %d", 7) == "no broker 7 (and 5 more like this)"
    assert say("no broker %d", 8) == "no broker 8"


def test_other_lines_still_pass(say: Say) -> None:
    """Otherwise a chatty library hides the line that says why the worker ended."""
    for n in range(5):
        say("no broker %d", n)
    assert say("topic gone") == "topic gone"
    assert say("no broker %d", 5, level=logging.ERROR) == "no broker 5"


def test_events_of_structlog_are_told_apart_by_event(say: Say, clock: ManualClock) -> None:
    """Otherwise each line with another number in it is a kind of its own and nothing is ever left out."""
    assert [say({"event": "role ended", "n": n}) is None for n in range(3)] == [False, False, True]
    clock.advance(60.0)
    assert say({"event": "role ended", "n": 3}) == "{'event': 'role ended', 'n': 3, 'left_out': 1}"


def test_memory_is_bounded(clock: ManualClock) -> None:
    """Otherwise a library that puts a stranger's text into its template grows the worker for ever."""
    throttle = Throttle(2, None, clock)
    for n in range(5000):
        throttle.filter(logging.LogRecord("x", logging.INFO, __file__, 1, f"user {n}", (), None))
    assert len(throttle._seen) <= 1000
