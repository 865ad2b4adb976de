"""A task is a pure function of its routed log, and one detector's fault is not another's."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np
import pytest

from gatewatch.detect.running import MAX_RAISES
from gatewatch.detect.task import DetectTask
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch, Role, encode, schema_id
from gatewatch.log.base import Headers
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, FindingBatch, SourceRange
from gatewatch.sdk import (
    Detector,
    Hits,
    Reason,
    Scope,
    Severity,
)
from gatewatch.settings import DetectorSettings, KafkaSettings, Settings
from gatewatch.testing.batches import SEED, batch_of
from gatewatch.testing.routed import sealed
from gatewatch.testing.small import SmallDetector, entry_of

SETTINGS = Settings(kafka=KafkaSettings(partitions=1))


class Nth(SmallDetector):
    """A finding on every third row of all, whoever it is: the least that shows order and identity."""

    name = "nth"
    scopes: ClassVar = (Scope.PRINCIPAL,)
    reasons: ClassVar = (Reason(0, "third", "Third row", "rows", Severity.LOW, learned=False),)

    def process(self, batch: Batch) -> Hits:
        hits = Hits.empty(batch.n)
        for row in range(batch.n):
            self.seen += 1
            if self.seen % 3 == 0:
                hits.row[hits.count[0]] = row
                hits.nats[hits.count[0]] = 1.0
                hits.count[0] += 1
        return hits


class Broken(Nth):
    """Raises at every batch."""

    name = "broken"

    def process(self, batch: Batch) -> Hits:
        raise RuntimeError("a fault in somebody's detector")


def _task(*detectors: type[Detector], settings: Settings = SETTINGS) -> DetectTask:
    return DetectTask.build(0, settings, {d.name: entry_of(d) for d in detectors}, SEED, Metrics())


def _record(first: int, n: int, *, kind: bytes = b"batch", start: int | None = None) -> tuple[bytes, Headers]:
    """A routed record with source offsets [first, first + n), one row each."""
    batch = batch_of([{"ts": 1000.0 + first + i, "principal": f"p{first + i}"} for i in range(n)], first_offset=first)
    ranges = [SourceRange("id", 0, first if start is None else start, first + n, 1000.0 + first + n, topic="access")]
    headers: Headers = (
        (H_KIND, kind),
        (H_SCHEMA, schema_id(batch.arrow)),
        (H_LAYOUT, f"1:{SEED.id}".encode()),
        (H_RANGES, msgspec.msgpack.encode(ranges)),
    )
    value = encode(batch.arrow) if kind == b"batch" else b""
    return value, sealed(SETTINGS, value, headers)


def test_rows_that_are_only_shown_are_no_rows_of_the_task() -> None:
    """If this fails, a request is in the metrics of every partition that it was shown to."""
    task = _task(Nth)
    batch = batch_of([{"ts": 1000.0 + i, "principal": "p"} for i in range(5)], role=Role.SHOW)
    headers: Headers = (
        (H_KIND, b"batch"),
        (H_SCHEMA, schema_id(batch.arrow)),
        (H_LAYOUT, f"1:{SEED.id}".encode()),
        (H_RANGES, msgspec.msgpack.encode([SourceRange("id", 0, 0, 5, 1005.0, topic="access")])),
    )
    value = encode(batch.arrow)
    task.apply(0, value, sealed(SETTINGS, value, headers))
    assert task.counts.rows == 0
    assert task.applied.offsets == {("id", 0): 5}


def _findings(said: list[FindingBatch | None]) -> list[str]:
    return [f"{f.sample} {f.key}" for batch in said if batch is not None for f in batch.findings]


@pytest.mark.parametrize("rows", [1, 2, 6, 12])
def test_findings_do_not_depend_on_the_cut_into_records(rows: int) -> None:
    """If this fails, a replay gives other alerts than the live run it should reproduce."""
    task = _task(Nth)
    said = [task.apply(i, *_record(first, rows)) for i, first in enumerate(range(0, 12, rows))]
    assert _findings(said) == [f"access-0-{i}-0 p{i}" for i in (2, 5, 8, 11)]


def test_repeats_are_trimmed_and_early_ranges_refused() -> None:
    """If this fails, a zombie ingest worker makes requests count twice, or hides some."""
    task = _task(Nth)
    task.apply(0, *_record(0, 4))
    task.apply(1, *_record(2, 4))  # 2 and 3 again
    task.apply(2, *_record(9, 2))  # 6 to 8 are missing
    task.apply(3, *_record(6, 3))
    assert task.counts.rows == 9
    assert (task.counts.repeated, task.counts.refused) == (1, 1)


def test_ticks_move_time_and_say_so_at_most_once_a_second() -> None:
    """If this fails, alerts of a key that went quiet are never resolved, or `findings` floods."""
    task = _task(Nth)
    said = [task.apply(i, *_record(i, 0, kind=b"tick", start=i)) for i in range(3)]
    assert [s.watermark for s in said if s is not None] == [1000.0, 1001.0, 1002.0]
    assert task.apply(3, *_record(2, 0, kind=b"tick", start=2)) is None


def test_a_detector_that_raises_is_quarantined_and_the_others_go_on() -> None:
    """If this fails, one faulty detector of a team blinds all of them, or fills the log for ever."""
    task = _task(Broken, Nth)
    said = [task.apply(i, *_record(3 * i, 3)) for i in range(MAX_RAISES + 2)]
    assert len(_findings(said)) == MAX_RAISES + 2
    assert list(task.detectors) == ["nth"]


def test_another_layout_is_refused() -> None:
    """If this fails, a worker with other partitions or another seed mixes keys up silently."""
    value, headers = _record(0, 1)
    wrong = tuple((k, b"12:deadbeef" if k == H_LAYOUT else v) for k, v in headers)
    with pytest.raises(StateError, match=r"kafka\.partitions and hash seed"):
        _task(Nth).apply(0, value, wrong)


def test_a_detector_whose_mode_is_off_does_not_run() -> None:
    """If this fails, switching a noisy detector off does not help."""
    off = Settings(kafka=KafkaSettings(partitions=1), detectors={"nth": DetectorSettings(mode="off")})
    assert _task(Nth, settings=off).detectors == {}


def test_findings_before_any_watermark_can_be_written_and_read() -> None:
    """If this fails, a worker's first records, where they are cut in pieces, end decide for good."""
    value, headers = _record(0, 4)
    unsaid = msgspec.msgpack.encode([SourceRange("id", 0, 0, 4, -np.inf, topic="access")])
    headers = tuple((k, unsaid if k == H_RANGES else v) for k, v in headers)
    said = _task(Nth).apply(0, value, sealed(SETTINGS, value, headers))
    assert said is not None
    assert msgspec.json.decode(msgspec.json.encode(said), type=FindingBatch) == said
    assert said.watermark == said.findings[0].ts
