"""How a role's loop ends, and how one ends that has not begun."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest
import structlog

from gatewatch import roles
from gatewatch.clock import ManualClock
from gatewatch.errors import SendError, StateError
from gatewatch.metrics import Metrics
from gatewatch.roles import Role, _loop, _State
from gatewatch.settings import Settings
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
    assert _loop(worker, Stop(), _State(Role.INGEST, worker, clock, Metrics(), 0.0)) == code
    assert worker.closed == [False]
    told = capsys.readouterr()
    assert str(error).split("] ")[-1] in told.out + told.err


def test_the_log_says_when_a_worker_was_ready_and_when_it_was_not() -> None:
    """If this fails, nobody finds out which part of a slow recovery was slow: start, rebalance or reading."""
    worker, clock = Failing(RuntimeError()), ManualClock()
    state = _State(Role.DETECT, worker, clock, Metrics(), 0.0)
    with structlog.testing.capture_logs() as lines:
        for assigned, caught_up in ((0, True), (2, False), (2, True), (2, False), (2, True), (5, True)):
            worker.assigned, worker.caught_up = assigned, caught_up
            clock.advance(1.0)
            state.turned()
    assert [(line["event"], line["partitions"], line["after_s"]) for line in lines] == [
        ("has partitions", 2, 2.0), ("ready", 2, 3.0), ("has partitions", 5, 6.0), ("ready", 5, 6.0),
    ]  # fmt: skip


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of signals are put back."""
    kept = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in kept.items():
        signal.signal(signum, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_still_starting_ends_at_once(signum: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels may be compiled for minutes: a stop that waited for them would end in kill -9."""
    reached: list[str] = []

    def build(*_: object, **__: object) -> None:
        reached.append("build")
        signal.raise_signal(signum)
        reached.append("the loop")

    monkeypatch.setattr(roles, "build", build)
    assert roles.run(Role.DETECT, Settings(), http=False) == 0
    assert reached == ["build"]


@pytest.mark.usefixtures("handlers")
def test_a_worker_that_runs_is_told_and_not_interrupted() -> None:
    """If this fails, SIGTERM in the middle of a turn loses the last second's work."""
    stop = Stop().on_signals()
    with pytest.raises(KeyboardInterrupt), stop.at_once():
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert stop.asked
    with pytest.raises(KeyboardInterrupt), stop.at_once():
        pytest.fail("was told to stop before")
