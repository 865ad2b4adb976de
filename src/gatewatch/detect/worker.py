"""The detect role: reads `routed`, writes `findings`.

A task that is taken over starts from its snapshot (else empty, from the beginning of its partition of `routed`) and
keeps silent until it has passed what its group has committed: everything before was said already, by whoever had the
partition. An offset is committed once all that it and earlier ones caused is acknowledged.

A record that makes no sense (a stranger's, or damaged) would end every worker that comes to it. It is set aside: a dead
letter, a metric and an alert say so, and the task goes on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import msgspec
import structlog

from gatewatch.clock import Clock
from gatewatch.detect.aside import dead_letter
from gatewatch.detect.compile import warm_up
from gatewatch.detect.memory import Memory
from gatewatch.detect.population import PopulationTask
from gatewatch.detect.reading import Ours
from gatewatch.detect.task import Counts, DetectTask
from gatewatch.errors import UnreadableError
from gatewatch.events import rollup
from gatewatch.log.base import LAST_FLUSH_S, Chunk, Headers, Log, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.records import H_READ_AT, FindingBatch
from gatewatch.registry import Entry, active, in_lane
from gatewatch.sdk import Lane, TableStats
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.saving import Saver
from gatewatch.watch.reporter import Reporter
from gatewatch.watch.tasks import Tasks
from gatewatch.watch.watch import Condition

_log = structlog.get_logger("gatewatch.detect")
COMMIT_S = 1.0  # findings repeated after a kill are at most this old; decide recognises them
STATS_S = 10.0  # table sizes cost a pass over the keys


@dataclass(slots=True)
class _Owned:
    """A partition that is ours: its task, and how far it is safe."""

    task: DetectTask | PopulationTask
    committed: int  # say nothing about records before this one
    end: int  # of the partition, when we took it over: caught up from there on
    next_offset: int = 0  # of the next record to apply
    silent_before: float = float("-inf")  # event time: what is older is history, to learn from
    unacked: dict[int, int] = field(default_factory=dict)  # by offset, rising: records of it that are on their way

    def safe(self) -> int:
        """Every record before this offset is done and said."""
        return next(iter(tuple(self.unacked)), self.next_offset)  # a copy: another thread acknowledges


class DetectWorker:
    """One member of the group ``<prefix>.detect``, or of ``<prefix>.detect-slow``.

    Args:
        log: where from and to.
        settings: detectors, budgets, partitions.
        entries: the detector folders.
        seed: of the keyed hashes; the same in every worker.
        member: stable id in the group.
        clock: injected time, for commits and metrics only.
        metrics: what to count on.
        lane: run only these detectors; None for all, in one group. Only the slow ones have a group of their own, so
            that they delay nobody else; they sum up nothing for populations.
        warm: where the group has committed nothing yet, learn from what there is and say nothing of events before now.
        saver: keeps snapshots; without one a task that is taken over reads from the beginning.
        watch: say what cannot be seen; a replay has nobody to tell.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        entries: Mapping[str, Entry],
        seed: HashSeed,
        *,
        member: str,
        clock: Clock,
        metrics: Metrics,
        lane: Lane | None = None,
        warm: bool = False,
        saver: Saver[Memory] | None = None,
        watch: bool = False,
    ) -> None:
        self._saver, self._warm = saver, warm
        self._silence = float("-inf")
        self.unsaid = 0  # findings that were learned from in silence
        self._waiting: list[TopicPartition] = []  # ours, and not begun yet
        self._settings, self._entries, self._seed = settings, entries, seed
        self._clock, self._metrics, self._lane = clock, metrics, lane
        self._findings = settings.kafka.topic("findings")
        self._rollups, self._ours = settings.kafka.topic("rollups"), Ours.of(settings.kafka, seed, "rollups", 0)
        self._dead_letters = settings.kafka.topic("dead-letters")
        self._owned: dict[TopicPartition, _Owned] = {}
        self._lock = threading.Lock()
        self._commit_at = clock.monotonic() + COMMIT_S
        self._stats_at = clock.monotonic()
        metrics.detectors({n: (e.scopes, [r.name for r in e.reasons]) for n, e in entries.items()})
        warm_up(in_lane(active(entries, settings.detectors), lane))
        self._producer = log.producer(linger_ms=0)  # few records, and somebody waits for each
        slow = lane == "slow"
        topics = [settings.kafka.topic("routed")] if slow else [settings.kafka.topic("routed"), self._rollups]
        group = f"{settings.kafka.prefix}.{'detect-slow' if slow else 'detect'}"
        self._consumer = log.consumer(topics, group=group, member=member, passes_over=True)
        self._watched = Tasks(settings.watch)
        self._reporter = Reporter(settings, self._producer, member, clock, metrics) if watch else None

    @property
    def assigned(self) -> int:
        """Partitions that are ours."""
        return len(self._owned) + len(self._waiting)

    @property
    def caught_up(self) -> bool:
        """Whether every task has passed what was there when it was taken over."""
        return not self._waiting and all(owned.next_offset >= owned.end for owned in self._owned.values())

    def silence(self, until: float) -> None:
        """Findings on events before this event time are counted in ``unsaid``, and not said."""
        self._silence = until

    @property
    def tasks(self) -> dict[int, DetectTask]:
        """Tasks on keys, by routed partition."""
        return {tp.partition: t for tp, owned in self._owned.items() if isinstance(t := owned.task, DetectTask)}

    @property
    def population(self) -> PopulationTask | None:
        """The task on populations, if it is ours."""
        return next((o.task for o in self._owned.values() if isinstance(o.task, PopulationTask)), None)

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many routed records were applied.

        Raises:
            LogError: the worker must end, by ``close(flush=False)``.
            StateError: the log was written by another version.
        """
        polled = self._consumer.poll(timeout_s)
        self._producer.check()
        for tp in (*polled.lost, *polled.revoked):
            self._owned.pop(tp, None)
            self._waiting = [other for other in self._waiting if other != tp]
        self._waiting += polled.assigned
        if self._waiting:
            # A snapshot may take seconds to read: one a turn, so that the group sees us turn.
            n = len(self._waiting) if self._saver is None else 1
            begin, self._waiting = self._waiting[:n], self._waiting[n:]
            self._take_over(begin)
        done = sum(self._apply(chunk) for chunk in polled.chunks)
        now = self._clock.monotonic()
        if now >= self._commit_at:
            self._commit()
            self._commit_at = now + COMMIT_S
        if now >= self._stats_at:
            self._measure()
            self._stats_at = now + STATS_S
        if self._reporter is not None:
            self._reporter.turn(self._blind)
        if self._saver is not None:
            self._saver.turn(self._owned)
        return done

    def close(self, *, flush: bool = True) -> None:
        """Leave. With ``flush`` what was said is acknowledged and committed first."""
        try:
            if flush:
                self._producer.flush(LAST_FLUSH_S)
                self._commit()
            if self._saver is not None:
                self._saver.close(self._owned, flush=flush)
        finally:
            self._producer.close(flush=False)  # what was not acknowledged in time is not waited for again
            self._consumer.close()

    def _take_over(self, tps: Sequence[TopicPartition]) -> None:
        committed = self._consumer.committed(tps)
        ends = self._consumer.end_offsets(tps)
        beginnings = self._consumer.beginning_offsets(tps)
        for tp in tps:
            task = self._build(tp)
            start, said = beginnings[tp], 0
            if self._saver is not None:
                start, said = self._saver.restore(task, self._consumer, tp, beginnings[tp])
            silent_before = self._clock.now() if self._warm and tp not in committed else float("-inf")
            self._owned[tp] = _Owned(task, max(committed.get(tp, 0), said), ends[tp], start, silent_before)
            self._consumer.seek(tp, start)
        self._consumer.resume(tps)

    def _build(self, tp: TopicPartition) -> DetectTask | PopulationTask:
        if tp.topic == self._rollups:
            return PopulationTask.build(self._settings, self._entries, self._seed, self._metrics)
        return DetectTask.build(tp.partition, self._settings, self._entries, self._seed, self._metrics, self._lane)

    def _apply(self, chunk: Chunk) -> int:
        owned = self._owned.get(chunk.tp)
        if owned is None:
            return 0
        for offset, value, headers in zip(chunk.offsets, chunk.values, chunk.headers, strict=True):
            said = self._hear(owned, chunk, offset, value, headers)
            closed = owned.task.closed() if isinstance(owned.task, DetectTask) else ()
            if offset >= owned.committed:
                if said is not None:
                    self._say(owned, said, headers)
                for record in closed:
                    sums = rollup.encode(record)
                    self._send(owned, offset, self._rollups, sums, self._ours.headers(sums, rollup.VERSION))
            owned.next_offset = offset + 1
        return len(chunk.offsets)

    def _hear(
        self, owned: _Owned, chunk: Chunk, offset: int, value: bytes | None, headers: Headers
    ) -> FindingBatch | None:
        """What a record caused; one that makes no sense is set aside, and the task goes on without it."""
        damaged = chunk.unreadable.get(offset)
        if damaged is not None:
            self._set_aside(owned, chunk.tp, offset, damaged.raw, str(damaged))
            owned.task.lose(offset)
            return None
        try:
            return owned.task.apply(offset, value, headers)
        except UnreadableError as error:
            self._set_aside(owned, chunk.tp, offset, value, str(error))
        return owned.task.pass_over(offset, headers)

    def _set_aside(self, owned: _Owned, tp: TopicPartition, offset: int, value: bytes | None, why: str) -> None:
        """Say that a record is passed over, unless that was said before it was committed."""
        if offset < owned.committed:
            return
        name = "rollups" if tp.topic == self._rollups else "routed"
        self._send(owned, offset, self._dead_letters, dead_letter(tp, offset, value, name, why), ())
        self._metrics.unreadable(name)
        self._watched.unreadable(tp, offset, self._clock.monotonic())
        _log.error("a record was set aside", topic=tp.topic, partition=tp.partition, offset=offset, why=why[:200])

    def _say(self, owned: _Owned, said: FindingBatch, headers: Headers) -> None:
        silence = max(self._silence, owned.silent_before)
        heard = tuple(finding for finding in said.findings if finding.ts >= silence)
        if len(heard) < len(said.findings):
            self.unsaid += len(said.findings) - len(heard)
            said = msgspec.structs.replace(said, findings=heard)
        for finding in said.findings:
            self._metrics.finding(finding, self._clock.now())
        passed_on = tuple(h for h in headers if h[0] == H_READ_AT)
        self._send(owned, said.routed_offset, self._findings, msgspec.json.encode(said), passed_on)

    def _send(self, owned: _Owned, cause: int, topic: str, value: bytes, headers: Headers) -> None:
        """Send what the record at offset ``cause`` caused; it is safe once all of that is acknowledged."""
        with self._lock:
            owned.unacked[cause] = owned.unacked.get(cause, 0) + 1
        on_ack = partial(self._acked, owned, cause)
        self._producer.send(topic, value, partition=0, headers=headers, on_ack=on_ack)

    def _acked(self, owned: _Owned, cause: int, _offset: int) -> None:
        with self._lock:
            owned.unacked[cause] -= 1
            if not owned.unacked[cause]:
                del owned.unacked[cause]

    def _blind(self) -> Iterator[Condition]:
        """What cannot be seen now."""
        read = {tp: owned.next_offset for tp, owned in self._owned.items()}
        return self._watched.conditions(self._consumer.lag(), read, self._clock.monotonic())

    def _measure(self) -> None:
        """Lag, and the tables of all tasks added up."""
        lag = self._consumer.lag()
        self._metrics.routed_lag({tp: n for tp, n in lag.items() if tp.topic != self._rollups})
        self._metrics.sends_in_flight(self._producer.in_flight)
        self._metrics.watermarks({partition: task.watermarks.now for partition, task in self.tasks.items()})
        off = Counter(name for owned in self._owned.values() for name in owned.task.quarantined)
        quarantined = {name: off[name] for name in self._entries}
        self._metrics.quarantined(quarantined)
        sums: dict[tuple[str, str], TableStats] = {}
        for task in self.tasks.values():
            counts, task.counts = task.counts, Counts()
            self._metrics.rows(counts.rows, refused=counts.refused, repeated=counts.repeated, lost=counts.lost)
        for owned in self._owned.values():
            for name, part in owned.task.running.items():
                self._metrics.detector_time(name, part.spent())
            for detector, running in owned.task.detectors.items():
                for table, stats in running.tables().items():
                    key = (detector, table)
                    sums[key] = sums[key] + stats if key in sums else stats
        self._measure_shifts()
        self._watched.measured(quarantined, sums, self._clock.monotonic())
        for (detector, table), stats in sums.items():
            self._metrics.table(
                detector,
                table,
                rows=stats.rows,
                capacity=stats.capacity,
                nbytes=stats.nbytes,
                evicted=stats.evicted,
                refused=stats.refused,
            )

    def _measure_shifts(self) -> None:
        """Calibration of each test, as the mean of the tasks."""
        found: dict[tuple[str, str], list[float]] = {}
        for owned in self._owned.values():
            for name, running in owned.task.detectors.items():
                for test, nats in running.shifts().items():
                    found.setdefault((name, test), []).append(nats)
        for (name, test), values in found.items():
            self._metrics.threshold_shift(name, test, fmean(values))

    def _commit(self) -> None:
        with self._lock:
            # A commit ends the silence of a restarted worker: none before history is over.
            over = {tp: owned for tp, owned in self._owned.items() if owned.task.now >= owned.silent_before}
            safe = {tp: max(owned.safe(), owned.committed) for tp, owned in over.items()}
        for tp, offset in safe.items():
            self._consumer.mark(tp, offset)
        self._consumer.commit()
