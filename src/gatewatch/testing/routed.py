"""A memory log whose `routed` topic holds what ingest makes of some events; cut as a test likes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from gatewatch.clock import ManualClock
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import Headers, TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_SEAL, Seal
from gatewatch.settings import Settings, Source
from gatewatch.state.hashing import HashSeed

SEED = HashSeed.from_secret("test")
SOURCE = Source(topic="access", format="native")


def sealed(
    settings: Settings, value: bytes | None, headers: Headers, *, name: str = "routed", partition: int = 0
) -> Headers:
    """Headers that were changed, as if one of our own workers had written them so."""
    rest = tuple(header for header in headers if header[0] != H_SEAL)
    return Seal(SEED, settings.kafka.topic(name)).sealed(partition, value, rest)


def routed_log(settings: Settings, values: Sequence[bytes], *, size: int = 200, partitions: int = 1) -> MemoryLog:
    """All our topics, and ``values`` (native events) through ingest, a round after every ``size`` of them.

    Values go to the source's ``partitions`` in turn.
    """
    settings = settings.model_copy(update={"sources": (SOURCE,)})
    log = MemoryLog()
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(SOURCE.topic, partitions), *specs(settings)])
    clock = ManualClock()
    ingest = IngestWorker(log, settings, SEED, member="i", clock=clock, metrics=Metrics(), history=True)
    for start in range(0, len(values), size):
        part = values[start : start + size]
        for p in range(partitions):
            log.extend(TopicPartition(SOURCE.topic, p), part[p::partitions])
        while ingest.step(0.0) or not ingest.caught_up:
            ingest.flush()
        ingest.tick()
        clock.advance(1.0)
    ingest.close()
    return log
