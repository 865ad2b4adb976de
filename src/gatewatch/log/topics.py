"""What our own topics must be, each setting with its reason, and how a cluster's topics differ from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewatch.log.base import TopicInfo, TopicSpec
from gatewatch.log.limits import DEFAULT_MAX_MESSAGE_BYTES
from gatewatch.settings import Settings

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

# A restarted detect task reads `routed` again: from its snapshot, else from the start. A day covers a worker that was
# down over a night, and bounds what a start without a snapshot has to read.
ROUTED_RETENTION_MS = _DAY_MS
# Decide goes on from its snapshot; without one it rebuilds incidents and orders from findings. They may last a week.
FINDINGS_RETENTION_MS = 7 * _DAY_MS
# People look back: who was alerted, and what was sent, within a month of an incident.
RECORDS_RETENTION_MS = 30 * _DAY_MS
# Time to correct a format or a mapping and to retry what could not be read.
DEAD_LETTERS_RETENTION_MS = 7 * _DAY_MS

# Headers of a batch: a range of some 80 B for each source partition; room for 6,000 of them.
_HEADERS_BYTES = 512 * 1024

_COMPACTED = {
    "cleanup.policy": "compact",
    # Only closed segments are compacted, and the default closes one a week.
    "segment.ms": str(_HOUR_MS),
    # Readers start from the beginning each time: little may be outdated.
    "min.cleanable.dirty.ratio": "0.1",
    # A tombstone must outlive the slowest reader that has seen what it removes.
    "delete.retention.ms": str(_DAY_MS),
}
# Bigger is better: a topic that keeps more, or takes more, serves us as well.
_AT_LEAST = frozenset({"retention.ms", "max.message.bytes", "min.insync.replicas", "delete.retention.ms"})


def specs(settings: Settings) -> list[TopicSpec]:
    """All topics of an installation, in the order of the flow."""
    kafka = settings.kafka
    n = kafka.partitions
    batch_bytes = max(settings.ingest.batch_bytes + _HEADERS_BYTES, DEFAULT_MAX_MESSAGE_BYTES)
    batches = {**_kept(ROUTED_RETENTION_MS), "max.message.bytes": str(batch_bytes)}
    # With three replicas an acknowledgement means two machines have it; with fewer there is no second to wait for.
    safe = {"min.insync.replicas": "2"} if kafka.replication >= 3 else {}
    wanted: list[tuple[str, int, Mapping[str, str]]] = [
        ("routed", n, batches),
        ("rollups", 1, batches),
        ("findings", 1, _kept(FINDINGS_RETENTION_MS)),
        ("alerts", 1, _kept(RECORDS_RETENTION_MS)),
        ("decisions", 1, _COMPACTED),
        ("incidents", 1, _COMPACTED),
        ("verdicts", 1, _COMPACTED),
        ("actions", 1, _kept(RECORDS_RETENTION_MS)),
        ("state", n, _COMPACTED),  # a task's snapshots are in the partition of its own number
        ("dead-letters", 1, _kept(DEAD_LETTERS_RETENTION_MS)),
    ]
    return [TopicSpec(kafka.topic(name), p, kafka.replication, {**configs, **safe}) for name, p, configs in wanted]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that is not as it must be."""

    topic: str
    what: str  # missing, partitions, replication, or the name of a config
    is_: str
    must_be: str


def differences(settings: Settings, found: Mapping[str, TopicInfo]) -> list[Difference]:
    """How a cluster differs from what the settings need; sources only have to exist."""
    wrong: list[Difference] = []
    for spec in specs(settings):
        info = found.get(spec.name)
        if info is None:
            wrong.append(Difference(spec.name, "missing", "", f"{spec.partitions} partitions"))
        else:
            wrong += _different(spec, info)
    wrong += [Difference(s.topic, "missing", "", "a topic that a gateway writes") for s in settings.sources
              if s.topic not in found]  # fmt: skip
    return wrong


def _different(spec: TopicSpec, info: TopicInfo) -> list[Difference]:
    wrong: list[Difference] = []
    if info.partitions != spec.partitions:
        wrong.append(Difference(spec.name, "partitions", str(info.partitions), str(spec.partitions)))
    if info.replication < spec.replication:
        wrong.append(Difference(spec.name, "replication", str(info.replication), f"at least {spec.replication}"))
    for name, value in spec.configs.items():
        has = info.configs.get(name, "")
        if name in _AT_LEAST:
            if not _at_least(has, int(value)):
                wrong.append(Difference(spec.name, name, has, f"at least {value}"))
        elif has != value:
            wrong.append(Difference(spec.name, name, has, value))
    return wrong


def _at_least(has: str, limit: int) -> bool:
    """Kafka writes "without limit" as -1."""
    return has.lstrip("-").isdigit() and (int(has) < 0 or int(has) >= limit)


def _kept(retention_ms: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
