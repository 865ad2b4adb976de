"""Orders reach every detect task, and only where a gateway obeys them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gatewatch import verdicts
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.decide.control import Controls
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.running import Running
from gatewatch.detect.task import DetectTask
from gatewatch.errors import SendError
from gatewatch.log.base import Headers, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import (
    H_KIND,
    Action,
    Control,
    Decision,
    Finding,
    FindingBatch,
    Mode,
    Release,
    Scope,
    VerdictKind,
)
from gatewatch.registry import Entry
from gatewatch.sdk import Context, Detector, DetectorConfig, hash_text
from gatewatch.settings import KafkaSettings, Settings, VerdictSettings
from gatewatch.testing.batches import SEED
from gatewatch.verdicts import verdict_on

N = 3
T0 = 1_700_000_000.0
KAFKA = KafkaSettings(partitions=N)
SETTINGS = Settings(kafka=KAFKA)
CONTROLS = Controls.of(KAFKA, SEED)


def _log() -> MemoryLog:
    log = MemoryLog()
    names = ("findings", "alerts", "incidents", "decisions", "verdicts", "actions")
    log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in names])
    log.admin().create([TopicSpec("gatewatch.routed", N)])
    return log


def _run(log: MemoryLog, entries: dict[str, Entry], controls: Controls | None, settings: Settings = SETTINGS) -> None:
    worker = DecideWorker(
        log, settings, entries, Catalog(), member="a", clock=ManualClock(T0), metrics=Metrics(),
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


def _decisions(log: MemoryLog) -> list[Decision]:
    return [records_io.read_decision(v, "") for c in log.read("gatewatch.decisions") for v in c.values if v]


def test_every_task_hears_of_a_block(
    entries: dict[str, Entry], make_batch: Callable[..., FindingBatch], make_finding: Callable[..., Finding]
) -> None:
    """Refusals of our own block would teach the detectors, and nobody would know whether it works."""
    log = _log()
    producer = log.producer()
    producer.send("gatewatch.findings", msgspec.json.encode(make_batch(0, 5.0, make_finding(0.0))), partition=0)
    _run(log, entries, CONTROLS)
    decisions, said = _decisions(log), _said(log)
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


def test_an_order_by_hand_is_heard_although_decide_died_before_it_had_told(entries: dict[str, Entry]) -> None:
    """If this fails, after a kill at the wrong moment detect never hears who was blocked, or let go, by hand."""
    log = _log()
    order = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="by hand", start=T0,
                     until=T0 + 60.0, mode=Mode.BLOCK, actor="ana")  # fmt: skip
    log.producer().send("gatewatch.decisions", records_io.write(order), partition=0, key=b"d1")
    log.fail_sends("gatewatch.routed")
    with pytest.raises(SendError):
        _run(log, entries, CONTROLS)
    assert [d.findings_offset for d in _decisions(log)] == [-1, 0], "it counts"
    log._failing.clear()
    _run(log, entries, CONTROLS)
    assert {p: [c.decision_id for c in said] for p, said in _said(log).items()} == {p: ["d1"] for p in range(N)}


def test_what_a_person_expects_reaches_every_task(
    entries: dict[str, Entry], make_batch: Callable[..., FindingBatch], make_finding: Callable[..., Finding]
) -> None:
    """If this fails, a key whose traffic has changed for good alerts until its baseline has crept up, for weeks."""
    log = _log()
    producer = log.producer()
    settings = Settings(kafka=KAFKA, verdicts=VerdictSettings.model_validate({"actors": ["ana"]}))
    producer.send("gatewatch.findings", msgspec.json.encode(make_batch(0, 5.0, make_finding(0.0))), partition=0)
    _run(log, entries, None, settings)
    (alert,) = (records_io.read_alert(v, "") for c in log.read("gatewatch.alerts") for v in c.values if v)
    for kind, until in (("expected", T0 + 3600.0), ("false_alarm", None)):
        said = verdict_on(alert, VerdictKind(kind), actor="ana", reason="new batch job", now=T0 + 6.0, until=until,
                          settings=settings.verdicts)  # fmt: skip
        producer.send("gatewatch.verdicts", verdicts.write(said), partition=0, key=said.id.encode())
    producer.send("gatewatch.findings", msgspec.json.encode(make_batch(1, 7.0)), partition=0)
    _run(log, entries, CONTROLS, settings)
    told: dict[int, list[bytes]] = {p: [] for p in range(N)}
    for chunk in log.read("gatewatch.routed"):
        for value, headers in zip(chunk.values, chunk.headers, strict=True):
            if value is not None and (H_KIND, b"release") in headers:
                told[chunk.tp.partition].append(value)
    release = Release(scope=alert.scope, key=alert.key, until=T0 + 3600.0, place=(1, 0))
    assert {p: [msgspec.msgpack.decode(v, type=Release) for v in values] for p, values in told.items()} == {
        p: [release] for p in range(N)
    }, "only what is expected teaches; what was a false alarm never happened"


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


def test_without_a_gateway_that_obeys_only_what_is_expected_is_told() -> None:
    """Who only alerts would be alerted for ever of what they said is expected; or each order is called ineffective."""
    order = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="r", start=T0,
                     until=T0 + 60.0, mode=Mode.BLOCK)  # fmt: skip
    controls = Controls.of(KAFKA, SEED, obeyed=False)
    assert controls.records(order) == []
    assert len(controls.records(Release(scope=Scope.IP, key="203.0.113.9", until=T0))) == N


def test_a_detect_task_understands_it() -> None:
    """The two roles would speak of different things."""
    task = DetectTask.build(0, Settings(kafka=KAFKA), {}, SEED, Metrics())
    order = Decision(id="d1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="r", start=T0,
                     until=T0 + 60.0, mode=Mode.BLOCK)  # fmt: skip
    assert task.apply(0, *CONTROLS.records(order)[0]) is None
    assert [(c.scope, c.key) for c, *_ in task.blocks.book()] == [(Scope.IP, "203.0.113.9")]


def _listening(entries: dict[str, Entry], hear: Callable[[Scope, int, float], None]) -> DetectTask:
    """A task with one detector of addresses, which is told here."""
    detector = entries["door_knocker"].detector
    assert detector is not None
    running = Running[Detector](detector(DetectorConfig(), Context(seed=SEED, partitions=N, alarms_per_day=1.0)))
    vars(running.detector)["release"] = hear
    task = DetectTask.build(0, SETTINGS, {}, SEED, Metrics())
    task.running = {"door_knocker": running}
    return task


def test_a_copy_of_what_was_expected_sets_nothing_back(entries: dict[str, Entry]) -> None:
    """If this fails, who may write to `routed` ends what a person lets a key do, by a record that was ours once."""
    heard: list[float] = []
    task = _listening(entries, lambda _scope, _key, until: heard.append(until))

    def said(until: float, **place: tuple[int, int]) -> tuple[bytes, Headers]:
        return CONTROLS.records(Release(scope=Scope.IP, key="203.0.113.9", until=until, **place))[0]

    first, second, third = said(T0, place=(7, 0)), said(T0 + 1.0, place=(7, 1)), said(T0 + 2.0, place=(9, 0))
    before = said(T0 - 1.0)  # by a worker of an older version
    for offset, record in enumerate((before, first, second, first, third, before)):
        task.apply(offset, *record)
    assert heard == [T0 - 1.0, T0, T0 + 1.0, T0 + 2.0]
    successor = _listening(entries, lambda _scope, _key, until: heard.append(until))
    successor.become(task.memory(), 6, 0)
    successor.apply(6, *second)
    assert len(heard) == 4


def test_a_detector_hears_what_is_expected_of_its_keys_and_may_raise(entries: dict[str, Entry]) -> None:
    """If this fails, the right key is let go in the wrong place of the log, or one detector's fault ends the task."""
    heard: list[tuple[Scope, int, float]] = []

    def hear(scope: Scope, key: int, until: float) -> None:
        heard.append((scope, key, until))
        raise ValueError("not mine")

    task = _listening(entries, hear)
    for offset, scope in enumerate((Scope.IP, Scope.ACCOUNT)):
        (record, *_others) = CONTROLS.records(Release(scope=scope, key="203.0.113.9", until=T0))
        assert task.apply(offset, *record) is None
    assert heard == [(Scope.IP, hash_text("203.0.113.9", SEED), T0)], "of scopes that it judges, once"
    assert task.running["door_knocker"].raised == 1
