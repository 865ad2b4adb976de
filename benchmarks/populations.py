"""What is coarser than a key: one endpoint with all the traffic against a thousand, and the cost of a bucket."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pyarrow as pa
from common import Figure, Results, events
from detect import SEED, SETTINGS, columns_of, records

from gatewatch.detect.population import PopulationTask
from gatewatch.detect.reading import Ours
from gatewatch.detect.task import DetectTask
from gatewatch.events import rollup
from gatewatch.ingest.columns import Columns
from gatewatch.ingest.routing import route
from gatewatch.metrics import Metrics
from gatewatch.registry import Entry, load_all

EVENTS = 60_000  # 30 s of 2,000 a second
PARTITIONS = 8
RUNS = 5


def run(results: Results) -> None:
    """Add this module's figures."""
    entries = load_all()
    columns = {endpoints: columns_of(events(EVENTS, endpoints=endpoints)) for endpoints in (1, 1000)}
    batches = {endpoints: route(of, 1)[0] for endpoints, of in columns.items()}
    spent: dict[int, list[float]] = {endpoints: [] for endpoints in columns}
    buckets: dict[int, list[float]] = {endpoints: [] for endpoints in columns}
    for batch in batches.values():  # the first run touches pages and code for all
        _measured(entries, batch)
    for _ in range(RUNS):  # in turn, so that what else the machine does hits both
        for endpoints, batch in batches.items():
            rows_s, bucket_s = _measured(entries, batch)
            spent[endpoints].append(rows_s)
            buckets[endpoints].append(bucket_s)
    for endpoints, seconds in spent.items():
        rates = [EVENTS / s for s in seconds]
        share = _fullest(columns[endpoints])
        note = f"keys and populations; the fullest of {PARTITIONS} partitions has {share:.2f} times the mean"
        what = "one endpoint with all the traffic" if endpoints == 1 else "a thousand endpoints"
        results.add(Figure(what, statistics.median(rates), "rows/s", (min(rates), max(rates)), note=note))
        ms = [1e3 * s for s in buckets[endpoints]]
        name = f"populations, a bucket of {endpoints:,} endpoint{'s' if endpoints > 1 else ''}"
        results.add(Figure(name, 1e3 * statistics.median(ms), "us", (1e3 * min(ms), 1e3 * max(ms))))
    results.add(_ratio(spent[1], spent[1000]))


def _ratio(one: list[float], thousand: list[float]) -> Figure:
    """What a row costs where one endpoint has all rows, over what it costs where a thousand share them; in per cent.

    Each run against the one after it, so that a machine that slows down slows both.
    """
    shares = [100.0 * a / b for a, b in zip(one, thousand, strict=True)]
    note = f"the same rows but for the endpoint's name; median of {len(shares)} pairs of runs; at most 100: not hot"
    spread = (min(shares), max(shares))
    return Figure("CPU a row, one endpoint against a thousand", statistics.median(shares), "%", spread, 100, note=note)


def _measured(entries: dict[str, Entry], batch: pa.RecordBatch) -> tuple[float, float]:
    """CPU seconds of all rows through keys and populations, and of populations for one bucket."""
    task = DetectTask.build(0, SETTINGS, entries, SEED, Metrics())
    population = PopulationTask.build(SETTINGS, entries, SEED, Metrics())
    ours = Ours.of(SETTINGS.kafka, SEED, "rollups", 0)
    at, in_populations, total = 0, 0.0, 0.0
    buckets: set[int] = set()
    for offset, (value, of) in enumerate(records(batch, 1000)):
        began = time.process_time()
        task.apply(offset, value, of)
        closed = [rollup.encode(record) for record in task.closed()]
        middle = time.process_time()
        for record in closed:
            population.apply(at, record, ours.headers(record, rollup.VERSION))
            at += 1
        ended = time.process_time()
        total, in_populations = total + ended - began, in_populations + ended - middle
        buckets |= {int(b) for r in closed for b in np.unique(rollup.rows_of(rollup.decode(r, rollup.VERSION)).buckets)}
    return total, in_populations / max(len(buckets), 1)


def _fullest(columns: Columns) -> float:
    """Rows of the fullest routed partition over the mean."""
    rows = np.diff(route(columns, PARTITIONS)[1])
    return float(rows.max() / rows.mean())
