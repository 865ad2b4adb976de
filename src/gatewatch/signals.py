"""Whether a process has been told to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether SIGTERM or SIGINT has come.

    A plain flag: a handler that set an Event could run while the main thread holds the Event's own lock, and wait for
    ever.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While there is nothing to end in good order: a signal raises KeyboardInterrupt in the main thread."""
        self._at_once = not self.asked
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def on_signals(self) -> Stop:
        """Listen from now on."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)
        return self

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._at_once:
            self._at_once = False  # a second one must not disturb what the first has begun to close
            raise KeyboardInterrupt
