"""The sums of all tasks together: whole buckets once, in order, whoever speaks first."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import ClassVar

import msgspec
import numpy as np
import pytest

import gatewatch
from gatewatch.decide.control import Controls
from gatewatch.detect.population import PATIENCE, PopulationTask
from gatewatch.detect.reading import Ours
from gatewatch.detect.running import MAX_RAISES
from gatewatch.detect.task import DetectTask
from gatewatch.errors import StateError, UnreadableError
from gatewatch.events.rollup import (
    COUNTS,
    ROWS_MAX,
    SPAN_S,
    VERSION,
    WIDTH,
    Rollup,
    RollupRecord,
    Rows,
    encode,
    records,
)
from gatewatch.metrics import Metrics
from gatewatch.records import FindingBatch, Opinion, Release
from gatewatch.registry import Defaults, Entry
from gatewatch.sdk import (
    Contribution,
    DetectorConfig,
    Explanation,
    PopulationDetector,
    PopulationHit,
    RawFinding,
    Reason,
    Scope,
    Severity,
    TableStats,
)
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.state.hashing import HashSeed, hash_text
from gatewatch.testing.batches import SEED

N = 3
SETTINGS = Settings(kafka=KafkaSettings(partitions=N))
OURS = Ours.of(SETTINGS.kafka, SEED, "rollups", 0)
BUSY = Reason(1, "busy", "Busy", "requests", Severity.LOW, learned=False)


class Busy(PopulationDetector):
    """Tells of everything that has more than 10 requests in a bucket; remembers what it was given."""

    name = "busy"
    version = 1
    Config = DetectorConfig
    scopes = (Scope.PROJECT, Scope.ALL)
    reasons = (BUSY,)
    given: ClassVar[list[tuple[float, list[float]]]] = []

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        n = rollup.column("requests")
        Busy.given.append((rollup.start, n.tolist()))
        return [self._hit(int(i), rollup, float(n[i])) for i in np.flatnonzero(n > 10)]

    def _hit(self, row: int, rollup: Rollup, n: float) -> PopulationHit:
        scope = Scope.PROJECT if rollup.kinds[row] else Scope.ALL
        return PopulationHit(row, scope, BUSY, n, 10.0, n, 10.0, SPAN_S, rollup.start, warm=True)

    def explain(self, finding: RawFinding) -> Explanation:
        return Explanation((Contribution("requests", finding.nats, "requests"),), "10", "not at 10")

    def opinion(self, scope: Scope, key: int) -> Opinion:
        del scope, key
        return Opinion.QUIET

    def snapshot(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        return {"given": np.array([len(Busy.given)], np.float64)}

    def restore(self, arrays: object) -> None:
        del arrays

    def tables(self) -> dict[str, TableStats]:
        return {}


class Listening(Busy):
    """Remembers whom it was told to release; raises at the first time."""

    name = "listening"
    told: ClassVar[list[tuple[Scope, int, float]]] = []

    def release(self, scope: Scope, key: int, until: float) -> None:
        Listening.told.append((scope, key, until))
        if len(Listening.told) == 1:
            raise RuntimeError("a fault in somebody's detector")


class Broken(Busy):
    """Raises at every bucket."""

    name = "broken"

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        raise RuntimeError("a fault in somebody's detector")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    Busy.given.clear()
    yield
    Busy.given.clear()
    Listening.told.clear()


def _task(*detectors: type[PopulationDetector]) -> PopulationTask:
    entries = {d.name: Entry(d.name, None, Defaults(), "1. look", files(gatewatch), d) for d in detectors or (Busy,)}
    return PopulationTask.build(SETTINGS, entries, SEED, Metrics())


def _rows(bucket: int, requests: dict[str, float]) -> Rows:
    """A bucket's rows: "" is everything, the rest are projects."""
    names = sorted(requests)
    counts = np.zeros((len(names), len(COUNTS)))
    counts[:, COUNTS.index("requests")] = [requests[name] for name in names]
    return Rows(
        np.full(len(names), bucket, np.int64),
        np.array([1 if name else 0 for name in names], np.uint8),
        np.array([sum(name.encode()) for name in names], np.uint64),
        tuple({"project": name} if name else {} for name in names),
        counts,
        np.zeros((len(names), WIDTH), np.float32),
    )


