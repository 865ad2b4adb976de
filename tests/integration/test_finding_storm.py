"""100,000 findings on 5,000 keys in a minute, through decide and notify: what matters is told, all is on record."""

from __future__ import annotations

import msgspec
import pytest
from pydantic import SecretStr

from gatewatch import registry
from gatewatch.catalog import Catalog
from gatewatch.decide.worker import DecideWorker
from gatewatch.log.base import TopicSpec
from gatewatch.metrics import Metrics
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.records import Alert, Explanation, Finding, FindingBatch, Incident, Scope, Severity, Status
from gatewatch.settings import DetectorSettings, Settings
from gatewatch.testing.alerts import NOW
from gatewatch.testing.notifying import PROGRAM, Room, Sink
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn

pytestmark = pytest.mark.slow
FINDINGS, KEYS, SECONDS = 100_000, 5_000, 60
GRAVE = 20  # keys with a takeover among those that only exceed a limit
SLACK_A_MINUTE, PAGES_A_MINUTE = 15, 30
NAME = "credential_stuffing"


def _finding(n: int) -> Finding:
    """The n-th of the storm; a key's come again after 3 s, and those that matter are in the middle of all others."""
    key = n % KEYS
    grave = key % (KEYS // GRAVE) == KEYS // GRAVE // 2
    return Finding(
        id=f"f{n:06d}",
        detector=NAME,
        version=1,
        scope=Scope.PRINCIPAL,
        key=f"{'victim' if grave else 'caller'}-{key}",
        reason="takeover" if grave else "too_many_failures",
        title="Account takeover after an attack" if grave else "More failed logins than the limit",
        ts=NOW + n * SECONDS / FINDINGS,
        since=NOW,
        nats=20.0,
        threshold_nats=12.0,
        observed=60.0,
        expected=2.0,
        unit="accounts" if grave else "failures a minute",
        window_s=60.0,
        learned=False,
        warm=True,
        sample=f"access-0-{n}-0",
        explanation=Explanation((), "usually 0-2", "not below 30"),
    )


def _decider(room: Room) -> DecideWorker:
    """Decide, on the same log as notify."""
    room.log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in ("findings", "decisions")])
    settings = Settings(detectors={NAME: DetectorSettings(mode="alert")})
    entries = {NAME: registry.load(NAME)}
    return DecideWorker(room.log, settings, entries, Catalog(), member="d", clock=room.clock, metrics=Metrics())


def _storm(room: Room, decide: DecideWorker) -> None:
    """A minute of it, a record a second; notify goes on beside."""
    producer = room.log.producer()
    each = -(-FINDINGS // SECONDS)
    for second in range(SECONDS):
        findings = tuple(map(_finding, range(second * each, min((second + 1) * each, FINDINGS))))
        batch = FindingBatch(task=0, routed_offset=second, watermark=NOW + second, findings=findings)
        producer.send("gatewatch.findings", msgspec.json.encode(batch), partition=0)
        while decide.step(0.0):
            pass
        room.settle(1)


def _calm(room: Room, decide: DecideWorker) -> None:
    """An hour later everything is over."""
    over = FindingBatch(task=0, routed_offset=SECONDS, watermark=NOW + 3600.0)
    room.log.producer().send("gatewatch.findings", msgspec.json.encode(over), partition=0)
    while decide.step(0.0):
        pass
    room.settle(1)
    room.worker.close()
    decide.close()


def _values(room: Room, topic: str) -> list[bytes]:
    return [v for chunk in room.log.read(f"gatewatch.{topic}") for v in chunk.values if v is not None]


def test_a_storm_of_findings(slack: SlackStandIn, pager: PagerDutyStandIn) -> None:
    """If this fails, whoever makes 5,000 keys misbehave hides the one takeover that matters, or wakes everybody."""
    siem = Sink("webhook", traits=PROGRAM)
    chat = Slack("#abuse", SecretStr("xoxb-1"), base_url=f"{slack.url}/api/", per_minute=SLACK_A_MINUTE)
    duty = PagerDuty(SecretStr("key"), Severity.HIGH, url=pager.url, per_minute=PAGES_A_MINUTE)
    room = Room({}, chat, duty, siem)
    decide = _decider(room)
    _storm(room, decide)
    room.settle(180)
    # A burst and the limit while it lasts for new messages, and a few with the rest
    assert len(slack.messages) <= 4 * SLACK_A_MINUTE + 8
    told = [m["text"].split()[0] for m in slack.messages.values() if "more alerts" not in m["text"]]
    assert told.count("CRITICAL") == GRAVE
    assert len(pager.pages) <= GRAVE + 1, "takeovers and the storm as a whole"

    _calm(room, decide)
    alerts = {a.id: a for a in map(Alert.model_validate_json, _values(room, "alerts"))}
    incidents = {i.id: i for i in map(Incident.model_validate_json, _values(room, "incidents"))}
    assert len(alerts) == KEYS, "none is lost from the record"
    assert len(incidents) == 50 + GRAVE + 1, "50 a minute, the grave ones beside them, and the storm with the rest"
    assert {a.status for a in alerts.values()} | {i.status for i in incidents.values()} == {Status.RESOLVED}
    assert sum(a.count for a in alerts.values()) == sum(i.count for i in incidents.values()) == FINDINGS
    assert {*alerts} <= {action.alert_id for action in room.actions("webhook")}
    assert {*incidents} <= {action.alert_id for action in room.actions("slack")}
    assert set(pager.pages.values()) == {1}
    assert slack.refused == []
