"""A broker that is killed and comes back: nothing lost, nothing twice, the order kept, nobody restarted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from kafka.errors import KafkaConnectionError

from gatewatch.clock import SystemClock
from gatewatch.errors import SendError
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log import kafka_producer
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.kafka import Broker
from gatewatch.testing.logs import WAIT_S, KafkaRig, numbered, until

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["kafka-python", "librdkafka"])
def rig(request: pytest.FixtureRequest, own_broker: Broker) -> Iterator[KafkaRig]:
    """A log on the broker that may be killed; its sessions outlast a slow start of the broker."""
    settings = KafkaSettings(bootstrap=(own_broker.bootstrap,), client=request.param, session_timeout=45.0)
    made = KafkaRig(KafkaLog(settings))
    yield made
    made.log.close()


def test_nothing_is_lost_over_a_kill(rig: KafkaRig, own_broker: Broker) -> None:
    """A crash of one broker would lose alerts, or reorder the events that they follow from."""
    topic, total = rig.topic(), 4000
    tp = TopicPartition(topic, 0)
    acked: list[int] = []
    producer = rig.log.producer()

    def produce() -> None:
        for value in numbered(total):
            producer.send(topic, value, partition=0, on_ack=acked.append)
            time.sleep(0.0005)

    reader = rig.join(topic, values_only=True)
    until(lambda: reader.owned == {tp}, reader)
    thread = threading.Thread(target=produce)
    thread.start()
    until(lambda: len(reader.records) > total // 4, reader)
    own_broker.kill()
    restarting = threading.Thread(target=own_broker.restart)  # librdkafka's commit waits for up to 20 s
    restarting.start()
    reader.consumer.mark(tp, 1)
    reader.consumer.commit()
    restarting.join()
    thread.join()
    producer.flush(WAIT_S)
    producer.close()
    until(lambda: len(reader.records) >= total, reader)
    reader.consumer.mark(tp, total)

    def committed() -> bool:
        """A commit that finds no coordinator yet is made by the next."""
        reader.consumer.commit()
        return reader.consumer.committed([tp]) == {tp: total}

    until(committed, reader)
    assert reader.values == list(numbered(total))
    assert acked == list(range(total))
    assert len(reader.news) == 1  # the assignment at the start: no rebalance since
    reader.close()


@pytest.fixture
def plain(own_broker: Broker) -> Iterator[KafkaLog]:
    """A log for tests of the producer."""
    with closing(KafkaLog(KafkaSettings(bootstrap=(own_broker.bootstrap,)))) as log:
        yield log


def test_a_poll_that_meets_a_refused_connection_finds_nothing(plain: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a worker would end because its broker restarts, and be back after it."""
    rig = KafkaRig(plain)
    topic = rig.topic()
    producer = plain.producer()
    producer.send(topic, b"first")
    producer.flush(WAIT_S)
    producer.close()
    reader = rig.join(topic, values_only=True)
    client = reader.consumer._client  # type: ignore[attr-defined]
    polls, refused = client.poll, iter([KafkaConnectionError("111 ECONNREFUSED")])

    def poll(**options: int) -> object:
        for error in refused:
            raise error
        return polls(**options)

    monkeypatch.setattr(client, "poll", poll)
    until(lambda: len(reader.records) == 1, reader)
    assert next(refused, None) is None, "it was never refused"
    reader.close()


def test_close_without_flush_drops_what_is_queued(plain: KafkaLog) -> None:
    """A worker that ends after an error would still send what it may not."""
    topic = KafkaRig(plain).topic()
    producer = plain.producer(linger_ms=30_000)
    for value in numbered(100):
        producer.send(topic, value)
    began = time.monotonic()
    producer.close(flush=False)
    assert time.monotonic() - began < 15.0  # half of what a flush would have waited
    assert list(plain.read(topic)) == []


