"""The same log gives the same findings, alerts and decisions: at any speed, in any cut, from a snapshot or the start.

What is byte for byte the same: everything that follows from one routed log, however it is read (test 1 and 2). Where
the rows themselves stand in other records, a finding is the same bytes, and so is the end of each alert and each
decision, but for the numbers that name a place in the log (test 3).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import memory as decide_memory
from gatewatch.decide.decider import Decider
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.memory import kind
from gatewatch.detect.task import DetectTask
from gatewatch.detect.worker import DetectWorker
from gatewatch.events.batch import decode, encode, schema_id
from gatewatch.log.base import Chunk, Headers, Polled, TopicPartition
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_RANGES, H_SCHEMA, Alert, Decision, Finding, FindingBatch, SourceRange, Status
from gatewatch.registry import Entry, load_all, names
from gatewatch.settings import Settings
from gatewatch.simulate.scenario import Simulation
from gatewatch.state.saving import Saver
from gatewatch.testing.routed import SEED, routed_log, sealed

SETTINGS = Settings.model_validate(
    {
        "kafka": {"partitions": 2},
        # The contract suite holds every detector to any cut; here is one that sees keys, populations and thresholds.
        "detectors": {name: {"mode": "block" if name == "credential_stuffing" else "off"} for name in names()},
    }
)
START = 1_800_000_000.0
CUTS = [1, 7, 500, 5000]  # records a poll; the last takes all there is
SPEEDS = [0.0, 0.01, 30.0]  # seconds of the wall clock a turn: no commit at all, some, one and a snapshot each turn
EVERY = 100  # rows of the log, then a tick
Worker = DetectWorker | DecideWorker
W = TypeVar("W", DetectWorker, DecideWorker)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    """The detector folders."""
    return load_all()


@pytest.fixture(scope="module")
def values() -> list[bytes]:
    """Attacks within ordinary traffic."""
    found = []
    for n, scenario in enumerate(("stuffing", "spraying")):
        run = Simulation(scenario, rate=4.0, duration_s=240.0, start=START + 240.0 * n, seed=n)
        found += [value for window in run.windows() for value in window.values]
    return found


class Site:
    """A memory log with something to read in it, and workers on it that read at most ``cut`` records a poll."""

    def __init__(self, log: MemoryLog, entries: dict[str, Entry], cut: int) -> None:
        self.log, self.clock, self.metrics = log, ManualClock(START), Metrics()
        self._entries, self._cut = entries, cut

    def detect(self) -> DetectWorker:
        saver = Saver(kind(SETTINGS), self.log, SETTINGS, SEED, clock=self.clock, metrics=self.metrics)
        worker = DetectWorker(
            self.log, SETTINGS, self._entries, SEED, member="m", clock=self.clock, metrics=self.metrics, saver=saver
        )
        return self._slow(worker)

    def decide(self) -> DecideWorker:
        saver = Saver(decide_memory.KIND, self.log, SETTINGS, SEED, clock=self.clock, metrics=self.metrics)
        worker = DecideWorker(
            self.log, SETTINGS, self._entries, Catalog(), member="m", clock=self.clock, metrics=self.metrics,
            saver=saver,
        )  # fmt: skip
        return self._slow(worker)

    def run(self, make: Callable[[], Worker], speed_s: float, *, killed: bool) -> None:
        """Read all there is; where ``killed``, with a kill -9 in the middle, after a snapshot."""
        worker = make()
        if killed:
            self._turns(worker, 40 if self._cut < 100 else 3, speed_s)
            for _ in range(12):  # time for a snapshot of every task
                self.clock.advance(SETTINGS.state.every)
                worker.step(0.0)
                for thread in threading.enumerate():
                    if thread.name.startswith("snapshot-"):
                        thread.join(0.5)
            worker.close(flush=False)
            worker = make()
            self._turns(worker, 3, speed_s)
            assert self.metrics.registry.get_sample_value("gatewatch_restores_total", {"start": "snapshot"})
        self._turns(worker, 1_000_000, speed_s)
        worker.close()

    def said(self, *names: str) -> list[list[bytes]]:
        """All of some topics; a record that was sent again counts once."""
        return [list(dict.fromkeys(_values(self.log, name))) for name in names]

    def _turns(self, worker: Worker, most: int, speed_s: float) -> None:
        quiet = 0
        while most > 0 and quiet < 3:
            quiet = 0 if worker.step(0.0) else quiet + 1
            self.clock.advance(speed_s)
            most -= 1

    def _slow(self, worker: W) -> W:
        consumer: Any = worker._consumer
        poll, most = consumer.poll, self._cut

        def polled(timeout_s: float, max_records: int = 5000) -> Polled:
            found: Polled = poll(timeout_s, min(most, max_records))
            return found

        consumer.poll = polled
        return worker


def _values(log: MemoryLog, name: str) -> Iterator[bytes]:
    """Values of one of our topics."""
    for chunk in log.read(SETTINGS.kafka.topic(name)):
        yield from (value for value in chunk.values if value is not None)


@pytest.mark.parametrize("killed", [False, True], ids=["from the start", "from a snapshot"])
@pytest.mark.parametrize("cut", CUTS)
def test_one_routed_log_gives_the_same_findings_byte_for_byte(
    values: list[bytes], entries: dict[str, Entry], cut: int, killed: bool
) -> None:
    """If this fails, nobody can find out afterwards why an alert fired, and a restart changes who is accused."""
    expected = _undisturbed(values, entries)
    site = Site(routed_log(SETTINGS, values, size=EVERY), entries, cut)
    site.run(site.detect, SPEEDS[CUTS.index(cut) % len(SPEEDS)], killed=killed)
    findings, rollups = site.said("findings", "rollups")
    # Whose records come first is up to the log's reader; populations hear of both tasks in that order.
    keys = range(SETTINGS.kafka.partitions)
    assert [_of(findings, task) for task in keys] == [_of(expected[0], task) for task in keys]
    assert sorted(rollups) == sorted(expected[1])
    assert _population(findings) == _population(expected[0])


@pytest.mark.parametrize("killed", [False, True], ids=["from the start", "from a snapshot"])
@pytest.mark.parametrize(("cut", "speed_s"), [*zip(CUTS, [*SPEEDS, 0.0], strict=True), (7, 30.0), (500, 0.01)])
def test_one_log_of_findings_gives_the_same_alerts_byte_for_byte(
    values: list[bytes], entries: dict[str, Entry], cut: int, speed_s: float, killed: bool
) -> None:
    """If this fails, a replay of last week shows other alerts than people were sent."""
    findings = _undisturbed(values, entries)[0]
    expected = None
    for n, kill, pace in ((5000, False, SPEEDS[1]), (cut, killed, speed_s)):
        log = MemoryLog()
        with closing(log.admin()) as admin:
            admin.create(specs(SETTINGS))
        log.extend(TopicPartition(SETTINGS.kafka.topic("findings"), 0), findings)
        site = Site(log, entries, n)
        site.run(site.decide, pace, killed=kill)
        said = site.said("alerts", "incidents", "decisions", "actions")
        assert said[0]
        assert said[2]
        assert expected is None or said == expected
        expected = said


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_rows_cut_into_other_records_give_the_same_findings_alerts_and_decisions(
    values: list[bytes], entries: dict[str, Entry], rows: int
) -> None:
    """If this fails, how busy ingest was decides who is accused."""
    routed = list(routed_log(SETTINGS, values, size=EVERY).read(SETTINGS.kafka.topic("routed")))
    as_it_came, cut = _flow(_one_by_one(routed), entries), _flow(_cut(_one_by_one(routed), rows), entries)
    assert as_it_came[0]
    assert cut == as_it_came


_known: dict[int, list[list[bytes]]] = {}


def _undisturbed(values: list[bytes], entries: dict[str, Entry]) -> list[list[bytes]]:
    """Findings and rollups of one run that takes all there is, and stops in good order."""
    if id(values) not in _known:
        site = Site(routed_log(SETTINGS, values, size=EVERY), entries, 5000)
        site.run(site.detect, SPEEDS[1], killed=False)
        _known[id(values)] = site.said("findings", "rollups")
    return _known[id(values)]


def _of(findings: list[bytes], task: int) -> list[bytes]:
    return [value for value in findings if msgspec.json.decode(value, type=FindingBatch).task == task]


def _population(findings: list[bytes]) -> list[Finding]:
    """What is said on populations, without the places of the records that closed a bucket."""
    said = [msgspec.json.decode(v, type=FindingBatch) for v in _of(findings, SETTINGS.kafka.partitions)]
    return [msgspec.structs.replace(finding, sample="") for batch in said for finding in batch.findings]


Routed = tuple[int, bytes | None, Headers]  # partition, value, headers


def _one_by_one(chunks: list[Chunk]) -> Iterator[Routed]:
    for chunk in chunks:
        for value, headers in zip(chunk.values, chunk.headers, strict=True):
            yield chunk.tp.partition, value, headers


def _cut(records: Iterator[Routed], rows: int) -> Iterator[Routed]:
    """The same rows in records of at most ``rows``, with the ranges that ingest would give them."""
    for partition, value, headers in records:
        head = dict(headers)
        if head[H_KIND] != b"batch" or value is None:
            yield partition, value, headers
            continue
        batch = decode(value, head[H_SCHEMA])
        ranges = msgspec.msgpack.decode(head[H_RANGES], type=list[SourceRange])
        assert len(ranges) == 1  # one source partition, and one event a value: any cut is one that ingest could make
        offsets = np.asarray(batch.column("offset"))
        start, whole = ranges[0].start, ranges[0]
        for low in range(0, batch.n, rows):
            piece, last = batch.take(np.arange(low, min(low + rows, batch.n))), low + rows >= batch.n
            stop = whole.stop if last else int(offsets[low + rows - 1]) + 1
            part = msgspec.structs.replace(
                whole, start=start, stop=stop, watermark=whole.watermark if last else -np.inf, opened=low == 0
            )
            start = stop
            replaced = {H_RANGES: msgspec.msgpack.encode([part]), H_SCHEMA: schema_id(piece.arrow)}
            again, changed = encode(piece.arrow), tuple((name, replaced.get(name, v)) for name, v in headers)
            yield partition, again, sealed(SETTINGS, again, changed, partition=partition)


def _flow(records: Iterator[Routed], entries: dict[str, Entry]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Findings; the end of each alert; decisions: of one task after the other, and without places in the log."""
    tasks = [DetectTask.build(q, SETTINGS, entries, SEED, Metrics()) for q in range(SETTINGS.kafka.partitions)]
    decider = Decider(SETTINGS, entries, Catalog())
    findings: list[bytes] = []
    alerts: dict[str, Alert] = {}
    decisions: dict[str, Decision] = {}
    offsets = [0] * len(tasks)
    for n, (partition, value, headers) in enumerate(records):
        batch = tasks[partition].apply(offsets[partition], value, headers)
        offsets[partition] += 1
        if batch is None:
            continue
        findings += [msgspec.json.encode(finding) for finding in batch.findings]
        decided = decider.apply(batch, n)
        alerts |= {alert.id: alert.model_copy(update={"revision": 0}) for alert in decided.alerts}
        decisions |= {d.id: d.model_copy(update={"findings_offset": 0}) for d in decided.decisions}
    # A day later everything is over: until then an alert says what it was when it was last worth a revision.
    for task in range(len(tasks)):
        over = FindingBatch(task=task, routed_offset=1 << 40, watermark=START + 86400.0)
        decided = decider.apply(over, 1 << 40)
        alerts |= {alert.id: alert.model_copy(update={"revision": 0}) for alert in decided.alerts}
    assert {alert.status for alert in alerts.values()} == {Status.RESOLVED}
    return (
        findings,
        [alert.model_dump_json().encode() for _, alert in sorted(alerts.items())],
        [decision.model_dump_json().encode() for _, decision in sorted(decisions.items())],
    )
