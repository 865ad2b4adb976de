"""Orders reach every detect task, and only where a gateway obeys them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.decide.control import Controls
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.task import DetectTask
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import Action, Control, Decision, Finding, FindingBatch, Mode, Scope
from gatewatch.registry import Entry
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.testing.batches import SEED

N = 3
T0 = 1_700_000_000.0
KAFKA = KafkaSettings(partitions=N)
CONTROLS = Controls.of(KAFKA, SEED.id)


def _log() -> MemoryLog:
    log = MemoryLog()
    names = ("findings", "alerts", "incidents", "decisions", "verdicts", "actions")
    log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in names])
    log.admin().create([TopicSpec("gatewatch.routed", N)])
    return log


def _run(log: MemoryLog, entries: dict[str, Entry], controls: Controls | None) -> None:
    worker = DecideWorker(
        log, Settings(kafka=KAFKA), entries, Catalog(), member="a", clock=ManualClock(T0), metrics=Metrics(),
        controls=controls,
    )  # fmt: skip
    worker.step(0.0)
    while worker.step(0.0):
        pass
    worker.close()


def _said(log: MemoryLog) -> dict[int, list[Control]]:
    said: dict[int, list[Control]] = {p: [] for p in range(N)}
    for chunk in log.read("gatewatch.routed"):
        for value in chunk.values:
            assert value is not None
            said[chunk.tp.partition].append(msgspec.msgpack.decode(value, type=Control))
    return said


def test_every_task_hears_of_a_block(
    entries: dict[str, Entry], make_batch: Callable[..., FindingBatch], make_finding: Callable[..., Finding]
) -> None:
    """Refusals of our own block would teach the detectors, and nobody would know whether it works."""
    log = _log()
    producer = log.producer()
    producer.send("gatewatch.findings", msgspec.json.encode(make_batch(0, 5.0, make_finding(0.0))), partition=0)
    _run(log, entries, CONTROLS)
    decisions = [records_io.read_decision(v, "") for c in log.read("gatewatch.decisions") for v in c.values if v]
    said = _said(log)
    assert decisions
    assert all([c.decision_id for c in said[p]] == [d.id for d in decisions] for p in range(N))
    assert said[0][0].until == decisions[0].until


def test_a_removal_is_heard_too(entries: dict[str, Entry]) -> None:
    """A key that a person set free would still be taken for blocked: its attacks would go unseen."""
    log = _log()
    order = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="by hand", start=T0,
                     until=T0 + 60.0, mode=Mode.BLOCK, actor="ana")  # fmt: skip
    for said in (order, order.model_copy(update={"removed": T0 + 1.0, "removed_by": "ana"})):
        log.producer().send("gatewatch.decisions", records_io.write(said), partition=0, key=b"d1")
    _run(log, entries, CONTROLS)
    assert [c.removed for c in _said(log)[1]][-1] is True


def test_a_replay_tells_detect_nothing(
    entries: dict[str, Entry], make_batch: Callable[..., FindingBatch], make_finding: Callable[..., Finding]
) -> None:
    """In a log of the past nobody obeyed: every block would be called ineffective."""
    log = _log()
    log.producer().send("gatewatch.findings", msgspec.json.encode(make_batch(0, 5.0, make_finding(0.0))), partition=0)
    _run(log, entries, None)
    assert not any(_said(log).values())


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.ALERT])
def test_what_stops_nobody_is_not_told(mode: Mode) -> None:
    """A shadow order would hide the key from the detectors, and nothing would stop it."""
    shadow = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="x", reason="r", start=T0, until=T0 + 1.0,
                      mode=mode)  # fmt: skip
    assert CONTROLS.value(shadow) is None


def test_a_detect_task_understands_it() -> None:
    """The two roles would speak of different things."""
    task = DetectTask.build(0, Settings(kafka=KAFKA), {}, SEED, Metrics())
    order = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="r", start=T0,
                     until=T0 + 60.0, mode=Mode.BLOCK)  # fmt: skip
    assert task.apply(0, CONTROLS.value(order), CONTROLS.headers) is None
    assert [(c.scope, c.key) for c, *_ in task.blocks.book()] == [(Scope.IP, "203.0.113.9")]
