"""At which hours of the day a principal is active. Plain Python; nothing of Gatewatch in it."""

from __future__ import annotations

import math
from typing import Any

HOUR_S = 3600.0
PRIOR = 0.02  # of an event, in each hour: what nobody was ever seen at still has a probability


class Hours:
    """How often each principal was seen at each hour of the day (UTC).

    Args:
        least_events: events of a principal before there is an opinion on it.
    """

    def __init__(self, least_events: int) -> None:
        self._least = least_events
        self._seen: dict[int, list[float]] = {}

    def score(self, event: Any) -> float | None:
        """Nats of surprise at the hour; hours beside it count half, for nobody's day starts on the minute."""
        seen = self._seen.get(event.key)
        if seen is None or sum(seen) < self._least:
            return None
        at = _hour(event.ts)
        near = seen[at] + 0.5 * (seen[at - 1] + seen[(at + 1) % 24])
        return -math.log((near + 2.0 * PRIOR) / (2.0 * (sum(seen) + 24.0 * PRIOR)))

    def learn(self, event: Any) -> None:
        """Count the hour."""
        self._seen.setdefault(event.key, [0.0] * 24)[_hour(event.ts)] += 1.0


def _hour(ts: float) -> int:
    return int(ts // HOUR_S) % 24
