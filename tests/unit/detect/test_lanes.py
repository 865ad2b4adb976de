"""Slow detectors in a consumer group of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import gatewatch.detectors
from gatewatch import registry
from gatewatch.clock import ManualClock
from gatewatch.detect.task import SLOW_TASKS
from gatewatch.detect.worker import DetectWorker
from gatewatch.flow import REPLAY_SEED
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import FindingBatch
from gatewatch.registry import Entry
from gatewatch.sdk import Batch, Detector, Hits, Lane
from gatewatch.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "detectors"
SETTINGS = Settings.model_validate({"sources": [{"topic": "events", "format": "native"}], "kafka": {"partitions": 2}})


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    """One fast detector, one slow one."""
    monkeypatch.setattr(gatewatch.detectors, "__path__", [str(EXAMPLES), *gatewatch.detectors.__path__])
    return {name: registry.load(name) for name in ("night_owl", "rate_spike")}


@pytest.fixture
def log(entries: dict[str, Entry]) -> MemoryLog:
    """A log with the night owl's attack, ingested."""
    log = MemoryLog()
    own = SETTINGS.kafka.topic
    admin = log.admin()
    admin.create([TopicSpec("events", 1), TopicSpec(own("routed"), 2), TopicSpec(own("rollups"), 2)])
    admin.create([TopicSpec(own(name), 1) for name in ("findings", "dead-letters")])
    case = (entries["night_owl"].folder / "cases" / "attack-at-three.jsonl").read_bytes()
    log.extend(TopicPartition("events", 0), case.splitlines())
    ingest = IngestWorker(log, SETTINGS, REPLAY_SEED, member="i", clock=ManualClock(), metrics=Metrics(), history=True)
    while ingest.step(0.0) or not ingest.caught_up:
        ingest.flush()
    ingest.tick()
    ingest.close()
    return log


def worker(log: MemoryLog, entries: dict[str, Entry], lane: Lane | None) -> DetectWorker:
    """The only member of its group."""
    return DetectWorker(
        log, SETTINGS, entries, REPLAY_SEED, member="d", clock=ManualClock(), metrics=Metrics(), lane=lane
    )


def said(log: MemoryLog) -> list[FindingBatch]:
    """Everything in `findings`."""
    values = [v for chunk in log.read(SETTINGS.kafka.topic("findings")) for v in chunk.values if v is not None]
    return [msgspec.json.decode(value, type=FindingBatch) for value in values]


def run(one: DetectWorker) -> None:
    """Until there is nothing left to do."""
    one.step(0.0)
    while one.step(0.0):
        pass
    one.close()


def test_each_lane_runs_its_own_and_both_say_everything_once(log: MemoryLog, entries: dict[str, Entry]) -> None:
    """Otherwise a slow detector runs twice, or not at all, and what it finds is dropped as a repetition."""
    run(worker(log, entries, "fast"))
    fast = said(log)
    assert {f.detector for batch in fast for f in batch.findings} <= {"rate_spike"}
    assert {batch.task for batch in fast} <= {0, 1}
    run(worker(log, entries, "slow"))
    slow = said(log)[len(fast) :]
    assert {f.detector for batch in slow for f in batch.findings} == {"night_owl"}
    assert {batch.task for batch in slow} <= {SLOW_TASKS, SLOW_TASKS + 1}


def test_a_slow_detector_that_stands_still_holds_up_nobody(log: MemoryLog, entries: dict[str, Entry]) -> None:
    """Otherwise one team's model delays every alert."""
    slow, fast = worker(log, entries, "slow"), worker(log, entries, "fast")
    slow.step(0.0)  # it has joined and has partitions
    computes, may_end = threading.Event(), threading.Event()
    for owned in slow._owned.values():
        detector = owned.task.running["night_owl"].detector
        assert isinstance(detector, Detector)
        process = detector.process

        def long(batch: Batch, process: Callable[[Batch], Hits] = process) -> Hits:
            computes.set()
            may_end.wait(60.0)
            return process(batch)

        detector.process = long  # type: ignore[method-assign]  # as a model that takes its time
    thread = threading.Thread(target=run, args=(slow,))
    thread.start()
    assert computes.wait(60.0)
    run(fast)  # from its first record to its last, while the model computes
    heard = said(log)
    assert {batch.task for batch in heard} == {0, 1}
    assert fast.caught_up
    may_end.set()
    thread.join(60.0)
    late = said(log)[len(heard) :]
    assert {f.detector for batch in late for f in batch.findings} == {"night_owl"}


def test_lanes_leave_nobody_out(entries: dict[str, Entry]) -> None:
    """Otherwise a detector is configured, and runs in no process."""
    everything = registry.load_all()
    assert {*registry.in_lane(everything, "fast"), *registry.in_lane(everything, "slow")} == set(everything)
    assert registry.in_lane(everything, None) == everything
    assert list(registry.in_lane(entries, "slow")) == ["night_owl"]
