"""Detect alone: routed records in, findings out, at 10, 100 and 1,000 rows a record; and its cost by number of keys."""

from __future__ import annotations

import time
from collections import defaultdict

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common import Figure, Results, events, repeat, rss_mb

from gatewatch.detect.compile import warm_up
from gatewatch.detect.task import DetectTask
from gatewatch.events.batch import ROUTED, encode, schema_id
from gatewatch.events.formats import get
from gatewatch.ingest.columns import Cleaner, Columns
from gatewatch.ingest.routing import route
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, Seal, SourceRange
from gatewatch.registry import Entry, load_all
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.state.hashing import HashSeed

SEED = HashSeed.from_secret("bench")
SETTINGS = Settings(kafka=KafkaSettings(partitions=1))
SEAL = Seal(SEED, SETTINGS.kafka.topic("routed"))


def columns_of(values: list[bytes]) -> Columns:
    """Cleaned columns, ready for routing."""
    decoded = get("native").decode(values)
    columns = Cleaner(SEED).columns(decoded.events)
    n = len(decoded.events)
    return columns.place(
        ts=columns.numbers["ts_raw"],
        src=np.zeros(n, np.uint16),
        offset=np.arange(n),
        index=np.zeros(n, np.int32),
    )


def routed(values: list[bytes]) -> pa.RecordBatch:
    """All rows of one partition."""
    return route(columns_of(values), 1)[0]


def records(batch: pa.RecordBatch, rows: int) -> list[tuple[bytes, tuple[tuple[str, bytes], ...]]]:
    """The batch as routed records of that many rows."""
    out: list[tuple[bytes, tuple[tuple[str, bytes], ...]]] = []
    for low in range(0, batch.num_rows, rows):
        part = batch.slice(low, rows)
        ranges = [SourceRange("id", 0, low, low + part.num_rows, 0.0, topic="bench")]
        headers = (
            (H_KIND, b"batch"),
            (H_SCHEMA, schema_id(part)),
            (H_LAYOUT, f"1:{SEED.id}".encode()),
            (H_RANGES, msgspec.msgpack.encode(ranges)),
        )
        value = encode(part)
        out.append((value, SEAL.sealed(0, value, headers)))
    return out


