"""What an undisturbed run would have said, worked out again from what stands in the topics, and how it differs.

Ingest cuts its batches by time, so `routed` is not the same bytes in two runs. What must be the same:

- the rows that count: each element of each source value once in each routed partition that it belongs to; which few of
  them are shown to the other partitions hangs on which worker read them, but each is shown once at most;
- from `routed` on, everything, byte for byte: findings and rollups are a function of `routed`, findings on populations
  of `rollups`, alerts, incidents and decisions of `findings`. So each stage is done again by one task that nobody
  disturbs, on the very records that the disturbed workers read;
- who was accused of what since when, against a replay of the same events without Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.decide.decider import Decider
from gatewatch.detect.applied import Applied
from gatewatch.detect.population import PopulationTask
from gatewatch.detect.task import DetectTask
from gatewatch.events import rollup
from gatewatch.events.batch import Role, decode
from gatewatch.flow import Flow
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import Chunk, Headers, Log, TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_RANGES, H_SCHEMA, Alert, Decision, FindingBatch, SourceRange
from gatewatch.registry import Entry, load_all
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.chaos.feed import Life
from gatewatch.testing.chaos.site import SOURCE_PARTITIONS, Site

Key = tuple[Any, ...]
Identity = tuple[str, str, str, float]  # detector, scope, key, first_ts
_RANGES = msgspec.msgpack.Decoder(list[SourceRange])
_FINDINGS = msgspec.json.Decoder(FindingBatch)
_COMPACTED = frozenset({"decisions", "incidents"})  # what is outdated there may be gone


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic."""

    partition: int
    offset: int
    written: float  # epoch seconds, by the log
    value: bytes
    headers: Headers


@dataclass(slots=True)
class Difference:
    """How one topic differs from what an undisturbed run says."""

    what: str
    expected: int = 0
    lost: list[Key] = field(default_factory=list)
    extra: list[Key] = field(default_factory=list)
    differing: list[Key] = field(default_factory=list)
    again: list[float] = field(default_factory=list)  # when a record was written a second time, with the same bytes
    about: str = ""  # what is known of the first that is lost

    @property
    def ok(self) -> bool:
        """Nothing but repeats, which every reader recognises."""
        return not (self.lost or self.extra or self.differing)

    def __str__(self) -> str:
        """One line, with the first of each kind."""
        parts = [f"{self.what}: {self.expected:,} expected"]
        for name in ("lost", "extra", "differing"):
            found = getattr(self, name)
            parts.append(f"{len(found)} {name}" + (f" (first: {found[0]})" if found else ""))
        return ", ".join([*parts, f"{len(self.again)} sent again"]) + (f"; {self.about}" if self.about else "")


def compare(site: Site, lives: Sequence[Life], seed: HashSeed) -> list[Difference]:
    """All comparisons, in the order of the flow. Every worker has stopped in good order before."""
    read = Topics(site.log, site.settings)
    entries = load_all()
    metrics = Metrics()
    routed = read("routed")
    said, sums = _detect(site.settings, entries, seed, metrics, routed)
    rollups = read("rollups")
    said |= _populations(site.settings, entries, seed, metrics, rollups)
    findings = read("findings")
    alerts, incidents, decisions = _decide(site.settings, entries, findings)
    told = read("alerts")
    orders = read("decisions")
    return [
        _rows(site.settings, lives, seed, routed),
        _dead_letters(site.settings, lives, seed, read("dead-letters")),
        _difference("rollups", sums, rollups, _rollup_key),
        _difference("findings", said, findings, _finding_key),
        _difference("alerts", alerts, told, _json_key("id", "revision")),
        _difference("incidents", incidents, read("incidents"), _json_key("id", "revision")),
        _difference("decisions", decisions, orders, _json_key("id", "removed")),
        *_replayed(site.settings, lives, told, orders),
    ]


