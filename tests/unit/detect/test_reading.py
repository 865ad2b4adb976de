"""A record that none of our workers wrote ends a worker with its place, whole or not at all; it never half counts."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from gatewatch.detect.population import PopulationTask
from gatewatch.detect.task import DetectTask
from gatewatch.errors import StateError
from gatewatch.events import rollup
from gatewatch.events.batch import ROUTED, VERSION, decode, encode, schema_id
from gatewatch.events.event import AccessEvent
from gatewatch.log.base import Headers
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, SourceRange
from gatewatch.settings import Settings
from gatewatch.testing.batches import batch_of
from gatewatch.testing.routed import SEED, sealed

SETTINGS = Settings.model_validate({"kafka": {"partitions": 1}})
LAYOUT = f"1:{SEED.id}".encode()
RANGE = SourceRange("id", 0, 0, 2, 1.7e9, opened=True, topic="access")
RANGES = msgspec.msgpack.encode([RANGE])
BATCH = batch_of([AccessEvent(ts=1.7e9, ip="192.0.2.1"), AccessEvent(ts=1.7e9, principal="al")]).arrow
GOOD = encode(BATCH)


def head(**changes: bytes | None) -> Headers:
    """Headers of a batch; ``None`` leaves one out."""
    good = {H_KIND: b"batch", H_SCHEMA: schema_id(BATCH), H_LAYOUT: LAYOUT, H_RANGES: RANGES}
    named = {"kind": H_KIND, "schema": H_SCHEMA, "layout": H_LAYOUT, "ranges": H_RANGES}
    merged = good | {named[name]: value for name, value in changes.items()}
    return tuple((name, value) for name, value in merged.items() if value is not None)


def timed(ts: float) -> pa.RecordBatch:
    """The batch with another time in its first row."""
    return BATCH.set_column(BATCH.schema.names.index("ts"), "ts", pa.array([ts, 1.7e9]))


RECORDS: dict[str, tuple[bytes | None, Headers]] = {
    "no headers": (GOOD, ()),
    "a layout that is no text": (GOOD, head(layout=b"\xff\x00")),
    "no ranges": (GOOD, head(ranges=None)),
    "broken ranges": (GOOD, head(ranges=b"\x93\x01\xd9\xff\xff")),
    "ranges of text that is none": (
        GOOD,
        head(ranges=RANGES.replace(b"access", b"\xff\xfecess")),
    ),
    "a watermark beyond all days": (
        GOOD,
        head(ranges=RANGES.replace(struct.pack(">d", 1.7e9), struct.pack(">d", 1e60))),
    ),
    "no schema": (GOOD, head(schema=None)),
    "a schema without columns": (GOOD, head(schema=VERSION + b":zz")),
    "more columns than there are": (encode(BATCH.select(["src", "offset", "ts"])), head()),
    "columns without a time": (encode(BATCH.select(["src", "offset", "index"])), head(schema=VERSION + b":7")),
    "half a batch": (GOOD[: len(GOOD) // 2], head()),
    "nothing": (b"", head()),
    "noise": (bytes(range(256)) * 4, head()),
    "rows of no source": (GOOD, head(ranges=msgspec.msgpack.encode([]))),
    "a time beyond all days": (encode(timed(1e60)), head()),
    "a time before 1970": (encode(timed(-1e9)), head()),
    "no time": (encode(timed(float("nan"))), head()),
    "an order that is none": (b"\x81\xa1a\x01", head(kind=b"control")),
    "an order of text that is none": (b"\x81\xa1\xff\x01", head(kind=b"control")),
}


def as_sealed(record: tuple[bytes | None, Headers], name: str = "routed") -> tuple[bytes | None, Headers]:
    """The record as a worker of ours would have written it that has gone mad."""
    return record[0], sealed(SETTINGS, *record, name=name)


@pytest.mark.parametrize("of", [as_sealed, lambda record: record], ids=["sealed", "foreign"])
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_of_routed_that_makes_no_sense_is_named_with_its_place(
    record: tuple[bytes | None, Headers], of: Callable[[tuple[bytes | None, Headers]], tuple[bytes | None, Headers]]
) -> None:
    """If this fails, a worker ends with a traceback that nobody can read, or a detector is blamed and switched off."""
    task = DetectTask.build(0, SETTINGS, {}, SEED, Metrics())
    with pytest.raises(StateError, match="`routed` partition 0 offset 7"):
        task.apply(7, *of(record))
    assert task.applied.offsets == {}
    task.apply(8, *as_sealed((GOOD, head())))
    assert task.counts.rows == 2


def test_a_column_of_a_newer_version_is_passed_over() -> None:
    """If this fails, an ingest that is upgraded before detect loses the events of a day, or has them misread."""
    newer = BATCH.append_column("later", pa.array([1.0, 2.0]))
    known, _, mask = schema_id(BATCH).partition(b":")
    schema = known + b":%x" % (int(mask, 16) | 1 << len(ROUTED))
    assert encode(decode(encode(newer), schema).arrow) == GOOD
    task = DetectTask.build(0, SETTINGS, {}, SEED, Metrics())
    task.apply(0, encode(newer), sealed(SETTINGS, encode(newer), head(schema=schema)))
    assert task.counts.rows == 2


def test_offsets_within_a_batch_that_lead_out_of_it_are_found() -> None:
    """If this fails, whoever may write to `routed` reads the memory of detect in an alert, or crashes it."""
    found = 0
    for at in range(len(GOOD)):
        damaged = GOOD[:at] + bytes([GOOD[at] ^ 0x7F]) + GOOD[at + 1 :]
        task = DetectTask.build(0, SETTINGS, {}, SEED, Metrics())
        try:
            task.apply(0, *as_sealed((damaged, head())))
        except StateError:
            found += 1
    assert found > 100


def record(**changes: object) -> rollup.RollupRecord:
    """One row about everything."""
    good = {
        "task": 0, "routed_offset": 1, "part": 0, "closed": 5, "buckets": np.array([4], np.int64).tobytes(),
        "kinds": b"\x00", "keys": np.array([0], np.uint64).tobytes(), "labels": ({},),
        "counts": np.zeros(len(rollup.COUNTS)).tobytes(),
    }  # fmt: skip
    return rollup.RollupRecord(**(good | changes))  # type: ignore[arg-type]  # of the right types, as a record has them


ROLLUPS: dict[str, bytes] = {
    "noise": b"\xff" * 40,
    "text that is none": rollup.encode(record(labels=({"project": "xx"},))).replace(b"xx", b"\xff\xfe"),
    "half a row": rollup.encode(record(counts=b"1234567")),
    "fewer buckets than rows": rollup.encode(record(buckets=b"")),
    "more rows than a record has": rollup.encode(record(keys=bytes(8 * (rollup.ROWS_MAX + 1)))),
    "bins of no row": rollup.encode(record(filled=b"\xff\xff\xff\x7f", values=b"\x00\x00\x80\x3f")),
    "a kind that is none": rollup.encode(record(kinds=b"\x09")),
    "not a number": rollup.encode(record(counts=np.full(len(rollup.COUNTS), np.nan).tobytes())),
}


@pytest.mark.parametrize("value", ROLLUPS.values(), ids=ROLLUPS)
def test_a_foreign_record_of_rollups_is_named_with_its_place(value: bytes) -> None:
    """If this fails, one record makes every population detector raise until all are switched off."""
    task = PopulationTask.build(SETTINGS, {}, SEED, Metrics())
    headers = ((H_SCHEMA, rollup.VERSION), (H_LAYOUT, LAYOUT))
    with pytest.raises(StateError, match="`rollups` offset 3"):
        task.apply(3, *as_sealed((value, headers), "rollups"))
    assert task.apply(4, *as_sealed((rollup.encode(record()), headers), "rollups")) is not None
