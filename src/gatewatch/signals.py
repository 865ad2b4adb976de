"""Whether a process has been told to stop."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Whether SIGTERM or SIGINT has come.

    A plain flag: a handler that set an Event could run while the main thread holds the Event's own lock, and wait for
    ever.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_signals(self) -> Stop:
        """Listen from now on."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)
        return self

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked = True
