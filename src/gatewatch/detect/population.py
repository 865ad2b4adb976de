"""The sums of all tasks, put together again: a pure function of the log `rollups`.

Records of all detect tasks go in, in offset order; a bucket is given to the population detectors once every task has
closed it, so the order in which tasks speak does not matter. A task that is more than :data:`WAIT` buckets behind the
newest, and has been silent while the others closed buckets :data:`PATIENCE` times each, is not waited for; what it says
later counts in the next bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from gatewatch.clock import stopwatch
from gatewatch.detect.findings import finding_id
from gatewatch.detect.memory import Book, Memory, named
from gatewatch.detect.names import keys_of, name_of
from gatewatch.detect.reading import Ours
from gatewatch.detect.running import Running, release, restored
from gatewatch.detect.totals import added_up
from gatewatch.errors import StateError
from gatewatch.events.rollup import SPAN_S, Kind, Rollup, Rows, decode, rows_of
from gatewatch.log.base import Headers
from gatewatch.metrics import Metrics
from gatewatch.records import H_SCHEMA, Finding, FindingBatch
from gatewatch.registry import Entry, active, budget_of
from gatewatch.sdk import Context, PopulationDetector, PopulationHit, RawFinding
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed

WAIT = 12  # buckets: two minutes, more than a killed worker needs to come back (DESIGN section 8: 30 s)
# Times that every other task closed buckets. Event time alone does not tell a dead task: whoever reads a backlog meets
# hours of one task before the first record of the next. Nor does the number of records: what one batch of a quiet site
# closes may be hundreds of buckets, in dozens of records (it is one time).
PATIENCE = 40
TOGETHER = 64  # buckets added up in one go where a backlog makes many whole: some 5 MB are copied at a time
WAITING = "@waiting"  # what the buckets that are not whole are called in the task's memory
PARTS = {WAITING: 1}  # versions of what stands there beside detectors
_log = structlog.get_logger("gatewatch.detect")


@dataclass(slots=True)
class PopulationTask:
    """All population detectors, on the one partition of `rollups`.

    ``number`` is its task number in findings: the one after those of the routed partitions.
    """

    number: int
    ours: Ours
    topic: str
    seed: HashSeed
    running: dict[str, Running[PopulationDetector]]
    metrics: Metrics
    _applied: dict[int, tuple[int, int]] = field(default_factory=dict)  # by task: routed offset and part
    _closed: dict[int, int] = field(default_factory=dict)  # by task: the first bucket that is open
    _waiting: dict[int, dict[int, list[Rows]]] = field(default_factory=dict)  # by bucket, by task
    _times: int = 0  # that any task closed buckets
    _heard: dict[int, int] = field(default_factory=dict)  # by task: how many times there were when it last spoke
    _given: int | None = None  # buckets below this were given to the detectors

    @classmethod
    def build(
        cls, settings: Settings, entries: Mapping[str, Entry], seed: HashSeed, metrics: Metrics
    ) -> PopulationTask:
        """A task that has seen nothing, with the population part of every detector whose mode is not off.

        Raises:
            ConfigError: an option of a detector is wrong.
        """
        n = settings.kafka.partitions

        def context(part: type[PopulationDetector]) -> Context:
            return Context(seed=seed, partitions=1, alarms_per_day=budget_of(part, settings, entries))

        running = {
            name: Running(entry.build_population(settings.detectors.get(name), context(entry.population)))
            for name, entry in active(entries, settings.detectors).items()
            if entry.population is not None
        }
        ours, topic = Ours.of(settings.kafka, seed, "rollups", 0), settings.kafka.topic("rollups")
        return cls(n, ours, topic, seed, running, metrics)

    @property
    def detectors(self) -> dict[str, PopulationDetector]:
        """Those that run, by name."""
        return {name: r.detector for name, r in self.running.items() if not r.quarantined}

    @property
    def quarantined(self) -> list[str]:
        """Those that were switched off."""
        return [name for name, r in self.running.items() if r.quarantined]

    @property
    def now(self) -> float:
        """Event time up to which everything was given to the detectors; -inf before the first bucket."""
        return float("-inf") if self._given is None else self._given * SPAN_S

    def apply(self, offset: int, value: bytes | None, headers: Headers) -> FindingBatch | None:
        """Apply one record of `rollups`; what it caused, or None.

        Raises:
            StateError: it was written by another version.
            UnreadableError: by none of our tasks, or it was damaged: :meth:`pass_over` goes on without it.
        """
        if value is None:
            return None
        head = dict(headers)
        self.ours.check(f"`rollups` offset {offset}", value, head)
        try:
            record = decode(value, head.get(H_SCHEMA))
            rows = rows_of(record) if record.keys else None
        except StateError as error:
            raise type(error)(f"`rollups` offset {offset}: {error}") from error
        if (record.routed_offset, record.part) <= self._applied.get(record.task, (-1, -1)):
            return None
        self._applied[record.task] = (record.routed_offset, record.part)
        if record.release is not None:
            keys = keys_of(record.release.scope, record.release.key, self.seed)
            release(self.running, record.release, keys, self.number, self.metrics)
            return None
        self._times += record.part == 0
        self._heard[record.task] = self._times
        self._closed[record.task] = max(record.closed, self._closed.get(record.task, record.closed))
        if rows is not None:
            self._keep(record.task, rows)
        return self._go_on(offset)

    def pass_over(self, offset: int, headers: Headers) -> FindingBatch | None:
        """Go on without a record that :meth:`apply` cannot read: its sums are missing, the next one says the time."""
        del offset, headers
        return None

    def lose(self, offset: int) -> None:
        """Records up to this offset are gone: the same."""
        del offset

    def memory(self) -> Memory:
        """Copies of all that the task knows, as of a detect task: what is quarantined stays out."""
        kept = {name: running for name, running in self.running.items() if not running.quarantined}
        arrays = named(WAITING, self._snapshot())
        for name, running in kept.items():
            arrays |= named(name, running.detector.snapshot())
        book = Book(
            applied=(),
            streams={},
            now=self.now,
            told=self.now,
            versions={**PARTS, **{name: running.detector.version for name, running in kept.items()}},
            raised={name: running.raised for name, running in kept.items() if running.raised},
        )
        return Memory(book, arrays)

    def become(self, memory: Memory, offset: int, beginning: int) -> int:
        """Take over what :meth:`memory` gave when all records before ``offset`` had been applied.

        A detector that the memory does not fit begins empty, and learns from here on: populations are known in hours.

        Returns:
            The offset to read from.
        """
        if memory.book.versions.get(WAITING) != PARTS[WAITING]:
            _log.warning("populations begin empty", why="a snapshot of another version")
            return beginning
        self._restore(memory.of(WAITING))
        for name, running in self.running.items():
            if restored(name, running.detector, memory, self.number):
                running.raised = memory.book.raised.get(name, 0)
        return max(offset, beginning)

    def _snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything but the detectors."""
        waiting = [
            (bucket, task, rows)
            for bucket, tasks in self._waiting.items()
            for task, parts in tasks.items()
            for rows in parts
        ]
        arrays: dict[str, npt.NDArray[Any]] = {
            "applied": np.array([(t, *at) for t, at in self._applied.items()], np.int64).reshape(-1, 3),
            "closed": np.array(list(self._closed.items()), np.int64).reshape(-1, 2),
            "heard": np.array([(t, n) for t, n in self._heard.items()], np.int64).reshape(-1, 2),
            "records": np.array([self._times], np.int64),
            "given": np.array([] if self._given is None else [self._given], np.int64),
            "waiting": np.array([(bucket, task, len(rows)) for bucket, task, rows in waiting], np.int64).reshape(-1, 3),
        }
        for name in ("buckets", "kinds", "keys", "counts", "bins"):
            parts = [getattr(rows, name) for _, _, rows in waiting]
            arrays[name] = np.concatenate(parts) if parts else np.zeros(0)
        labels = [label for _, _, rows in waiting for label in rows.labels]
        arrays["labels"] = np.frombuffer(msgspec.msgpack.encode(labels), np.uint8).copy()
        return arrays

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._applied = {task: (offset, part) for task, offset, part in arrays["applied"].tolist()}
        self._closed = dict(arrays["closed"].tolist())
        self._heard, self._times = dict(arrays["heard"].tolist()), int(arrays["records"][0])
        self._given = int(arrays["given"][0]) if len(arrays["given"]) else None
        labels = msgspec.msgpack.decode(arrays["labels"].tobytes(), type=list[dict[str, str]])
        self._waiting, at = {}, 0
        for bucket, task, n in arrays["waiting"].tolist():
            piece = slice(at, at + n)
            rows = Rows(
                buckets=arrays["buckets"][piece].astype(np.int64),
                kinds=arrays["kinds"][piece].astype(np.uint8),
                keys=arrays["keys"][piece].astype(np.uint64),
                labels=tuple(labels[piece]),
                counts=arrays["counts"][piece],
                bins=arrays["bins"][piece],
            )
            self._waiting.setdefault(bucket, {}).setdefault(task, []).append(rows)
            at += n

    def _keep(self, task: int, rows: Rows) -> None:
        """Put rows aside until their bucket is whole; late ones go with the next that is open."""
        buckets = rows.buckets if self._given is None else np.maximum(rows.buckets, self._given)
        edges = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(rows)]  # rows come in order of buckets
        for first, last in pairwise(edges):
            piece = slice(first, last)
            part = Rows(
                buckets[piece], rows.kinds[piece], rows.keys[piece], rows.labels[piece], rows.counts[piece],
                rows.bins[piece],
            )  # fmt: skip
            self._waiting.setdefault(int(buckets[first]), {}).setdefault(task, []).append(part)

    def _go_on(self, offset: int) -> FindingBatch | None:
        """Give the buckets that are whole to the detectors, in order of time."""
        ready = self._ready()
        if ready is None:
            return None
        if self._given is not None and ready <= self._given:
            return None
        findings: list[Finding] = []
        whole = sorted(bucket for bucket in self._waiting if bucket < ready)
        for at in range(0, len(whole), TOGETHER):
            tasks_of = [self._waiting.pop(bucket) for bucket in whole[at : at + TOGETHER]]
            for rollup in added_up([rows for tasks in tasks_of for task in sorted(tasks) for rows in tasks[task]]):
                findings += self._process(rollup, offset)
        self._given = ready
        return FindingBatch(task=self.number, routed_offset=offset, watermark=ready * SPAN_S, findings=tuple(findings))

    def _ready(self) -> int | None:
        """The first bucket that is not whole yet; None while nobody knows."""
        newest = max(self._closed.values())
        ready = newest
        for task in range(self.number):
            patient = self._times - self._heard.get(task, 0) <= PATIENCE * self.number
            closed = self._closed.get(task)
            if closed is None:
                if patient:
                    return None
                closed = newest - WAIT
            ready = min(ready, closed if patient else max(closed, newest - WAIT))
        return ready

    def _process(self, rollup: Rollup, offset: int) -> Iterator[Finding]:
        for name, running in self.running.items():
            if running.quarantined:
                continue
            began = stopwatch()
            try:
                hits = running.detector.process(rollup)
                yield from [_finding(running.detector, hit, rollup, self.topic, offset) for hit in hits]
            except Exception:  # noqa: BLE001 - a team's own detector may raise anything; the others must go on
                running.note_raise(name, self.number, self.metrics)
            running.seconds += stopwatch() - began


