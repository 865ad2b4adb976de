"""A task that is taken over goes on from its snapshot as if nothing had happened, or says why it does not."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import msgspec
import numpy.typing as npt
import pytest

from gatewatch.clock import ManualClock
from gatewatch.detect.memory import kind
from gatewatch.detect.worker import DetectWorker
from gatewatch.log.base import TopicSpec
from gatewatch.metrics import Metrics
from gatewatch.records import FindingBatch
from gatewatch.registry import Entry, load_all
from gatewatch.settings import DetectorSettings, KafkaSettings, Settings
from gatewatch.simulate.scenario import Simulation
from gatewatch.state import snapshots
from gatewatch.state.hashing import HashSeed
from gatewatch.state.saving import Saver
from gatewatch.testing.routed import SEED, routed_log

PARTITIONS = 2
SETTINGS = Settings(
    kafka=KafkaSettings(partitions=PARTITIONS),
    detectors={
        name: DetectorSettings(mode=None if name in {"credential_stuffing", "rate_spike"} else "off")
        for name in load_all()
    },
)
STATE = SETTINGS.kafka.topic("state")


@pytest.fixture(scope="module")
def values() -> list[bytes]:
    """Ten minutes with an attack in it."""
    run = Simulation("stuffing", rate=8.0, duration_s=600.0, start=1_800_000_000.0, seed=1)
    return [value for window in run.windows() for value in window.values]


class Site:
    """A memory log with routed records, and detect workers on it, one after another."""

    def __init__(self, values: list[bytes], entries: Mapping[str, Entry] | None = None) -> None:
        self.log = routed_log(SETTINGS, values)
        self.clock, self.metrics = ManualClock(), Metrics()
        self.entries = dict(entries or load_all())

    def worker(self, entries: Mapping[str, Entry] | None = None, seed: HashSeed = SEED) -> DetectWorker:
        saver = Saver(kind(SETTINGS), self.log, SETTINGS, seed, clock=self.clock, metrics=self.metrics)
        chosen = entries or self.entries
        return DetectWorker(
            self.log, SETTINGS, chosen, seed, member="m", clock=self.clock, metrics=self.metrics, saver=saver
        )

    def records(self, name: str) -> list[bytes]:
        return [v for c in self.log.read(SETTINGS.kafka.topic(name)) for v in c.values if v is not None]

    def restored(self, start: str) -> float:
        return self.metrics.registry.get_sample_value("gatewatch_restores_total", {"start": start}) or 0.0


def _run(worker: DetectWorker, steps: int = 1_000_000) -> None:
    """Turn until there is nothing left to read, or so often."""
    while steps > 0 and (worker.step(0.0) or not worker.caught_up):
        steps -= 1


def _whole(values: list[bytes]) -> Site:
    """What is said without an interruption."""
    site = Site(values)
    worker = site.worker()
    _run(worker)
    worker.close()
    return site


def test_a_restart_from_a_snapshot_says_what_an_undisturbed_run_says(values: list[bytes]) -> None:
    """If this fails, each deploy makes alerts that nobody can reproduce, or swallows some."""
    expected = _whole(values).records("findings")
    assert any(msgspec.json.decode(v, type=FindingBatch).findings for v in expected)
    site = Site(values)
    for steps in (5, 3, 1_000_000):
        worker = site.worker()
        _run(worker, steps)
        worker.close()
    assert sorted(site.records("findings")) == sorted(expected)
    assert site.restored("snapshot") > 0
    assert site.restored("beginning") == 0


def test_a_killed_worker_is_followed_from_its_last_snapshot(values: list[bytes]) -> None:
    """If this fails, a kill -9 costs or doubles findings, or a restart reads a whole day again."""
    expected = _whole(values).records("findings")
    site = Site(values)
    worker = site.worker()
    _run(worker, 4)
    for _ in range(2 * PARTITIONS + 2):
        site.clock.advance(100.0)
        worker.step(0.0)
        _join()
    worker.close(flush=False)
    worker = site.worker()
    worker.step(0.0)
    assert site.restored("snapshot") == 1
    _run(worker)
    worker.close()
    said = [msgspec.json.decode(v, type=FindingBatch) for v in site.records("findings")]
    once = {(b.task, b.routed_offset): v for b, v in zip(said, site.records("findings"), strict=True)}
    assert sorted(once.values()) == sorted(expected)


def test_a_damaged_snapshot_is_refused_and_the_log_is_read_from_its_start(values: list[bytes]) -> None:
    """If this fails, a broken disk becomes a task that scores by rubbish, or a worker that never starts again."""
    expected = _whole(values).records("findings")
    site = Site(values)
    worker = site.worker()
    _run(worker, 6)
    worker.close()
    with closing(site.log.producer()) as producer:
        for partition, manifest in list(snapshots.manifests(site.log, STATE)):
            key = snapshots.chunk_key(manifest.task, manifest.id, 0)
            producer.send(STATE, b"not what was there", partition=partition, key=key)
    worker = site.worker()
    _run(worker)
    worker.close()
    assert site.restored("snapshot") == 0
    assert site.restored("beginning") > 0
    assert sorted(site.records("findings")) == sorted(expected)


def test_a_detector_of_another_version_learns_alone_and_the_others_keep_what_they_know(values: list[bytes]) -> None:
    """If this fails, a new version of one detector throws away the baselines of all others, or is blind for a day."""
    site = Site(values)
    entry = site.entries["credential_stuffing"]
    assert entry.detector is not None
    before = type("Before", (entry.detector,), {"version": entry.detector.version - 1})
    worker = site.worker({**site.entries, entry.name: replace(entry, detector=before)})
    _run(worker)
    worker.close()
    told = len(site.records("findings"))
    worker = site.worker()
    _run(worker)
    again = site.records("findings")[told:]
    assert not any(msgspec.json.decode(v, type=FindingBatch).findings for v in again)
    fresh = Site(values).worker()
    _run(fresh)
    for partition, task in worker.tasks.items():
        mine, theirs = task.memory(), fresh.tasks[partition].memory()
        assert set(mine.arrays) == set(theirs.arrays)
        assert [n for n, a in theirs.arrays.items() if not _same(mine.arrays[n], a)] == []
        assert mine.book == theirs.book
    worker.close()
    fresh.close()


def test_a_snapshot_of_a_topic_that_was_made_again_is_refused(values: list[bytes]) -> None:
    """If this fails, after `routed` was deleted and created a worker waits for offsets that will not come for days."""
    site = Site(values)
    worker = site.worker()
    _run(worker)
    worker.close()
    site.log.delete(SETTINGS.kafka.topic("routed"))
    with closing(site.log.admin()) as admin:
        admin.create([TopicSpec(SETTINGS.kafka.topic("routed"), PARTITIONS)])
    worker = site.worker()
    _run(worker)
    assert site.restored("beginning") == PARTITIONS
    worker.close()


def test_older_snapshots_are_removed_once_a_newer_one_counts(values: list[bytes]) -> None:
    """If this fails, the state topic grows without end, or a reader finds a manifest whose chunks are gone."""
    site = Site(values)
    for steps in (3, 3, 3):
        worker = site.worker()
        _run(worker, steps)
        worker.close()
    tasks = {m.task for _partition, m in snapshots.manifests(site.log, STATE)}
    assert tasks == {"population", *(f"detect-{n}" for n in range(PARTITIONS))}
    live: dict[bytes, bytes | None] = {}
    for chunk in site.log.read(STATE):
        live |= {key: v for key, v in zip(chunk.keys, chunk.values, strict=True) if key is not None}
    kept = {key for key, v in live.items() if v is not None}
    wanted = set()
    for _partition, m in snapshots.manifests(site.log, STATE):
        wanted |= {snapshots.manifest_key(m.task)}
        wanted |= {snapshots.chunk_key(m.task, m.id, n) for n in range(len(m.digests))}
    assert kept == wanted


def test_a_snapshot_the_log_refuses_does_not_stop_detection(values: list[bytes]) -> None:
    """If this fails, a full state topic takes the whole detection down."""
    expected = _whole(values).records("findings")
    site = Site(values)
    site.log.fail_sends(STATE)
    worker = site.worker()
    _run(worker, 4)
    site.clock.advance(100.0)
    worker.step(0.0)
    _join()
    _run(worker)
    worker.close()
    assert sorted(site.records("findings")) == sorted(expected)
    assert site.metrics.registry.get_sample_value("gatewatch_snapshots_total", {"result": "dropped"})


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Byte for byte, but for the padding between the fields of a row."""
    if a.dtype.names is None:
        return a.tobytes() == b.tobytes()
    return all(_same(a[name], b[name]) for name in a.dtype.names)


def _join() -> None:
    """Wait for the threads that write snapshots, as far as they do not wait for the loop."""
    for thread in threading.enumerate():
        if thread.name.startswith("snapshot-"):
            thread.join(0.5)
