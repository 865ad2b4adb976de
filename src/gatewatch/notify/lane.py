"""One receiver's way from a notice to a record: dedup, piles, cap, retry, record."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from gatewatch.clock import Clock
from gatewatch.errors import SendError
from gatewatch.metrics import Metrics
from gatewatch.notify.base import Attempt, Receiver, Result
from gatewatch.notify.cap import Outbox, Waiting
from gatewatch.notify.dedup import OLD_S, Sent, Why, conversation, why_not
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.pile import Piles, line_of, list_for
from gatewatch.notify.record import Action, Recorder
from gatewatch.notify.retry import Delivery, Job
from gatewatch.notify.silence import Tally
from gatewatch.records import Status
from gatewatch.settings import NotifySettings

RECORDED_S = 60.0  # the producer gives up on a record by then
# Decide resolves what is over. If it is gone for a day, what it left open is no longer kept open elsewhere.
REFRESH_MAX_S = 86_400.0


class Desk:
    """Writes down what was done, and remembers it. Thread-safe."""

    def __init__(self, recorder: Recorder, sent: Sent, clock: Clock, metrics: Metrics) -> None:
        self.sent, self._recorder, self._clock, self._metrics = sent, recorder, clock, metrics
        self.hidden = Tally()

    def note(self, action: Action) -> None:
        """Remember something that was recorded, also in an earlier life."""
        self.sent.note(action)
        self.hidden.note(action)

    def write(self, action: Action, *, wait: bool) -> None:
        """Record it; with ``wait`` return when that is acknowledged.

        Raises:
            SendError: it was not.
        """
        acked = threading.Event()
        self._recorder.write(action, on_ack=lambda _offset: acked.set())
        if wait and not acked.wait(RECORDED_S):
            raise SendError("a record of `actions` was not acknowledged in time")
        self.note(action)
        self._metrics.notified(action.receiver, action.result)

    def action(self, receiver: str, notice: Notice, result: str, group: str, **more: object) -> Action:
        """What was done about one revision."""
        fields: dict[str, object] = {
            "receiver": receiver,
            "alert_id": notice.about,
            "revision": notice.revision,
            "status": notice.status.value,
            "result": result,
            "ts": self._clock.now(),
            "group": group,
            "severity": notice.severity.value,
        }
        return Action(**{**fields, **more})  # type: ignore[arg-type] # the fields of Action, by name


class Lane:
    """One receiver. Its methods are called from one thread.

    Args:
        receiver: where to.
        settings: digests and quiet hours.
        desk: where it is recorded.
        clock: injected time.
        on_refused: told when the receiver refuses for good: its name and why. Called from :meth:`turn`.
    """

    def __init__(
        self,
        receiver: Receiver,
        settings: NotifySettings,
        desk: Desk,
        clock: Clock,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self.name, self.receiver, self.traits = receiver.name, receiver, receiver.traits
        self._settings, self._desk, self._clock, self._on_refused = settings, desk, clock, on_refused
        self._outbox = Outbox(self.traits)
        self.piles = Piles(self.name, settings)
        self._done: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._refresh_at = clock.monotonic()
        self._delivery = Delivery(receiver, self._handle, self._record)

    def __len__(self) -> int:
        return len(self._outbox) + len(self._delivery.jobs)

    @property
    def sending(self) -> bool:
        """Whether something is on its way just now, or done and not yet looked at."""
        return bool(self._delivery.jobs) or not self._done.empty()

    @property
    def places(self) -> list[tuple[str, int]]:
        """Topic and offset of all that is not done."""
        waiting = [*self._outbox, *(job.waiting for job in self._delivery.jobs if job.waiting is not None)]
        return [w.place for w in waiting if w.place is not None]

    def told(self, notice: Notice) -> bool:
        """Whether the conversation was told there."""
        return self._desk.sent.told(self.name, conversation(notice, self.traits)) is not None

    def offer(
        self, notice: Notice, place: tuple[str, int] | None, *, routed: bool, held: str | None, urgent: bool = False
    ) -> None:
        """One revision that this receiver may have to be told. ``urgent``: whatever its severity, and now."""
        now, sent = self._clock.now(), self._desk.sent
        wanted = urgent or self.receiver.wants(notice)
        why = why_not(sent, self.name, self.traits, notice, now, routed=routed, wanted=wanted, held=held is not None)
        key = conversation(notice, self.traits)
        first = sent.told(self.name, key) is None
        if why is None and first and self.traits.people and not urgent:
            why = list_for(notice, self._settings, now)
        if why is None:
            older = self._outbox.put(Waiting(key, notice, place, first, self._clock.monotonic()))
            if older is not None and not older.refresh:
                self._settle(older.notice, Why.SUPERSEDED)
        else:
            self._settle(notice, why, held or "")

    @property
    def wants_refresh(self) -> bool:
        """Whether what is open there must be told again now."""
        return self.traits.refresh_s is not None and self._clock.monotonic() >= self._refresh_at

    def refresh(self, notices: Iterable[Notice]) -> None:
        """Tell again what is open there."""
        now = self._clock.monotonic()
        self._refresh_at = now + (self.traits.refresh_s or 0.0)
        for notice in notices:
            fresh = self._clock.now() - notice.alert.last_ts < REFRESH_MAX_S
            key = conversation(notice, self.traits)
            if fresh and notice.alert.status is not Status.RESOLVED and self.told(notice):
                self._outbox.put(Waiting(key, notice, None, first=False, since=now, refresh=True))

    def announce(self, bulletin: Bulletin) -> None:
        """Tell something about notify itself, past every limit."""
        self._delivery.put(Job(bulletin=bulletin))

    def turn(self) -> None:
        """Move on: take back what was not told yet, send what may go, tell piles that are due."""
        now = self._clock.monotonic()
        # Before what is done is looked at: a pile whose bulletin ends after this line waits for the next turn
        telling = frozenset(job.pile for job in self._delivery.jobs if job.pile is not None)
        while not self._done.empty():
            action = self._done.get()
            self.piles.note(action)
            if action.result == Result.NEVER:
                self._on_refused(self.name, action.detail)
        for job in self._delivery.returned():
            self._take_back(job)
        go, over = self._outbox.release(now, self._delivery.room)
        for waiting in go:
            self._delivery.put(Job(waiting))
        for waiting in over:
            if self.told(waiting.notice):  # meanwhile, by an earlier revision: this one is a change to it
                self._outbox.put(replace(waiting, first=False))
            else:
                self._settle(waiting.notice, Why.CAPPED)
        for why, bulletin, lines in self.piles.due(self._clock.now(), sending=telling):
            self._delivery.put(Job(bulletin=bulletin, pile=why, lines=lines))

    def close(self, timeout_s: float) -> None:
        """End the thread."""
        self._delivery.close(timeout_s)

    def _take_back(self, job: Job) -> None:
        waiting = job.waiting
        if waiting is None:
            if job.pile is None and job.bulletin is not None:
                self._delivery.put(job)
            return  # a pile is due until it is told
        if waiting.refresh:
            return  # the next one says the same
        waiting = replace(waiting, first=waiting.first and not self.told(waiting.notice))
        if waiting.first and self.traits.people and self._clock.now() - waiting.notice.alert.last_ts > OLD_S:
            self._settle(waiting.notice, Why.LATE)
            return
        newer = next((w for w in self._outbox if w.conversation == waiting.conversation and not w.refresh), None)
        if newer is None:
            self._outbox.put(waiting)
        else:
            self._settle(waiting.notice, Why.SUPERSEDED)

    def _settle(self, notice: Notice, why: Why, detail: str = "") -> None:
        listed = {"line": line_of(notice)} if why in (Why.DIGEST, Why.QUIET, Why.CAPPED, Why.LATE) else {}
        key = conversation(notice, self.traits)
        action = self._desk.action(self.name, notice, why.value, key, detail=detail, **listed)
        self._desk.write(action, wait=False)
        self.piles.note(action)

    def _handle(self, key: str) -> str | None:
        told = self._desk.sent.told(self.name, key)
        return told.handle if told is not None else None

    def _record(self, job: Job, attempt: Attempt) -> None:
        """On the delivery's thread."""
        if job.waiting is not None:
            if job.waiting.refresh and attempt.result is Result.DELIVERED:
                return
            notice, key = job.waiting.notice, job.waiting.conversation
            action = self._desk.action(
                self.name,
                notice,
                attempt.result.value,
                key,
                detail=attempt.detail,
                handle=attempt.handle,
                news=notice.news,
            )
        else:
            assert job.bulletin is not None
            action = Action(
                receiver=self.name,
                alert_id=job.bulletin.id,
                revision=0,
                status="",
                result=attempt.result.value,
                ts=self._clock.now(),
                detail=job.pile.value if job.pile is not None else attempt.detail,
                count=job.lines,
                kind="bulletin",
            )
        self._desk.write(action, wait=True)
        self._done.put(action)
