"""Each way not to see, as it comes about in the workers: an alert opens, and resolves once they see again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import msgspec
import pytest

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.worker import DetectWorker
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import Alert, Scope, Severity, Status
from gatewatch.sdk import TableStats
from gatewatch.settings import Settings
from gatewatch.testing.routed import SEED
from gatewatch.testing.small import SmallDetector, entry_of
from gatewatch.watch.needs import Needed

T0 = 1_790_000_000.0
SOURCE = TopicPartition("edge", 0)
NEEDS = (Needed(("principal",), ("small",)),)
BAD = b"Server: what is this?"


class Forgetful(SmallDetector):
    """Each row pushes a key out of its table of ten."""

    name = "small"
    scopes = (Scope.PRINCIPAL,)
    reasons = ()

    def tables(self) -> dict[str, TableStats]:
        """As a flood of keys would leave it, while there is one."""
        return {"principal": TableStats(rows=10, capacity=10, evicted=self.seen, refused=0, nbytes=800)}


class Site:
    """Ingest, detect and decide, a second of all clocks each turn."""

    def __init__(self) -> None:
        self.settings = Settings.model_validate({
            "kafka": {"partitions": 1},
            "sources": [{"topic": SOURCE.topic, "format": "native", "silent_after": "10m"}],
            "watch": {"behind": "60s", "evicted_share": 50.0},
        })  # fmt: skip
        self.clock = ManualClock(T0)
        self.log = MemoryLog(self.clock)
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(SOURCE.topic, 1), *specs(self.settings)])
        log, settings, clock, metrics = self.log, self.settings, self.clock, Metrics()
        self.ingest = IngestWorker(log, settings, SEED, member="i", clock=clock, metrics=metrics, needs=NEEDS)
        self.detect = DetectWorker(
            log, settings, {"small": entry_of(Forgetful)}, SEED, member="d", clock=clock, metrics=metrics, watch=True
        )
        self.decide = DecideWorker(log, settings, {}, Catalog(), member="c", clock=clock, metrics=metrics, watch=True)
        self.turns(1, [])

    def turns(self, n: int, values: list[bytes], seconds: float = 1.0) -> None:
        """So often: the source gets these, and every role has a turn."""
        for _ in range(n):
            self.log.extend(SOURCE, values)
            for worker in (self.ingest, self.detect, self.decide):
                while worker.step(0.0):
                    pass
            self.clock.advance(seconds)

    def event(self, **fields: object) -> bytes:
        """One of now."""
        return msgspec.json.encode({"ts": self.clock.now(), "ip": "192.0.2.1", "status": 200, **fields})

    def traffic(self, n: int, seconds: float = 1.0, **fields: object) -> None:
        """An event each turn."""
        for _ in range(n):
            self.turns(1, [self.event(**fields)], seconds)

    def told(self) -> list[tuple[str, Severity, Status]]:
        """Each alert as it stands now: why, how grave, and whether it is over."""
        topic = self.settings.kafka.topic("alerts")
        values = [v for chunk in self.log.read(topic) for v in chunk.values if v is not None]
        newest = {alert.id: alert for alert in map(Alert.model_validate_json, values)}
        return [
            (alert.reason, alert.severity, Status.RESOLVED if alert.status is Status.RESOLVED else Status.OPEN)
            for alert in newest.values()
        ]


def silence(site: Site) -> None:
    """The gateway stops logging."""
    site.traffic(30, principal="al")
    site.turns(700, [])


def field_that_stops(site: Site) -> None:
    """A plugin of the gateway is switched off after two hours: nobody has a name any more."""
    site.traffic(4000, 2.0, principal="al")
    site.traffic(400, 2.0)


def retention(site: Site) -> None:
    """Ingest is away for longer than the source keeps."""
    site.traffic(5, principal="al")
    site.ingest._consumer.pause([SOURCE])
    site.log.extend(SOURCE, [site.event(principal="al")] * 100)
    site.log.drop_before(SOURCE, 95)
    site.ingest._consumer.resume([SOURCE])
    site.traffic(5, principal="al")


def lag(site: Site) -> None:
    """Ingest reads nothing, though there is something."""
    site.traffic(5, principal="al")
    site.ingest._consumer.pause([SOURCE])
    site.traffic(120, principal="al")


def some_garbage(site: Site) -> None:
    """One line of ten is broken."""
    for _ in range(100):
        site.turns(1, [*[site.event(principal="al")] * 9, BAD])


def nothing_but_garbage(site: Site) -> None:
    """The gateway has another log format."""
    site.turns(20, [BAD] * 100)


def a_flood_of_keys(site: Site) -> None:
    """A table of ten rows loses 600 keys within the hour."""
    site.traffic(600, principal="al")


def nothing_scored(site: Site) -> None:
    """Detection is dead."""
    site.traffic(30, principal="al")
    site.detect._consumer.pause([TopicPartition(site.settings.kafka.topic("routed"), 0)])
    site.traffic(300, principal="al")


BLIND = [
    (silence, "source_silent", Severity.HIGH),
    (field_that_stops, "field_gone", Severity.MEDIUM),
    (retention, "source_lost", Severity.HIGH),
    (lag, "behind", Severity.HIGH),
    (some_garbage, "dead_letters", Severity.MEDIUM),
    (nothing_but_garbage, "source_paused", Severity.HIGH),
    (a_flood_of_keys, "table_crowded", Severity.LOW),
    (nothing_scored, "detect_silent", Severity.HIGH),
]


@pytest.mark.parametrize(("happens", "reason", "severity"), BLIND, ids=[reason for _, reason, _ in BLIND])
def test_what_cannot_be_seen_is_an_alert_and_ends_when_it_is_seen_again(
    happens: Callable[[Site], None], reason: str, severity: Severity
) -> None:
    """If this fails, "no alert" may mean that nobody is watching."""
    site = Site()
    happens(site)
    assert (reason, severity, Status.OPEN) in site.told()
    site.ingest._consumer.resume([SOURCE])
    site.detect._consumer.resume([TopicPartition(site.settings.kafka.topic("routed"), 0)])
    site.traffic(2000, 10.0, principal="al")
    assert (reason, severity, Status.RESOLVED) in site.told()
    assert [one for one in site.told() if one[2] is Status.OPEN] == []
