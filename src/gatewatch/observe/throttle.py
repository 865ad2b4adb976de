"""The same line not too often: what repeats a hundred times a second says nothing new and fills a disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gatewatch.clock import Clock, SystemClock

_WINDOW_S = 60.0
# Kinds are templates in source code, some hundreds; a library that formats before it logs could make any number.
_MAX_KINDS = 1000


class Throttle(logging.Filter):
    """At most so many lines of one kind a minute; the first of the next minute says how many were left out.

    Lines are of one kind where logger, level and template (for structlog: the event) are the same.

    Args:
        lines_a_minute: of one kind.
        on_drop: called for each line that is left out.
        clock: tells when a minute has passed.
    """

    def __init__(
        self, lines_a_minute: int, on_drop: Callable[[], None] | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__()
        self._lines = lines_a_minute
        self._on_drop = on_drop
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}  # start of the minute, lines in it

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        event = record.msg["event"] if isinstance(record.msg, dict) else record.msg
        kind = (record.name, record.levelno, str(event))
        now = self._clock.monotonic()
        with self._lock:
            started, lines = self._seen.get(kind, (now, 0))
            left_out = 0
            if now - started >= _WINDOW_S:
                left_out = max(lines - self._lines, 0)
                started, lines = now, 0
            if len(self._seen) >= _MAX_KINDS:
                self._seen.clear()
            self._seen[kind] = (started, lines + 1)
        if lines >= self._lines:
            if self._on_drop is not None:
                self._on_drop()
            return False
        if left_out:
            _say_left_out(record, left_out)
        return True


def _say_left_out(record: logging.LogRecord, n: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "left_out": n}
    else:
        record.msg, record.args = f"{record.getMessage()} (and {n} more like this)", ()
