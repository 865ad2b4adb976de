"""The only module that reads the wall clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is, in seconds."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for durations only."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Epoch seconds of the machine."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some start, never going back."""
        return time.monotonic()


def stopwatch() -> float:
    """Seconds of the finest counter, to time a piece of work for a metric. Never state."""
    return time.perf_counter()


def cpu_seconds() -> float:
    """What this process has computed since it began, imports and all: what a start costs on a busy machine."""
    return time.process_time()


class ManualClock:
    """A clock that tests and replays move by hand.

    >>> clock = ManualClock(100.0)
    >>> clock.advance(2.5)
    >>> clock.now()
    102.5
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Epoch seconds, as set."""
        return self._now

    def monotonic(self) -> float:
        """The same line as :meth:`now`."""
        return self._now

    def set(self, now: float) -> None:
        """Move to ``now``."""
        self._now = now

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self._now += seconds
