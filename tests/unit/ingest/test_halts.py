"""A source that cannot be read is paused, told of, tried again, and nothing of it is lost or doubled meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import msgspec
import numpy as np
import pytest

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.events.batch import decode
from gatewatch.ingest.dead import unreadable
from gatewatch.ingest.halts import LONGEST_RETRY_S, TRIAL_VALUES, Halts
from gatewatch.ingest.raw import columns_of
from gatewatch.ingest.read import Read
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import Chunk, TopicPartition, TopicSpec, Unreadable
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_RANGES, H_SCHEMA, Alert, FindingBatch, Mode, SourceRange, Status
from gatewatch.settings import IngestSettings, Settings
from gatewatch.state.hashing import HashSeed

T0 = 1_790_000_000.0
A, B = TopicPartition("access", 0), TopicPartition("access", 1)
BAD = b"Server: what is this?"


def good(n: int, at: float = T0) -> list[bytes]:
    """So many events that can be read."""
    return [msgspec.json.encode({"ts": at, "principal": f"p{i}", "ip": "192.0.2.1", "status": 200}) for i in range(n)]


class Site:
    """A log with a source of two partitions, and one ingest worker that says what it cannot see."""

    def __init__(self, **ingest: object) -> None:
        self.settings = Settings.model_validate({
            "kafka": {"partitions": 2}, "sources": [{"topic": "access", "format": "native"}], "ingest": ingest,
        })  # fmt: skip
        self.clock = ManualClock(T0)
        self.log = MemoryLog(self.clock)
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec("access", 2), *specs(self.settings)])
        self.metrics = Metrics()
        self.worker = self.new_worker()
        self.worker.step(0.0)

    def new_worker(self, *, history: bool = False) -> IngestWorker:
        needs = None if history else ()
        return IngestWorker(
            self.log, self.settings, HashSeed(1, 2), member="i", clock=self.clock, metrics=self.metrics, needs=needs,
            history=history,
        )  # fmt: skip

    def write(self, tp: TopicPartition, values: Sequence[bytes]) -> None:
        self.log.extend(tp, values)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, a tenth of a second a turn."""
        for _ in range(round(seconds * 10)):
            self.worker.step(0.0)
            self.clock.advance(0.1)
            if until():
                return

    def read(self) -> list[tuple[int, int]]:
        """Source partition and offset of each row in `routed` in its where role, sorted."""
        rows: list[tuple[int, int]] = []
        for chunk in self.log.read(self.settings.kafka.topic("routed")):
            for value, headers in zip(chunk.values, chunk.headers, strict=True):
                head = dict(headers)
                if head[H_KIND] == b"batch" and value is not None:
                    batch = decode(value, head[H_SCHEMA])
                    where = batch.role & 2 != 0
                    src, offset = np.asarray(batch.column("src"))[where], np.asarray(batch.column("offset"))[where]
                    rows += zip(src.tolist(), offset.tolist(), strict=True)
        return sorted(rows)

    def dead(self) -> int:
        return sum(len(chunk.offsets) for chunk in self.log.read(self.settings.kafka.topic("dead-letters")))

    def paused(self, tp: TopicPartition) -> float | None:
        labels = {"topic": tp.topic, "partition": str(tp.partition)}
        return self.metrics.registry.get_sample_value("gatewatch_source_paused", labels)

    def findings(self) -> list[str]:
        values = [v for c in self.log.read(self.settings.kafka.topic("findings")) for v in c.values if v is not None]
        return [f.reason for v in values for f in msgspec.json.decode(v, type=FindingBatch).findings]


def test_a_run_of_bad_elements_pauses_its_partition_only_and_says_so() -> None:
    """If this fails, a gateway's new log format goes down the drain, and the other gateways with it."""
    site = Site()
    site.write(A, [BAD] * 1000)
    site.run(0.5)
    site.write(A, [BAD] * 500)
    site.write(B, good(300))
    site.run(5.0)
    assert (site.paused(A), site.paused(B)) == (1.0, 0.0)
    assert site.dead() == 1000
    assert site.read() == [(1, offset) for offset in range(300)]
    assert site.findings() == ["source_paused"]
    assert site.worker.caught_up  # it is ready: what waits is not for it to read


@pytest.mark.parametrize("size", [1, 7, 300])
def test_what_can_be_read_again_goes_on_where_it_was_and_once(size: int) -> None:
    """If this fails, a source that was mended stays dark until somebody restarts ingest, or counts twice."""
    site = Site()
    site.write(A, [BAD] * 1000)
    site.run(0.5)
    values = [BAD] * 150 + good(1000)
    for start in range(0, len(values), size):
        site.write(A, values[start : start + size])
    site.run(59.0)
    assert site.read() == []  # it waits
    site.run(3.0)
    assert site.dead() == 1000 + TRIAL_VALUES
    site.run(120.0)  # the next wait is twice as long
    assert site.dead() == 1150
    assert site.read() == [(0, offset) for offset in range(1150, 2150)]
    assert site.paused(A) == 0.0
    site.worker.close()
    consumer = site.log.consumer(["access"], group="gatewatch.ingest", member="look")
    assert consumer.committed([A, B]) == {A: 2150, B: 0}


def test_one_that_stays_broken_costs_little_for_ever() -> None:
    """If this fails, a pause is only a slow drain."""
    site = Site()
    site.write(A, [BAD] * 1000)
    site.run(0.5)
    site.write(A, [BAD] * 50_000)
    for _ in range(8 * 360):
        site.worker.step(0.0)
        site.clock.advance(10.0)
    trials = (site.dead() - 1000) / TRIAL_VALUES
    assert 8 * 3600.0 / LONGEST_RETRY_S <= trials <= 8 * 3600.0 / LONGEST_RETRY_S + 5


