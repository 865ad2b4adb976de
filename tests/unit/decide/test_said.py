"""What a verdict changes: what is told, who is stopped, and from where in the log on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewatch.decide.decider import Decider
from gatewatch.decide.turn import Decided
from gatewatch.records import (
    Alert,
    Finding,
    FindingBatch,
    Incident,
    Mode,
    Scope,
    Severity,
    Status,
    Verdict,
    VerdictKind,
)
from gatewatch.settings import VerdictSettings
from gatewatch.verdicts import verdict_on

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]
T0 = 1_700_000_000.0
WHO = VerdictSettings.model_validate({"actors": ["ana", "ben"]})


def said(
    about: Alert | Incident, kind: str, at: float = 60.0, *, until: float | None = None, actor: str = "ana"
) -> Verdict:
    """What ana says, or another."""
    end = T0 + (86400.0 if until is None else until) if kind in ("expected", "snooze") else None
    return verdict_on(about, VerdictKind(kind), actor=actor, reason="load test", now=T0 + at, settings=WHO, until=end)


class Site:
    """A decider, and its next record."""

    def __init__(self, decider: Decider, make_batch: Batch) -> None:
        self.decider, self._make_batch = decider, make_batch
        self.offset = 0

    def say(self, at: float, *findings: Finding) -> Decided:
        """One more record of `findings`."""
        self.offset += 1
        return self.decider.apply(self._make_batch(self.offset, at, *findings), self.offset)

    def hear(self, verdict: Verdict) -> None:
        """It takes effect with the next record."""
        self.decider.hear(verdict, self.offset + 1)


@pytest.fixture
def site(make_decider: New, make_batch: Batch) -> Site:
    """Mode block, nothing said yet."""
    return Site(make_decider(), make_batch)


def test_expected_closes_the_alert_lets_the_key_go_and_keeps_it_free_until_the_end(
    site: Site, make_finding: Make
) -> None:
    """If this fails, a customer's load test is blocked again and again, or is allowed for ever."""
    first = site.say(0.0, make_finding(0.0))
    site.hear(said(first.alerts[0], "expected", until=7200.0))
    answer = site.say(61.0)
    (closed,) = answer.alerts
    assert (closed.id, closed.status) == (first.alerts[0].id, Status.RESOLVED)
    assert closed.verdict == "expected, says ana, until 2023-11-15 00:13 UTC: load test"
    (removal,) = answer.decisions
    assert (removal.id, removal.removed, removal.removed_by) == (first.decisions[0].id, T0 + 60.0, "ana")
    (incident,) = answer.incidents
    assert (incident.status, incident.resolution) == (Status.RESOLVED, closed.verdict)
    assert not site.say(300.0, make_finding(300.0, n=1))
    again = site.say(4000.0, make_finding(4000.0, n=2))  # a new episode
    assert [a.mode for a in again.alerts] == [Mode.SHADOW]
    assert again.alerts[0].verdict == closed.verdict
    assert [d.mode for d in again.decisions] == []
    later = site.say(9000.0, make_finding(9000.0, n=3))
    assert [d.value for d in later.decisions if d.mode is Mode.BLOCK] == ["203.0.113.9"]
    assert {a.mode for a in later.alerts if a.status is Status.OPEN} == {Mode.BLOCK}


def test_what_gets_graver_is_told_whatever_was_said(site: Site, make_finding: Make) -> None:
    """If this fails, "expected" for a load test hides the takeover that used it as a cover."""
    first = site.say(0.0, make_finding(0.0))
    site.hear(said(first.alerts[0], "expected"))
    site.say(61.0)
    worse = site.say(120.0, make_finding(120.0, n=1, reason="takeover"))
    (alert,) = worse.alerts
    assert (alert.status, alert.severity, alert.mode) == (Status.OPEN, Severity.CRITICAL, Mode.BLOCK)


def test_a_false_alarm_is_silent_until_it_ends_and_no_longer(site: Site, make_finding: Make) -> None:
    """If this fails, people say the same thing every five minutes; or one wrong click blinds us for good."""
    first = site.say(0.0, make_finding(0.0))
    site.hear(said(first.alerts[0], "false_alarm"))
    closed = site.say(61.0)
    assert [(a.status, a.summary.endswith("false alarm, says ana: load test")) for a in closed.alerts] == [
        (Status.RESOLVED, True)
    ]
    assert [d.removed_by for d in closed.decisions] == ["ana"]
    for i in range(1, 6):
        assert not site.say(i * 400.0, make_finding(i * 400.0, n=i))
    assert not site.say(6000.0)
    again = site.say(7000.0, make_finding(7000.0, n=9))
    assert [(a.status, a.mode) for a in again.alerts] == [(Status.OPEN, Mode.BLOCK)]


def test_snooze_and_acknowledge_stand_in_the_next_revision(site: Site, make_finding: Make) -> None:
    """If this fails, notify cannot know that somebody is on it, and escalates."""
    first = site.say(0.0, make_finding(0.0))
    site.hear(said(first.alerts[0], "acknowledge", 10.0))
    site.hear(said(first.alerts[0], "snooze", 20.0))
    told = site.say(61.0)
    records: list[Alert | Incident] = [*told.alerts, *told.incidents]
    assert len(records) == 2
    for record in records:
        assert (record.status, record.acknowledged_by, record.held_until) == (Status.UPDATED, "ana", T0 + 86400.0)
    assert told.decisions == []
    assert not site.say(62.0)


