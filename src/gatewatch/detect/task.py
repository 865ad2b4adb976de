"""One routed partition: a pure function of its log.

Records go in, in offset order; :class:`~gatewatch.records.FindingBatch` records come out. No clock and no randomness,
so whoever reads the same log from its start says the same, byte for byte, however often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from gatewatch.clock import stopwatch
from gatewatch.detect.applied import Applied, Verdict
from gatewatch.detect.blocks import Blocks
from gatewatch.detect.findings import name_hits
from gatewatch.detect.memory import Book, Memory, named
from gatewatch.detect.reading import Ours, ranges_of, read
from gatewatch.detect.rollups import Rollups
from gatewatch.detect.running import Running, release, restored
from gatewatch.detect.traffic import Traffic
from gatewatch.errors import StateError, UnreadableError
from gatewatch.events.batch import Batch, Role
from gatewatch.events.rollup import RollupRecord, of_release, records
from gatewatch.log.base import Headers
from gatewatch.metrics import Metrics
from gatewatch.records import H_LAYOUT, Effect, Finding, FindingBatch, Release, SourceRange
from gatewatch.registry import Entry, active, budget_of
from gatewatch.sdk import Context, Detector, Lane
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed, hash_text
from gatewatch.state.watermark import Watermarks

SIGN_OF_LIFE_S = 1.0  # event time after which a record goes to `findings` even without a finding: decide's clock
ROLLUPS = "@rollups"  # what the sums are called in a task's memory: no folder can have this name
TRAFFIC = "@traffic"
PARTS = {ROLLUPS: Rollups.version, TRAFFIC: Traffic.version}  # versions of what stands there beside detectors
_HOME = int(Role.WHO | Role.WHERE)  # a row that is only shown here counts where it is at home
SLOW_TASKS = 100_000  # number of the first task of the slow lane; partitions end far below (settings: 1,024)
_log = structlog.get_logger("gatewatch.detect")


@dataclass(slots=True)
class Counts:
    """What a task has seen, for metrics and tests."""

    rows: int = 0
    refused: int = 0
    repeated: int = 0
    lost: int = 0


@dataclass(slots=True)
class DetectTask:
    """All detectors on one routed partition, or those of one lane.

    ``number`` tells tasks apart in `findings`: both lanes read the same partitions.
    """

    partition: int
    ours: Ours
    running: dict[str, Running[Detector]]
    metrics: Metrics
    blocks: Blocks
    traffic: Traffic
    applied: Applied = field(default_factory=Applied)
    watermarks: Watermarks = field(default_factory=Watermarks)
    counts: Counts = field(default_factory=Counts)
    number: int = -1
    rollups: Rollups | None = None  # only where a detector on populations runs
    _closed: list[RollupRecord] = field(default_factory=list)
    _rollups_know_until: int = 0
    _traffic_knows_until: int = 0
    _told: float = float("-inf")
    _released: tuple[int, int] = (-1, 0)  # the place of the last one that was heard
    _resume: tuple[int, Book] | None = None  # from this offset on, go on as this book says

    @classmethod
    def build(
        cls,
        partition: int,
        settings: Settings,
        entries: Mapping[str, Entry],
        seed: HashSeed,
        metrics: Metrics,
        lane: Lane | None = None,
    ) -> DetectTask:
        """A task that has seen nothing, with every detector whose mode is not off; of one lane, where it is named.

        Raises:
            ConfigError: an option of a detector is wrong.
        """
        n = settings.kafka.partitions
        running_entries = active(entries, settings.detectors)

        def context(part: type[Detector]) -> Context:
            return Context(seed=seed, partitions=n, alarms_per_day=budget_of(part, settings, entries) / n)

        running = {
            name: Running(entry.build(settings.detectors.get(name), context(entry.detector)))
            for name, entry in running_entries.items()
            if entry.detector is not None and lane in {None, entry.detector.lane}
        }
        populations = lane != "slow" and any(entry.population is not None for entry in running_entries.values())
        rollups = Rollups(seed) if populations else None
        number = partition + (SLOW_TASKS if lane == "slow" else 0)
        return cls(
            partition,
            Ours.of(settings.kafka, seed, "routed", partition),
            running,
            metrics,
            Blocks(seed),
            Traffic(n),
            number=number,
            rollups=rollups,
        )

    @property
    def detectors(self) -> dict[str, Detector]:
        """Those that run, by name."""
        return {name: r.detector for name, r in self.running.items() if not r.quarantined}

    @property
    def now(self) -> float:
        """Event time up to which everything was applied; -inf before anything is known of it."""
        return self.watermarks.now

    @property
    def quarantined(self) -> list[str]:
        """Those that were switched off."""
        return [name for name, r in self.running.items() if r.quarantined]

    def apply(self, offset: int, value: bytes | None, headers: Headers) -> FindingBatch | None:
        """Apply one routed record; what it caused, or None.

        Raises:
            StateError: it was written by another version, and holds what we have not applied.
            UnreadableError: by none of our workers, or it was damaged: :meth:`pass_over` goes on without it.
        """
        head = dict(headers)
        self.ours.check(f"`routed` partition {self.partition} offset {offset}", value, head)
        self._reach(offset)
        try:
            ranges, batch, control = read(value, head)
        except StateError as error:
            # What an upgraded worker wrote and stands for nothing new, nobody needs to wait for
            newer = not isinstance(error, UnreadableError) and self.applied.misses(ranges_of(head))
            kind = StateError if newer else UnreadableError
            raise kind(f"`routed` partition {self.partition} offset {offset}: {error}") from error
        verdict = self._count(self.applied.accept(ranges))
        findings: list[Finding] = []
        effects: list[Effect] = []
        if batch is not None:
            if not verdict.whole:
                keep = self.applied.keep(verdict, batch.column("src"), batch.column("offset"))
                batch = batch.take(keep)
            if batch.n:
                batch, effects = self.blocks.mark(batch, ranges)
                findings = self._process(offset, batch, ranges)
        elif isinstance(control, Release):
            self._release(offset, control)
        elif control is not None:
            self.blocks.hear(control)
        return self._go_on(offset, ranges, findings, effects)

    def pass_over(self, offset: int, headers: Headers) -> FindingBatch | None:
        """Go on without a record that :meth:`apply` cannot read; what its place in time caused, or None.

        One that does not claim to be of this installation has no part in its streams. Of ours, what it stood for is
        lost; where it does not even say what that was, or its seal is broken, each stream may go on later than it
        should.
        """
        head = dict(headers)
        if head.get(H_LAYOUT) != self.ours.layout:
            return None
        if not self.ours.wrote(head):
            self.lose(offset)
            return None
        try:
            ranges = ranges_of(head)
        except UnreadableError:
            self.lose(offset)
            return None
        self._reach(offset)
        self._count(self.applied.give_up(ranges))
        return self._go_on(offset, ranges, [], [])

    def lose(self, offset: int) -> None:
        """Records up to this offset are gone, with all that they said of themselves."""
        self._reach(offset)
        self.applied.doubt()

    def closed(self) -> list[RollupRecord]:
        """What must go to `rollups` because of the records applied since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def memory(self) -> Memory:
        """Copies of all that the task knows. What is quarantined stays out: a restart gives it a new chance.

        Cost: the loop waits for it, up to 40 ms for 100 MB (two shared cores).
        """
        kept = {name: running for name, running in self.running.items() if not running.quarantined}
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, running in kept.items():
            arrays |= named(name, running.detector.snapshot())
        versions = {name: running.detector.version for name, running in kept.items()}
        arrays |= named(TRAFFIC, self.traffic.snapshot())
        versions[TRAFFIC] = self.traffic.version
        if self.rollups is not None:
            arrays |= named(ROLLUPS, self.rollups.snapshot())
            versions[ROLLUPS] = self.rollups.version
        book = Book(
            applied=tuple((topic, partition, at) for (topic, partition), at in self.applied.offsets.items()),
            unsure=tuple(sorted(self.applied.unsure)),
            streams=dict(self.watermarks.streams),
            now=self.watermarks.now,
            told=self._told,
            versions=versions,
            orders=self.blocks.book(),
            gone=self.blocks.gone(),
            released=self._released,
            raised={name: running.raised for name, running in kept.items() if running.raised},
        )
        return Memory(book, arrays)

    def become(self, memory: Memory, offset: int, beginning: int) -> int:
        """Take over what :meth:`memory` gave when all records before ``offset`` had been applied.

        A detector that the memory does not fit (new, of another version or capacity) begins empty and reads alone what
        `routed` still holds, which begins at ``beginning``; the others keep what they know and wait.

        Returns:
            The offset to read from.
        """
        fit = {
            name for name, running in self.running.items() if restored(name, running.detector, memory, self.partition)
        }
        for name in fit:
            self.running[name].knows_until = offset
            self.running[name].raised = memory.book.raised.get(name, 0)
        whole = len(fit) == len(self.running)
        if restored(TRAFFIC, self.traffic, memory, self.partition):
            self._traffic_knows_until = offset
        else:
            whole = False
        if self.rollups is not None:
            if restored(ROLLUPS, self.rollups, memory, self.partition):
                self._rollups_know_until = offset
            else:
                whole = False
        if beginning > offset:  # retention took records that nobody applied: the source's offsets begin anew, too
            self._continue(msgspec.structs.replace(memory.book, applied=()))
        elif not whole:
            self._resume = (offset, memory.book)
        else:
            self._continue(memory.book)
            return offset
        return beginning

    def _reach(self, offset: int) -> None:
        """From the offset of the snapshot on, go on as it says."""
        if self._resume is not None and offset >= self._resume[0]:
            self._continue(self._resume[1])

    def _count(self, verdict: Verdict) -> Verdict:
        self.counts.refused += verdict.refused
        self.counts.repeated += verdict.repeated
        self.counts.lost += verdict.lost
        return verdict

    def _go_on(
        self, offset: int, ranges: Sequence[SourceRange], findings: list[Finding], effects: list[Effect]
    ) -> FindingBatch | None:
        """Time goes on as far as the ranges say."""
        for r in ranges:
            # By name: where a topic was made again, nobody waits for the old one
            self.watermarks.tell(f"{r.topic or r.topic_id}-{r.partition}", r.watermark)
        now = self.watermarks.now
        self._close(offset, now)
        return self._say(offset, now, findings, effects)

    def _continue(self, book: Book) -> None:
        self.applied = Applied({(topic, partition): at for topic, partition, at in book.applied}, set(book.unsure))
        self.watermarks = Watermarks(dict(book.streams), book.now)
        self._told = book.told
        self.blocks.become(book.orders, book.gone)
        self._released = book.released
        self._resume = None

    def _process(self, offset: int, batch: Batch, ranges: Sequence[SourceRange]) -> list[Finding]:
        self.counts.rows += int(np.count_nonzero(batch.role & _HOME))
        found: list[tuple[int, Finding]] = []
        for name, running in self.running.items():
            if running.quarantined or offset < running.knows_until:
                continue
            began = stopwatch()
            try:
                hits = running.detector.process(batch)
                if len(hits):
                    found += name_hits(running.detector, hits, batch, ranges)
            except Exception:  # noqa: BLE001 - a team's own detector may raise anything; the others must go on
                running.note_raise(name, self.partition, self.metrics)
            running.seconds += stopwatch() - began
        if self.rollups is not None and offset >= self._rollups_know_until:
            self.rollups.add(batch)
        found.sort(key=lambda item: item[0])  # by row, then as the detectors are ordered: the sort is stable
        if offset < self._traffic_knows_until:
            return [finding for _row, finding in found]
        return self.traffic.tell(batch, found)

    def _release(self, offset: int, said: Release) -> None:
        """A person expects what a key does. What coarse keys do is judged elsewhere: one of the tasks passes it on.

        What was said before the last one is a copy of it, by decide after a kill or by who may write to `routed`.
        """
        if said.place < self._released:
            return
        self._released = said.place
        hearing = {name: running for name, running in self.running.items() if offset >= running.knows_until}
        release(hearing, said, (hash_text(said.key, self.blocks.seed),), self.partition, self.metrics)
        if self.rollups is not None and self.partition == 0 and offset >= self._rollups_know_until:
            self._closed.append(of_release(self.partition, offset, said))

    def _close(self, offset: int, now: float) -> None:
        """Note what has closed of the rollups."""
        if self.rollups is None or offset < self._rollups_know_until:
            return
        closed = self.rollups.close(now)
        if closed is not None:
            self._closed += records(self.partition, offset, *closed)

    def _say(
        self, offset: int, watermark: float, findings: list[Finding], effects: list[Effect]
    ) -> FindingBatch | None:
        """A record for decide: with findings at once, else when event time has gone on by a second."""
        if not findings and not effects and not (isfinite(watermark) and watermark >= self._told + SIGN_OF_LIFE_S):
            return None
        if not isfinite(watermark):  # the first piece of the first round: nothing but these findings is known of time
            watermark = min([finding.ts for finding in findings] + [effect.ts for effect in effects])
        self._told = max(self._told, watermark)
        return FindingBatch(
            task=self.number,
            routed_offset=offset,
            watermark=watermark,
            findings=tuple(findings),
            effects=tuple(effects),
        )
