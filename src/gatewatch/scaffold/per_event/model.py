"""How large a principal's answers are. Plain Python; nothing of Gatewatch in it."""

from __future__ import annotations

import math
from typing import Any

PRIOR_EVENTS = (
    5.0  # pseudo-events of unit variance: a principal whose answers are all alike must not have a variance of 0
)


class Sizes:
    """Mean and variance of the logarithm of each principal's answer sizes (Welford 1962).

    Args:
        least_events: events of a principal before there is an opinion on it.
    """

    def __init__(self, least_events: int) -> None:
        self._least = least_events
        self._known: dict[int, tuple[int, float, float]] = {}  # events, mean, sum of squared distances from it

    def score(self, event: Any) -> float | None:
        """Nats of an answer that is so much larger than usual: z * z / 2, as if the logarithm were normal."""
        n, mean, squares = self._known.get(event.key, (0, 0.0, 0.0))
        if n < self._least:
            return None
        z = (math.log1p(max(event.bytes_out, 0.0)) - mean) / math.sqrt((squares + PRIOR_EVENTS) / (n + PRIOR_EVENTS))
        return 0.5 * z * z if z > 0.0 else 0.0

    def learn(self, event: Any) -> None:
        """Count the answer."""
        n, mean, squares = self._known.get(event.key, (0, 0.0, 0.0))
        x = math.log1p(max(event.bytes_out, 0.0))
        step = (x - mean) / (n + 1)
        self._known[event.key] = (n + 1, mean + step, squares + (x - mean) * (x - mean - step))
