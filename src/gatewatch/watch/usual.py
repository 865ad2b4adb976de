"""How long something usually stays away, learned from its longest absence of late."""

from __future__ import annotations

from dataclasses import dataclass

# Of n exponential gaps the longest is about ln n means; twice that comes by chance once in n more.
TIMES = 2.0
LEARN_S = 3600.0  # so long it must have been seen before its gaps say anything
UNLEARNED_S = 2 * LEARN_S  # until then: what comes every hour has come twice by then
PERIOD_S = 7 * 86400.0  # nights and week-ends are usual; the longest gap of two weeks ago is no longer


@dataclass(slots=True)
class Usual:
    """Signs of one thing. Times are seconds on one line that never goes back.

    ``began`` is when watching began: what never came is missing since then.
    """

    began: float
    first: float | None = None
    last: float = float("-inf")
    longest: float = 0.0  # gap, in this period
    before: float = 0.0  # and in the one before
    period: float = 0.0  # when this one began

    def seen(self, now: float) -> None:
        """It was there."""
        if self.first is None:
            self.first = self.period = now
        else:
            self.longest = max(self.longest, now - self.last)
        if now - self.period >= PERIOD_S:
            self.before, self.longest, self.period = self.longest, 0.0, now
        self.last = now

    def gap(self, now: float) -> float:
        """Seconds since it was seen, or since watching began."""
        return now - (self.began if self.first is None else self.last)

    def limit(self, floor: float, cap: float) -> float:
        """The gap that is no longer usual, between ``floor`` and ``cap``."""
        if self.first is None or self.last - self.first < LEARN_S:
            return max(floor, UNLEARNED_S)
        return max(floor, min(TIMES * max(self.longest, self.before), cap))