def _finding(detector: PopulationDetector, hit: PopulationHit, rollup: Rollup, topic: str, offset: int) -> Finding:
    label = rollup.labels[hit.row]
    key = name_of(Kind(int(rollup.kinds[hit.row])), label)
    raw = RawFinding(
        reason=hit.reason, scope=hit.scope, key=key, nats=float(hit.nats), threshold_nats=float(hit.threshold_nats),
        observed=float(hit.observed), expected=float(hit.expected), window_s=float(hit.window_s),
        detail={name: float(value) for name, value in hit.detail.items()},  # numpy's own floats cannot be encoded
    )  # fmt: skip
    place = f"{topic}-0-{offset}-{hit.row}"
    identity = hashlib.sha256(f"{rollup.start:.0f}-{rollup.kinds[hit.row]}-{rollup.keys[hit.row]}".encode()).hexdigest()
    return Finding(
        id=finding_id(detector.name, hit.scope, key, hit.reason.name, identity),
        detector=detector.name,
        version=detector.version,
        scope=hit.scope,
        key=key,
        reason=hit.reason.name,
        title=hit.reason.title,
        ts=rollup.start + rollup.span_s,
        since=float(hit.since),
        nats=raw.nats,
        threshold_nats=raw.threshold_nats,
        observed=raw.observed,
        expected=raw.expected,
        unit=hit.reason.unit,
        window_s=raw.window_s,
        learned=hit.reason.learned,
        warm=bool(hit.warm) or not hit.reason.learned,
        sample=place,
        explanation=detector.explain(raw),
        project=label.get("project"),
        context={**{name: text for name, text in label.items() if name != hit.scope.value}, **hit.context},
    )
