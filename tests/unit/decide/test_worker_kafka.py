"""The decide role on a real broker: one member reads both topics, and another takes over where it ended."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import msgspec
import pytest

from gatewatch.catalog import Catalog
from gatewatch.clock import SystemClock
from gatewatch.decide import records_io
from gatewatch.decide.worker import DecideWorker
from gatewatch.log import open_log
from gatewatch.log.base import Log, TopicSpec
from gatewatch.metrics import Metrics
from gatewatch.records import Finding, FindingBatch
from gatewatch.registry import Entry
from gatewatch.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]  # a closed static member keeps its place for a session: 10 s
WAIT_S = 60.0


def values(log: Log, topic: str) -> list[bytes]:
    """All that is in a topic."""
    return [v for chunk in log.read(topic) for v in chunk.values if v is not None]


def spin(workers: list[DecideWorker], until: Callable[[], bool]) -> None:
    """Let workers work until something holds."""
    clock = SystemClock()
    deadline = clock.monotonic() + WAIT_S
    while not until():
        assert clock.monotonic() < deadline, "it never came"
        for worker in workers:
            worker.step(0.1)


def test_an_order_and_a_takeover_on_a_real_broker(
    kafka: str,
    entries: dict[str, Entry],
    make_finding: Callable[..., Finding],
    make_batch: Callable[..., FindingBatch],
) -> None:
    """If this fails, on Kafka (not in memory) decide is deaf to people's orders, or alerts twice after a restart."""
    prefix = f"decide-{uuid4().hex[:8]}"
    settings = Settings.model_validate({"kafka": {"bootstrap": [kafka], "prefix": prefix}})
    findings, alerts, decisions, actions = map(settings.kafka.topic, ("findings", "alerts", "decisions", "actions"))
    log = open_log(settings.kafka)
    compact = {"cleanup.policy": "compact"}
    admin = log.admin()
    compacted = (decisions, settings.kafka.topic("incidents"), settings.kafka.topic("verdicts"))
    admin.create(
        [*(TopicSpec(t, 1) for t in (findings, alerts, actions)), *(TopicSpec(t, 1, 1, compact) for t in compacted)]
    )
    admin.close()
    producer = log.producer()

    def put(topic: str, value: bytes, key: bytes | None = None) -> None:
        producer.send(topic, value, partition=0, key=key)
        producer.flush(30.0)

    members = [
        DecideWorker(log, settings, entries, Catalog(), member=m, clock=SystemClock(), metrics=Metrics()) for m in "ab"
    ]
    spin(members, lambda: sum(m.assigned for m in members) == 1)
    put(findings, msgspec.json.encode(make_batch(0, 0.0, make_finding(0.0))))
    spin(members, lambda: len(values(log, alerts)) == 1)
    block = records_io.read_decision(values(log, decisions)[0], decisions)
    removal = block.model_copy(update={"removed": block.start + 5.0, "removed_by": "alice", "findings_offset": -1})
    put(decisions, records_io.write(removal), block.id.encode())
    spin(members, lambda: len(values(log, decisions)) == 3)  # the block, the removal, its acknowledgement
    active, standby = sorted(members, key=lambda m: -m.assigned)
    active.close()
    put(findings, msgspec.json.encode(make_batch(1, 400.0, make_finding(400.0, n=1))))
    spin([standby], lambda: len(values(log, alerts)) == 2)
    standby.close()
    assert [records_io.read_alert(v, alerts).count for v in values(log, alerts)] == [1, 2]
    assert [msgspec.json.decode(v)["guard"] for v in values(log, actions)] == ["cleared"]
    assert records_io.read_decision(values(log, decisions)[-1], decisions).findings_offset == 1
    assert len(values(log, decisions)) == 3
    producer.close()
    log.close()