def test_a_verdict_on_an_incident_holds_for_all_its_alerts(site: Site, make_finding: Make) -> None:
    """If this fails, closing a botnet of 346 addresses takes 346 clicks."""
    ip = make_finding(0.0, context={"network": "203.0.113.0/24"})
    network = make_finding(1.0, n=1, scope=Scope.NETWORK, key="203.0.113.0/24")
    first = site.say(1.0, ip, network)
    (incident,) = first.incidents
    site.hear(said(incident, "expected"))
    answer = site.say(61.0)
    assert {(a.key, a.status) for a in answer.alerts} == {(a.key, Status.RESOLVED) for a in first.alerts}
    assert {d.value for d in answer.decisions if d.removed} == {"203.0.113.9", "203.0.113.0/24"}
    assert [i.status for i in answer.incidents] == [Status.RESOLVED]
    assert not site.say(
        90.0, make_finding(90.0, n=2), make_finding(91.0, n=3, scope=Scope.NETWORK, key="203.0.113.0/24")
    )


def test_an_order_that_needs_approval_holds_once_somebody_gives_it(
    make_decider: New, make_batch: Batch, make_finding: Make
) -> None:
    """If this fails, the machine blocks alone where two were asked for, or never."""
    site = Site(make_decider(detectors={"door_knocker": {"block": {"approval": True}}}), make_batch)
    first = site.say(0.0, make_finding(0.0))
    assert [d.mode for d in first.decisions] == [Mode.SHADOW]
    assert "gatewatch verdicts add" in first.alerts[0].context["approval"]
    site.hear(said(first.alerts[0], "approve"))
    answer = site.say(61.0)
    (order,) = answer.decisions
    assert (order.id, order.mode, order.removed) == (first.decisions[0].id, Mode.BLOCK, None)
    assert order.reason.endswith("approved by ana")
    (alert,) = answer.alerts
    assert (alert.acknowledged_by, "approval" in alert.context) == ("ana", False)
    renewed = site.say(580.0, make_finding(580.0, n=1))
    assert [d.mode for d in renewed.decisions] == [Mode.BLOCK]


def test_who_called_it_true_is_not_the_second_person(make_decider: New, make_batch: Batch, make_finding: Make) -> None:
    """If this fails, whoever can write to the topic asks for an order and approves it."""
    site = Site(make_decider(detectors={"door_knocker": {"block": {"approval": True}}}), make_batch)
    first = site.say(0.0, make_finding(0.0))
    assert [(i.waiting, i.story.split("; ")[-1]) for i in first.incidents] == [
        (1, "nobody is stopped: orders wait for a second person")
    ]
    site.hear(said(first.incidents[0], "true"))
    site.hear(said(first.alerts[0], "approve", 61.0))
    answer = site.say(62.0)
    assert answer.decisions == []
    assert [a.waiting for a in answer.alerts] == [True]
    assert "not ana" in answer.alerts[0].context["approval"]
    site.hear(said(first.incidents[0], "approve", 63.0, actor="ben"))
    answer = site.say(64.0)
    assert [d.mode for d in answer.decisions] == [Mode.BLOCK]
    assert [(i.waiting, i.story.split("; ")[-1]) for i in answer.incidents] == [(0, "1 block")]
    site.hear(said(first.incidents[0], "approve", 65.0, actor="ben"))
    assert site.say(66.0).decisions == [], "said twice it is one order"


def test_orders_that_were_rejected_do_not_hold_unless_it_gets_worse(
    make_decider: New, make_batch: Batch, make_finding: Make
) -> None:
    """If this fails, a person says no and the key is stopped, or is never asked again however bad it gets."""
    site = Site(make_decider(detectors={"door_knocker": {"block": {"approval": True}}}), make_batch)
    first = site.say(0.0, make_finding(0.0))
    site.hear(said(first.incidents[0], "reject"))
    answer = site.say(61.0, make_finding(61.0, n=1))
    assert all(d.mode is Mode.SHADOW for d in answer.decisions)
    (alert,) = answer.alerts
    assert (alert.waiting, "approval" in alert.context, alert.status) == (False, False, Status.UPDATED)
    assert [i.waiting for i in answer.incidents] == [0]
    site.hear(said(first.alerts[0], "approve", 62.0, actor="ben"))
    assert site.say(63.0).decisions == [], "nothing waits any more"
    worse = site.say(120.0, make_finding(120.0, n=2, nats=500.0, reason="takeover"))
    assert worse.alerts[0].severity.rank > alert.severity.rank
    assert worse.alerts[0].waiting


def test_an_approval_does_not_pass_the_guards(make_decider: New, make_batch: Batch, make_finding: Make) -> None:
    """If this fails, one tired click blocks the office."""
    sections = {
        "detectors": {"door_knocker": {"block": {"approval": True}}},
        "guards": {"blocks_per_minute": 1},
    }
    site = Site(make_decider(**sections), make_batch)
    first = site.say(1.0, make_finding(0.0), make_finding(1.0, n=1, key="198.51.100.7"))
    for alert in first.alerts:
        site.hear(said(alert, "approve"))
    answer = site.say(2.0)
    assert len(answer.decisions) == 1
    assert [r.guard for r in answer.refusals] == ["blocks_per_minute"]


def test_a_verdict_on_what_is_over_still_holds_for_the_key(site: Site, make_finding: Make) -> None:
    """If this fails, who answers in the morning is ignored because the night's episode has ended."""
    first = site.say(0.0, make_finding(0.0))
    site.say(2000.0)
    site.hear(said(first.alerts[0], "expected", 2100.0))
    again = site.say(3000.0, make_finding(3000.0, n=1))
    assert [(a.status, a.mode) for a in again.alerts] == [(Status.OPEN, Mode.SHADOW)]
    assert all(d.mode is Mode.SHADOW for d in again.decisions)
