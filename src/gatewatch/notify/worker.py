"""The notify role: reads `alerts`, `incidents` and `verdicts`, tells receivers, records in `actions`.

The stages, in order: group, silence, dedup, retry, record; one module each. At least once: an offset is committed when
every receiver is done with it and that is recorded. Whoever takes the topics over reads `actions` first, so what was
recorded as told is not told again; what was told and not yet recorded is (PagerDuty and Alertmanager recognise it,
Slack and mail show that one message twice).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import structlog
from pydantic import ValidationError

from gatewatch.clock import Clock
from gatewatch.errors import StateError
from gatewatch.log.base import Chunk, Log, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.notify.base import Receiver
from gatewatch.notify.chain import Link, link_of
from gatewatch.notify.dedup import Sent
from gatewatch.notify.hook import VerdictHook
from gatewatch.notify.judge import Judge
from gatewatch.notify.lane import Desk
from gatewatch.notify.record import Action, Recorder, read
from gatewatch.notify.surface import Surface
from gatewatch.notify.teller import Teller
from gatewatch.records import Alert, Incident
from gatewatch.registry import Entry
from gatewatch.settings import NotifySettings, Settings
from gatewatch.verdicts import Book
from gatewatch.verdicts import read as read_verdict
from gatewatch.watch.playbook import playbooks

COMMIT_S = 1.0
DRAIN_S = 8.0  # SIGTERM gives 10 s in all
QUEUE_MAX = 10_000  # revisions waiting for one receiver: some 40 MB; beyond it the worker stops reading
RECALL = 20_000  # alerts read again at the start, to know what belongs together: as many as groups keep
_log = structlog.get_logger("gatewatch.notify")


class NotifyWorker:
    """One member of the group ``<prefix>.notify``; its topics have one partition, so one is active.

    Args:
        log: where from, and where `actions` go.
        settings: topics, routes, limits, who may judge.
        entries: for the playbooks.
        to: the receivers.
        member: stable id in the group.
        clock: injected time.
        metrics: what to count on.
        surfaces: where people press buttons, or post verdicts; they are open while this member is the active one.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        entries: Mapping[str, Entry],
        to: Sequence[Receiver],
        *,
        member: str,
        clock: Clock,
        metrics: Metrics,
        surfaces: Sequence[Surface] = (),
    ) -> None:
        self._log, self._settings, self._member, self._clock, self._metrics = log, settings, member, clock, metrics
        self._notify = settings.notify or NotifySettings()
        self._playbooks = playbooks() | {name: entry.playbook for name, entry in entries.items()}
        self._receivers, self._surfaces = to, surfaces
        topic = settings.kafka.topic
        self._alerts, self._incidents, self._verdicts = (
            TopicPartition(topic(name), 0) for name in ("alerts", "incidents", "verdicts")
        )
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._active: Teller | None = None
        self._paused = False
        self._commit_at = clock.monotonic() + COMMIT_S
        metrics.receivers(receiver.name for receiver in to)
        if any(not isinstance(s, VerdictHook) for s in surfaces) and not any(a.slack for a in settings.verdicts.actors):
            _log.warning("buttons are shown and nobody may press them: give people their slack id in verdicts.actors")
        self._producer = log.producer()
        self._consumer = log.consumer(
            [tp.topic for tp in (self._alerts, self._incidents, self._verdicts)],
            group=f"{settings.kafka.prefix}.notify",
            member=member,
        )

    @property
    def assigned(self) -> int:
        """1 for the active worker, 0 for those that stand by."""
        return int(self._active is not None)

    @property
    def teller(self) -> Teller | None:
        """What the active worker knows, for tests; ``None`` for those that stand by."""
        return self._active

    @property
    def caught_up(self) -> bool:
        """Whether everything that was there at the start has been read."""
        return all(self._next[tp] >= end for tp, end in self._ends.items())

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many records were read.

        Raises:
            LogError: the worker must end, by ``close(flush=False)``.
        """
        polled = self._consumer.poll(timeout_s)
        self._producer.check()
        for tp in (*polled.revoked, *polled.lost):
            self._next.pop(tp, None)
            self._ends.pop(tp, None)
            if tp == self._alerts:
                self._retire()
        if polled.assigned:
            self._take_over(polled.assigned)
        chunks = sorted(polled.chunks, key=lambda c: (c.tp != self._verdicts, c.tp != self._alerts))  # people first
        read_now = sum(self._read(chunk) for chunk in chunks)
        if self._active is not None:
            self._active.turn()
            self._brake(self._active)
        now = self._clock.monotonic()
        if now >= self._commit_at:
            self._commit()
            self._commit_at = now + COMMIT_S
        return read_now

    def close(self, *, flush: bool = True) -> None:
        """Leave. With ``flush`` what is on its way is finished, recorded and committed, within a few seconds."""
        try:
            for surface in self._surfaces:
                surface.close()
            if self._active is not None:
                self._active.close(DRAIN_S if flush else 0.0)
            if flush:
                self._commit()
        finally:
            for receiver in self._receivers:
                receiver.close()
            try:
                self._producer.close(flush=flush)
            finally:
                self._consumer.close()

    def _take_over(self, tps: Sequence[TopicPartition]) -> None:
        committed, ends = self._consumer.committed(tps), self._consumer.end_offsets(tps)
        beginnings = self._consumer.beginning_offsets(tps)
        for tp in tps:
            self._next[tp] = max(committed.get(tp, 0), beginnings[tp])
            self._ends[tp] = ends[tp]
            self._consumer.seek(tp, self._next[tp])
        if self._alerts in tps:
            self._active = self._activate(beginnings[self._alerts])
            judge = Judge(self._log, self._settings, self._clock, self._active.groups, self._active.pressed)
            for surface in self._surfaces:
                surface.open(judge)
        self._consumer.resume(tps)

    def _activate(self, beginning: int) -> Teller:
        """Remember what was told, said and known."""
        topic = self._settings.kafka.topic("actions")
        actions, tail = _read_actions(self._log, topic)
        writer = f"{self._member}@{self._clock.now():.3f}"
        while tail is not None and tail.writer.startswith(writer):
            writer += "+"  # two lives within a millisecond, or on a clock that stands still
        desk = Desk(Recorder(self._producer, topic, writer, tail), Sent(), self._clock, self._metrics)
        book, bad = Book.load(self._log, self._settings)
        if bad:
            _log.error("verdicts cannot be read", records=bad)
        teller = Teller(self._notify, self._receivers, desk, book, self._playbooks, self._clock)
        for action in actions:
            teller.note(action)
        for tp, start in ((self._alerts, max(self._next[self._alerts] - RECALL, beginning)), (self._incidents, 0)):
            for offset, record in _records(self._log, tp, start):
                if offset >= self._next.get(tp, 0):
                    break
                teller.groups.alert(record) if isinstance(record, Alert) else teller.groups.incident(record)
        return teller

    def _read(self, chunk: Chunk) -> int:
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is not None and self._active is not None:
                self._hear(self._active, chunk.tp, offset, value)
        self._next[chunk.tp] = chunk.offsets[-1] + 1
        return len(chunk.offsets)

    def _hear(self, teller: Teller, tp: TopicPartition, offset: int, value: bytes) -> None:
        if tp == self._verdicts:
            try:
                teller.said(read_verdict(value, f"{tp.topic} offset {offset}"))
            except StateError as error:
                _log.error("a verdict cannot be read", error=str(error))
            return
        record = _parse(value, tp, offset)
        if isinstance(record, Alert):
            teller.alert(record, (tp.topic, offset))
        elif record is not None:
            teller.incident(record, (tp.topic, offset))

    def _brake(self, teller: Teller) -> None:
        """Stop reading while some receiver's queue is full: what is in Kafka is safe."""
        full = any(len(lane) >= QUEUE_MAX for lane in teller.lanes)
        if full != self._paused:
            (self._consumer.pause if full else self._consumer.resume)([tp for tp in self._next if tp != self._verdicts])
            self._paused = full
        for lane in teller.lanes:
            self._metrics.notify_waiting(lane.name, len(lane))

    def _commit(self) -> None:
        """Commit up to the oldest record that some receiver is not done with, once what is done is recorded."""
        waiting = [place for lane in self._active.lanes for place in lane.places] if self._active is not None else []
        self._producer.flush(DRAIN_S)
        for tp, offset in self._next.items():
            self._consumer.mark(tp, min([offset, *(o for topic, o in waiting if topic == tp.topic)]))
        self._consumer.commit()

    def _retire(self) -> None:
        """Stand by: somebody else tells from now on."""
        for surface in self._surfaces:
            surface.close()
        if self._active is not None:
            self._active.close(0.0)
        self._active = None


def _read_actions(log: Log, topic: str) -> tuple[list[Action], Link | None]:
    """What notify recorded, and the last record of the chain."""
    actions: list[Action] = []
    tail: Link | None = None
    for chunk in log.read(topic):
        for value in chunk.values:
            if value is None:
                continue
            tail = link_of(value) or tail
            action = read(value)
            if action is not None:
                actions.append(action)
    return actions, tail


def _records(log: Log, tp: TopicPartition, start: int) -> Iterator[tuple[int, Alert | Incident]]:
    for chunk in log.read(tp.topic, start={0: start}):
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            record = _parse(value, tp, offset) if value is not None else None
            if record is not None:
                yield offset, record


def _parse(value: bytes, tp: TopicPartition, offset: int) -> Alert | Incident | None:
    model = Incident if tp.topic.endswith("incidents") else Alert
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        _log.error("a record cannot be read", topic=tp.topic, offset=offset, problems=error.error_count())
        return None