def lean(values: list[bytes]) -> int:
    """A dictionary of counters a minute, as one would write it by hand."""
    decode = msgspec.json.Decoder(dict).decode
    counts: dict[tuple[str, int], int] = defaultdict(int)
    failures: dict[tuple[str, int], int] = defaultdict(int)
    for value in values:
        event = decode(value)
        minute = int(event["ts"] // 60)
        counts[event.get("principal", ""), minute] += 1
        counts[event["ip"], minute] += 1
        if event["status"] == 401:
            failures[event["ip"], minute] += 1
    return len(values)


def run(results: Results) -> None:
    """Add this module's figures."""
    entries = load_all()
    warm_up(entries)
    values = events(200_000)
    batch = routed(values)
    lean_rate, _ = repeat(lambda: lean(values), 3)
    for rows in (10, 100, 1000):
        rates = sorted(_steady(entries, records(batch, rows)) for _ in range(3))
        note = "all detectors, tables warm; lean: msgspec and dictionaries of counters"
        target = 500_000 if rows == 1000 else None
        spread = (rates[0], rates[-1])
        results.add(Figure(f"detect, {rows} rows a record", rates[1], "rows/s", spread, target, None, lean_rate, note))
    _by_keys(results, batch)
    _copies(results, entries)


def _steady(entries: dict[str, Entry], recs: list[tuple[bytes, tuple[tuple[str, bytes], ...]]]) -> float:
    """Rows a second in the second half: a new task first touches the memory of its tables, which is another cost."""
    task = DetectTask.build(0, SETTINGS, entries, SEED, Metrics())
    half = len(recs) // 2
    for offset, (value, headers) in enumerate(recs[:half]):
        task.apply(offset, value, headers)
    before, began = task.counts.rows, time.process_time()
    for offset, (value, headers) in enumerate(recs[half:], half):
        task.apply(offset, value, headers)
    return (task.counts.rows - before) / (time.process_time() - began)


def _copies(results: Results, entries: dict[str, Entry]) -> None:
    """For how long a snapshot stops a task's loop: the whole tables are copied, then a thread writes them."""
    task = DetectTask.build(0, SETTINGS, entries, SEED, Metrics())
    memory = task.memory()  # touches the tables, which is another cost
    spent: list[float] = []
    for _ in range(15):
        began = time.thread_time()
        memory = task.memory()
        spent.append((time.thread_time() - began) * 1e11 / memory.nbytes)
    spent.sort()
    note = f"CPU; one task with the tables of a whole installation, {memory.nbytes / 1e6:.0f} MB; at most 50"
    results.add(Figure("copy of a task for a snapshot", spent[7], "ms for 100 MB", (spent[0], spent[-1]), note=note))


def _by_keys(results: Results, batch: pa.RecordBatch) -> None:
    """Cost of a row, and memory, from 1 k to 10 M distinct keys: every row a key of its own where there are enough.

    And of 10 M rows of 2 M keys, five at a time: those that come again are given rows, and take them from others.
    """
    entries = load_all()
    rng = np.random.default_rng(1)
    base = batch.slice(0, 10_000)
    few = 0.0
    for keys, each in ((1_000, 0), (100_000, 0), (10_000_000, 1), (2_000_000, 5)):
        task = DetectTask.build(0, SETTINGS, entries, SEED, Metrics())
        before = rss_mb()
        spent, rows = 0.0, 0
        for turn in range(max(20, keys * each // 10_000)):
            ids = (
                np.arange(turn * 10_000, turn * 10_000 + 10_000) // each if each else rng.integers(1, keys + 1, 10_000)
            )
            part = _with_keys(base, ids.astype(np.uint64), turn)
            value, headers = records(part, 10_000)[0]
            ranges = [SourceRange("id", 0, turn * 10_000, turn * 10_000 + 10_000, 0.0, topic="bench")]
            headers = SEAL.sealed(0, value, (*headers[:3], (H_RANGES, msgspec.msgpack.encode(ranges))))
            began = time.process_time()
            task.apply(turn, value, headers)
            if turn >= 5 and (not each or turn % 10 == 0):
                spent += time.process_time() - began
                rows += 10_000
        grown = rss_mb() - before
        few = few or spent / rows
        note = f"a row costs {spent / rows / few:.1f} times what it does at 1,000 keys; RSS +{grown:.0f} MB"
        name = f"detect, {keys:,} keys" + (f", {each} rows each" if each > 1 else "")
        results.add(Figure(name, rows / spent, "rows/s", (0, 0), note=note))
    _table_sizes(results, task)


def _table_sizes(results: Results, task: DetectTask) -> None:
    """What all tables of one task may hold: no flood of keys can make them larger."""
    sizes = [stats.nbytes for detector in task.detectors.values() for stats in detector.tables().values()]
    note = "of all detectors, over all partitions: most that keys can take (target: at most 300 MB)"
    results.add(Figure("tables", sum(sizes) / 1e6, "MB", (0, 0), note=note))


def _with_keys(base: pa.RecordBatch, ids: npt.NDArray[np.uint64], turn: int) -> pa.RecordBatch:
    mixed = _spread(ids)
    changed = {name: pa.array(mixed) for name in ("k_principal", "k_credential", "k_account", "k_ip", "k_network")}
    changed["ts"] = pa.array(base.column("ts").to_numpy() + turn * 5.0)
    changed["offset"] = pa.array(np.arange(turn * 10_000, turn * 10_000 + base.num_rows))
    schema = pa.schema([f for f in ROUTED if f.name in changed or f.name in base.schema.names])
    arrays = [changed[name] if name in changed else base.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _spread(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Different keys for different numbers, spread as hashes are (the finaliser of splitmix64): not evenly."""
    z = ids * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
