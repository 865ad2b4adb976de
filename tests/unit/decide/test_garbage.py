"""Decide stands still for no search for garbage, and what is garbage goes all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import closing

import pytest

from gatewatch.clock import ManualClock
from gatewatch.decide import garbage
from gatewatch.decide.garbage import FREEZE_S, Garbage


class Knot:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.myself = self


@pytest.fixture
def clock() -> ManualClock:
    """Moved by the test."""
    return ManualClock(0.0)


@pytest.fixture
def collector(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Garbage]:
    """One that makes no search over everything yet."""
    monkeypatch.setattr(garbage, "SPARE", 1 << 40)
    with closing(Garbage(clock)) as made:
        yield made


def later(collector: Garbage, clock: ManualClock) -> None:
    """The next time that it does something."""
    clock.advance(FREEZE_S)
    collector.turn()


def test_what_has_lived_is_searched_no_more(collector: Garbage, clock: ManualClock) -> None:
    """If this fails, alerts wait for a second whenever Python thinks it is time, while there is a large attack."""
    collector.turn()
    frozen = gc.get_freeze_count()
    assert frozen > 0
    kept = [Knot() for _ in range(100)]
    collector.turn()  # not yet
    assert gc.get_freeze_count() <= frozen
    later(collector, clock)
    assert not any(one is kept[0] for one in gc.get_objects())


def test_garbage_among_what_has_lived_is_found_in_the_end(
    collector: Garbage, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, decide grows with each connection that fails, until the machine kills it."""
    knot = Knot()
    gone = weakref.ref(knot)
    collector.turn()
    del knot
    later(collector, clock)
    assert gone() is not None
    monkeypatch.setattr(garbage, "SPARE", 0)
    later(collector, clock)
    assert gone() is None


def test_afterwards_all_is_as_it_was(clock: ManualClock) -> None:
    """If this fails, a program that runs decide within itself never searches for its garbage again."""
    before = gc.get_threshold()
    collector = Garbage(clock)
    collector.turn()
    assert gc.get_threshold() != before
    collector.close()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
