"""Which times an event may have.

A live event must lie in [now - 7 d, now + 5 s]; what does not is moved there and marked. Where most of what arrives is
older than that, it is history (a log of 2016 that somebody replays, with or without Kafka): then "now" is the data's
own time, so that it replays as it happened and is not squeezed into one burst a week ago.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.clock import Clock

PAST_S = 7 * 86400.0  # DESIGN section 2
FUTURE_S = 5.0  # clocks of gateways differ by that much without anybody's fault
HISTORY_SPAN_S = 30 * 86400.0  # in history, what lies further from the chunk's middle is a broken clock
_TRUSTED_ROWS = 20  # a chunk of so many rows has a median worth trusting


class TimeBounds:
    """Moves event times into bounds and says what "now" is.

    Args:
        clock: the wall clock; ``None`` treats everything as history (replay, demo).
    """

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._data_now = -np.inf
        self.history = clock is None

    @property
    def now(self) -> float:
        """Wall time, or in history the largest time seen; -inf before anything was."""
        return self._data_now if self._clock is None or self.history else self._clock.now()

    def move(self, ts: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Times within bounds, and which of them were moved. ``ts`` (n,) float64, n > 0, epoch seconds."""
        median = float(np.median(ts[np.isfinite(ts)])) if np.isfinite(ts).any() else self._data_now
        low, high = self._limits(median, len(ts))
        inside = np.clip(np.nan_to_num(ts, nan=low, posinf=high, neginf=low), low, high)
        self._data_now = max(self._data_now, float(inside.max()))
        return inside, inside != ts

    def _limits(self, median: float, rows: int) -> tuple[float, float]:
        if self._clock is not None:
            wall = self._clock.now()
            if rows >= _TRUSTED_ROWS or not np.isfinite(self._data_now):
                self.history = median < wall - PAST_S
            if not self.history:
                return wall - PAST_S, wall + FUTURE_S
        middle = median if rows >= _TRUSTED_ROWS or not np.isfinite(self._data_now) else self._data_now
        return middle - HISTORY_SPAN_S, middle + HISTORY_SPAN_S
