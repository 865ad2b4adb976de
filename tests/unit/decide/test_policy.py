"""Findings to orders: whom, how long, how often."""

from __future__ import annotations

from collections.abc import Callable

from gatewatch.decide.decider import Decider
from gatewatch.decide.offences import MEMORY_S, Offences
from gatewatch.decide.policy import target_of
from gatewatch.decide.turn import Decided
from gatewatch.records import Action, Decision, Finding, FindingBatch, Mode, Scope, Status

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]
T0 = 1_700_000_000.0


class Feed:
    """One task's findings, a record each, with the watermark behind them."""

    def __init__(self, decider: Decider, make_finding: Make, make_batch: Batch) -> None:
        self.decider, self._finding, self._batch = decider, make_finding, make_batch
        self.offset = 0

    def at(self, seconds: float, **fields: object) -> Decided:
        """A finding at that second."""
        return self._apply(seconds, self._finding(seconds, n=self.offset, **fields))

    def quiet(self, seconds: float) -> Decided:
        """No finding up to that second."""
        return self._apply(seconds)

    def _apply(self, seconds: float, *findings: Finding) -> Decided:
        decided = self.decider.apply(self._batch(self.offset, seconds, *findings), self.offset)
        self.offset += 1
        return decided


def test_a_finding_in_block_mode_orders_a_block_with_an_end(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an attack goes on although the team chose to block, or a block never ends."""
    decided = Feed(make_decider(), make_finding, make_batch).at(0.0)
    (block,) = decided.decisions
    assert (block.action, block.scope, block.value, block.mode) == (Action.BLOCK, Scope.IP, "203.0.113.9", Mode.BLOCK)
    assert (block.start, block.until, block.offence) == (T0, T0 + 600.0, 1)
    assert (block.alert_id, decided.alerts[0].decision_ids) == (decided.alerts[0].id, (block.id,))


def test_a_block_is_renewed_while_the_attack_goes_on_and_not_before_half_of_it_is_gone(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a gateway gets an order for each finding, or lets an attacker in between two blocks."""
    feed = Feed(make_decider(), make_finding, make_batch)
    (first,) = feed.at(0.0).decisions
    assert not feed.at(299.0).decisions
    (second,) = feed.at(301.0).decisions
    assert (second.id, second.start, second.until, second.offence) == (first.id, T0, T0 + 901.0, 1)
    assert second.findings_offset > first.findings_offset


def test_who_comes_back_is_stopped_twice_as_long_up_to_the_limit(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a patient attacker is let in every ten minutes for ever, or is locked out for months."""
    block = {"ttl": "10m", "max_ttl": "30m"}
    feed = Feed(make_decider(detectors={"door_knocker": {"block": block}}), make_finding, make_batch)
    ends = []
    for hour in range(4):
        (decision,) = feed.at(3600.0 * hour).decisions
        ends.append((decision.offence, round(decision.until - decision.start)))
    assert ends == [(1, 600), (2, 1200), (3, 1800), (4, 1800)]
    (forgiven,) = feed.at(3600.0 * 4 + MEMORY_S + 3600.0).decisions
    assert forgiven.offence == 1


def test_no_stop_is_longer_than_the_limit_even_the_first(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a team that allows five minutes at most sees somebody stopped for ten."""
    decider = make_decider(detectors={"door_knocker": {"block": {"max_ttl": "5m"}}})
    (decision,) = Feed(decider, make_finding, make_batch).at(0.0).decisions
    assert decision.until - decision.start == 300.0


def test_offences_are_forgotten_oldest_first_where_there_is_no_room() -> None:
    """If this fails, a flood of addresses fills memory, or pushes out the offender of a minute ago."""
    offences = Offences(capacity=2)
    for i in range(3):
        offences.note((Scope.IP, f"192.0.2.{i}"), 1, 10.0 + i)
    assert len(offences) == 2
    assert [offences.number((Scope.IP, f"192.0.2.{i}"), 100.0) for i in range(3)] == [1, 2, 2]


def test_a_late_row_orders_a_block_that_ends_in_the_future(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an order from a delayed log is over before any gateway hears of it."""
    feed = Feed(make_decider(), make_finding, make_batch)
    feed.quiet(7200.0)
    decided = feed._apply(7201.0, make_finding(100.0, n=9))
    assert [a.status for a in decided.alerts] == [Status.RESOLVED]  # it was over when we heard of it
    assert [(d.start, d.until) for d in decided.decisions] == [(T0 + 7200.0, T0 + 7800.0)]


def test_only_severe_findings_stop_anybody(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, people are stopped on evidence that the team said was too weak for that."""
    settings = {"door_knocker": {"block": {"min_severity": "high"}}}
    feed = Feed(make_decider(detectors=settings), make_finding, make_batch)
    assert not feed.at(0.0).decisions
    assert feed.at(1.0, nats=40.0).decisions


def test_a_project_may_block_where_others_only_alert(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, the mode or block settings of a project are not the ones that hold in it."""
    decider = make_decider(
        detectors={"door_knocker": {"mode": "alert", "block": {"ttl": "1m", "action": "throttle"}}},
        projects={"shop": {"detectors": {"door_knocker": {"mode": "block", "block": {"ttl": "2m"}}}}},
    )
    feed = Feed(decider, make_finding, make_batch)
    assert not feed.at(0.0, project="other", key="192.0.2.1").decisions
    (decision,) = feed.at(1.0, project="shop", key="192.0.2.2").decisions
    assert (decision.action, decision.until - decision.start) == (Action.THROTTLE, 120.0)


def test_shadow_records_what_it_would_have_ordered(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a team cannot see what blocking would do before it switches it on, or shadow stops somebody."""
    feed = Feed(make_decider(detectors={"door_knocker": {"mode": "shadow"}}), make_finding, make_batch)
    assert [d.mode for d in feed.at(0.0).decisions] == [Mode.SHADOW]
    cold = Feed(make_decider(), make_finding, make_batch)
    assert [d.mode for d in cold.at(0.0, learned=True, warm=False, nats=40.0).decisions] == [Mode.SHADOW]
    (real,) = cold.at(1.0, learned=True, warm=True, nats=40.0).decisions
    assert (real.mode, real.offence, real.start) == (Mode.BLOCK, 1, T0 + 1.0)
    assert (
        not Feed(make_decider(detectors={"door_knocker": {"mode": "alert"}}), make_finding, make_batch)
        .at(0.0, learned=True, warm=False)
        .decisions
    )


def test_a_network_is_not_answered_by_blocking_one_address_in_it(make_finding: Make) -> None:
    """If this fails, the one customer whose row happened to be the last is blocked for what 200 others did."""
    network = make_finding(0.0, key="203.0.113.0/24", scope=Scope.NETWORK, context={"ip": "203.0.113.9"})
    assert target_of(network, Scope.IP) is None
    assert target_of(network, None) == (Scope.NETWORK, "203.0.113.0/24")
    account = make_finding(0.0, key="root", scope=Scope.ACCOUNT, context={"ip": "203.0.113.9"})
    assert target_of(account, Scope.IP) is None
    ip = make_finding(0.0, context={"network": "203.0.113.0/24"})
    assert target_of(ip, Scope.NETWORK) is None
    principal = make_finding(0.0, key="alice", scope=Scope.PRINCIPAL, context={"credential": "k1"})
    assert target_of(principal, Scope.CREDENTIAL) == (Scope.CREDENTIAL, "k1")


def test_an_order_that_a_person_removed_is_not_made_again_in_that_episode(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an engineer lifts a wrong block at night and it is back a second later."""
    feed = Feed(make_decider(), make_finding, make_batch)
    (block,) = feed.at(0.0).decisions
    removal = block.model_copy(update={"removed": T0 + 5.0, "removed_by": "alice"})
    feed.decider.order(removal, 1)
    refused = feed.at(400.0)
    assert not refused.decisions
    assert [(r.guard, r.reason) for r in refused.refusals] == [
        ("cleared", "removed by alice; not made again in this episode")
    ]
    assert "no order (cleared)" in refused.alerts[0].summary
    assert not feed.at(500.0).refusals  # once is enough
    (next_episode,) = feed.at(5000.0).decisions
    assert next_episode.offence == 1  # what was removed was no offence


def test_a_persons_own_block_is_not_doubled(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a block that a person wants to end at noon is prolonged by ours."""
    feed = Feed(make_decider(), make_finding, make_batch)
    theirs = Decision(
        id="m1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="by hand", start=T0, until=T0 + 100.0,
        mode=Mode.BLOCK, actor="alice",
    )  # fmt: skip
    feed.decider.order(theirs, 0)
    assert [r.guard for r in feed.at(0.0).refusals] == ["standing"]
    assert feed.at(101.0).decisions
