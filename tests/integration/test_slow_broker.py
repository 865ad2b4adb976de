"""A broker that takes less than ingest could send: ingest slows down, holds a bounded amount, and loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from gatewatch.clock import SystemClock, stopwatch
from gatewatch.events.batch import decode
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log import kafka_producer, open_log
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_SCHEMA
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EVENTS = 40_000  # some 25 MB in `routed`
ROOM_BYTES = 2 << 20  # that may be in flight here, for the shipped 32 MB
BYTES_S = 3 << 20  # that the broker takes: ingest alone would send ten times as much
PATIENCE_S = 120.0


@pytest.fixture
def slow_broker(own_broker: Broker) -> Iterator[Broker]:
    """Every producer is held to :data:`BYTES_S` by the broker, which answers late: that is how Kafka throttles."""
    quota = ("--bootstrap-server", own_broker.bootstrap, "--entity-type", "clients", "--entity-default", "--alter")
    own_broker.tool("kafka-configs.sh", *quota, "--add-config", f"producer_byte_rate={BYTES_S}")
    yield own_broker
    own_broker.tool("kafka-configs.sh", *quota, "--delete-config", "producer_byte_rate")


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slow_broker_slows_ingest_down_and_memory_stays_flat(
    own_broker: Broker, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that reads on while it cannot write would be killed for its memory, at the worst time of the day."""
    monkeypatch.setattr(kafka_producer, "MAX_IN_FLIGHT_BYTES", ROOM_BYTES)
    name = f"t{uuid4().hex[:8]}"
    source = TopicPartition(f"{name}-access", 0)
    settings = Settings.model_validate({
        "kafka": {"bootstrap": [own_broker.bootstrap], "prefix": name, "partitions": 2, "client": "kafka-python"},
        "sources": [{"topic": source.topic, "format": "native"}],
    })  # fmt: skip
    with closing(open_log(settings.kafka)) as log:
        with closing(log.admin()) as admin:
            admin.create([TopicSpec(source.topic, 1), *specs(settings)])
        with closing(log.producer()) as producer:
            for i in range(EVENTS):
                event = {"ts": 1.79e9, "principal": f"p{i}", "ip": "192.0.2.1", "status": 200, "user_agent": "x" * 200}
                producer.send(source.topic, msgspec.json.encode(event), partition=0)
            producer.flush(PATIENCE_S)
        request.getfixturevalue("slow_broker")
        worker = IngestWorker(log, settings, HashSeed(1, 2), member="i", clock=SystemClock(), metrics=Metrics())
        sender = worker._producer
        assert isinstance(sender, kafka_producer.KafkaProducer)
        began, highest, first, most = stopwatch(), 0, 0, 0
        while worker.events_read < EVENTS:
            worker.step(0.1)
            most = max(most, sender._bytes)
            if worker.events_read > EVENTS // 4:
                first = first or _rss_bytes()
                highest = max(highest, _rss_bytes())
            assert stopwatch() - began < PATIENCE_S
        worker.close()
        routed = sent = 0
        for chunk in log.read(settings.kafka.topic("routed")):
            for value, headers in zip(chunk.values, chunk.headers or [], strict=True):
                if value and (head := dict(headers))[H_KIND] == b"batch":
                    sent += len(value)
                    routed += decode(value, head[H_SCHEMA]).n
        with closing(log.consumer([source.topic], group=f"{name}.ingest", member="j")) as after:
            committed = after.committed([source])

    assert committed == {source: EVENTS}
    assert routed >= EVENTS
    assert sent > 5 * ROOM_BYTES  # it had to wait, many times
    assert ROOM_BYTES // 2 < most <= ROOM_BYTES + (1 << 20)  # a record is let in where there is any room
    assert highest - first < 64 << 20