def _record(task: int, offset: int, closed: int, rows: Rows | None = None) -> RollupRecord:
    rows = rows if rows is not None else _rows(0, {})
    return next(iter(records(task, offset, closed, rows)))


def _apply(task: PopulationTask, said: Sequence[RollupRecord], first: int = 0) -> list[FindingBatch]:
    values = [encode(record) for record in said]
    told = [task.apply(first + i, value, OURS.headers(value, VERSION)) for i, value in enumerate(values)]
    return [batch for batch in told if batch is not None]


def test_a_bucket_is_given_once_every_task_has_closed_it() -> None:
    """An endpoint would be judged by the part of its traffic that one worker happened to see."""
    task = _task()
    said = [_record(t, 5, 101, _rows(100, {"": 5.0, "shop": 4.0})) for t in range(N)]
    _apply(task, said[:2])
    assert Busy.given == []
    told = _apply(task, said[2:], first=2)
    assert Busy.given == [(1000.0, [15.0, 12.0])]
    assert [(f.scope, f.key, f.observed) for f in told[0].findings] == [
        (Scope.ALL, "all", 15.0),
        (Scope.PROJECT, "shop", 12.0),
    ]
    assert (told[0].task, told[0].watermark) == (N, 1010.0)


def test_the_order_of_tasks_does_not_matter() -> None:
    """The same traffic would give other findings in a replay, where tasks take turns."""
    said = [_record(t, b, b + 1, _rows(b, {"": 1.0 + t, "shop": 20.0 * b})) for t in range(N) for b in range(6)]
    expected: list[tuple[float, list[float]]] | None = None
    ids: set[str] | None = None
    for seed in range(20):
        Busy.given.clear()
        rng, left = random.Random(seed), {t: [r for r in said if r.task == t] for t in range(N)}
        mixed = []
        while any(left.values()):
            mixed.append(left[rng.choice([t for t in left if left[t]])].pop(0))
        found = {f.id for batch in _apply(_task(), mixed) for f in batch.findings}
        expected, ids = expected or list(Busy.given), ids or found
        assert Busy.given == expected
        assert found == ids


def test_what_is_said_again_counts_once() -> None:
    """A worker that was killed says its last seconds again: a rate would double."""
    task = _task()
    said = [_record(t, 5, 101, _rows(100, {"": 5.0})) for t in range(N)]
    _apply(task, [said[0], said[0], said[1], said[1], said[0], said[2], said[2]])
    assert Busy.given == [(1000.0, [15.0])]


def test_a_task_that_is_gone_is_waited_for_and_then_not() -> None:
    """One dead worker would blind all population detectors, or a slow one would be counted out of time."""
    task = _task()
    _apply(task, [_record(t, 1, 100) for t in range(N)])
    first = 100
    for b in range(first, first + PATIENCE):  # hours of two tasks are read before the third speaks: a backlog
        _apply(task, [_record(t, b, 100 * b, _rows(b, {"": 1.0})) for t in range(2)], first=b)
    assert Busy.given == []
    for b in range(first + PATIENCE, first + 2 * PATIENCE):
        _apply(task, [_record(t, b, 100 * b) for t in range(2)], first=b)
    assert Busy.given[0] == (1000.0, [2.0])
    given = len(Busy.given)
    _apply(task, [_record(2, 901, 100 * 1000, _rows(100, {"": 7.0}))], first=901)  # it is back, and late
    _apply(task, [_record(t, 902, 100 * 1000) for t in range(2)], first=902)
    assert sum(sum(n) for _, n in Busy.given[given:]) == 7.0


def test_one_closing_in_many_parts_is_one_time_to_wait_for() -> None:
    """A replay of a quiet site would drop whole tasks: what one batch closes comes in dozens of records."""
    task = _task()
    _apply(task, [_record(t, 1, 100) for t in range(N)])
    one = _record(0, 5, 100 + 300, _rows(100, {"": 5.0}))
    empty = _record(0, 5, 100 + 300)
    parts = [one, *(msgspec.structs.replace(empty, part=part) for part in range(1, PATIENCE * N + 9))]
    _apply(task, parts, first=10)
    assert Busy.given == []
    _apply(task, [_record(t, 5, 100 + 300, _rows(100, {"": 5.0})) for t in range(1, N)], first=10 + len(parts))
    assert Busy.given == [(1000.0, [15.0])]


