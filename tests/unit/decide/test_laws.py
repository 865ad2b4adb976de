"""What holds for any log of findings, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewatch import verdicts
from gatewatch.decide.candidate import Candidate, overlap
from gatewatch.decide.decider import Decider
from gatewatch.decide.records_io import write, write_refusal
from gatewatch.decide.turn import Decided
from gatewatch.records import Action, Decision, Finding, FindingBatch, Mode, Scope, Status, Verdict, VerdictKind
from gatewatch.settings import VerdictSettings

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]
T0 = 1_700_000_000.0

KEYS = (
    (Scope.IP, "203.0.113.7"),  # allowed
    (Scope.IP, "203.0.113.8"),
    (Scope.IP, "10.1.2.3"),  # protected
    (Scope.NETWORK, "203.0.113.0/24"),  # holds the allowed one
    (Scope.NETWORK, "198.51.100.0/24"),
    (Scope.NETWORK, "0.0.0.0/0"),
    (Scope.PRINCIPAL, "alice"),
    (Scope.PRINCIPAL, "billing-job"),  # protected
    (Scope.ALL, "all"),
)
SECTIONS: dict[str, object] = {
    "detectors": {"door_knocker": {"block": {"ttl": "5m", "max_ttl": "20m"}}},
    "projects": {"quiet": {"detectors": {"door_knocker": {"mode": "shadow"}}}},
    "guards": {
        "blocks_per_minute": 3,
        "protected_principals": ["billing-job"],
        "allow": [{"ip": "203.0.113.7", "owner": "sre", "reason": "load test", "until": "2027-01-31"}],
    },
}


@st.composite
def logs(draw: st.DrawFn, make_finding: Make, make_batch: Batch) -> list[FindingBatch]:
    """Records of three tasks, each going on in time, out of step with each other."""
    clocks = [0.0, 0.0, 0.0]
    offsets = [0, 0, 0]
    records = []
    n = 0
    for _ in range(draw(st.integers(1, 25))):
        task = draw(st.integers(0, 2))
        clocks[task] += draw(st.sampled_from([1.0, 30.0, 200.0, 700.0]))
        findings = []
        for _ in range(draw(st.integers(0, 3))):
            n += 1
            scope, key = draw(st.sampled_from(KEYS))
            late = draw(st.sampled_from([0.0, 0.0, 5.0, 2000.0]))
            learned, warm = draw(st.booleans()), draw(st.booleans())
            findings.append(
                make_finding(
                    clocks[task] - late,
                    n=n,
                    scope=scope,
                    key=key,
                    nats=draw(st.sampled_from([12.0, 15.0, 60.0])),
                    reason=draw(st.sampled_from(["cracking", "burst", "takeover"])),
                    learned=learned,
                    warm=warm or not learned,
                    project=draw(st.sampled_from([None, "quiet"])),
                )
            )
        records.append(make_batch(offsets[task], clocks[task], *findings, task=task))
        offsets[task] += draw(st.sampled_from([1, 1, 1, 0]))  # 0: the next one repeats it
    return records


def run(decider: Decider, records: list[FindingBatch], start: int = 0) -> list[Decided]:
    """What each record led to, from the first one on."""
    decided = [decider.apply(record, offset) for offset, record in enumerate(records)]
    return decided[start:]


def said(decided: list[Decided], kind: VerdictKind) -> Verdict | None:
    """What ana says of the first alert that there was, for an hour where it must end."""
    alert = next((a for one in decided for a in one.alerts), None)
    if alert is None:
        return None
    who = VerdictSettings.model_validate({"actors": ["ana"]})
    until = T0 + 3600.0 if kind in verdicts.ENDING else None
    about = alert.model_copy(update={"waiting": True})  # whether or not it does: decide must bear anything
    return verdicts.verdict_on(about, kind, actor="ana", reason="r", now=T0, settings=who, until=until)


def in_bytes(decided: list[Decided]) -> list[bytes]:
    """Everything that would be sent, in order."""
    out = []
    for offset, one in enumerate(decided):
        out += [*map(write, one.alerts), *map(write, one.incidents), *map(write, one.decisions)]
        out += [write_refusal(r, offset) for r in one.refusals]
    return out


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_who_takes_over_at_any_point_says_the_same_bytes(
    data: st.DataObject, make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a restart pages twice under other ids, or blocks somebody for another time."""
    records = data.draw(logs(make_finding, make_batch))
    cut = data.draw(st.integers(0, len(records)))
    order = Decision(
        id="m1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.8", reason="by hand", start=T0, until=T0 + 400.0,
        mode=Mode.BLOCK, actor="alice",
    )  # fmt: skip
    whole, first, second = (make_decider(**SECTIONS) for _ in range(3))
    verdict = said(run(make_decider(**SECTIONS), records), data.draw(st.sampled_from(VerdictKind)))
    for decider in (whole, first, second):
        decider.order(order, len(records) // 2)
        if verdict is not None:
            decider.hear(verdict, len(records) // 2 + 1)
    expected = run(whole, records)
    assert in_bytes(expected[:cut]) == in_bytes(run(first, records[:cut]))
    assert in_bytes(expected[cut:]) == in_bytes(run(second, records, cut))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_repeated_records_and_the_order_within_one_change_nothing(
    data: st.DataObject, make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, counts and blocks depend on who sent a record twice, or on a detector's loop order."""
    records = data.draw(logs(make_finding, make_batch))
    shuffled = []
    random = Random(data.draw(st.integers(0, 9)))
    for record in records:
        findings = list(record.findings)
        random.shuffle(findings)
        repeated = (*findings, *findings[:1])
        shuffled.append(
            FindingBatch(
                task=record.task,
                routed_offset=record.routed_offset,
                watermark=record.watermark,
                findings=repeated,
            )
        )
    assert in_bytes(run(make_decider(**SECTIONS), records)) == in_bytes(run(make_decider(**SECTIONS), shuffled))
    one, two = make_decider(**SECTIONS), make_decider(**SECTIONS)
    expected = [one.apply(r, i) for i, r in enumerate(records)]
    doubled = []
    for i, record in enumerate(records):
        doubled.append(two.apply(record, i))
        assert not two.apply(record, i)
    assert in_bytes(expected) == in_bytes(doubled)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_order_ever_breaks_a_promise(
    data: st.DataObject, make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, somebody is blocked who was promised not to be, or a block has no end or is over at birth."""
    records = data.draw(logs(make_finding, make_batch))
    decider = make_decider(**SECTIONS)
    seen: dict[int, float] = {}
    applied: dict[int, int] = {}
    begun: set[tuple[str, float]] = set()
    for offset, record in enumerate(records):
        decided = decider.apply(record, offset)
        before = seen.get(record.task, float("-inf"))
        latest = max([before, *(f.ts for f in record.findings)])
        for decision in decided.decisions:
            assert (decision.scope, decision.value) in {
                (Scope.IP, "203.0.113.8"),
                (Scope.NETWORK, "198.51.100.0/24"),
                (Scope.PRINCIPAL, "alice"),
            }
            assert decision.until > before
            assert decision.start < decision.until <= latest + 1200.0
            if decision.mode is Mode.BLOCK:
                begun.add((decision.id, decision.start))
        if record.routed_offset > applied.get(record.task, -1):  # else it was dropped, with its watermark
            seen[record.task] = max(before, record.watermark)
            applied[record.task] = record.routed_offset
    for _id, at in begun:
        assert sum(1 for _other, start in begun if 0 <= start - at < 60.0) <= 3


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_alert_opens_before_it_changes_and_ends_once(
    data: st.DataObject, make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, PagerDuty gets a resolve it cannot match, or an alert that stays open for ever."""
    records = data.draw(logs(make_finding, make_batch))
    decider = make_decider(**SECTIONS)
    last: dict[str, tuple[int, Status, int]] = {}
    end = [make_batch(10_000, 1e6, task=task) for task in range(3)]
    for offset, record in enumerate([*records, *end]):
        alerts = decider.apply(record, offset).alerts
        assert len({a.id for a in alerts}) == len(alerts)
        for alert in alerts:
            before = last.get(alert.id)
            assert alert.revision == offset
            assert (alert.status is Status.OPEN) == (before is None) or alert.status is Status.RESOLVED
            assert before is None or (before[1] is not Status.RESOLVED and alert.count >= before[2])
            last[alert.id] = (offset, alert.status, alert.count)
    assert decider.open_episodes == 0
    assert all(status is Status.RESOLVED for _offset, status, _count in last.values())


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_nobody_is_stopped_who_is_expected(
    data: st.DataObject, make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a load test that was announced is blocked by another detector, task or scope."""
    records = data.draw(logs(make_finding, make_batch))
    verdict = said(run(make_decider(**SECTIONS), records), VerdictKind.EXPECTED)
    if verdict is None:
        return
    decider = make_decider(**SECTIONS)
    offset = data.draw(st.integers(0, len(records)))
    decider.hear(verdict, offset)
    named = Candidate("d", verdict.scope, verdict.key, T0).network
    for one in run(decider, records)[offset:]:
        for order in one.decisions:
            if order.removed is not None or order.mode is not Mode.BLOCK or order.start >= T0 + 3600.0:
                continue
            assert (order.scope, order.value) != (verdict.scope, verdict.key)
            assert not overlap(named, Candidate("d", order.scope, order.value, T0).network)
