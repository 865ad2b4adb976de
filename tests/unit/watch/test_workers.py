"""Workers that watch: what detect and decide notice ends as an alert; a replay has no watchers."""

from __future__ import annotations

import msgspec

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.worker import DetectWorker
from gatewatch.flow import Flow
from gatewatch.log.base import TopicPartition
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import Alert, FindingBatch, Scope, Status
from gatewatch.sdk import Batch, Hits
from gatewatch.settings import Settings, Source
from gatewatch.testing.routed import SEED, routed_log
from gatewatch.testing.small import SmallDetector, entry_of

T0 = 1_790_000_000.0
SETTINGS = Settings.model_validate({"kafka": {"partitions": 1}, "sources": [{"topic": "access", "format": "native"}]})


class Broken(SmallDetector):
    """Raises at every batch."""

    name = "broken"
    scopes = (Scope.PRINCIPAL,)
    reasons = ()

    def process(self, batch: Batch) -> Hits:
        """A fault."""
        raise RuntimeError(f"a fault in somebody's detector at {batch.n} rows")


def events(n: int, at: float = T0) -> list[bytes]:
    """One a second."""
    return [msgspec.json.encode({"ts": at + i, "principal": "al", "ip": "192.0.2.1", "status": 200}) for i in range(n)]


def said(log: MemoryLog) -> list[FindingBatch]:
    """All of `findings`."""
    values = [v for chunk in log.read(SETTINGS.kafka.topic("findings")) for v in chunk.values if v is not None]
    return [msgspec.json.decode(value, type=FindingBatch) for value in values]


def own(log: MemoryLog) -> list[tuple[str, str]]:
    """Reason and key of what Gatewatch says of itself."""
    return [(f.reason, f.key) for batch in said(log) for f in batch.findings if f.detector == "gatewatch"]


def alerts(log: MemoryLog) -> list[Alert]:
    """All revisions."""
    values = [v for chunk in log.read(SETTINGS.kafka.topic("alerts")) for v in chunk.values if v is not None]
    return [Alert.model_validate_json(value) for value in values]


def test_a_detector_that_is_quarantined_is_an_alert() -> None:
    """If this fails, a team's detector is off in a partition for weeks, and its silence is taken for peace."""
    log = routed_log(SETTINGS, events(400), size=100)
    clock, metrics = ManualClock(T0), Metrics()
    worker = DetectWorker(
        log, SETTINGS, {"broken": entry_of(Broken)}, SEED, member="d", clock=clock, metrics=metrics, watch=True
    )
    for _ in range(40):
        worker.step(0.0)
        clock.advance(1.0)
    assert own(log) == [("detector_off", "detector broken")]
    blind = metrics.registry.get_sample_value("gatewatch_blind", {"reason": "detector_off"})
    assert blind == 1.0
    decide = DecideWorker(log, SETTINGS, {}, Catalog(), member="c", clock=clock, metrics=metrics)
    while decide.step(0.0) or not alerts(log):
        pass
    (alert,) = alerts(log)
    assert (alert.status, alert.severity, alert.unit) == (Status.OPEN, "high", "partitions without it")


def test_detection_that_falls_silent_is_an_alert_and_one_that_speaks_again_ends_it() -> None:
    """If this fails, a dead ingest or detect role looks like a night without attacks."""
    clock = ManualClock(T0)
    log = routed_log(SETTINGS, [])
    producer = log.producer()
    decide = DecideWorker(log, SETTINGS, {}, Catalog(), member="c", clock=clock, metrics=Metrics(), watch=True)

    def live(seconds: int, *, detect: bool) -> None:
        for _ in range(seconds):
            if detect:
                sign = FindingBatch(task=0, routed_offset=int(clock.now() - T0), watermark=clock.now())
                producer.send(SETTINGS.kafka.topic("findings"), msgspec.json.encode(sign), partition=0)
            decide.step(0.0)
            clock.advance(1.0)

    live(100, detect=True)
    live(290, detect=False)
    assert own(log) == []
    live(60, detect=False)
    assert own(log) == [("detect_silent", "signs of detect")]
    assert [a.status for a in alerts(log)] == [Status.OPEN]
    live(900, detect=True)
    assert [a.status for a in alerts(log)][-1] is Status.RESOLVED


def test_a_worker_that_reads_late_says_so_past_its_own_backlog() -> None:
    """If this fails, the news that detection is an hour late waits for an hour behind what it is late with."""
    clock, metrics = ManualClock(T0), Metrics()
    log = routed_log(SETTINGS, events(50), size=1)
    worker = DetectWorker(log, SETTINGS, {}, SEED, member="d", clock=clock, metrics=metrics, watch=True)
    worker.step(0.0)
    routed = TopicPartition(SETTINGS.kafka.topic("routed"), 0)
    worker._consumer.pause([routed])  # as good as a worker that is too slow
    producer = log.producer()
    value, headers = next((c.values[0], c.headers[0]) for c in log.read(routed.topic))
    for _ in range(400):
        producer.send(routed.topic, value, partition=0, headers=headers)
        worker.step(0.0)
        clock.advance(1.0)
    assert own(log) == [("behind", f"lag of {routed.topic}")]


def test_a_replay_or_demo_has_no_watchers() -> None:
    """If this fails, each replay of an old file ends with alerts about silence, and no two replays are alike."""
    flow = Flow(SETTINGS, Source(topic="access", format="native"), entries={})
    for start in range(0, 5000, 500):
        flow.feed([*events(400, T0 + start), *[b"{"] * 600])
    outcome = flow.finish()
    assert own(flow.log) == []
    assert outcome.alerts == []
    assert not [batch for batch in said(flow.log) if batch.task >= 1_000_000_000]
