"""Waiting for what another process or thread does, where it gives no event to await."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gatewatch.clock import stopwatch

# A process start and a join of a group; where no kernel is compiled yet and other tests have the cores, some 160 s.
PATIENCE_S = 240.0
EVERY_S = 0.05


def wait_until(condition: Callable[[], bool], what: str | Callable[[], str] = "what was waited for") -> None:
    """Ask again and again until it holds; ``what`` says in the error what did not happen.

    Raises:
        AssertionError: it does not within :data:`PATIENCE_S`.
    """
    deadline, pause = stopwatch() + PATIENCE_S, threading.Event()
    while not condition():
        missed = stopwatch() >= deadline
        assert not missed, f"not within {PATIENCE_S:.0f} s: {what if isinstance(what, str) else what()}"
        pause.wait(EVERY_S)