def test_a_producer_holds_a_bounded_amount_and_then_fails(
    plain: KafkaLog, own_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a broker is down a worker would grow until the machine kills it."""
    monkeypatch.setattr(kafka_producer, "MAX_IN_FLIGHT_RECORDS", 50)
    monkeypatch.setattr(kafka_producer, "MAX_BLOCK_S", 1.0)
    topic = KafkaRig(plain).topic()
    producer = plain.producer()
    producer.send(topic, b"first")
    producer.flush(WAIT_S)
    own_broker.kill()
    try:
        for value in numbered(50):
            producer.send(topic, value)
        with pytest.raises(SendError, match=r"no room .* 50 records"):
            producer.send(topic, b"one too many")
        with pytest.raises(SendError, match="not acknowledged within"):
            producer.flush(0.2)
        began = time.monotonic()
        producer.close(flush=False)
        assert time.monotonic() - began < 5.0
    finally:
        own_broker.restart()
    assert sum(len(chunk.values) for chunk in plain.read(topic)) == 1


def test_who_is_told_to_stop_does_not_wait_for_room(own_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is stopped while the broker is slow would be killed, ten seconds later, in the middle of it all."""
    monkeypatch.setattr(kafka_producer, "MAX_IN_FLIGHT_RECORDS", 1)
    monkeypatch.setattr(kafka_producer, "MAX_BLOCK_S", 600.0)
    monkeypatch.setattr(kafka_producer, "STOPPING_BLOCK_S", 0.1)
    asked = iter([False, False, True])
    settings = KafkaSettings(bootstrap=(own_broker.bootstrap,))
    with closing(KafkaLog(settings, stopping=lambda: next(asked))) as log:
        topic = KafkaRig(log).topic()
        producer = log.producer(linger_ms=30_000)
        producer.send(topic, b"waits for others")
        with pytest.raises(SendError, match="no room"):
            producer.send(topic, b"has no room")
        assert next(asked, None) is None
        producer.close(flush=False)


def test_bytes_in_flight_are_bounded(plain: KafkaLog, own_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of half a megabyte would fill the memory long before there are many of them."""
    monkeypatch.setattr(kafka_producer, "MAX_IN_FLIGHT_BYTES", 300_000)
    monkeypatch.setattr(kafka_producer, "MAX_BLOCK_S", 0.5)
    topic = KafkaRig(plain).topic()
    producer = plain.producer()
    producer.send(topic, b"first")
    producer.flush(WAIT_S)
    own_broker.kill()
    try:
        producer.send(topic, bytes(200_000))
        with pytest.raises(SendError, match="no room"):
            producer.send(topic, bytes(200_000))
        producer.close(flush=False)
    finally:
        own_broker.restart()


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_a_clean_stop_waits_for_no_broker_that_is_away(own_broker: Broker, client: str) -> None:
    """If this fails, SIGTERM in an outage ends in kill -9: supervisors wait 15 s, and twice that was needed."""
    name = f"t{uuid4().hex[:8]}"
    settings = Settings.model_validate({
        "kafka": {
            "bootstrap": [own_broker.bootstrap], "prefix": name, "partitions": 2, "client": client,
            "session_timeout": 45.0,
        },
        "sources": [{"topic": f"{name}-a", "format": "native"}],
    })  # fmt: skip
    clock = SystemClock()
    with closing(KafkaLog(settings.kafka)) as log:
        with closing(log.admin()) as admin:
            admin.create([TopicSpec(f"{name}-a", 1), *specs(settings)])
        worker = IngestWorker(log, settings, HashSeed(1, 2), member="i", clock=clock, metrics=Metrics())
        deadline = clock.monotonic() + WAIT_S
        while not list(log.read(settings.kafka.topic("routed"))) and clock.monotonic() < deadline:
            worker.step(0.1)  # until there is a tick
        own_broker.kill()
        try:
            outage = clock.monotonic() + 3.0
            while clock.monotonic() < outage:  # ticks wait for acknowledgement, commits fail
                worker.step(0.1)
            began = clock.monotonic()
            with pytest.raises(SendError, match="not acknowledged"):
                worker.close()
            log.close()
            assert clock.monotonic() - began < 10.0
        finally:
            own_broker.restart()
