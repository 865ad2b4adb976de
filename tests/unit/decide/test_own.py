"""Alerts about what we cannot see: through decide like any other, but nobody is accused, and nobody is blocked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from gatewatch.decide.decider import Decider
from gatewatch.decide.turn import Decided
from gatewatch.records import Alert, Finding, FindingBatch, Mode, Severity, Status
from gatewatch.watch import reasons
from gatewatch.watch.playbook import PATH
from gatewatch.watch.watch import Condition, Watch

T0 = 1_700_000_000.0
Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
Deciders = Callable[..., Decider]


def run(decider: Decider, holds: Callable[[float], list[Condition]], seconds: int) -> list[Decided]:
    """A watcher that looks each second."""
    watch, offset, decided = Watch("ingest-a"), 0, []
    for second in range(seconds):
        batch = watch.look(holds(float(second)), T0 + second)
        if batch is not None:
            decided.append(decider.apply(batch, offset))
            offset += 1
    return decided


def behind(thing: str = "access") -> Condition:
    """A topic that is read late."""
    return Condition(reasons.BEHIND, thing, 400.0, 300.0, "partitions 0", 400.0)


def alerts(decided: list[Decided]) -> list[Alert]:
    """All revisions."""
    return [alert for one in decided for alert in one.alerts]


def test_what_lasts_an_hour_is_one_alert_with_its_playbook_and_ends_by_itself(make_decider: Deciders) -> None:
    """If this fails, a blind spot pages each minute; or its alert stays open, and the next one is not believed."""
    decided = run(make_decider(), lambda now: [behind()] if now < 3600 else [], 5000)
    told = alerts(decided)
    assert {a.id for a in told} == {told[0].id}
    assert [a.status for a in told[:1] + told[-1:]] == [Status.OPEN, Status.RESOLVED]
    assert all(b.last_ts - a.last_ts >= 240.0 for a, b in pairwise(told[1:-1]))
    first = told[0]
    assert (first.detector, first.severity, first.mode, first.playbook) == (
        "gatewatch", Severity.HIGH, Mode.ALERT, PATH,
    )  # fmt: skip
    assert first.summary.startswith("Reading is late on lag of access: 400 seconds late, expected 300")
    resolved_at = next(i for i, one in enumerate(decided) if any(a.status is Status.RESOLVED for a in one.alerts))
    assert resolved_at < len(decided) - 1


@pytest.mark.parametrize("mode", ["alert", "shadow"])
def test_nobody_is_ever_blocked_for_what_we_cannot_see(make_decider: Deciders, mode: str) -> None:
    """If this fails, an outage of Kafka becomes an order to every gateway."""
    decider = make_decider(watch={"mode": mode})
    every = [Condition(blindness, "access", 9.0, 1.0, "much", 60.0) for blindness in reasons.ALL]
    decided = run(decider, lambda _now: every, 1000)
    assert {a.reason for a in alerts(decided)} == {reason.name for reason in reasons.REASONS}
    assert {a.mode for a in alerts(decided)} == {Mode(mode)}
    assert not any(one.decisions or one.refusals for one in decided)
    assert all(not a.decision_ids for a in alerts(decided))


def test_switched_off_it_says_nothing(make_decider: Deciders) -> None:
    """If this fails, who watches Gatewatch by other means cannot be left in peace."""
    assert alerts(run(make_decider(watch={"mode": "off"}), lambda _now: [behind()], 500)) == []


def test_each_severity_is_that_of_its_reason(make_decider: Deciders) -> None:
    """If this fails, a crowded table wakes somebody up, or a source that is lost does not."""
    every = [Condition(blindness, "access", 9.0, 1.0, "much") for blindness in reasons.ALL]
    told = {a.reason: a.severity for a in alerts(run(make_decider(), lambda _now: every, 2))}
    assert told == {reason.name: reason.severity for reason in reasons.REASONS}


def test_attacks_and_blindness_are_different_incidents(
    make_decider: Deciders, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, a late topic is told as part of somebody's attack, and nobody mends it."""
    decider = make_decider()
    attack = decider.apply(make_batch(0, 0.0, make_finding(0.0)), 0)
    batch = Watch("ingest-a").look([behind(), behind("other")], T0)
    assert batch is not None
    own = decider.apply(batch, 1)
    assert len({case.id for one in (attack, own) for case in one.incidents}) == 3


def test_watchers_neither_hold_up_nor_hurry_the_time_of_detect(
    make_decider: Deciders, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, a worker's clock ends the episodes of attackers, or keeps what is over for ever."""
    decider = make_decider()
    decider.apply(make_batch(0, 0.0, make_finding(0.0)), 0)
    far = Watch("ingest-a").look([], T0 + 1e6)
    assert far is not None
    assert not decider.apply(far, 1)
    decided = decider.apply(make_batch(1, 2000.0), 2)
    assert [a.status for a in decided.alerts] == [Status.RESOLVED]


def test_the_same_findings_give_the_same_alerts_whoever_decides(make_decider: Deciders) -> None:
    """If this fails, what a watcher says makes a replay of `findings` differ from what was live."""

    def holds(now: float) -> list[Condition]:
        return [behind()] if now % 1000 < 300 else []

    assert run(make_decider(), holds, 4000) == run(make_decider(), holds, 4000)


def test_a_thousand_things_at_once_are_no_thousand_messages(make_decider: Deciders) -> None:
    """If this fails, a broker outage with many topics floods everybody who is paged."""
    decided = run(make_decider(), lambda _now: [behind(f"topic-{i}") for i in range(1000)], 300)
    cases = {case.id for one in decided for case in one.incidents}
    assert len(cases) <= 52  # decide's own limit on storms holds for us, too
