"""A sum that forgets: an exponential window in two numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Faded:
    """What was added, each part weighing less as it ages; ``window_s`` is the mean age at which it is gone.

    >>> sum_ = Faded(60.0)
    >>> sum_.add(10.0, now=0.0)
    >>> round(sum_.at(60.0), 2)
    3.68
    """

    window_s: float
    _sum: float = 0.0
    _as_of: float = float("-inf")

    def add(self, amount: float, now: float) -> None:
        """A part of now."""
        self._sum, self._as_of = self.at(now) + amount, max(now, self._as_of)

    def at(self, now: float) -> float:
        """The sum as of now."""
        return self._sum * math.exp(-max(now - self._as_of, 0.0) / self.window_s) if self._sum else 0.0
