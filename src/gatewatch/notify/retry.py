"""The fourth stage: one receiver's own thread, which tries until it is told, refused, or has tried long enough.

So a sink that is down delays its own alerts only. Each delivery is recorded, and the record acknowledged, before the
next begins: a kill repeats at most the one in hand.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import stamina
import structlog

from gatewatch.errors import GatewatchError
from gatewatch.notify.base import Attempt, Receiver, Result
from gatewatch.notify.cap import Waiting
from gatewatch.notify.dedup import Why
from gatewatch.notify.notice import Bulletin

# One job is tried so long before others may have their turn: a refusal of one (too large for them) must not hold the
# rest, and a graver one may have come meanwhile. It goes back to what waits, and is tried again.
TRY_S = 120.0
WAIT_MAX_S = 30.0
RETRY_AFTER_MAX_S = 15 * 60.0  # who asks for more gets another try then
_log = structlog.get_logger("gatewatch.notify")


class _Again(Exception):  # noqa: N818 - a signal to the retry loop, not an error anybody sees
    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.detail)
        self.attempt = attempt


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to tell: a revision, or a bulletin (of a pile, with its number of lines)."""

    waiting: Waiting | None = None
    bulletin: Bulletin | None = None
    pile: Why | None = None
    lines: int = 0


class Delivery:
    """Sends jobs in order.

    Args:
        receiver: where to.
        handle: of a conversation's earlier delivery there.
        record: called from the thread when a job is done; returns when it is on record.
        attempt_s: how long one job is tried.
    """

    def __init__(
        self,
        receiver: Receiver,
        handle: Callable[[str], str | None],
        record: Callable[[Job, Attempt], None],
        attempt_s: float = TRY_S,
    ) -> None:
        self.receiver, self._handle, self._record, self._attempt_s = receiver, handle, record, attempt_s
        self._jobs: deque[Job] = deque()
        self._current: Job | None = None
        self._back: list[Job] = []
        self._wake = threading.Condition()
        self._stopping = False
        # A receiver with a limit gets one job at a time, so that what comes later and is graver need not wait behind it
        self._depth = 2 if receiver.traits.people else 100
        self._thread = threading.Thread(target=self._run, name=f"notify-{receiver.name}", daemon=True)
        self._thread.start()

    @property
    def room(self) -> int:
        """How many jobs it takes now."""
        with self._wake:
            return max(self._depth - len(self._jobs) - (self._current is not None), 0)

    @property
    def jobs(self) -> list[Job]:
        """What is not done."""
        with self._wake:
            return [*([self._current] if self._current is not None else []), *self._jobs, *self._back]

    def put(self, job: Job) -> None:
        """Queue a job."""
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

    def returned(self) -> list[Job]:
        """Jobs that were tried long enough for now."""
        with self._wake:
            back, self._back = self._back, []
        return back

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
                self._current = self._jobs.popleft()
            attempt = self._deliver(self._current)
            # A message that stands while its thread is missing is on record too, so that it is not posted again
            if attempt.result is not Result.AGAIN or attempt.handle is not None:
                try:
                    self._record(self._current, replace(attempt, result=_settled(attempt.result)))
                except GatewatchError as error:  # the main loop sees the same and ends the role
                    _log.error("not recorded", receiver=self.receiver.name, error=str(error))
                    return
            with self._wake:
                if attempt.result is Result.AGAIN:
                    self._back.append(self._current)
                self._current = None

    def _deliver(self, job: Job) -> Attempt:
        trials = stamina.retry_context(on=_wait_for, timeout=self._attempt_s, attempts=None, wait_max=WAIT_MAX_S)
        # What an earlier try has reached (a message without its thread) is where the next one begins
        progress = [self._handle(job.waiting.conversation) if job.waiting is not None else None]
        try:
            for trial in trials:
                with trial:
                    return self._try(job, progress)
        except _Again as again:
            _log.warning("not told yet", receiver=self.receiver.name, why=again.attempt.detail)
            return again.attempt
        raise AssertionError("the retry loop ends by return or by exception")

    def _try(self, job: Job, progress: list[str | None]) -> Attempt:
        """Once.

        Raises:
            _Again: it may go through later.
        """
        if job.bulletin is not None:
            attempt = self.receiver.announce(job.bulletin)
        else:
            assert job.waiting is not None
            attempt = self.receiver.send(job.waiting.notice, progress[0])
        progress[0] = attempt.handle or progress[0]
        if attempt.result is Result.AGAIN and not self._stopping:
            raise _Again(attempt)
        return replace(attempt, handle=progress[0])


def _settled(result: Result) -> Result:
    return Result.DELIVERED if result is Result.AGAIN else result


def _wait_for(error: Exception) -> bool | float:
    """Retry what may go through later: when the other side says, else with growing waits and jitter."""
    if not isinstance(error, _Again):
        return False
    wait_s = error.attempt.retry_after_s
    return True if wait_s is None else min(wait_s, RETRY_AFTER_MAX_S)
