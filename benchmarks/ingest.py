"""Ingest from a real Kafka: one event a message, and arrays of 100, by both clients.

Each beside the limit (confluent-kafka and msgspec decode, nothing else) and a lean loop (kafka-python, msgspec, a
dictionary of counters), in the same run on the same topic.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from functools import partial

import confluent_kafka
import msgspec
from common import Figure, Results, arrays, events, repeat, rss_mb
from kafka import KafkaConsumer

from gatewatch.clock import SystemClock
from gatewatch.events.event import AccessEvent
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log import open_log
from gatewatch.log.base import TopicSpec
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.settings import KafkaSettings, Settings, Source
from gatewatch.state.hashing import HashSeed

SINGLES, ARRAY_EVENTS, ARRAY = 300_000, 600_000, 100


def run(results: Results, bootstrap: str) -> None:
    """Add this module's figures."""
    for topic, n, size in (("bench-single", SINGLES, 1), ("bench-array", ARRAY_EVENTS, ARRAY)):
        values = events(n)
        _fill(bootstrap, topic, values if size == 1 else arrays(values, size))
        limit, _ = repeat(partial(_limit, bootstrap, topic, n, size), 3)
        lean, _ = repeat(partial(_lean, bootstrap, topic, n), 1)
        kind = "one event a message" if size == 1 else f"arrays of {size}"
        for client in ("kafka-python", "librdkafka"):
            target = {("kafka-python", 1): 60e3, ("librdkafka", 1): 150e3}.get((client, size), 200e3)
            rates = sorted(_ours(bootstrap, client, topic, n, turn) for turn in range(4))[1:]
            spread = (rates[0], rates[-1])
            note = f"RSS {rss_mb():.0f} MB"
            results.add(Figure(f"ingest, {kind}, {client}", rates[1], "events/s", spread, target, limit, lean, note))


def _fill(bootstrap: str, topic: str, values: Iterable[bytes]) -> None:
    with closing(open_log(KafkaSettings(bootstrap=(bootstrap,)))) as log, closing(log.admin()) as admin:
        admin.create([TopicSpec(topic, 1)])
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000}
    )
    for value in values:
        producer.produce(topic, value)
    producer.flush()


def _ours(bootstrap: str, client: str, topic: str, n: int, turn: int) -> float:
    """Events a second of a whole ingest worker: decode, clean, route, send, acknowledged and committed.

    The clock starts at the first event: joining the group is not what is measured.
    """
    kafka = KafkaSettings(bootstrap=(bootstrap,), prefix=f"{topic}-{client}-{turn}", client=client)
    settings = Settings(kafka=kafka, sources=(Source(topic=topic, format="native"),))
    with closing(open_log(kafka)) as log:
        with closing(log.admin()) as admin:
            admin.create(specs(settings))
        worker = IngestWorker(log, settings, HashSeed(1, 2), member="bench", clock=SystemClock(), metrics=Metrics())
        while worker.events_read == 0:
            worker.step(0.1)
        first, began = worker.events_read, time.process_time()
        while worker.events_read < n:
            worker.step(0.1)
        worker.close()
        return (n - first) / (time.process_time() - began)


def _limit(bootstrap: str, topic: str, n: int, size: int) -> int:
    """Nothing but reading and decoding, by the quickest client."""
    conf = {"bootstrap.servers": bootstrap, "group.id": f"limit-{time.monotonic_ns()}", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer({**conf, "fetch.queue.backoff.ms": 1})
    consumer.subscribe([topic])
    decode = msgspec.json.Decoder(AccessEvent if size == 1 else list[AccessEvent]).decode
    done = 0
    while done < n:
        for message in consumer.consume(5000, 1.0):
            decode(message.value() or b"")
            done += size
    consumer.close()
    return done


def _lean(bootstrap: str, topic: str, n: int) -> int:
    """What one writes by hand: kafka-python, msgspec, a dictionary of counters."""
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
