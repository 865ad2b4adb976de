"""A source topic that is deleted and made again while workers join: what is committed of the old says nothing of it."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import msgspec
import pytest

from gatewatch.clock import SystemClock
from gatewatch.errors import LogError
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_RANGES, SourceRange
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.logs import KafkaRig, numbered, until

pytestmark = pytest.mark.kafka

TURNS = 300  # of 0.1 s


def turn(worker: IngestWorker) -> None:
    """Many turns: it joins, and finds out."""
    for _ in range(TURNS):
        worker.step(0.1)


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_a_worker_that_knows_the_old_topic_opens_nothing_of_the_new_one(kafka: str, client: str) -> None:
    """If this fails, the new topic counts as seen up to the offset that was committed of the old one, and is lost."""
    name = f"t{uuid4().hex[:8]}"
    source = TopicPartition(f"{name}-a", 0)
    settings = Settings.model_validate({
        "kafka": {"bootstrap": [kafka], "prefix": name, "partitions": 1, "client": client, "session_timeout": 6.0},
        "sources": [{"topic": source.topic, "format": "native"}],
    })  # fmt: skip
    with closing(KafkaLog(settings.kafka)) as log, closing(log.admin()) as admin:
        admin.create([TopicSpec(source.topic, 1), *specs(settings)])
        rig = KafkaRig(log)
        rig.write(source.topic, numbered(100))
        other = rig.join(source.topic, group=f"{name}.ingest", values_only=True)
        until(lambda: len(other.records) == 100, other)
        worker = IngestWorker(log, settings, HashSeed(1, 2), member="i", clock=SystemClock(), metrics=Metrics())
        admin.delete(source.topic)
        admin.create([TopicSpec(source.topic, 1)])
        other.consumer.mark(source, 100)
        other.consumer.commit()  # of the old topic, and late
        other.close()
        with pytest.raises(LogError, match=r"made again|is gone"):
            turn(worker)
        worker.close(flush=False)
        opened = [
            r
            for chunk in log.read(settings.kafka.topic("routed"))
            for headers in chunk.headers
            for r in msgspec.msgpack.decode(dict(headers)[H_RANGES], type=list[SourceRange])
        ]
        assert [r for r in opened if r.start > 0] == []
