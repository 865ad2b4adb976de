"""Ingest from a real Kafka: one event a message, and arrays of 100, by both clients.

Each beside the limit (confluent-kafka and msgspec decode, nothing else) and a lean loop (kafka-python, msgspec, a
dictionary of counters), in the same run on the same topic.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec
from common import Figure, Results, arrays, events, repeat, rss_mb

from gatewatch.clock import SystemClock
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats import get, names
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log import open_log
from gatewatch.log.topics import specs
from gatewatch.log.base import TopicSpec
from gatewatch.metrics import Metrics
from gatewatch.settings import KafkaSettings, Settings, Source
from gatewatch.state.hashing import HashSeed

SINGLES, ARRAY_EVENTS, ARRAY = 300_000, 600_000, 100
_turn = 0


def run(results: Results, bootstrap: str) -> None:
    """Add this module's figures."""
    for topic, n, size in (("bench-single", SINGLES, 1), ("bench-array", ARRAY_EVENTS, ARRAY)):
        values = events(n)
        _fill(bootstrap, topic, values if size == 1 else arrays(values, size))
        limit, _ = repeat(lambda topic=topic, n=n, size=size: _limit(bootstrap, topic, n, size), 3)
        lean, _ = repeat(lambda topic=topic, n=n: _lean(bootstrap, topic, n), 1)
        kind = "one event a message" if size == 1 else f"arrays of {size}"
        for client in ("kafka-python", "librdkafka"):
            target = {("kafka-python", 1): 60e3, ("librdkafka", 1): 150e3}.get((client, size), 200e3)
            value, spread = repeat(lambda client=client, topic=topic, n=n: _ours(bootstrap, client, topic, n), 3)
            note = f"RSS {rss_mb():.0f} MB"
            results.add(Figure(f"ingest, {kind}, {client}", value, "events/s", spread, target, limit, lean, note))


def formats(results: Results, samples: Callable[[str], list[bytes]]) -> None:
    """Decode cost of each format, single values."""
    for name in names():
        values = samples(name)
        form = get(name)
        value, spread = repeat(lambda form=form, values=values: len(form.decode(values).events), 3)
        results.add(Figure(f"decode, {name}", value, "events/s", spread, note=f"{1e6 / value:.1f} us an event"))


def _fill(bootstrap: str, topic: str, values: Iterable[bytes]) -> None:
    log = open_log(KafkaSettings(bootstrap=(bootstrap,)))
    admin = log.admin()
    admin.create([TopicSpec(topic, 1)])
    admin.create(specs(KafkaSettings(bootstrap=(bootstrap,), prefix=f"{topic}-out")))
    admin.close()
    from confluent_kafka import Producer  # the quickest way to fill a topic

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    for value in values:
        producer.produce(topic, value)
    producer.flush()
    log.close()


def _ours(bootstrap: str, client: str, topic: str, n: int) -> int:
    """A whole ingest worker: decode, clean, route, send, acknowledged by every routed partition."""
    global _turn
    _turn += 1
    kafka = KafkaSettings(bootstrap=(bootstrap,), prefix=f"{topic}-out", client=client)
    settings = Settings(kafka=kafka, sources=(Source(topic=topic, format="native"),))
    log = open_log(kafka)
    group_of_its_own = settings.model_copy(update={"kafka": kafka})
    worker = IngestWorker(
        log, group_of_its_own, HashSeed(1, 2), member=f"bench-{_turn}", clock=SystemClock(), metrics=Metrics()
    )
    while worker.events_read < n:
        worker.step(0.1)
    worker.close()
    log.close()
    return n


def _limit(bootstrap: str, topic: str, n: int, size: int) -> int:
    """Nothing but reading and decoding, by the quickest client."""
    from confluent_kafka import Consumer

    conf = {"bootstrap.servers": bootstrap, "group.id": f"limit-{time.monotonic_ns()}", "auto.offset.reset": "earliest"}
    consumer = Consumer({**conf, "fetch.queue.backoff.ms": 1})
    consumer.subscribe([topic])
    decode = msgspec.json.Decoder(AccessEvent if size == 1 else list[AccessEvent]).decode
    done = 0
    while done < n:
        for message in consumer.consume(5000, 1.0):
            decode(message.value())
            done += size
    consumer.close()
    return done


def _lean(bootstrap: str, topic: str, n: int) -> int:
    """What one writes by hand: kafka-python, msgspec, a dictionary of counters."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"lean-{time.monotonic_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    decode = msgspec.json.decode
    counts: dict[tuple[str, int], int] = defaultdict(int)
    done = 0
    while done < n:
        for records in consumer.poll(500, max_records=5000).values():
            for record in records:
                got = decode(record.value)
                for event in got if isinstance(got, list) else (got,):
                    counts[event.get("principal", ""), int(event["ts"] // 60)] += 1
                    done += 1
    consumer.close()
    return done
