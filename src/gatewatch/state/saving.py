"""When a worker saves its tasks, and how a task that is taken over gets its memory back.

The loop copies a task's memory, at once or in steps of some milliseconds, and goes on; a thread compresses and writes
it, waits until the loop says that everything the task said before is acknowledged, and writes the manifest. One task at
a time, so that at most one copy is held. A snapshot that fails costs nothing but time at the next start: the worker
goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Generic

import structlog

from gatewatch.clock import Clock, stopwatch
from gatewatch.errors import GatewatchError, StateError
from gatewatch.log.base import Consumer, Log, Producer, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.records import layout_of
from gatewatch.settings import Settings
from gatewatch.state import snapshots
from gatewatch.state.hashing import HashSeed
from gatewatch.state.savable import Kind, M, Saved, Task
from gatewatch.state.snapshots import Draft, Manifest, Older

STEP_S = 0.015  # of copying in one turn of the loop: nobody feels that; the second of the largest decide is 70 turns
CLOSE_S = 6.0  # for the last snapshots of all tasks, at a clean stop: a role has 10 s, and commits first
PAUSE_SHARE = 0.01  # of a loop's time at most: a task whose copying takes long is saved less often
_log = structlog.get_logger("gatewatch.state")


@dataclass(slots=True)
class _Last:
    """The newest snapshot of a task, as far as we know."""

    due_at: float
    offset: int = -1
    replaces: list[Older] = field(default_factory=list)  # what the next one removes


@dataclass(slots=True)
class _Job(Generic[M]):
    """One snapshot on its way: copied first, then written by a thread."""

    tp: TopicPartition  # what the task reads
    offset: int
    memory: M
    replaces: tuple[Older, ...]
    draft: Draft = field(default_factory=Draft)
    written: threading.Event = field(default_factory=threading.Event)  # the chunks are
    may_count: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    error: str | None = None
    copying_s: float = 0.0
    thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Saver(Generic[M]):
    """Snapshots of one worker's tasks. All methods are for the worker's loop.

    Args:
        kind: of tasks.
        log: where to.
        settings: prefix, partitions, how often.
        seed: its id stands in each manifest.
        clock: injected time.
        metrics: what to count on.
    """

    def __init__(
        self, kind: Kind[M], log: Log, settings: Settings, seed: HashSeed, *, clock: Clock, metrics: Metrics
    ) -> None:
        self._kind, self._log, self._clock, self._metrics = kind, log, clock, metrics
        self._topic = settings.kafka.topic("state")
        self._layout = layout_of(settings.kafka.partitions, seed).decode()
        self._every_s = settings.state.every
        self._ids: dict[str, str] = {}
        self._last: dict[TopicPartition, _Last] = {}
        self._job: _Job[M] | None = None
        self._producer: Producer | None = None

    def restore(self, task: Task[M], consumer: Consumer, tp: TopicPartition, beginning: int) -> tuple[int, int]:
        """Give a new task the memory of its newest snapshot.

        Returns:
            The offset of ``tp`` to read from, and the one before which everything has been said (0: not known). Both
            are the beginning and 0 where there is no snapshot, or none that fits; the log says why.

        Raises:
            LogError: the log cannot be read.
        """
        last = self._last[tp] = _Last(self._clock.monotonic() + self._every_s * (tp.partition % 8 + 1) / 8)
        name, place = self._kind.name(tp), self._place(tp)
        try:
            found = snapshots.find(self._log, place, name, consumer.end_offsets([place])[place])
            last.replaces += found.rubbish
            if found.manifest is None:
                return beginning, 0
            last.replaces += [Older(found.manifest.id, len(found.manifest.digests)), *found.manifest.older]
            self._check(found.manifest, tp, consumer.end_offsets([tp])[tp])
            memory = self._kind.read(*snapshots.read(self._log, place, found.manifest))
            start = task.become(memory, found.manifest.offset, beginning)
        except StateError as error:
            _log.warning("no snapshot is used", task=name, why=str(error), **self._all_again(consumer, tp, beginning))
            self._metrics.restored(fits=False)
            return beginning, 0
        last.offset = found.manifest.offset
        _log.info("restored", task=name, offset=found.manifest.offset, reads_from=start)
        self._metrics.restored(fits=start == found.manifest.offset)
        self._metrics.snapshot_written(found.manifest.written)
        return start, found.manifest.offset

    def _all_again(self, consumer: Consumer, tp: TopicPartition, beginning: int) -> dict[str, object]:
        """What a task does that has no snapshot it can use, for people."""
        return {
            "reads_from": beginning,
            "records_to_read": max(consumer.end_offsets([tp])[tp] - beginning, 0),
            "meanwhile": "new records wait, /readyz is 503, and nothing is said again that was said before",
            "next_time": "`gatewatch state verify`, run with a new version before it is deployed, tells of this",
        }

    def turn(self, owned: Mapping[TopicPartition, Saved[M]]) -> None:
        """What is to do now: help the snapshot that is on its way, else begin the one that is due."""
        job = self._job
        if job is not None:
            mine = owned.get(job.tp)
            if job.thread is None:
                if mine is None:
                    self._drop(job)
                else:
                    self._copy(job, stopwatch(), STEP_S)
                return
            # Asked once the chunks are written, which takes seconds: the task may be somebody else's by then
            if mine is None or (job.written.is_set() and mine.safe() >= job.offset):
                self._let_go(job, abandoned=mine is None)
            if not job.running:
                self._finish(job)
            return
        now = self._clock.monotonic()
        for tp, last in self._last.items():
            if tp not in owned or now < last.due_at:
                continue
            last.due_at = now + self._every_s
            if owned[tp].next_offset != last.offset:
                self._begin(tp, owned[tp], STEP_S)
                return

    def close(self, owned: Mapping[TopicPartition, Saved[M]], *, flush: bool) -> None:
        """End. With ``flush`` each task is saved once more, as far as that is done within ``CLOSE_S``."""
        until = self._clock.monotonic() + CLOSE_S
        if flush:
            if self._job is not None and self._job.thread is None:
                self._drop(self._job)
            self._wait(owned, until)
            for tp, mine in owned.items():
                if mine.next_offset != self._last[tp].offset:
                    self._begin(tp, mine, float("inf"))
                self._wait(owned, until)
        if self._producer is not None:
            with suppress(GatewatchError):
                self._producer.close(flush=False)

    def topic_id(self, topic: str) -> str:
        """The id of a topic that a task reads: another one once it was deleted and made again.

        Raises:
            LogError: the broker does not say.
        """
        if topic not in self._ids:
            with closing(self._log.admin()) as admin:
                self._ids[topic] = admin.describe([topic])[topic].id
        return self._ids[topic]

    def _wait(self, owned: Mapping[TopicPartition, Saved[M]], until: float) -> None:
        """For the snapshot on its way."""
        job = self._job
        if job is None or job.thread is None:
            return
        mine = owned.get(job.tp)
        self._let_go(job, abandoned=mine is None or mine.safe() < job.offset)
        job.thread.join(max(until - self._clock.monotonic(), 0.0))
        if not job.running:
            self._finish(job)

    def _begin(self, tp: TopicPartition, mine: Saved[M], copy_s: float) -> None:
        """Begin to copy a task."""
        if self._job is not None:  # at a close: the one before did not end in time
            return
        began = stopwatch()
        memory = mine.task.memory()
        if memory is None:
            self._last[tp].due_at = self._clock.monotonic()
            return
        self._job = _Job(tp, mine.next_offset, memory, tuple(self._last[tp].replaces))
        self._copy(self._job, began, copy_s)

    def _copy(self, job: _Job[M], began: float, seconds: float) -> None:
        """Copy some more of a task; once it is whole let a thread write it."""
        whole = job.memory.go_on(seconds)
        pause = stopwatch() - began
        job.copying_s += pause
        self._metrics.snapshot_pause(pause)
        if not whole:
            return
        last = self._last[job.tp]
        last.due_at = max(last.due_at, self._clock.monotonic() + job.copying_s / PAUSE_SHARE)
        job.thread = threading.Thread(target=self._run, args=(job,), name=f"snapshot-{job.tp.partition}", daemon=True)
        job.thread.start()

    def _drop(self, job: _Job[M]) -> None:
        """Nothing of it was written."""
        job.memory.drop()
        self._job = None

    def _let_go(self, job: _Job[M], *, abandoned: bool) -> None:
        if not job.may_count.is_set():
            job.abandoned = abandoned
            job.may_count.set()

    def _finish(self, job: _Job[M]) -> None:
        """The thread has ended."""
        self._job = None
        if job.error is not None:
            _log.warning("a snapshot could not be written", task=self._kind.name(job.tp), error=job.error)
            if self._producer is not None:
                with suppress(GatewatchError):
                    self._producer.close(flush=False)
                self._producer = None  # a producer that failed once fails for good
        written = job.error is None and not job.abandoned
        self._metrics.snapshot(written=written, nbytes=job.draft.stored_bytes)
        if written:
            self._metrics.snapshot_written(self._clock.now())
        last = self._last.get(job.tp)
        if last is not None:
            if written:
                last.offset, last.replaces = job.offset, [job.draft.older]
            elif job.error is not None:
                last.replaces.append(job.draft.older)

    def _run(self, job: _Job[M]) -> None:
        """On the thread: what takes time."""
        name, place = self._kind.name(job.tp), self._place(job.tp)
        try:
            producer = self._producer = self._producer or self._log.producer()
            snapshots.write_chunks(producer, place, name, job.memory.document(), job.memory.arrays, job.draft)
            job.written.set()
            job.may_count.wait()
            if job.abandoned:
                snapshots.remove(producer, place, name, [job.draft.older])
            else:
                snapshots.write_manifest(producer, place, self._manifest(job))
        except GatewatchError as error:
            job.error = str(error)
        finally:
            job.memory.drop()

    def _manifest(self, job: _Job[M]) -> Manifest:
        return Manifest(
            task=self._kind.name(job.tp),
            id=job.draft.id,
            offset=job.offset,
            log_id=self.topic_id(job.tp.topic),
            layout=self._layout,
            schema=self._kind.schema,
            versions=job.memory.versions,
            digests=tuple(job.draft.digests),
            first=min(job.draft.offsets),
            raw_bytes=job.draft.raw_bytes,
            stored_bytes=job.draft.stored_bytes,
            written=self._clock.now(),
            older=job.replaces,
        )

    def _check(self, manifest: Manifest, tp: TopicPartition, end: int) -> None:
        """That a snapshot is of this very installation, and of records that there are.

        Raises:
            StateError: it is not.
        """
        pairs = (
            ("layout (partitions:seed)", manifest.layout, self._layout),
            ("schema", manifest.schema, self._kind.schema),
            (f"topic id of {tp.topic}", manifest.log_id, self.topic_id(tp.topic)),
        )
        for what, theirs, ours in pairs:
            if theirs != ours:
                raise StateError(f"the snapshot {manifest.id} of {manifest.task} has {what} {theirs}, not {ours}")
        if manifest.offset > end:
            raise StateError(
                f"the snapshot {manifest.id} of {manifest.task} is as of offset {manifest.offset}, "
                f"but {tp.topic}-{tp.partition} ends at {end}: the broker has lost records"
            )

    def _place(self, tp: TopicPartition) -> TopicPartition:
        """Where a task's records are in the state topic."""
        return TopicPartition(self._topic, tp.partition)
