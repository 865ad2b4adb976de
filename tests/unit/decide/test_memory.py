"""A decider that goes on from a snapshot says what the one that ran through would have said, byte for byte."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewatch import verdicts
from gatewatch.decide.control import Controls
from gatewatch.decide.decider import Decider
from gatewatch.decide.memory import Book, DecideTask, Heard, Memory
from gatewatch.decide.records_io import write, write_refusal
from gatewatch.errors import StateError
from gatewatch.log.base import TopicPartition
from gatewatch.records import (
    Action,
    Alert,
    Decision,
    Effect,
    Finding,
    FindingBatch,
    Incident,
    Mode,
    Scope,
    Verdict,
    VerdictKind,
)
from gatewatch.settings import KafkaSettings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.packing import pack, unpack
from gatewatch.state.shapes import Parts, encode
from gatewatch.testing.deep import differences

Make = Callable[..., Finding]
New = Callable[..., Decider]
Word = Decision | Verdict
T0 = 1_700_000_000.0
SECTIONS: dict[str, object] = {
    "detectors": {"door_knocker": {"block": {"ttl": "5m", "max_ttl": "20m"}}},
    "projects": {
        "quiet": {"detectors": {"door_knocker": {"mode": "shadow"}}},
        "careful": {"detectors": {"door_knocker": {"block": {"approval": True}}}},
    },
    "guards": {"blocks_per_minute": 4, "protected_principals": ["billing-job"]},
}
# Addresses of one network with one client, so that they become waves and merge; rows of principals link the two kinds
ADDRESSES = [f"198.51.100.{n}" for n in range(1, 9)]
KEYS = [*((Scope.IP, a) for a in ADDRESSES), (Scope.NETWORK, "198.51.100.0/24"), (Scope.PRINCIPAL, "alice"),
        (Scope.PRINCIPAL, "billing-job"), (Scope.ACCOUNT, "root")]  # fmt: skip
BOOK = Book(config_hash="c", catalog_hash="", heard={})
CONTROLS = Controls.of(KafkaSettings(), HashSeed(1, 2))


class Life:
    """Three tasks whose time goes on out of step, effects of what was ordered, and people who say things.

    People speak of what they have seen; it is heard at the next record.
    """

    def __init__(self, random: Random, make: Make, decider: Decider) -> None:
        self._random, self._make, self._decider = random, make, decider
        self._clocks, self._offsets, self._n = [0.0] * 3, [0] * 3, 0
        self._alerts: list[Alert | Incident] = []
        self._orders: list[Decision] = []

    def steps(self, count: int) -> list[tuple[FindingBatch, list[Word]]]:
        """Records, and what was said after each."""
        steps = []
        for offset in range(count):
            record = self._record()
            decided = self._decider.apply(record, offset)
            self._alerts += [*decided.alerts, *decided.incidents]
            self._orders += [d for d in decided.decisions if d.removed is None]
            words = self._words(offset)
            hear(self._decider, words, offset + 1)
            steps.append((record, words))
        return steps

    def _record(self) -> FindingBatch:
        pick = self._random
        task = pick.randrange(3)
        self._clocks[task] += pick.choice([1.0, 30.0, 200.0, 700.0])
        self._offsets[task] += pick.choice([1, 1, 1, 0])  # 0: the record before is said again
        at = self._clocks[task]
        many = 60 if pick.random() < 0.02 else pick.randrange(5)  # so many strangers at once are a storm
        found = tuple(self._stranger(at) if many == 60 else self._finding(at) for _ in range(many))
        effects: tuple[Effect, ...] = ()
        if self._orders and pick.random() < 0.3:
            order = pick.choice(self._orders)
            effects = (Effect(decision_id=order.id, ts=T0 + at, after_s=2.0, through=pick.randrange(2)),)
        return FindingBatch(
            task=task, routed_offset=self._offsets[task], watermark=T0 + at, findings=found, effects=effects
        )

    def _stranger(self, at: float) -> Finding:
        self._n += 1
        return self._make(at, n=self._n, key=f"192.0.2.{self._n % 250}", context={})

    def _finding(self, at: float) -> Finding:
        pick = self._random
        self._n += 1
        scope, key = pick.choice(KEYS)
        context = {"account": pick.choice(["root", "admin"])}
        if scope is Scope.IP:
            context |= {"network": "198.51.100.0/24", "user_agent": "curl/8", "asn": "64500"}
        elif scope is Scope.PRINCIPAL:
            context |= {"ip": pick.choice(ADDRESSES), "credential": "c1"}
        learned = pick.random() < 0.3
        return self._make(
            at - pick.choice([0.0, 0.0, 0.0, 5.0, 2000.0]), n=self._n, scope=scope, key=key, context=context,
            nats=pick.choice([12.0, 15.0, 60.0]), reason=pick.choice(["cracking", "burst", "takeover"]),
            learned=learned, warm=not learned or pick.random() < 0.5, project=pick.choice([None, "quiet", "careful"]),
            title=pick.choice(["Password cracking", "Request burst"]),
        )  # fmt: skip

    def _words(self, offset: int) -> list[Word]:
        pick = self._random
        what = pick.choice(["nothing", "nothing", "nothing", "verdict", "verdict", "order", "removal"])
        if what == "verdict" and self._alerts:
            about = pick.choice([a for a in self._alerts[-20:] if a.waiting] or self._alerts)
            return [self._verdict(offset, about, pick.choice(list(VerdictKind)))]
        if what == "order":
            return [Decision(
                id=f"m{offset}", action=Action.BLOCK, scope=Scope.IP, value=pick.choice(ADDRESSES), reason="by hand",
                start=T0, until=T0 + 700.0, mode=Mode.BLOCK, actor="bo",
            )]  # fmt: skip
        if what == "removal" and self._orders:
            return [pick.choice(self._orders).model_copy(update={"removed": T0 + 1.0, "removed_by": "bo"})]
        return []

    def _verdict(self, offset: int, about: Alert | Incident, kind: VerdictKind) -> Verdict:
        alert_id, incident_id = (about.id, about.incident_id) if isinstance(about, Alert) else (None, about.id)
        return Verdict(
            id=f"v{offset}", kind=kind, alert_id=alert_id, incident_id=incident_id, detector=about.detector,
            scope=about.scope, key=about.key, severity=about.severity, actor="ana", via="cli", reason="r", ts=T0,
            until=T0 + 86400.0 if kind in verdicts.ENDING else None,
        )  # fmt: skip


def hear(decider: Decider, words: list[Word], offset: int) -> None:
    """Let what people said take effect."""
    for word in words:
        if isinstance(word, Verdict):
            decider.hear(word, offset)
        else:
            decider.order(word, offset)


def run(decider: Decider, steps: list[tuple[FindingBatch, list[Word]]], start: int, stop: int) -> list[bytes]:
    """Everything that would be sent for some of the records."""
    out: list[bytes] = []
    for offset, (record, words) in enumerate(steps[start:stop], start):
        one = decider.apply(record, offset)
        hear(decider, words, offset + 1)
        out += [*map(write, one.alerts), *map(write, one.incidents), *map(write, one.decisions)]
        out += [write_refusal(r, offset) for r in one.refusals]
        out += [value for d in one.decisions if (value := CONTROLS.value(d)) is not None]
    return out


def restored(decider: Decider, new: New) -> Decider:
    """Another one that goes on from its snapshot, by way of the bytes that stand in the log."""
    chunks: list[bytes] = []
    memory = Memory(BOOK, decider.copy())
    pack(memory.document(), memory.arrays, chunks.append)
    other = new(**SECTIONS)
    other.become(Memory.read(*unpack(chunks)).parts)
    return other


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=40, deadline=None)
def test_restored_at_any_point_it_says_the_same_bytes_and_knows_the_same(
    seed: int, data: st.DataObject, make_finding: Make, make_decider: New
) -> None:
    """If this fails, a restart of decide alerts again, forgets a block or a verdict, or gives incidents other names."""
    steps = Life(Random(seed), make_finding, make_decider(**SECTIONS)).steps(data.draw(st.integers(1, 40)))
    cut, end = data.draw(st.integers(0, len(steps))), len(steps)
    whole = make_decider(**SECTIONS)
    run(whole, steps, 0, cut)
    second = restored(whole, make_decider)
    assert list(differences(whole, second)) == []
    assert run(second, steps, cut, end) == run(whole, steps, cut, end)
    assert list(differences(whole, second)) == []


def test_a_long_life_with_many_restarts_leaves_nothing_out(make_finding: Make, make_decider: New) -> None:
    """If this fails, something that decide remembers is not in its snapshots, or no test would notice if it were not.

    Whoever adds a field that this stream leaves empty everywhere must make the stream use it.
    """
    steps = Life(Random(7), make_finding, make_decider(**SECTIONS)).steps(400)
    whole, used = make_decider(**SECTIONS), set()
    second = make_decider(**SECTIONS)
    for start in range(0, len(steps), 40):
        second = restored(second, make_decider)
        assert run(second, steps, start, start + 40) == run(whole, steps, start, start + 40)
        assert list(differences(whole, second)) == []
        used |= {name for name, value in whole.copy().items() if value not in (0, None, [], (None, []))}
        used |= _fields_in_use(whole.copy())
    everything = set(whole.copy()) | _fields(whole.copy())
    assert everything - used == {"incidents/_touched"}  # between records nothing is left to be told


def _rows(parts: Parts) -> list[tuple[str, dict[str, object]]]:
    cases = [("case", row) for row in parts["@Case"]]
    return cases + [("episode", row) for _key, row in parts["episodes/_open"]]


def _fields(parts: Parts) -> set[str]:
    return {f"{kind}.{name}" for kind, row in _rows(parts) for name in row}


def _fields_in_use(parts: Parts) -> set[str]:
    return {f"{kind}.{name}" for kind, row in _rows(parts) for name, v in row.items() if v not in (0, None, False, [])}


def test_a_snapshot_is_a_copy(make_finding: Make, make_decider: New) -> None:
    """If this fails, what comes while a snapshot is written is in it, and counts twice after a restart."""
    steps = Life(Random(3), make_finding, make_decider(**SECTIONS)).steps(120)
    decider = make_decider(**SECTIONS)
    run(decider, steps, 0, 60)
    memory = Memory(BOOK, decider.copy())
    before = {name: array.tobytes() for name, array in memory.arrays.items()}
    run(decider, steps, 60, 120)
    assert {name: array.tobytes() for name, array in memory.arrays.items()} == before


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_copy_in_steps_is_of_the_moment_it_began(
    seed: int, data: st.DataObject, make_finding: Make, make_decider: New
) -> None:
    """If this fails, what comes while a large decide is copied is in the snapshot in part: no moment that ever was."""
    steps = Life(Random(seed), make_finding, make_decider(**SECTIONS)).steps(data.draw(st.integers(1, 60)))
    cut = data.draw(st.integers(0, len(steps)))
    decider = make_decider(**SECTIONS)
    run(decider, steps, 0, cut)
    expected, copying = encode(decider.copy()), decider.begin_copy()
    for at in range(cut, len(steps)):
        run(decider, steps, at, at + 1)
        for _ in range(data.draw(st.sampled_from([0, 1, 3]))):
            copying.go_on(0.0)
    copying.go_on(float("inf"))
    assert {name: a.tobytes() for name, a in encode(copying.parts()).items()} == {
        name: a.tobytes() for name, a in expected.items()
    }
    through = make_decider(**SECTIONS)
    run(through, steps, 0, len(steps))
    assert list(differences(through, decider)) == []  # it was not changed by that


def test_a_copy_that_is_done_or_dropped_is_held_by_nobody(make_finding: Make, make_decider: New) -> None:
    """If this fails, a decider holds its last snapshot in memory, twice as much as it knows."""
    decider = make_decider()
    decider.apply(batch(0, 1.0, make_finding(0.0)), 0)
    done, dropped = decider.begin_copy(), decider.begin_copy()
    done.go_on(float("inf"))
    dropped.drop()
    held = [weakref.ref(done), weakref.ref(dropped)]
    del done, dropped
    assert [one() for one in held] == [None, None]


def test_other_settings_hold_from_there_on_and_what_was_decided_stands(make_finding: Make, make_decider: New) -> None:
    """If this fails, a deployment with another setting ends blocks early, or goes on as if nothing had changed."""
    decider = make_decider()
    (block,) = decider.apply(batch(0, 1.0, make_finding(0.0)), 0).decisions
    other = make_decider(guards={"allow": [
        {"ip": "203.0.113.9", "owner": "sre", "reason": "ours", "until": "2027-01-31"},
    ]})  # fmt: skip
    other.become(decider.copy())
    assert other.hashes != decider.hashes
    late = other.apply(batch(1, 500.0, make_finding(500.0, n=1)), 1)  # due to be renewed
    assert [(r.guard, r.value) for r in late.refusals] == [("allow_list", "203.0.113.9")]
    assert late.decisions == []
    (alert,) = late.alerts
    assert alert.decision_ids == (block.id,)
    assert alert.config_hash == other.hashes[0]


def test_what_is_not_a_snapshot_of_this_version_is_refused(make_finding: Make, make_decider: New) -> None:
    """If this fails, a damaged or foreign snapshot becomes a decider that blocks by rubbish."""
    decider = make_decider()
    decider.apply(batch(0, 1.0, make_finding(0.0)), 0)
    memory = Memory(BOOK, decider.copy())
    whole = Memory.read(memory.document(), memory.arrays).parts
    wrong: list[Parts] = [
        {name: part for name, part in whole.items() if name != "tasks"},
        whole | {"tasks": [[0, ["x", 1.0]]]},
        whole | {"incidents/_storm": 7},
        whole | {"incidents/_storm": -1},
        whole | {"@Case": [{}]},
        whole | {"orders/_standing": [[["ip", "x"], {"id": "d"}]]},
    ]
    for parts in wrong:
        with pytest.raises(StateError, match="does not fit this version"):
            make_decider().become(parts)
    with pytest.raises(StateError, match="document"):
        Memory.read(b"?", memory.arrays)
    with pytest.raises(StateError, match="tasks#0"):
        Memory.read(memory.document(), memory.arrays | {"tasks#0": np.zeros(3, np.uint8)[:0]})


def test_it_is_saved_only_when_all_that_people_said_has_taken_effect(make_finding: Make, make_decider: New) -> None:
    """If this fails, a verdict that was heard just before a kill is lost: it is in no snapshot, and not read again."""
    tp = TopicPartition("gatewatch.verdicts", 0)
    heard, ids = {tp: 5}, {tp.topic: "id-1"}
    task = DecideTask(make_decider, heard, ids)
    (alert,) = task.decider.apply(batch(0, 1.0, make_finding(0.0)), 0).alerts
    verdict = Life(Random(0), make_finding, task.decider)._verdict(0, alert, VerdictKind.TRUE)
    task.decider.hear(verdict, 1)
    assert task.memory() is None
    task.decider.apply(batch(1, 2.0), 1)
    memory = task.memory()
    assert memory is not None
    assert memory.go_on(float("inf"))
    assert memory.book.heard == {tp.topic: Heard("id-1", 5)}
    for made_again, known in (("id-1", {tp.topic: 5}), ("id-2", {})):
        other = DecideTask(make_decider, {tp: 0}, {tp.topic: made_again})
        assert other.become(memory, 2, 0) == 2
        assert (other.knows_until, other.knows_people) == (2, known)
    assert task.become(replace(memory), 2, 9) == 9  # retention took what was in between


def batch(offset: int, at: float, *found: Finding) -> FindingBatch:
    """A record of task 0."""
    return FindingBatch(task=0, routed_offset=offset, watermark=T0 + at, findings=found)
