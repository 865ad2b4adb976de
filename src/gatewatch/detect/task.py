"""One routed partition: a pure function of its log.

Records go in, in offset order; :class:`~gatewatch.records.FindingBatch` records come out. No clock and no randomness,
so whoever reads the same log from its start says the same, byte for byte, however often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import msgspec
import structlog

from gatewatch.clock import stopwatch
from gatewatch.detect.applied import Applied
from gatewatch.detect.findings import name_hits
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch, decode
from gatewatch.log.base import Headers
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, Finding, FindingBatch, SourceRange
from gatewatch.registry import Entry, active
from gatewatch.sdk import Context, Detector
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.watermark import Watermarks

MAX_RAISES = 3  # a detector that raises so often is quarantined for this partition (DESIGN section 4)
SIGN_OF_LIFE_S = 1.0  # event time after which a record goes to `findings` even without a finding: decide's clock
_RANGES = msgspec.msgpack.Decoder(list[SourceRange])
_log = structlog.get_logger("gatewatch.detect")


@dataclass(slots=True)
class _Running:
    detector: Detector
    raised: int = 0

    @property
    def quarantined(self) -> bool:
        return self.raised >= MAX_RAISES


@dataclass(slots=True)
class Counts:
    """What a task has seen, for metrics and tests."""

    rows: int = 0
    refused: int = 0
    repeated: int = 0
    lost: int = 0


@dataclass(slots=True)
class DetectTask:
    """All detectors on one routed partition."""

    partition: int
    layout: bytes
    running: dict[str, _Running]
    metrics: Metrics
    applied: Applied = field(default_factory=Applied)
    watermarks: Watermarks = field(default_factory=Watermarks)
    counts: Counts = field(default_factory=Counts)
    _told: float = float("-inf")

    @classmethod
    def build(
        cls, partition: int, settings: Settings, entries: Mapping[str, Entry], seed: HashSeed, metrics: Metrics
    ) -> DetectTask:
        """A task that has seen nothing, with every detector whose mode is not off.

        Raises:
            ConfigError: an option of a detector is wrong.
        """
        n = settings.kafka.partitions
        running_entries = active(entries, settings.detectors)
        budget = settings.budget.false_alarms_per_day / max(len(running_entries), 1) / n
        context = Context(seed=seed, partitions=n, alarms_per_day=budget)
        running = {
            name: _Running(entry.build(settings.detectors.get(name), context))
            for name, entry in running_entries.items()
        }
        return cls(partition, f"{n}:{seed.id}".encode(), running, metrics)

    @property
    def detectors(self) -> dict[str, Detector]:
        """Those that run, by name."""
        return {name: r.detector for name, r in self.running.items() if not r.quarantined}

    @property
    def quarantined(self) -> list[str]:
        """Those that were switched off."""
        return [name for name, r in self.running.items() if r.quarantined]

    def apply(self, offset: int, value: bytes | None, headers: Headers) -> FindingBatch | None:
        """Apply one routed record; what it caused, or None.

        Raises:
            StateError: it was written under another seed, number of partitions or schema.
        """
        head = dict(headers)
        if head.get(H_LAYOUT) != self.layout:
            raise StateError(
                f"`routed` partition {self.partition} offset {offset} was written under layout "
                f"{head.get(H_LAYOUT, b'?').decode()} (partitions:seed), this worker has {self.layout.decode()}: "
                "all workers of one installation need the same kafka.partitions and hash seed"
            )
        ranges = _RANGES.decode(head[H_RANGES])
        verdict = self.applied.accept(ranges)
        self.counts.refused += verdict.refused
        self.counts.repeated += verdict.repeated
        self.counts.lost += verdict.lost
        findings: list[Finding] = []
        if head[H_KIND] == b"batch" and value is not None:
            batch = decode(value, head[H_SCHEMA])
            if not verdict.whole:
                keep = self.applied.keep(verdict, batch.column("src"), batch.column("offset"))
                batch = batch.take(keep)
            if batch.n:
                findings = self._process(batch, ranges)
        for r in ranges:
            self.watermarks.tell(f"{r.topic_id}-{r.partition}", r.watermark)
        return self._say(offset, findings)

    def _process(self, batch: Batch, ranges: Sequence[SourceRange]) -> list[Finding]:
        self.counts.rows += batch.n
        found: list[tuple[int, Finding]] = []
        for name, running in self.running.items():
            if running.quarantined:
                continue
            began = stopwatch()
            try:
                hits = running.detector.process(batch)
                found += name_hits(running.detector, hits, batch, ranges)
            except Exception:  # noqa: BLE001 - a team's own detector may raise anything; the others must go on
                running.raised += 1
                _log.exception("detector raised", detector=name, partition=self.partition, raised=running.raised)
                self.metrics.detector_raised(name)
            self.metrics.detector_time(name, stopwatch() - began)
        found.sort(key=lambda item: item[0])  # by row, then as the detectors are ordered: the sort is stable
        return [finding for _row, finding in found]

    def _say(self, offset: int, findings: list[Finding]) -> FindingBatch | None:
        """A record for decide: with findings at once, else when event time has gone on by a second."""
        watermark = self.watermarks.now
        if not findings and not (isfinite(watermark) and watermark >= self._told + SIGN_OF_LIFE_S):
            return None
        if not isfinite(watermark):  # the first piece of the first round: nothing but these findings is known of time
            watermark = min(finding.ts for finding in findings)
        self._told = max(self._told, watermark)
        return FindingBatch(task=self.partition, routed_offset=offset, watermark=watermark, findings=tuple(findings))