def test_half_a_source_that_cannot_be_read_pauses_it_and_a_tenth_does_not() -> None:
    """If this fails, a format that is wrong for most is drained; or whoever sends some garbage blinds a source."""
    some, most = Site(), Site()
    for _ in range(20):
        some.write(A, [*good(9), BAD] * 30)
        most.write(A, (good(4) + [BAD] * 6) * 30)
        some.run(0.3)
        most.run(0.3)
    some.run(2.0)
    most.run(2.0)
    assert (some.paused(A), most.paused(A)) == (0.0, 1.0)
    assert some.findings() == ["dead_letters"]
    assert most.dead() <= 1000


def test_a_batch_that_was_passed_over_counts_for_all_that_is_in_it() -> None:
    """If this fails, a gateway whose batches are all too large is drained a thousand values at a time."""
    site = Site()
    consumer = site.log.consumer(["access"], group="g", member="m")
    halts = Halts(IngestSettings(), consumer)
    consumer.poll(0.0)
    for first, paused in ((0, set()), (600, {A})):
        passed_over = Unreadable("zip bomb", first, first + 599, b"")
        chunk = Chunk(A, [first + 599], [None], unreadable={first + 599: passed_over})
        none = np.zeros(0, np.int64)
        halts.decoded(A, Read(columns_of([]), none, none, unreadable(chunk)))
        halts.turn(0.0)
        assert halts.paused == paused


def test_the_limits_can_be_moved_and_switched_off() -> None:
    """If this fails, who must read a dirty source cannot."""
    never = Site(dead_letter_run=10**9, dead_letter_share=1)
    soon = Site(dead_letter_run=10)
    for site in (never, soon):
        site.write(A, [BAD] * 3000)
        site.run(3.0)
    assert (never.paused(A), never.dead()) == (0.0, 3000)
    assert soon.paused(A) == 1.0


def test_a_partition_that_comes_back_to_us_is_read_afresh() -> None:
    """If this fails, a rebalance leaves a partition paused that its owner thinks it reads."""
    site = Site()
    site.write(A, [BAD] * 1000)
    site.run(0.5)
    site.log.expel("gatewatch.ingest", "i")
    site.run(0.5)
    site.worker.close(flush=False)
    site.worker = site.new_worker()
    site.write(A, good(10))
    site.run(1.0)
    assert site.read() == [(0, offset) for offset in range(1000, 1010)]


def test_a_paused_partition_does_not_hold_the_others_up_in_event_time() -> None:
    """If this fails, one broken gateway stops alignment, and with it all sources."""
    site = Site()
    site.write(A, good(10, T0 - 3600.0) + [BAD] * 2000)
    site.run(0.5)
    site.write(A, [BAD] * 10)
    site.write(B, good(100, T0))
    site.run(3.0)
    site.write(B, good(100, T0 + 1.0))
    site.run(3.0)
    assert [row for row in site.read() if row[0] == 1] == [(1, offset) for offset in range(200)]


def test_a_replay_reads_everything_and_says_nothing_of_its_source() -> None:
    """If this fails, `gatewatch replay` of a dirty file stops in the middle, or ends with an alert about silence."""
    site = Site()
    site.worker.close()
    site.worker = site.new_worker(history=True)
    site.write(A, [BAD] * 5000 + good(10))
    site.run(20_000.0, until=lambda: site.worker.caught_up)
    site.worker.flush()
    site.run(1000.0)
    assert site.dead() == 5000
    assert len(site.read()) == 10
    assert site.findings() == []


def test_the_alert_opens_blocks_nobody_and_resolves_itself_after_a_restart() -> None:
    """If this fails, nobody hears that a source is paused; or the alert stays open when it is long mended."""
    site = Site()
    decide = DecideWorker(
        site.log, site.settings, {}, Catalog(), member="d", clock=site.clock, metrics=site.metrics, watch=True
    )
    site.write(A, [BAD] * 1000)
    site.run(5.0)
    site.worker.close()
    site.worker = site.new_worker()  # as with new settings: it knows nothing of the alert
    site.write(A, good(1))
    for _ in range(200):
        site.run(5.0)
        decide.step(0.0)
    values = [v for c in site.log.read(site.settings.kafka.topic("alerts")) for v in c.values if v is not None]
    first, *_others, last = [Alert.model_validate_json(value) for value in values]
    assert (first.detector, first.reason, first.status, first.mode) == (
        "gatewatch", "source_paused", Status.OPEN, Mode.ALERT,
    )  # fmt: skip
    assert first.severity == "high"
    assert first.playbook.endswith("watch/PLAYBOOK.md")
    assert "1,000 of 1,000 elements" in first.contributions[0].text
    assert (last.id, last.status) == (first.id, Status.RESOLVED)
    assert last.valid_until - last.last_ts == 600.0
    assert list(site.log.read(site.settings.kafka.topic("decisions"))) == []


def test_nothing_is_claimed_of_a_partition_that_is_not_read() -> None:
    """If this fails, detect believes that all of a paused source was seen, and what comes later is late for ever."""
    site = Site()
    site.write(A, [*good(1), *([BAD] * 1000)])
    site.run(0.5)
    paused_at = site.clock.now()
    site.run(30.0)
    newest = max(
        ranges.watermark
        for chunk in site.log.read(site.settings.kafka.topic("routed"))
        for headers in chunk.headers
        for ranges in msgspec.msgpack.decode(dict(headers)[H_RANGES], type=list[SourceRange])
        if (ranges.topic, ranges.partition) == A
    )
    assert newest <= paused_at
