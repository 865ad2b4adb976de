"""How many requests a throttled key still gets: a token bucket each, on this replica only."""

from __future__ import annotations

import threading
from collections import OrderedDict

BURST_S = 10.0  # of the rate may come at once, so that a client with two calls in a row is not refused at the second
_BUCKETS = 10_000  # keys remembered; a forgotten one begins with a full bucket


class Throttle:
    """Buckets by decision. Thread-safe.

    Args:
        per_minute: requests that a throttled key gets through each replica.
    """

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        self._burst = max(1.0, self._rate * BURST_S)
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # id -> tokens, when

    def wait_s(self, decision_id: str, now: float) -> float:
        """0 for a request that may pass, else after how many seconds the next one may."""
        with self._lock:
            tokens, at = self._buckets.pop(decision_id, (self._burst, now))
            tokens = min(self._burst, tokens + max(now - at, 0.0) * self._rate)
            passes = tokens >= 1.0
            tokens -= passes
            self._buckets[decision_id] = tokens, now
            if len(self._buckets) > _BUCKETS:
                self._buckets.popitem(last=False)
        return 0.0 if passes else (1.0 - tokens) / self._rate
