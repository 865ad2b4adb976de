"""Whoever takes decide over goes on from its snapshot as if nothing had happened, or says why it does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gatewatch import verdicts
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.decide.memory import KIND, TASK, Memory
from gatewatch.decide.worker import DecideWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog, MemoryProducer
from gatewatch.metrics import Metrics
from gatewatch.records import Action, Decision, Finding, FindingBatch, Mode, Scope, VerdictKind
from gatewatch.registry import Entry
from gatewatch.settings import Settings, VerdictSettings
from gatewatch.state import saving, snapshots
from gatewatch.state.hashing import HashSeed
from gatewatch.state.savable import Kind
from gatewatch.state.saving import Saver

Make = Callable[..., Finding]
T0 = 1_700_000_000.0
FINDINGS = TopicPartition("gatewatch.findings", 0)
STATE = TopicPartition("gatewatch.state", 0)
SAID = ("alerts", "incidents", "decisions", "actions")
SEED = HashSeed.from_secret("here")


class Site:
    """A memory log with our topics, and workers on it, one after another."""

    def __init__(self, entries: dict[str, Entry], make: Make, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()
        names = ("findings", *SAID, "verdicts", "state")
        self.log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in names])
        self.clock, self.metrics = ManualClock(T0), Metrics()
        self._entries, self._make = entries, make
        self._producer = self.log.producer()

    def worker(self, member: str = "a", seed: HashSeed = SEED, kind: Kind[Memory] = KIND) -> DecideWorker:
        """One more member, which saves what it knows."""
        settings = Settings.model_validate({"verdicts": {"actors": ["ana"]}})
        saver = Saver(kind, self.log, settings, seed, clock=self.clock, metrics=self.metrics)
        return DecideWorker(
            self.log, settings, self._entries, Catalog(), member=member, clock=self.clock, metrics=self.metrics,
            saver=saver,
        )  # fmt: skip

    def again(self) -> Site:
        """Another one, where nothing has happened yet."""
        return Site(self._entries, self._make)

    def find(self, start: int, stop: int) -> None:
        """What detect says: one record a minute on one of three keys, with pauses that end episodes at 3 and at 6."""
        for n in range(start, stop):
            at = 60.0 * n + 2000.0 * ((n >= 3) + (n >= 6))
            finding = self._make(at, n=n, key=f"203.0.113.{n % 3}")
            batch = FindingBatch(task=0, routed_offset=n, watermark=T0 + at, findings=(finding,))
            self._producer.send(FINDINGS.topic, msgspec.json.encode(batch), partition=0)

    def values(self, name: str) -> list[bytes]:
        """All that is in a topic of ours."""
        return [v for chunk in self.log.read(f"gatewatch.{name}") for v in chunk.values if v is not None]

    def said(self) -> list[list[bytes]]:
        """All that people and gateways hear."""
        return [self.values(name) for name in SAID]

    def run(self, worker: DecideWorker) -> int:
        """Until there is nothing more to do and what was done is committed; how many records were read."""
        worker.step(0.0)
        read = 0
        while done := worker.step(0.0):
            read += done
        self.clock.advance(2.0)
        return read + worker.step(0.0)

    def save(self, worker: DecideWorker) -> None:
        """Let time come for a snapshot, and let it be written."""
        self.clock.advance(100.0)
        self.write(worker)

    def write(self, worker: DecideWorker) -> None:
        """Let the snapshot that is on its way, or due, be written."""
        for _ in range(3):
            worker.step(0.0)
            for thread in threading.enumerate():
                if thread.name.startswith("snapshot-"):
                    thread.join(0.5)

    def restored(self, start: str) -> float:
        """How often a worker began there."""
        return self.metrics.registry.get_sample_value("gatewatch_restores_total", {"start": start}) or 0.0


@pytest.fixture
def undisturbed(entries: dict[str, Entry], make_finding: Make) -> list[list[bytes]]:
    """What is said where nothing happens."""
    site = Site(entries, make_finding)
    worker = site.worker()
    site.find(0, 60)
    site.run(worker)
    return site.said()


@pytest.fixture
def site(entries: dict[str, Entry], make_finding: Make) -> Site:
    """An empty one."""
    return Site(entries, make_finding)


def test_a_clean_stop_is_followed_from_its_last_record(site: Site, undisturbed: list[list[bytes]]) -> None:
    """If this fails, each deployment of decide reads seven days of findings again while new ones wait."""
    for start in (0, 20, 40):
        site.find(start, start + 20)
        worker = site.worker()
        site.run(worker)
        worker.close()
    assert site.restored("snapshot") == 2.0
    assert site.restored("beginning") == 0.0
    assert site.said() == undisturbed


def test_a_killed_worker_is_followed_from_its_last_snapshot(site: Site, undisturbed: list[list[bytes]]) -> None:
    """If this fails, a kill -9 alerts again under other ids, or reads everything again."""
    worker = site.worker("a")
    site.find(0, 20)
    site.run(worker)
    site.save(worker)
    site.find(20, 40)
    site.run(worker)
    worker.close(flush=False)
    site.find(40, 60)
    standby = site.worker("b")
    assert site.run(standby) < 60
    assert site.restored("snapshot") == 1.0
    standby.close()
    assert site.said() == undisturbed


def test_what_was_said_and_not_committed_is_said_again_in_the_same_bytes(
    site: Site, undisturbed: list[list[bytes]]
) -> None:
    """If this fails, what a killed worker repeats has other ids, and people are paged twice."""
    worker = site.worker("a")
    site.find(0, 20)
    site.run(worker)
    site.save(worker)
    site.find(20, 60)
    worker.step(0.0)  # said, and killed before the commit
    worker.close(flush=False)
    standby = site.worker("b")
    site.run(standby)
    for told, expected in zip(site.said(), undisturbed, strict=True):
        assert list(dict.fromkeys(told)) == expected
    assert len(site.values("alerts")) > len(undisturbed[0])


def test_people_are_heard_once_whoever_dies(site: Site) -> None:
    """If this fails, after a restart a block that a person lifted comes back, or an order is taken twice."""
    worker = site.worker("a")
    site.find(0, 3)
    site.run(worker)
    block = records_io.read_decision(site.values("decisions")[0], "")
    removal = block.model_copy(update={"removed": T0, "removed_by": "bo", "findings_offset": -1})
    put(site, "decisions", removal.id, records_io.write(removal))
    site.find(3, 6)
    site.save(worker)  # it takes effect at 3, and the snapshot is made before its acknowledgement comes back to us
    first = next(a for v in site.values("alerts") if (a := records_io.read_alert(v, "")).key == "203.0.113.1")
    actors = VerdictSettings.model_validate({"actors": ["ana"]})
    false = verdicts.verdict_on(first, VerdictKind.FALSE_ALARM, actor="ana", reason="ours", now=T0, settings=actors)
    put(site, "verdicts", false.id, verdicts.write(false))
    order = Decision(
        id="m1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.2", reason="by hand", start=T0, until=T0 + 9e4,
        mode=Mode.BLOCK, actor="bo",
    )  # fmt: skip
    put(site, "decisions", order.id, records_io.write(order))
    site.run(worker)  # both take effect at 6, after the snapshot
    site.find(6, 30)
    site.run(worker)
    before = [*site.said(), site.values("verdicts")]
    worker.close(flush=False)
    standby = site.worker("b")
    site.run(standby)
    assert site.restored("snapshot") == 1.0
    assert [*site.said(), site.values("verdicts")] == before
    site.find(30, 60)
    site.run(standby)
    whole = site.again()
    for name in ("decisions", "verdicts"):  # the same words, with the offsets at which they took effect
        for value in site.values(name):
            word = msgspec.json.decode(value)
            if name == "verdicts" or word["detector"] is None or word["removed"] is not None:
                put(whole, name, word["id"], value)
    whole.find(0, 60)
    whole.run(whole.worker())
    for name in ("alerts", "incidents", "actions"):
        assert site.values(name) == whole.values(name)
    assert orders(site) == orders(whole)


@pytest.mark.parametrize("damage", ["chunk", "seed", "schema", "records lost"])
def test_a_snapshot_that_does_not_fit_is_refused_and_the_log_is_read_from_its_start(
    site: Site, undisturbed: list[list[bytes]], damage: str
) -> None:
    """If this fails, a broken disk or another version becomes a decider that blocks by rubbish, or never starts."""
    worker = site.worker()
    site.find(0, 30)
    site.run(worker)
    worker.close()
    seed, kind = SEED, KIND
    [(_, manifest)] = snapshots.manifests(site.log, STATE.topic)
    if damage == "chunk":
        site.log.append(STATE, b"not what was there", snapshots.chunk_key(TASK, manifest.id, 0), ())
    elif damage == "seed":
        seed = HashSeed.from_secret("elsewhere")
    elif damage == "schema":
        kind = Kind(KIND.name, KIND.read, "0-of-tomorrow")
    else:
        beyond = msgspec.json.encode(msgspec.structs.replace(manifest, offset=999))
        site.log.append(STATE, beyond, snapshots.manifest_key(TASK), ())
    site.find(30, 60)
    worker = site.worker(seed=seed, kind=kind)
    with capture_logs() as logs:
        site.run(worker)
    (refused,) = (line for line in logs if line["event"] == "no snapshot is used")
    assert (refused["task"], refused["reads_from"], refused["records_to_read"]) == ("decide", 0, 60)
    assert "gatewatch state verify" in refused["next_time"]
    assert (site.restored("snapshot"), site.restored("beginning")) == (0.0, 1.0)
    assert site.said() == undisturbed
    worker.close()
    site.run(site.worker(seed=seed, kind=kind))  # and the next snapshot is a whole one
    assert site.restored("snapshot") == 1.0


def test_findings_that_were_deleted_and_made_again_are_read_from_their_start(site: Site) -> None:
    """If this fails, decide waits for offsets that will not come for days, and nobody is alerted."""
    worker = site.worker()
    site.find(0, 30)
    site.run(worker)
    worker.close()
    told = len(site.values("alerts"))
    site.log.delete(FINDINGS.topic)
    site.log.admin().create([TopicSpec(FINDINGS.topic, 1)])
    site.find(30, 60)
    site.run(site.worker())
    assert site.restored("beginning") == 1.0
    assert len(site.values("alerts")) > told


def test_a_snapshot_counts_once_all_that_was_said_before_is_acknowledged(
    entries: dict[str, Entry], make_finding: Make
) -> None:
    """If this fails, an alert that the broker lost is in the snapshot as told, and nobody ever hears of it."""
    log = Slow()
    site = Site(entries, make_finding, log)
    worker = site.worker()
    log.holds = True
    site.find(0, 20)
    site.run(worker)
    site.save(worker)
    assert log.held
    assert list(snapshots.manifests(log, STATE.topic)) == []
    log.acknowledge()
    site.save(worker)
    [(_, manifest)] = snapshots.manifests(log, STATE.topic)
    assert (manifest.task, manifest.offset) == ("decide", 20)
    value = site.metrics.registry.get_sample_value
    assert value("gatewatch_snapshots_total", {"result": "written"}) == 1.0
    assert T0 < (value("gatewatch_snapshot_timestamp_seconds") or 0.0) <= site.clock.now()
    assert value("gatewatch_snapshot_bytes") == float(manifest.stored_bytes)
    assert value("gatewatch_snapshot_pause_seconds_count") == 1.0


def test_what_is_on_its_way_when_the_partition_goes_does_not_count(
    entries: dict[str, Entry], make_finding: Make
) -> None:
    """If this fails, a worker that lost `findings` overwrites the snapshot of who has it now."""
    log = Slow()
    site = Site(entries, make_finding, log)
    worker = site.worker()
    log.holds = True
    site.find(0, 20)
    site.run(worker)
    site.save(worker)
    log.expel("gatewatch.decide", "a")
    worker.step(0.0)
    log.acknowledge()
    site.run(worker)  # has taken it over again, and reads all of it
    for thread in threading.enumerate():
        if thread.name.startswith("snapshot-"):
            thread.join(60.0)
    assert list(snapshots.manifests(log, STATE.topic)) == []


def test_what_is_still_being_written_when_the_partition_goes_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a rebalance while chunks are compressed leaves an older snapshot as the one that counts."""
    write, may_go_on = snapshots.write_chunks, threading.Event()

    def slowly(*args: Any) -> None:
        assert may_go_on.wait(60.0)
        write(*args)

    monkeypatch.setattr(snapshots, "write_chunks", slowly)
    worker = site.worker()
    site.find(0, 20)
    site.run(worker)
    site.clock.advance(100.0)
    for _ in range(3):  # all that was said is acknowledged, and yet it does not count
        worker.step(0.0)
    (thread,) = (t for t in threading.enumerate() if t.name.startswith("snapshot-"))
    site.log.expel("gatewatch.decide", "a")
    worker.step(0.0)
    may_go_on.set()
    thread.join(60.0)
    assert list(snapshots.manifests(site.log, STATE.topic)) == []