def test_a_large_closing_travels_in_parts_and_counts_whole() -> None:
    """A site with many endpoints would lose rows, or send a record that the broker refuses."""
    many = _rows(100, {f"p{i:04d}": 1.0 for i in range(ROWS_MAX + 5)})
    parts = list(records(0, 7, 101, many))
    assert [len(r.labels) for r in parts] == [ROWS_MAX, 5]
    task = _task()
    _apply(task, [_record(1, 7, 101), _record(2, 7, 101), *parts])
    assert sum(sum(n) for _, n in Busy.given) == ROWS_MAX + 5


def test_restored_it_goes_on_where_it_was() -> None:
    """After a restart a bucket would be given twice, or with a part missing."""
    here = _task()
    _apply(here, [_record(t, 1, 100) for t in range(N)])
    _apply(here, [_record(t, 5, 101, _rows(100, {"": 5.0, "shop": 6.0})) for t in range(2)], first=10)
    there = _task()
    assert there.become(here.memory(), 12, 0) == 12
    for task in (here, there):
        Busy.given.clear()
        told = _apply(task, [_record(2, 5, 101, _rows(100, {"": 5.0}))], first=12)
        assert Busy.given == [(1000.0, [15.0, 12.0])]
        assert [f.key for f in told[0].findings] == ["all", "shop"]


def test_a_detector_that_raises_is_switched_off_and_the_others_go_on() -> None:
    """One broken detector would end the worker, again and again."""
    task = _task(Broken, Busy)
    for b in range(100, 100 + MAX_RAISES + 2):
        _apply(task, [_record(t, b, b + 1, _rows(b, {"": 5.0})) for t in range(N)], first=10 * b)
    assert task.quarantined == ["broken"]
    assert len(Busy.given) == MAX_RAISES + 2


def test_what_a_person_expects_comes_through_one_detect_task_and_counts_once() -> None:
    """A change of a whole project that its owner announced would be told of until the detector forgets, for a week."""
    entries = {"listening": Entry("listening", None, Defaults(), "1. look", files(gatewatch), Listening)}
    controls = Controls.of(SETTINGS.kafka, SEED)
    tasks = [DetectTask.build(p, SETTINGS, entries, SEED, Metrics()) for p in range(N)]
    said: list[RollupRecord] = []
    for offset, scope in enumerate((Scope.ALL, Scope.PROJECT, Scope.PRINCIPAL)):
        records = controls.records(Release(scope=scope, key="shop", until=7e9))
        for task, record in zip(tasks, records, strict=True):
            assert task.apply(offset, *record) is None
            said += task.closed()
    population = _task(Listening)
    _apply(population, said * 2)
    assert Listening.told == [(Scope.ALL, 0, 7e9), (Scope.PROJECT, hash_text("shop", SEED), 7e9)]
    assert population.running["listening"].raised == 1
    _apply(population, [_record(t, 5, 101, _rows(100, {"": 5.0})) for t in range(N)], first=20)
    assert Busy.given == [(1000.0, [15.0])], "it closes no bucket, and holds none back"


def test_another_layout_or_version_is_refused() -> None:
    """Sums of other keys would be mixed with ours; or those of an upgraded worker would be missing, for good."""
    value, noise = encode(_record(0, 1, 1)), b"not a record"
    other = Ours.of(KafkaSettings(partitions=N + 1), SEED, "rollups", 0)
    for bad, headers in ((value, other.headers(value, VERSION)), (noise, OURS.headers(noise, VERSION))):
        with pytest.raises(UnreadableError):
            _task().apply(0, bad, headers)
    with pytest.raises(StateError, match="upgrade") as caught:
        _task().apply(0, value, OURS.headers(value, b"rollups/99"))
    assert not isinstance(caught.value, UnreadableError)


def test_who_does_not_know_the_seed_stops_no_sums_and_adds_none() -> None:
    """If this fails, one line that names a version, or a made up sum, ends population detection or misleads it."""
    value = encode(_record(0, 1, 1))
    forged = Ours.of(SETTINGS.kafka, HashSeed(1, 2), "rollups", 0)
    for schema in (VERSION, b"rollups/99"):
        theirs = Ours(OURS.layout, forged.seal, 0).headers(value, schema)
        for headers in (theirs, theirs[:-1]):
            task = _task()
            with pytest.raises(UnreadableError, match="seal"):
                task.apply(0, value, headers)
            assert task.pass_over(0, headers) is None
            assert task.now == float("-inf")
