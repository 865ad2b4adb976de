"""How a role's loop ends."""

from __future__ import annotations

import errno
import os

import pytest

from gatewatch.clock import ManualClock
from gatewatch.errors import SendError, StateError
from gatewatch.metrics import Metrics
from gatewatch.roles import Role, _loop, _State
from gatewatch.signals import Stop


class Failing:
    """A worker whose first turn fails."""

    assigned, caught_up = 1, True

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.closed: list[bool] = []

    def step(self, timeout_s: float) -> int:
        """Fail."""
        del timeout_s
        raise self._error

    def close(self, *, flush: bool = True) -> None:
        """Leave."""
        self.closed.append(flush)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SendError("a record was not acknowledged"), 1),
        (StateError("another seed"), 2),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/map.conf"), 1),
    ],
    ids=["broker", "state", "disk full", "no permission"],
)
def test_what_fails_ends_the_worker_without_a_flush_and_says_why(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails, half a round is committed; or a full disk is a traceback of ours, and nobody sees what it is."""
    worker, clock = Failing(error), ManualClock()
    assert _loop(worker, Stop(), _State(Role.INGEST, worker, clock, Metrics())) == code
    assert worker.closed == [False]
    told = capsys.readouterr()
    assert str(error).split("] ")[-1] in told.out + told.err