def test_a_copy_that_takes_many_turns_is_of_the_record_at_which_it_began(
    site: Site, undisturbed: list[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a large decide stands still to be copied; or its snapshot is of no record at all."""
    worker = site.worker("a")
    site.find(0, 20)
    site.run(worker)
    monkeypatch.setattr(saving, "STEP_S", 0.0)  # one object a turn
    site.clock.advance(100.0)
    worker.step(0.0)
    monkeypatch.setattr(saving, "STEP_S", 10.0)
    site.find(20, 40)
    worker.step(0.0)  # goes on while the copy is not whole
    site.write(worker)
    [(_, manifest)] = snapshots.manifests(site.log, STATE.topic)
    assert manifest.offset == 20
    assert (site.metrics.registry.get_sample_value("gatewatch_snapshot_pause_seconds_count") or 0.0) >= 2.0
    site.run(worker)
    worker.close(flush=False)
    site.find(40, 60)
    site.run(site.worker("b"))
    assert site.restored("snapshot") == 1.0
    assert site.said() == undisturbed


@pytest.mark.parametrize("end", ["lost", "closed"])
def test_a_copy_that_is_not_whole_when_the_worker_goes_is_dropped(
    site: Site, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """If this fails, half a copy becomes a snapshot, or a clean stop has none."""
    worker = site.worker("a")
    site.find(0, 20)
    site.run(worker)
    monkeypatch.setattr(saving, "STEP_S", 0.0)
    site.clock.advance(100.0)
    worker.step(0.0)
    if end == "lost":
        site.log.expel("gatewatch.decide", "a")
        worker.step(0.0)
        worker.close(flush=False)
        assert list(snapshots.manifests(site.log, STATE.topic)) == []
    else:
        site.find(20, 30)
        worker.step(0.0)
        worker.close()
        assert [m.offset for _, m in snapshots.manifests(site.log, STATE.topic)] == [30]


class Slow(MemoryLog):
    """Acknowledges what is written, but for snapshots, only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = False
        self.held: list[Callable[[], None]] = []

    def producer(self, *, linger_ms: int = 5) -> MemoryProducer:
        """One whose acknowledgements may be held back."""
        del linger_ms
        return _Holding(self)

    def acknowledge(self) -> None:
        """All that is held back, and what comes."""
        self.holds = False
        for told in self.held:
            told()
        self.held.clear()


class _Holding(MemoryProducer):
    def __init__(self, log: Slow) -> None:
        super().__init__(log)
        self._slow = log

    def _tell(self, on_ack: Callable[[int], None], topic: str, offset: int) -> None:
        if self._slow.holds and topic != STATE.topic:
            self._slow.held.append(partial(on_ack, offset))
        else:
            super()._tell(on_ack, topic, offset)


def orders(site: Site) -> list[Decision]:
    """Our own."""
    found = [records_io.read_decision(value, "") for value in site.values("decisions")]
    return [d for d in found if d.detector is not None and d.removed is None]


def put(site: Site, name: str, key: str, value: bytes) -> None:
    """What a command writes."""
    site.log.append(TopicPartition(f"gatewatch.{name}", 0), value, key.encode(), ())
