"""One alert again, from what Kafka still holds: the records around it through the whole flow.

Which records those are is known twice: an alert names the rows of its first and last findings (topic, partition,
offset), and records have the time at which they were written. The other partitions of the topic are read over the same
time, since a key's requests may lie in any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from gatewatch.errors import ConfigError
from gatewatch.flow import Flow
from gatewatch.log.base import Log, TopicPartition
from gatewatch.records import Alert
from gatewatch.settings import Settings, Source
from gatewatch.state.hashing import HashSeed

AFTER_S = 60.0  # a gateway may write an event so much later than it happened
CHUNK = 8192  # records fed at a time


@dataclass(frozen=True, slots=True)
class Again:
    """What came of it.

    Args:
        topic: what was read.
        events: so many.
        missing: a row that the alert names and Kafka no longer holds.
        found: the last revision of each alert on the same key by the same detector, in order of their first findings.
    """

    topic: str
    events: int
    missing: str | None
    found: tuple[Alert, ...]


def again(log: Log, settings: Settings, alert: Alert, seed: HashSeed, *, back_s: float) -> Again:
    """Run what was written from ``back_s`` before the alert's first finding to its last, as workers would have.

    Args:
        log: where the source topic is.
        settings: of the installation: sources, detectors, partitions.
        alert: what to look for.
        seed: of the installation: keys that are hashes are the same again.
        back_s: how much is read before the first finding; windows and baselines fill up from it.

    Raises:
        ConfigError: no source of the settings has the alert's rows.
        LogError: the topic cannot be read.
    """
    places = [place for sample in alert.samples if (place := _place(sample)) is not None]
    source = _source(settings, places)
    named = [(partition, offset) for topic, partition, offset in places if topic == source.topic]
    ranges, missing = _ranges(log, settings, source, alert, named, back_s)
    flow = Flow(settings, source, seed=seed)
    alerts: list[Alert] = []
    events = 0
    values = (value for _ts, value in merge(*(_records(log, tp, *r) for tp, r in ranges.items()), key=lambda r: r[0]))
    while chunk := list(islice(values, CHUNK)):
        outcome = flow.feed(chunk)
        events += outcome.events
        alerts += outcome.alerts
    outcome = flow.finish()
    alerts += outcome.alerts
    same = {a.id: a for a in alerts if (a.detector, a.scope, a.key) == (alert.detector, alert.scope, alert.key)}
    return Again(source.topic, events + outcome.events, missing, tuple(same.values()))


def _place(sample: str) -> tuple[str, int, int] | None:
    """Topic, partition and offset of a row; a topic's name may have dashes, too."""
    parts = sample.rsplit("-", 3)
    if len(parts) != 4 or not all(part.isdecimal() for part in parts[1:]):
        return None
    return parts[0], int(parts[1]), int(parts[2])


def _source(settings: Settings, places: list[tuple[str, int, int]]) -> Source:
    """The source that the rows are from; what is found in sums over all traffic names none, and the first one holds."""
    topics = {topic for topic, _partition, _offset in places}
    own = settings.kafka.topic("rollups")
    for source in settings.sources:
        if source.topic in topics or (topics <= {own}):
            return source
    raise ConfigError("sources", f"none of them is {', '.join(sorted(topics - {own})) or 'there'}: name the topic")


def _ranges(
    log: Log, settings: Settings, source: Source, alert: Alert, named: list[tuple[int, int]], back_s: float
) -> tuple[dict[TopicPartition, tuple[int, int]], str | None]:
    """From which to which offset each partition is read, and the first row of the alert that is gone."""
    with closing(log.admin()) as admin:
        known = admin.describe([source.topic]).get(source.topic)
    if known is None:
        raise ConfigError("sources", f"topic {source.topic} does not exist")
    tps = [TopicPartition(source.topic, p) for p in range(known.partitions)]
    group = f"{settings.kafka.prefix}.ingest"  # asked about offsets only: it never joins, reads or commits
    with closing(log.consumer([source.topic], group=group, member="again")) as consumer:
        begins = consumer.beginning_offsets(tps)
        starts = consumer.offsets_at(tps, alert.first_ts - back_s)
        stops = consumer.offsets_at(tps, alert.last_ts + AFTER_S)
    ranges: dict[TopicPartition, tuple[int, int]] = {}
    for tp in tps:
        own = [offset for partition, offset in named if partition == tp.partition]
        ranges[tp] = (max(min([starts[tp], *own]), begins[tp]), max([stops[tp], *(offset + 1 for offset in own)]))
    gone = (f"{source.topic}-{p}-{offset}" for p, offset in named if offset < begins[TopicPartition(source.topic, p)])
    return ranges, next(gone, None)


def _records(log: Log, tp: TopicPartition, start: int, stop: int) -> Iterator[tuple[float, bytes]]:
    """When each record was written, and its value; in order of offsets, so that ties and late ones stay in place."""
    latest = float("-inf")
    if start >= stop:
        return
    for chunk in log.read(tp.topic, start={tp.partition: start}, partitions=[tp.partition]):
        times = chunk.timestamps_ms or [-1] * len(chunk.offsets)
        for offset, value, ms in zip(chunk.offsets, chunk.values, times, strict=True):
            if offset >= stop:
                return
            latest = max(latest, float(ms))
            if value is not None:
                yield latest, value
