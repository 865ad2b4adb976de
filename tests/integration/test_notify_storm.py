"""5,000 alerts in a minute: a bounded number of messages in each sink, the gravest first, none lost from the record."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import SecretStr

from gatewatch.notify.chain import verify
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.records import Alert, Severity
from gatewatch.testing.alerts import NOW, alert, incident
from gatewatch.testing.notifying import PROGRAM, Room, Sink
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn

pytestmark = pytest.mark.slow
ALERTS = 5000
CRITICAL = 20  # of them
SLACK_A_MINUTE, PAGES_A_MINUTE = 15, 30


def _room(slack: SlackStandIn, pager: PagerDutyStandIn) -> tuple[Room, Sink]:
    siem = Sink("webhook", traits=PROGRAM)
    chat = Slack("#abuse", SecretStr("xoxb-1"), base_url=f"{slack.url}/api/", per_minute=SLACK_A_MINUTE)
    duty = PagerDuty(SecretStr("key"), Severity.HIGH, url=pager.url, per_minute=PAGES_A_MINUTE)
    return Room({}, chat, duty, siem), siem


def _storm(n: int, minute: int, **fields: str) -> list[Alert]:
    """A part of the storm; every 250th alert is critical, and those come last."""
    return [
        alert(
            id=f"a{minute:02d}-{i:04d}",
            key=f"198.51.{i // 250}.{i % 250}",
            severity=Severity.CRITICAL if i % 250 == 249 else Severity.HIGH,
            first_ts=NOW + minute,
            last_ts=NOW + minute,
            **fields,
        )
        for i in range(n)
    ]


def test_a_storm_of_unrelated_alerts(slack: SlackStandIn, pager: PagerDutyStandIn) -> None:
    """If this fails, an attacker buries the alert that matters under 5,000 others, or pages a person 5,000 times."""
    room, siem = _room(slack, pager)
    for second in range(0, 60, 6):
        room.write(*_storm(ALERTS // 10, second))
        room.settle(6)
    room.settle(180)
    room.worker.close()
    # A burst and two minutes of the limit, and two messages a minute with the rest
    assert len(slack.messages) <= 3 * SLACK_A_MINUTE + 4
    assert sum(slack.calls.values()) <= 2 * (3 * SLACK_A_MINUTE + 4)
    assert len(pager.pages) <= 3 * PAGES_A_MINUTE + 4
    assert set(pager.pages.values()) == {1}
    assert slack.refused == []
    told = [m["text"].split()[0] for m in slack.messages.values() if "more alerts" not in m["text"]]
    assert told.count("CRITICAL") == CRITICAL
    assert len(siem.told) == ALERTS
    outcomes = {
        name: Counter(a.result for a in room.actions(name) if a.kind == "notify") for name in ("slack", "pagerduty")
    }
    for name, results in outcomes.items():
        assert set(results) == {"delivered", "capped"}, name
        assert results.total() == ALERTS, "every alert is on record at every receiver"
    counted = sum(a.count for a in room.actions("slack") if a.kind == "bulletin")
    assert counted == outcomes["slack"]["capped"], "and every one that was not told alone was told with others"
    assert verify(_values(room)).problems == []


def test_a_storm_of_one_campaign_pages_once(slack: SlackStandIn, pager: PagerDutyStandIn) -> None:
    """If this fails, a botnet of 2,000 addresses is 2,000 pages."""
    room, _siem = _room(slack, pager)
    for second in range(0, 60, 6):
        parts = _storm(200, second, incident_id="inc1")
        room.write(*parts, incident(*parts[:10], id="inc1", revision=100 + second))
        room.settle(6)
    room.settle(60)
    room.worker.close()
    assert pager.pages == {"gatewatch/inc1": 1}
    assert len(slack.messages) == 1
    assert slack.calls["chat.update"] > 0


def _values(room: Room) -> list[tuple[int, bytes]]:
    return [
        (offset, value)
        for chunk in room.log.read("gatewatch.actions")
        for offset, value in zip(chunk.offsets, chunk.values, strict=True)
        if value is not None
    ]
