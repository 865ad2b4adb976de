"""A block that a gateway does not carry out: an alert and an incident of its own, beside the attacker's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewatch.decide.decider import Decider
from gatewatch.decide.turn import Decided
from gatewatch.records import (
    Action,
    Alert,
    Decision,
    Effect,
    Finding,
    FindingBatch,
    Mode,
    Scope,
    Severity,
    Status,
)  # fmt: skip
from gatewatch.watch.playbook import PATH, playbooks
from gatewatch.watch.reasons import NAME

T0 = 1_700_000_000.0
Make = Callable[..., Finding]
New = Callable[..., Decider]


class Flow:
    """One task's records, one after the other."""

    def __init__(self, decider: Decider) -> None:
        self.decider, self.alerts, self._offset = decider, list[Alert](), 0

    def say(self, at: float, *findings: Finding, effects: tuple[Effect, ...] = ()) -> Decided:
        """One record."""
        self._offset += 1
        batch = FindingBatch(task=0, routed_offset=self._offset, watermark=T0 + at, findings=findings, effects=effects)
        decided = self.decider.apply(batch, self._offset)
        self.alerts += [alert for alert in decided.alerts if alert.detector == NAME]
        return decided

    def through(self, order: Decision, at: float, n: int = 3, gateway: str = "edge") -> Decided:
        """Requests are served in spite of an order."""
        return self.say(at, effects=(Effect(decision_id=order.id, ts=T0 + at, through=n, gateway=gateway),))

    def works(self, order: Decision, at: float, gateway: str = "edge") -> Decided:
        """One was refused."""
        return self.say(at, effects=(Effect(decision_id=order.id, ts=T0 + at, after_s=at, gateway=gateway),))


@pytest.mark.parametrize("reason", ["cracking", "takeover"])
def test_it_is_an_alert_of_its_own_however_grave_the_attack_was_before(
    make_decider: New, make_finding: Make, reason: str
) -> None:
    """If this fails, who was paged for the attack never hears that its block stops nobody."""
    flow = Flow(make_decider())
    first = flow.say(0.0, make_finding(0.0, reason=reason))
    told = flow.through(first.decisions[0], 8.0)
    (alert,) = flow.alerts
    assert (alert.status, alert.severity, alert.mode) == (Status.OPEN, Severity.HIGH, Mode.ALERT)
    assert (alert.reason, alert.playbook) == ("not_effective", PATH)
    assert f"{NAME}/{alert.reason}" in playbooks()
    assert alert.summary == (
        "Block not effective on ip 203.0.113.9 at gateway edge: 3 requests served since the block, expected 0"
    )
    assert alert.context["gateway"] == "edge"
    assert alert.context["alert"] == first.alerts[0].id
    assert alert.incident_id not in {None, first.incidents[0].id}
    assert {i.id for i in told.incidents} == {alert.incident_id, first.incidents[0].id}
    assert not told.decisions


def test_it_is_told_once_goes_on_quietly_and_ends_when_the_gateway_obeys(make_decider: New, make_finding: Make) -> None:
    """If this fails, one broken gateway pages every five minutes, or its page outlives the mending."""
    flow = Flow(make_decider())
    (order,) = flow.say(0.0, make_finding(0.0)).decisions
    for at in (8.0, 308.0, 608.0):
        flow.through(order, at, int(at))
    assert [a.status for a in flow.alerts][:1] == [Status.OPEN]
    assert {a.id for a in flow.alerts} == {flow.alerts[0].id}
    told = flow.works(order, 640.0)
    last = flow.alerts[-1]
    assert last.status is Status.RESOLVED
    assert last.summary.endswith("effective after 11 min")
    (own,) = (i for i in told.incidents if i.id == last.incident_id)
    assert own.status is Status.RESOLVED
    again = flow.through(order, 700.0)
    assert [a.status for a in again.alerts] == [Status.OPEN], "it broke again, and somebody must hear of it"
    assert again.alerts[0].id != last.id
    assert [i.status for i in again.incidents] == [Status.UPDATED], "what was resolved opens again at the pager"


def test_nobody_served_any_more_ends_it(make_decider: New, make_finding: Make) -> None:
    """If this fails, an attacker who leaves while the gateway is broken leaves a page that never ends."""
    flow = Flow(make_decider())
    (order,) = flow.say(0.0, make_finding(0.0)).decisions
    flow.through(order, 300.0)
    flow.say(901.0)
    assert flow.alerts[-1].status is Status.RESOLVED


def test_one_gateway_is_one_incident_and_another_one_another(make_decider: New, make_finding: Make) -> None:
    """If this fails, an enforcer that is down pages once for each of thirty attackers a minute."""
    flow = Flow(make_decider())
    strangers = [make_finding(0.0, n=i, key=f"198.51.{i}.9") for i in range(6)]
    orders = flow.say(0.0, *strangers).decisions
    assert len(orders) == 6
    for i, order in enumerate(orders):
        flow.through(order, 8.0 + i)
    flow.through(orders[0], 20.0, gateway="inner")
    by_gateway = {(a.context["gateway"], a.incident_id) for a in flow.alerts if a.status is Status.OPEN}
    assert sorted(gateway for gateway, _id in by_gateway) == ["edge", "inner"]
    assert len(flow.alerts) == 7


def test_a_gateway_that_obeys_says_nothing_of_one_that_does_not(make_decider: New, make_finding: Make) -> None:
    """If this fails, the edge that works closes the page about the gateway that does not."""
    flow = Flow(make_decider())
    (order,) = flow.say(0.0, make_finding(0.0)).decisions
    flow.through(order, 8.0, gateway="inner")
    flow.works(order, 9.0, gateway="edge")
    assert [a.status for a in flow.alerts] == [Status.OPEN]


def test_who_is_throttled_or_challenged_may_be_served(make_decider: New, make_finding: Make) -> None:
    """If this fails, each throttle that does what it should wakes somebody up."""
    for action in ("throttle", "challenge"):
        flow = Flow(make_decider(detectors={"door_knocker": {"mode": "block", "block": {"action": action}}}))
        (order,) = flow.say(0.0, make_finding(0.0)).decisions
        told = flow.through(order, 8.0)
        assert flow.alerts == []
        assert not any("still get through" in i.story for i in told.incidents)


def test_a_persons_own_block_counts_as_much(make_decider: New) -> None:
    """If this fails, whoever blocks by hand at night believes that it holds."""
    flow = Flow(make_decider())
    order = Decision(
        id="by-hand", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="abuse", start=T0,
        until=T0 + 3600.0, mode=Mode.BLOCK, actor="ana",
    )  # fmt: skip
    flow.decider.order(order, 0)
    flow.through(order, 8.0)
    assert [a.key for a in flow.alerts] == ["ip 203.0.113.9 at gateway edge"]
    flow.works(order, 9.0)
    assert flow.alerts[-1].status is Status.RESOLVED
    removal = order.model_copy(update={"removed": T0 + 10.0, "removed_by": "ana"})
    flow.decider.order(removal, 0)
    flow.through(order, 20.0)
    assert flow.alerts[-1].status is Status.RESOLVED, "it was taken back: nobody is to be refused"


def test_what_nobody_ordered_says_nothing(make_decider: New) -> None:
    """If this fails, whoever can write to `findings` pages people about blocks that never were."""
    flow = Flow(make_decider())
    decided = flow.say(8.0, effects=(Effect(decision_id="unknown", ts=T0 + 8.0, through=3, gateway="edge"),))
    assert not decided
