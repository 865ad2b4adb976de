"""One receiver's own queue and thread: a sink that is down delays its own alerts only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import stamina
import structlog

from gatewatch.notify.base import Attempt, Receiver, Result
from gatewatch.records import Alert

QUEUE_MAX = 10_000  # alerts waiting for one receiver: some 40 MB; beyond it the worker stops reading
GIVE_UP_S = 15 * 60.0  # a try that late would tell of something old
WAIT_MAX_S = 30.0
_log = structlog.get_logger("gatewatch.notify")


class _Again(Exception):  # noqa: N818 - a signal to the retry loop, not an error anybody sees
    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.detail)
        self.attempt = attempt


@dataclass(frozen=True, slots=True)
class Job:
    """One revision to tell, and where it stood in `alerts`."""

    offset: int
    alert: Alert
    playbook: str


class Delivery:
    """Sends jobs in order, each until it is delivered, refused or too late.

    A later revision of an alert takes the place of one that still waits: nobody needs the older text.

    Args:
        receiver: where to.
        handle: of the alert's earlier delivery there.
        done: called from the thread with the job and how it ended ("delivered", "never", "given_up", "superseded").
    """

    def __init__(
        self,
        receiver: Receiver,
        handle: Callable[[Alert], str | None],
        done: Callable[[Job, str, Attempt], None],
    ) -> None:
        self.receiver, self._handle, self._done = receiver, handle, done
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._current: Job | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"notify-{receiver.name}", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether nothing more should be put."""
        return len(self._jobs) >= QUEUE_MAX

    def oldest(self) -> int | None:
        """The smallest offset that is not done, or ``None``."""
        with self._wake:
            offsets = [job.offset for job in self._jobs.values()]
            if self._current is not None:
                offsets.append(self._current.offset)
        return min(offsets, default=None)

    def put(self, job: Job) -> None:
        """Queue a revision."""
        with self._wake:
            older = self._jobs.pop(job.alert.id, None)
            self._jobs[job.alert.id] = job
            self._wake.notify()
        if older is not None:
            self._done(older, "superseded", Attempt(Result.DELIVERED))

    def close(self, timeout_s: float) -> None:
        """Stop after the job in hand, or at once when that waits for a retry; what is left is read again later."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._stopping)
                if self._stopping:
                    return
                self._current = self._jobs.popitem(last=False)[1]
            job = self._current
            attempt = self._deliver(job)
            ended = "given_up" if attempt.result is Result.AGAIN else attempt.result.value
            if ended != "delivered":
                _log.error("alert not delivered", receiver=self.receiver.name, alert=job.alert.id, why=attempt.detail)
            self._done(job, ended, attempt)
            with self._wake:
                self._current = None

    def _deliver(self, job: Job) -> Attempt:
        try:
            for trial in stamina.retry_context(on=_wait_for, timeout=GIVE_UP_S, attempts=None, wait_max=WAIT_MAX_S):
                with trial:
                    return self._try(job)
        except _Again as again:
            return again.attempt
        raise AssertionError("the retry loop ends by return or by exception")

    def _try(self, job: Job) -> Attempt:
        attempt = self.receiver.send(job.alert, job.playbook, self._handle(job.alert))
        if attempt.result is Result.AGAIN and not self._stopping:
            raise _Again(attempt)
        return attempt


def _wait_for(error: Exception) -> bool | float:
    """Retry what may go through later: when the other side says, else with growing waits and jitter."""
    if not isinstance(error, _Again):
        return False
    wait_s = error.attempt.retry_after_s
    return True if wait_s is None else min(wait_s, GIVE_UP_S)