class Topics:
    """Reads our topics whole."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self._log, self._settings = log, settings

    def __call__(self, name: str) -> list[Record]:
        """All records of one of our topics, by partition and offset."""
        chunks = self._log.read(self._settings.kafka.topic(name))
        return sorted((r for chunk in chunks for r in _records(chunk)), key=lambda r: (r.partition, r.offset))


def _records(chunk: Chunk) -> Iterator[Record]:
    for i, value in enumerate(chunk.values):
        if value is not None:
            written = chunk.timestamps_ms[i] / 1000
            yield Record(chunk.tp.partition, chunk.offsets[i], written, value, chunk.headers[i])


def _difference(
    what: str, expected: Mapping[Key, bytes], records: Sequence[Record], key_of: Callable[[Record], Key]
) -> Difference:
    found = Difference(what, expected=len(expected))
    seen: set[Key] = set()
    for record in records:
        key = key_of(record)
        if key not in expected:
            found.extra.append(key)
        elif expected[key] != record.value:
            found.differing.append(key)
        elif key in seen:
            found.again.append(record.written)
        seen.add(key)
    wanted = list(expected)
    if what in _COMPACTED:
        wanted = list({key[0]: key for key in expected}.values())  # the newest of each id
    found.lost = [key for key in wanted if key not in seen]
    return found


def _detect(
    settings: Settings, entries: Mapping[str, Entry], seed: HashSeed, metrics: Metrics, routed: Sequence[Record]
) -> tuple[dict[Key, bytes], dict[Key, bytes]]:
    """Findings and rollups that follow from `routed`."""
    tasks = [DetectTask.build(q, settings, entries, seed, metrics) for q in range(settings.kafka.partitions)]
    said: dict[Key, bytes] = {}
    sums: dict[Key, bytes] = {}
    for record in routed:
        task = tasks[record.partition]
        batch = task.apply(record.offset, record.value, record.headers)
        if batch is not None:
            said[batch.task, batch.routed_offset] = msgspec.json.encode(batch)
        for closed in task.closed():
            sums[closed.task, closed.routed_offset, closed.part] = rollup.encode(closed)
    return said, sums


def _populations(
    settings: Settings, entries: Mapping[str, Entry], seed: HashSeed, metrics: Metrics, rollups: Sequence[Record]
) -> dict[Key, bytes]:
    """Findings that follow from `rollups`."""
    task = PopulationTask.build(settings, entries, seed, metrics)
    batches = (task.apply(record.offset, record.value, record.headers) for record in rollups)
    return {(b.task, b.routed_offset): msgspec.json.encode(b) for b in batches if b is not None}


def _decide(
    settings: Settings, entries: Mapping[str, Entry], findings: Sequence[Record]
) -> tuple[dict[Key, bytes], dict[Key, bytes], dict[Key, bytes]]:
    """Alerts, incidents and decisions that follow from `findings`, with all its repeats."""
    decider = Decider(settings, entries, Catalog.load(settings.catalog))
    alerts: dict[Key, bytes] = {}
    incidents: dict[Key, bytes] = {}
    decisions: dict[Key, bytes] = {}
    for record in findings:
        decided = decider.apply(_FINDINGS.decode(record.value), record.offset)
        alerts |= {(a.id, a.revision): records_io.write(a) for a in decided.alerts}
        incidents |= {(i.id, i.revision): records_io.write(i) for i in decided.incidents}
        decisions |= {(d.id, d.removed): records_io.write(d) for d in decided.decisions}
    return alerts, incidents, decisions


def _finding_key(record: Record) -> Key:
    batch = _FINDINGS.decode(record.value)
    return batch.task, batch.routed_offset


def _rollup_key(record: Record) -> Key:
    closed = rollup.decode(record.value, dict(record.headers).get(H_SCHEMA))
    return closed.task, closed.routed_offset, closed.part


def _json_key(*names: str) -> Callable[[Record], Key]:
    def key_of(record: Record) -> Key:
        document = msgspec.json.decode(record.value)
        return tuple(document[name] for name in names)

    return key_of


def applied_rows(routed: Iterable[Record]) -> tuple[Counter[Key], Counter[Key], list[float]]:
    """How often each row counts, as (routed partition, source, offset, index), and when rows came that did not.

    First rows that are at home there, then those that are only shown.
    """
    counts: Counter[Key] = Counter()
    shown: Counter[Key] = Counter()
    trimmed: list[float] = []
    states: dict[int, Applied] = {}
    for record in routed:
        head = dict(record.headers)
        ranges = _RANGES.decode(head[H_RANGES])
        applied = states.setdefault(record.partition, Applied())
        verdict = applied.accept(ranges)
        if head[H_KIND] != b"batch":
            continue
        batch = decode(record.value, head[H_SCHEMA])
        src, offset, index = (np.asarray(batch.column(name)) for name in ("src", "offset", "index"))
        keep = applied.keep(verdict, src, offset)
        trimmed += [record.written] * (len(src) - len(keep))
        for i in keep.tolist():
            source = ranges[int(src[i])]
            which = shown if batch.role[i] == Role.SHOW else counts
            which[record.partition, source.topic_id, source.partition, int(offset[i]), int(index[i])] += 1
    return counts, shown, trimmed


def _rows(settings: Settings, lives: Sequence[Life], seed: HashSeed, routed: Sequence[Record]) -> Difference:
    counts, shown, trimmed = applied_rows(routed)
    wanted: set[Key] = set()
    for life in lives:
        for q, _topic_id, *rest in _ingested(settings, life, seed)[0]:
            wanted.add((q, life.topic_id, *rest))
    found = Difference("rows", expected=len(wanted))
    found.lost = [key for key in wanted if key not in counts]
    found.extra = [key for key, n in counts.items() if n > 1 or key not in wanted]
    found.extra += [key for key, n in shown.items() if n > 1 or key in wanted]
    found.again = trimmed
    return found


def _dead_letters(settings: Settings, lives: Sequence[Life], seed: HashSeed, records: Sequence[Record]) -> Difference:
    place = _json_key("topic", "partition", "offset", "index")
    wanted: dict[Key, bytes] = {}
    for life in lives:
        wanted |= {place(record): record.value for record in _ingested(settings, life, seed)[1]}
    return _difference("dead-letters", wanted, records, place)


def _ingested(settings: Settings, life: Life, seed: HashSeed) -> tuple[Counter[Key], list[Record]]:
    """Rows and dead letters of one life of the source, by an ingest that nobody disturbs."""
    topic = settings.sources[0].topic
    log = MemoryLog()
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(topic, SOURCE_PARTITIONS), *specs(settings)])
    for partition, values in enumerate(life.values):
        log.extend(TopicPartition(topic, partition), values)
    worker = IngestWorker(log, settings, seed, member="i", clock=ManualClock(), metrics=Metrics(), history=True)
    while worker.step(0.0) or not worker.caught_up:
        worker.flush()
    worker.close()
    read = Topics(log, settings)
    return applied_rows(read("routed"))[0], read("dead-letters")


def _replayed(
    settings: Settings, lives: Sequence[Life], alerts: Sequence[Record], decisions: Sequence[Record]
) -> list[Difference]:
    """Who was accused of what since when, and who was stopped, against a replay of the same events without Kafka."""
    values = sorted((v for life in lives for part in life.values for v in part), key=_time)
    flow = Flow(settings, settings.sources[0])
    outcomes = [flow.feed(values[i : i + 200]) for i in range(0, len(values), 200)]
    outcomes.append(flow.finish())
    accused = Difference("alerts, as a replay")
    stopped = Difference("decisions, as a replay")
    wanted = {_identity(alert) for outcome in outcomes for alert in outcome.alerts}
    told = [Alert.model_validate_json(record.value) for record in alerts]
    found = {_identity(alert) for alert in told}
    accused.expected, accused.lost, accused.extra = len(wanted), sorted(wanted - found), sorted(found - wanted)
    orders = {_order(decision) for outcome in outcomes for decision in outcome.decisions}
    given = {_order(Decision.model_validate_json(record.value)) for record in decisions}
    stopped.expected, stopped.lost, stopped.extra = len(orders), sorted(orders - given), sorted(given - orders)
    if stopped.lost:  # the last revision of its alert says who was not stopped, and the context why a guard refused
        of = [alert for alert in told if (alert.scope, alert.key) == stopped.lost[0][1:]]
        stopped.about = of[-1].model_dump_json() if of else "it has no alert"
    return [accused, stopped]


class _Timed(msgspec.Struct):
    ts: float


_TIMED = msgspec.json.Decoder(_Timed)


def _time(value: bytes) -> float:
    try:
        return _TIMED.decode(value).ts
    except msgspec.DecodeError:
        return 0.0


def _identity(alert: Alert) -> Identity:
    return alert.detector, alert.scope, alert.key, alert.first_ts


def _order(decision: Decision) -> tuple[str, str, str]:
    return decision.action, decision.scope, decision.value
