"""The decide role: reads `findings`, writes `alerts`, `incidents`, `decisions` and, for refusals, `actions`.

`findings` has one partition, so one member of the group is active and the others stand by. Whoever takes it over goes
on from the newest snapshot (without one, from the beginning) and keeps silent until it has passed what the group has
committed. An offset is committed once all that it and earlier ones led to is acknowledged; what is sent again after a
kill has the same ids.

People's orders come in by `decisions`, and what they say about alerts by `verdicts`; the same member reads both (one
partition too, dealt in the same order).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from gatewatch import verdicts
from gatewatch.catalog import Catalog, Watched
from gatewatch.clock import Clock
from gatewatch.decide import records_io
from gatewatch.decide.control import Controls
from gatewatch.decide.decider import Decider
from gatewatch.decide.garbage import Garbage
from gatewatch.decide.guards import GUARDS
from gatewatch.decide.memory import DecideTask, Memory
from gatewatch.decide.orders import is_order
from gatewatch.decide.turn import Decided
from gatewatch.errors import ConfigError, StateError
from gatewatch.log.base import LAST_FLUSH_S, Chunk, Headers, Log, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.records import H_READ_AT, Decision, Release, Verdict
from gatewatch.registry import Entry
from gatewatch.settings import Settings
from gatewatch.state.saving import Saver
from gatewatch.watch.reasons import NAME
from gatewatch.watch.reporter import Reporter
from gatewatch.watch.signs import Signs

COMMIT_S = 1.0  # what a killed worker repeats is at most this old; readers recognise it by id and revision
H_OFFSET = "gw-findings-offset"  # header of everything that decide writes: the offset that caused it
_log = structlog.get_logger("gatewatch.decide")


@dataclass(slots=True)
class _Owned:
    """`findings` is ours: what we know, and how far it is safe."""

    task: DecideTask
    committed: int  # say nothing about records before this one
    end: int  # when we took it over: caught up from there on
    next_offset: int  # of the next record to apply
    unacked: dict[int, int] = field(default_factory=dict)  # findings offset: records on their way

    @property
    def decider(self) -> Decider:
        """What we know."""
        return self.task.decider

    def safe(self) -> int:
        """Every record before this offset is done and said."""
        return min((*self.unacked, self.next_offset))


class DecideWorker:
    """One member of the group ``<prefix>.decide``.

    Args:
        log: where from and to.
        settings: modes, block settings, guards.
        entries: the detector folders.
        catalog: owners and sensitivity.
        member: stable id in the group.
        clock: injected time, for commits and metrics only.
        metrics: what to count on.
        follow_catalog: read the catalog again when its file changes; a replay has one catalog.
        controls: where to tell detect of orders and of what people expect; ``None`` in a replay of the past.
        watch: say when detection is silent; a replay has nobody to tell.
        saver: keeps snapshots; without one whoever takes over reads from the beginning.
        garbage: looks after the garbage collector, where the process is decide's alone.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        entries: Mapping[str, Entry],
        catalog: Catalog,
        *,
        member: str,
        clock: Clock,
        metrics: Metrics,
        follow_catalog: bool = False,
        controls: Controls | None = None,
        watch: bool = False,
        saver: Saver[Memory] | None = None,
        garbage: Garbage | None = None,
    ) -> None:
        self._log, self._settings, self._entries, self._catalog = log, settings, entries, catalog
        self._clock, self._metrics = clock, metrics
        self._controls, self._saver, self._garbage = controls, saver, garbage
        metrics.policy([*entries, NAME], [name for name, _guard in GUARDS])
        topic = settings.kafka.topic
        self._findings = TopicPartition(topic("findings"), 0)
        self._decisions, self._verdicts = TopicPartition(topic("decisions"), 0), TopicPartition(topic("verdicts"), 0)
        self._alerts, self._incidents, self._actions = topic("alerts"), topic("incidents"), topic("actions")
        self._watched = Watched(settings.catalog if follow_catalog else None)
        self._owned: _Owned | None = None
        self._read_from = {self._decisions: 0, self._verdicts: 0}  # next offset to read of what people write
        self._lock = threading.Lock()
        self._commit_at = clock.monotonic() + COMMIT_S
        self._producer = log.producer(linger_ms=0)  # few records, and somebody waits for each
        self._consumer = log.consumer(
            [tp.topic for tp in (self._findings, self._decisions, self._verdicts)],
            group=f"{settings.kafka.prefix}.decide",
            member=member,
        )
        self._signs = Signs(settings.kafka.partitions, settings.watch.behind)
        self._reporter = Reporter(settings, self._producer, member, clock, metrics) if watch else None

    @property
    def assigned(self) -> int:
        """1 where this is the active member, 0 where it stands by."""
        return 0 if self._owned is None else 1

    @property
    def caught_up(self) -> bool:
        """Whether everything that was there when we took over has been applied."""
        return self._owned is None or self._owned.next_offset >= self._owned.end

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many records were read.

        Raises:
            LogError: the worker must end, by ``close(flush=False)``.
            StateError: a record is not one that this version writes.
        """
        polled = self._consumer.poll(timeout_s)
        self._producer.check()
        if self._findings in (*polled.lost, *polled.revoked):
            self._owned = None
            self._save()  # what is on its way must not count: it may be taken over in this very turn
        if polled.assigned:
            self._take_over(polled.assigned)
        for chunk in sorted(polled.chunks, key=lambda c: c.tp == self._findings):  # people first
            if chunk.tp in self._read_from:
                self._hear(chunk)
            elif self._owned is not None:
                self._apply(self._owned, chunk)
        now = self._clock.monotonic()
        if self._reporter is not None and self._owned is not None and self.caught_up:
            self._reporter.turn(lambda: self._signs.conditions(now))
        if now >= self._commit_at:
            self._commit()
            self._follow_catalog()
            self._commit_at = now + COMMIT_S
        self._save()
        if self._garbage is not None:
            self._garbage.turn()
        return sum(len(chunk.offsets) for chunk in polled.chunks)

    def close(self, *, flush: bool = True) -> None:
        """Leave. With ``flush`` what was said is acknowledged and committed first."""
        try:
            if flush:
                self._producer.flush(LAST_FLUSH_S)
                self._commit()
            if self._saver is not None:
                self._saver.close(self._saved(), flush=flush)
        finally:
            if self._garbage is not None:
                self._garbage.close()
            self._producer.close(flush=False)  # what was not acknowledged in time is not waited for again
            self._consumer.close()

    def _take_over(self, tps: tuple[TopicPartition, ...]) -> None:
        if self._findings in tps:
            begin = self._consumer.beginning_offsets([self._findings])[self._findings]
            committed = self._consumer.committed([self._findings]).get(self._findings, 0)
            end = self._consumer.end_offsets([self._findings])[self._findings]
            start, said, task = begin, 0, self._task()
            if self._saver is not None:
                start, said = self._saver.restore(task, self._consumer, self._findings, begin)
            self._owned = _Owned(task, min(max(committed, said, start), end), end, start)
            self._signs = Signs(self._settings.kafka.partitions, self._settings.watch.behind)
            for number, watermark in task.decider.watermarks.items():
                self._signs.hear(number, watermark, self._clock.now(), self._clock.monotonic())
            self._consumer.seek(self._findings, start)
            self._remember(self._owned)
        for tp, offset in self._read_from.items():
            if tp in tps:
                self._consumer.seek(tp, offset)
        self._consumer.resume(tps)

    def _task(self) -> DecideTask:
        """One that knows nothing."""
        ids = {} if self._saver is None else {tp.topic: self._saver.topic_id(tp.topic) for tp in self._read_from}
        return DecideTask(lambda: Decider(self._settings, self._entries, self._catalog), self._read_from, ids)

    def _saved(self) -> dict[TopicPartition, _Owned]:
        return {} if self._owned is None else {self._findings: self._owned}

    def _save(self) -> None:
        if self._saver is not None:
            self._saver.turn(self._saved())

    def _remember(self, owned: _Owned) -> None:
        """Read what people wrote that we do not know: what took effect does so at its offset, the rest from now on.

        Detect is told again of orders whose offset is not committed: who acknowledged them may have died before it was.
        """
        new: dict[tuple[str, bool], Decision | Verdict] = {}
        ends = self._consumer.end_offsets(list(self._read_from))
        for tp in self._read_from:
            start = owned.task.knows_people.get(tp.topic, 0)
            if start > ends[tp]:  # the broker has lost some of it
                start = 0
            self._read_from[tp] = max(self._read_from[tp], start)
            for chunk in self._log.read(tp.topic, start={tp.partition: start}):
                for said in self._read_people(chunk):
                    key = (said.id, isinstance(said, Decision) and said.removed is not None)
                    if said.findings_offset >= 0:
                        if said.findings_offset >= owned.task.knows_until:
                            self._schedule(owned, said, said.findings_offset)
                        if isinstance(said, Decision) and said.findings_offset >= owned.committed:
                            self._control(owned, said.findings_offset, said)
                        new.pop(key, None)
                    else:
                        new[key] = said
        for said in new.values():
            self._acknowledge(owned, said)

    def _hear(self, chunk: Chunk) -> None:
        """What people wrote while we run; what has an offset already is our own acknowledgement."""
        told = list(self._read_people(chunk))
        if self._owned is not None:
            for said in told:
                if said.findings_offset < 0:
                    self._acknowledge(self._owned, said)

    def _read_people(self, chunk: Chunk) -> Iterator[Decision | Verdict]:
        if chunk.offsets:
            self._read_from[chunk.tp] = max(self._read_from[chunk.tp], chunk.offsets[-1] + 1)
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is None:
                continue
            place = f"{chunk.tp.topic}-{chunk.tp.partition} offset {offset}"
            try:
                if chunk.tp == self._decisions:
                    if is_order(decision := records_io.read_decision(value, place)):
                        yield decision
                elif isinstance(verdict := verdicts.read(value, place), Verdict):  # silences are for notify
                    yield verdict
            except StateError as error:
                _log.error("what a person wrote cannot be read and was left out", error=str(error))

    def _schedule(self, owned: _Owned, said: Decision | Verdict, offset: int) -> None:
        if isinstance(said, Decision):
            owned.decider.order(said, offset)
        else:
            owned.decider.hear(said, offset)

    def _acknowledge(self, owned: _Owned, said: Decision | Verdict) -> None:
        """Let it take effect at the next record, and write down that it does.

        A verdict by somebody who may not give one (whoever can write to the topic can claim any name, but not one that
        the settings do not have) has none.
        """
        if isinstance(said, Verdict) and not verdicts.counts(said, self._settings.verdicts):
            _log.error("a verdict of somebody whom verdicts.actors does not allow it was left out", verdict=said.id)
            return
        offset = max(owned.next_offset, owned.committed)
        self._schedule(owned, said, offset)
        taken = said.model_copy(update={"findings_offset": offset})
        topic = self._decisions.topic if isinstance(said, Decision) else self._verdicts.topic
        value = records_io.write(taken) if isinstance(taken, Decision) else verdicts.write(taken)
        self._send(owned, offset, [(topic, said.id, value)], ())
        if isinstance(said, Decision):
            self._control(owned, offset, said)

    def _apply(self, owned: _Owned, chunk: Chunk) -> None:
        now = self._clock.monotonic()
        for at, (offset, value, headers) in enumerate(zip(chunk.offsets, chunk.values, chunk.headers, strict=True)):
            if value is not None:
                place = f"{chunk.tp.topic}-{chunk.tp.partition} offset {offset}"
                batch, bad = records_io.read_batch(value, place)
                if bad:
                    _log.error("findings that cannot be read were left out", place=place, findings=bad)
                self._signs.hear(batch.task, batch.watermark, chunk.timestamps_ms[at] / 1000.0, now)
                decided = owned.decider.apply(batch, offset)
                if decided and offset >= owned.committed:
                    self._say(owned, decided, offset, headers)
            owned.next_offset = offset + 1

    def _say(self, owned: _Owned, decided: Decided, offset: int, headers: Headers) -> None:
        records = [(self._alerts, a.id, records_io.write(a)) for a in decided.alerts]
        records += [(self._incidents, i.id, records_io.write(i)) for i in decided.incidents]
        records += [(self._decisions.topic, d.id, records_io.write(d)) for d in decided.decisions]
        records += [(self._actions, r.alert_id, records_io.write_refusal(r, offset)) for r in decided.refusals]
        self._send(owned, offset, records, tuple(h for h in headers if h[0] == H_READ_AT))
        for alert in decided.alerts:
            self._metrics.alert(alert)
        for incident in decided.incidents:
            self._metrics.incident(incident)
        for decision in decided.decisions:
            self._metrics.decision(decision)
            self._control(owned, offset, decision)
        for release in decided.releases:
            self._control(owned, offset, release)
        for refusal in decided.refusals:
            self._metrics.refusal(refusal)
        for _name, read_at in (h for h in headers if h[0] == H_READ_AT):
            self._metrics.decided_after(max(self._clock.now() - float(read_at), 0.0))

    def _send(self, owned: _Owned, offset: int, records: list[tuple[str, str, bytes]], headers: Headers) -> None:
        with self._lock:
            owned.unacked[offset] = owned.unacked.get(offset, 0) + len(records)
        for topic, key, value in records:
            self._producer.send(
                topic,
                value,
                partition=0,
                key=key.encode(),
                headers=((H_OFFSET, str(offset).encode()), *headers),
                on_ack=partial(self._acked, owned, offset),
            )

    def _control(self, owned: _Owned, offset: int, said: Decision | Release) -> None:
        """Tell every detect task of an order, or of what a person expects."""
        controls = self._controls
        records = [] if controls is None else controls.records(said)
        if controls is None or not records:
            return
        with self._lock:
            owned.unacked[offset] = owned.unacked.get(offset, 0) + len(records)
        for partition, (value, headers) in enumerate(records):
            on_ack = partial(self._acked, owned, offset)
            self._producer.send(controls.topic, value, partition=partition, headers=headers, on_ack=on_ack)

    def _acked(self, owned: _Owned, offset: int, _sent_offset: int) -> None:
        with self._lock:
            owned.unacked[offset] -= 1
            if not owned.unacked[offset]:
                del owned.unacked[offset]

    def _follow_catalog(self) -> None:
        try:
            catalog = self._watched.changed()
        except ConfigError as error:
            self._metrics.catalog_read(ok=False)
            _log.error("the changed catalog is refused, the old one holds", error=str(error))
            return
        if catalog is not None:
            self._catalog = catalog
            if self._owned is not None:
                self._owned.decider.use(catalog)
            self._metrics.catalog_read(ok=True)
            _log.info("the catalog has changed", catalog_hash=catalog.hash)

    def _commit(self) -> None:
        if self._owned is not None:
            with self._lock:
                safe = self._owned.safe()
            self._consumer.mark(self._findings, max(safe, self._owned.committed))
            self._metrics.open_episodes(self._owned.decider.open_episodes)
            self._metrics.open_incidents(self._owned.decider.open_incidents)
        self._consumer.commit()
