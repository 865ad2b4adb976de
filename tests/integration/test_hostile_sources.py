"""What cannot be read, on a real broker: zip bombs in compressed batches, garbage of a gateway, garbage in `routed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer

from gatewatch.clock import ManualClock, stopwatch
from gatewatch.detect.worker import DetectWorker
from gatewatch.errors import LogError
from gatewatch.events.batch import decode
from gatewatch.ingest.halts import TRIAL_VALUES
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log import open_log
from gatewatch.log.base import Headers, TopicPartition, TopicSpec
from gatewatch.log.kafka import wants_librdkafka
from gatewatch.log.topics import specs
from gatewatch.log.unpack import UNPACKED_BYTES
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, DeadLetter, FindingBatch, Seal, SourceRange
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

T0 = 1_790_000_000.0
PATIENCE_S = 60.0
BAD = b"Server: what is this?"


def good(n: int) -> list[bytes]:
    """So many events that can be read."""
    return [msgspec.json.encode({"ts": T0, "principal": f"p{i}", "ip": "192.0.2.1", "status": 200}) for i in range(n)]


class Site:
    """Two source topics of a partition each on the broker, and one ingest worker, whose clock the test moves."""

    def __init__(self, bootstrap: str, client: str) -> None:
        name = f"t{uuid4().hex[:8]}"
        self.a, self.b = TopicPartition(f"{name}-a", 0), TopicPartition(f"{name}-b", 0)
        self.settings = Settings.model_validate({
            "kafka": {"bootstrap": [bootstrap], "prefix": name, "partitions": 2, "client": client},
            "sources": [{"topic": tp.topic, "format": "native"} for tp in (self.a, self.b)],
        })  # fmt: skip
        self.bootstrap = bootstrap
        self.log = open_log(self.settings.kafka)
        with closing(self.log.admin()) as admin:
            admin.create([*(TopicSpec(tp.topic, 1) for tp in (self.a, self.b)), *specs(self.settings)])
        self.clock, self.metrics = ManualClock(T0), Metrics()
        self.worker = IngestWorker(
            self.log, self.settings, HashSeed(1, 2), member="i", clock=self.clock, metrics=self.metrics, needs=()
        )

    def write(
        self, tp: TopicPartition, values: Sequence[bytes], compression: str = "none", headers: Headers = ()
    ) -> None:
        """As a gateway with another client than ours does; compressed values share a batch."""
        refused: list[Any] = []
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "compression.type": compression, "linger.ms": 50,
            "message.max.bytes": 2 * UNPACKED_BYTES, "batch.size": 2 * UNPACKED_BYTES,
        })  # fmt: skip
        for value in values:
            producer.produce(
                tp.topic, value, partition=tp.partition, headers=list(headers),
                on_delivery=lambda error, _message: refused.append(error) if error else None,
            )  # fmt: skip
        assert producer.flush(PATIENCE_S) == 0
        assert refused == []

    def until(self, condition: Callable[[], bool], what: str, advance_s: float = 0.1) -> None:
        """Turns of the worker until something is so."""
        deadline = stopwatch() + PATIENCE_S
        while not condition():
            assert stopwatch() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
            self.worker.step(0.05)
            self.clock.advance(advance_s)

    def idle(self, turns: int) -> None:
        """Turns in which nothing is expected."""
        for _ in range(turns):
            self.worker.step(0.02)
            self.clock.advance(0.1)

    def rows(self, tp: TopicPartition) -> list[int]:
        """Offsets of a source in `routed`, one for each event, in order."""
        found: list[int] = []
        for chunk in self.log.read(self.settings.kafka.topic("routed")):
            for value, headers in zip(chunk.values, chunk.headers, strict=True):
                head = dict(headers)
                if head[H_KIND] == b"batch" and value is not None:
                    batch = decode(value, head[H_SCHEMA])
                    src = [self.a, self.b].index(tp)  # sources are numbered by name
                    mine = (batch.role & 2 != 0) & (np.asarray(batch.column("src")) == src)
                    found += np.asarray(batch.column("offset"))[mine].tolist()
        return sorted(found)

    def letters(self) -> list[DeadLetter]:
        """All dead letters."""
        topic = self.settings.kafka.topic("dead-letters")
        return [msgspec.json.decode(v, type=DeadLetter) for c in self.log.read(topic) for v in c.values if v]

    def findings(self) -> list[str]:
        """Reasons of what the worker says it cannot see."""
        values = [v for c in self.log.read(self.settings.kafka.topic("findings")) for v in c.values if v is not None]
        return [f.reason for v in values for f in msgspec.json.decode(v, type=FindingBatch).findings]

    @property
    def reads_by_librdkafka(self) -> bool:
        """Whether the next ingest worker would."""
        with closing(self.log.admin()) as admin:
            return wants_librdkafka(self.settings.kafka, admin.describe([self.a.topic, self.b.topic]).values())

    @property
    def layout(self) -> bytes:
        """As records name it."""
        return f"{self.settings.kafka.partitions}:{HashSeed(1, 2).id}".encode()

    def topic_id(self, tp: TopicPartition) -> str:
        """The id of a source."""
        with closing(self.log.admin()) as admin:
            return admin.describe([tp.topic])[tp.topic].id

    def value(self, metric: str, **labels: str) -> float:
        """What the worker counts."""
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0

    def paused(self, tp: TopicPartition) -> float:
        """The metric."""
        return self.value("gatewatch_source_paused", topic=tp.topic, partition=str(tp.partition))

    def committed(self) -> dict[TopicPartition, int]:
        """What a restart would go on from."""
        with closing(
            self.log.consumer([self.a.topic, self.b.topic], group=f"{self.settings.kafka.prefix}.ingest", member="look")
        ) as consumer:
            return consumer.committed([self.a, self.b])

    def close(self) -> None:
        """End what runs."""
        self.worker.close(flush=False)
        self.log.close()


@pytest.fixture(params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest) -> str:
    """Either client."""
    return str(request.param)


@pytest.fixture
def site(kafka: str, client: str) -> Iterator[Site]:
    """A fresh one."""
    made = Site(kafka, client)
    yield made
    made.close()


@pytest.mark.parametrize("client", ["kafka-python"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_zip_bomb_in_a_batch_is_a_dead_letter_and_reading_goes_on(site: Site, compression: str) -> None:
    """If this fails, whoever may write to a source ends ingest with one small batch, again after each restart."""
    site.write(site.a, good(5), compression)
    site.write(site.a, [bytes(UNPACKED_BYTES)], compression)
    site.write(site.a, good(5), compression)
    site.until(lambda: len(site.rows(site.a)) >= 10, "what stands around it")
    assert site.rows(site.a) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    (letter,) = site.letters()
    assert (letter.topic, letter.partition, letter.offset, letter.reason, letter.raw) == (
        site.a.topic, 0, 5, "batch", None,
    )  # fmt: skip
    assert f"of {compression} that unpack to more than 64 MiB: offsets 5 to 5 cannot be read" in letter.detail
    site.worker.close()
    assert site.committed() == {site.a: 11, site.b: 0}


@pytest.mark.parametrize("client", ["kafka-python"])
def test_detection_goes_on_after_records_of_routed_that_make_no_sense(site: Site) -> None:
    """If this fails, whoever may write one line or one small batch to `routed` ends detection for good."""
    routed = TopicPartition(site.settings.kafka.topic("routed"), 0)
    site.write(site.a, good(20))
    site.until(lambda: len(site.rows(site.a)) >= 20, "what stands before")
    site.write(routed, [b"noise"])
    site.write(routed, [bytes(UNPACKED_BYTES)], "zstd")
    newer = SourceRange(site.topic_id(site.a), 0, 0, 1 << 40, T0, opened=True, topic=site.a.topic)
    head = {
        H_KIND: b"batch",
        H_SCHEMA: b"routed/999:7",
        H_LAYOUT: site.layout,
        H_RANGES: msgspec.msgpack.encode([newer]),
    }
    forger = Seal(HashSeed(3, 4), routed.topic)
    for schema in (b"routed/999:7", b"routed/1:7"):
        claim = tuple((head | {H_SCHEMA: schema}).items())
        site.write(routed, [b"a newer version"], headers=forger.sealed(0, b"a newer version", claim))
    site.write(site.a, good(20))
    site.until(lambda: site.value("gatewatch_events_total", topic=site.a.topic, result="ok") >= 40, "what comes after")
    site.worker.close()
    rows, metrics = site.value("gatewatch_batch_rows_sum"), Metrics()
    detect = DetectWorker(
        site.log, site.settings, {}, HashSeed(1, 2), member="d", clock=site.clock, metrics=metrics, watch=True
    )

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    deadline = stopwatch() + PATIENCE_S
    while value("gatewatch_rows_total") < rows and stopwatch() < deadline:
        detect.step(0.05)
        site.clock.advance(1.0)
    assert value("gatewatch_rows_total") == rows
    detect.close()
    first, second, *forged = sorted(site.letters(), key=lambda letter: letter.offset)
    assert {(x.topic, x.partition, x.reason, x.raw) for x in (first, second, *forged)} == {(*routed, "record", None)}
    assert ["seal" in letter.detail for letter in forged] == [True, True]
    assert (first.size, second.offset) == (len(b"noise"), first.offset + 1)
    assert "unpack to more than 64 MiB" in second.detail
    assert "record_unreadable" in site.findings()
    assert value("gatewatch_unreadable_records_total", of="routed") == 4.0
    assert [value("gatewatch_ranges_total", result=r) for r in ("refused", "lost")] == [0.0, 0.0]


@pytest.mark.parametrize("client", ["librdkafka"])
def test_librdkafka_says_where_it_stops(site: Site) -> None:
    """If this fails, a source stands still for ever, and nothing says so."""
    site.write(site.a, good(1))
    site.write(site.a, [bytes(UNPACKED_BYTES * 7 // 4)], "zstd")  # its own limit is 100 MB
    with pytest.raises(LogError, match=r"-a-0: the batch at offset 1 cannot be read, .*kafka-python"):
        site.until(lambda: False, "an error")


@pytest.mark.parametrize("client", ["auto"])
@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_a_topic_that_keeps_nothing_compressed_takes_no_bomb_and_lets_the_faster_client_read(
    site: Site, compression: str
) -> None:
    """If this fails, `client: auto` reads what strangers compress by a client that unpacks gigabytes."""
    assert not site.reads_by_librdkafka, "as it is, the broker takes a bomb"
    with closing(site.log.admin()) as admin:
        admin.alter(site.a.topic, {"compression.type": "uncompressed"})
        assert not site.reads_by_librdkafka, "of one source"
        admin.alter(site.b.topic, {"compression.type": "uncompressed"})
    wait_until(lambda: site.reads_by_librdkafka, "the new configs")
    site.write(site.a, good(100), compression)
    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):  # 30 KB of it, as they are sent
        site.write(site.a, [bytes(UNPACKED_BYTES // 16)], compression)
    site.write(site.a, good(100), compression)
    site.until(lambda: len(site.rows(site.a)) >= 200, "all but the bomb")
    assert site.letters() == []


@pytest.mark.parametrize("client", ["kafka-python"])
def test_compressed_sources_are_read(site: Site) -> None:
    """If this fails, a gateway that compresses, as most do, ends ingest."""
    for compression in ("gzip", "snappy", "lz4", "zstd"):
        site.write(site.a, good(100), compression)
    site.until(lambda: len(site.rows(site.a)) >= 400, "all of it")
    assert site.rows(site.a) == list(range(400))
    assert site.letters() == []


def test_a_source_that_cannot_be_read_is_paused_and_goes_on_where_it_was(site: Site) -> None:
    """If this fails, a gateway's new log format is drained or read twice, or takes the other gateways with it."""
    site.write(site.a, [BAD] * 1000)
    site.until(lambda: site.paused(site.a) == 1.0, "a pause")
    assert len(site.letters()) == 1000
    site.write(site.a, [BAD] * (TRIAL_VALUES // 2) + good(500))
    site.write(site.b, good(300))
    site.until(lambda: len(site.rows(site.b)) >= 300, "the other source")
    assert (site.paused(site.a), site.paused(site.b)) == (1.0, 0.0)
    assert site.findings() == ["source_paused"]
    site.idle(20)
    assert site.rows(site.a) == []  # it waits
    site.clock.advance(60.0)  # ingest.dead_letter_retry
    site.until(lambda: len(site.rows(site.a)) >= 500, "what can be read again", advance_s=1.0)
    site.until(lambda: site.paused(site.a) == 0.0, "the end of the pause")
    site.worker.close()
    assert len(site.letters()) == 1000 + TRIAL_VALUES // 2
    assert site.rows(site.a) == list(range(1000 + TRIAL_VALUES // 2, 1500 + TRIAL_VALUES // 2))
    assert site.rows(site.b) == list(range(300))
    assert site.committed() == {site.a: 1500 + TRIAL_VALUES // 2, site.b: 300}
