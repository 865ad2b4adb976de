"""The closed loop: what traffic says about our own orders."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pytest

from gatewatch.detect import blocks as room
from gatewatch.detect.blocks import GRACE_S, SETTLED_S, THROUGH_EVERY_S, THROUGH_MIN, Blocks
from gatewatch.events.batch import Batch, Role
from gatewatch.records import Control, Effect, Scope, SourceRange
from gatewatch.testing.batches import SEED, batch_of

T0 = 1_767_225_600.0
IP = "203.0.113.9"
RANGES = [SourceRange("id-0", 0, 0, 10_000, T0, topic="edge"), SourceRange("id-1", 0, 0, 10_000, T0, topic="inner")]


def _order(key: str = IP, **changed: Any) -> Control:
    order = Control(decision_id="d1", scope=Scope.IP, key=key, start=T0, until=T0 + 600.0)
    return msgspec.structs.replace(order, **changed)


def _blocks(*orders: Control) -> Blocks:
    blocks = Blocks(SEED)
    for order in orders or (_order(),):
        blocks.hear(order)
    return blocks


def _event(at: float, status: int = 200, ip: str = IP, **more: Any) -> dict[str, Any]:
    return {"ts": T0 + at, "ip": ip, "status": status} | more


def test_a_refusal_inside_our_block_is_ours_and_says_that_it_works() -> None:
    """Detectors would learn from our own refusals, and prolong the block for ever; nobody would know it works."""
    batch = batch_of([_event(-1.0, 403), _event(2.0, 403), _event(3.0, 403), _event(4.0, 403, ip="198.51.100.7")])
    marked, effects = _blocks().mark(batch, RANGES)
    assert marked.column("blocked_by_us").tolist() == [-1, 1, 1, -1]
    assert effects == [Effect(decision_id="d1", ts=T0 + 2.0, after_s=2.0, gateway="edge")]
    assert batch.column("blocked_by_us").tolist() == [-1, -1, -1, -1], "the batch itself was changed"


def test_who_gets_through_is_told_now_and_then() -> None:
    """A gateway that ignores its orders would look like a block that holds."""
    served = [_event(GRACE_S + 1.0 + i) for i in range(int(THROUGH_EVERY_S) + 50)]
    _, effects = _blocks(_order(until=T0 + 3600.0)).mark(batch_of(served), RANGES)
    assert [e.through for e in effects] == [THROUGH_MIN, THROUGH_MIN + int(THROUGH_EVERY_S)]
    assert all(e.after_s is None for e in effects)


def test_a_request_that_began_before_the_order_proves_nothing() -> None:
    """A long generation that was running when the block came would page somebody at night."""
    long = [_event(60.0 + i, latency_ms=60_000.0 + 1000.0 * i) for i in range(10)]
    assert _blocks().mark(batch_of(long), RANGES)[1] == []


def test_before_after_and_without_an_order_nothing_is_ours() -> None:
    """Refusals of the gateway's own policy would be taken for ours, and probing would go unseen."""
    batch = batch_of([_event(-5.0, 403), _event(700.0, 403)])
    assert _blocks().mark(batch, RANGES)[0] is batch
    taken_back = _blocks(_order(), _order(removed=True))
    batch = batch_of([_event(2.0, 403)])
    assert taken_back.mark(batch, RANGES) == (batch, [])


def test_an_order_that_is_prolonged_keeps_what_is_known_of_it() -> None:
    """Each renewal would be called effective again."""
    blocks = _blocks()
    blocks.mark(batch_of([_event(2.0, 403)]), RANGES)
    blocks.hear(_order(until=T0 + 1200.0))
    marked, effects = blocks.mark(batch_of([_event(800.0, 403)]), RANGES)
    assert marked.column("blocked_by_us").tolist() == [1]
    assert effects == []


def _ours(blocks: Blocks, at: float) -> bool:
    """Whether a refusal then is our doing."""
    return bool(blocks.mark(batch_of([_event(at, 403)]), RANGES)[0].column("blocked_by_us")[0] == 1)


def test_a_copy_gives_no_order_again_that_was_taken_back() -> None:
    """If this fails, who may write to `routed`, and copies, has refusals of the gateway's own policy teach nothing."""
    given, taken_back = _order(), _order(removed=True)
    blocks, other = _blocks(given, taken_back, given), Blocks(SEED)
    assert not _ours(blocks, 2.0)
    other.become(blocks.book(), blocks.gone())
    other.hear(given)
    assert not _ours(other, 2.0)


def test_a_copy_ends_no_order_that_runs() -> None:
    """If this fails, who copies has our own refusals teach, and be reported as attacks."""
    first = _order(until=T0 + 60.0)
    renewed, second = _order(until=T0 + 600.0), _order(decision_id="d2", start=T0 + 100.0, until=T0 + 900.0)
    assert _ours(_blocks(first, renewed, first), 300.0), "a renewal was undone"
    assert _ours(_blocks(renewed, second, renewed), 800.0), "an older order took the place of the newest"
    assert _ours(_blocks(first, _order(removed=True), second, _order(removed=True)), 300.0), "another order was removed"


def test_what_was_taken_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that lets many go could fill the memory; and what is over is forgotten."""
    monkeypatch.setattr(room, "ORDERS_MAX", 10)
    gone = [_order(decision_id=f"d{i}", until=T0 + 100.0 + i, removed=True) for i in range(30)]
    blocks = _blocks(*gone)
    assert [id_ for id_, _ in blocks.gone()] == [f"d{i}" for i in range(20, 30)]
    blocks.hear(_order(decision_id="last", start=T0 + 1000.0, until=T0 + 1100.0, removed=True))
    assert blocks.gone() == (("last", T0 + 1100.0),)


def test_restored_it_knows_the_same() -> None:
    """After a restart refusals would teach, and the block be called effective a second time."""
    blocks, other = _blocks(), Blocks(SEED)
    blocks.mark(batch_of([_event(2.0, 403)]), RANGES)
    other.become(blocks.book())
    assert other.book() == blocks.book()
    assert other.mark(batch_of([_event(3.0, 403)]), RANGES)[1] == []


def test_orders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses could fill the memory with orders."""
    monkeypatch.setattr(room, "ORDERS_MAX", 10)
    blocks = _blocks(*(_order(f"10.0.0.{i}", decision_id=f"d{i}", until=T0 + 100.0 + i) for i in range(30)))
    assert sorted(control.key for control, *_ in blocks.book()) == sorted(f"10.0.0.{i}" for i in range(20, 30))


def _of(batch: Batch, name: str, values: list[int]) -> Batch:
    """The batch with another column."""
    at = batch.arrow.schema.get_field_index(name)
    return Batch(batch.arrow.set_column(at, name, pa.array(values, batch.arrow.schema.field(name).type)))


def test_each_gateway_is_judged_by_its_own_traffic() -> None:
    """If this fails, one gateway that obeys hides another that does not, and it is not named."""
    rows = [_event(GRACE_S + 1.0 + i, 403 if i % 2 else 200) for i in range(2 * THROUGH_MIN)]
    batch = _of(batch_of(rows), "src", [0 if i % 2 else 1 for i in range(len(rows))])
    effects = _blocks().mark(batch, RANGES)[1]
    assert [(e.gateway, e.after_s is not None, e.through) for e in effects] == [
        ("edge", True, 0),
        ("inner", False, THROUGH_MIN),
    ]


def test_a_gateway_that_obeys_again_is_told_once_it_is_settled() -> None:
    """If this fails, a page stays open though all is well, or one replica of two that is ill pages at each request."""
    blocks, leaks = _blocks(_order(until=T0 + 3600.0)), GRACE_S + 10.0
    seen = blocks.mark(batch_of([_event(1.0, 403)]), RANGES)[1]
    mixed = [_event(leaks + i, 200 if i % 2 else 403) for i in range(40)]
    last = leaks + 39.0
    again = [_event(last + SETTLED_S - 1.0, 403), _event(last + SETTLED_S, 403), _event(last + SETTLED_S + 1.0, 403)]
    seen += blocks.mark(batch_of(mixed + again), RANGES)[1]
    assert [(e.ts - T0, e.through) for e in seen] == [
        (1.0, 0),
        (leaks + 2 * THROUGH_MIN - 1.0, THROUGH_MIN),
        (last + SETTLED_S, 0),
    ]


def test_what_was_served_before_the_first_refusal_says_nothing_when_it_comes_late() -> None:
    """If this fails, a log that is shipped out of order pages for a block that holds."""
    late = [_event(60.0, 403), *(_event(GRACE_S + 1.0 + i) for i in range(10))]
    assert [e.through for e in _blocks().mark(batch_of(late), RANGES)[1]] == [0]


def test_one_task_alone_judges_an_order() -> None:
    """If this fails, two tasks that see the same requests page twice, and close each other's alerts."""
    rows = batch_of([_event(GRACE_S + 1.0 + i) for i in range(10)])
    who = _of(rows, "role", [Role.WHO] * 10)
    marked, effects = _blocks().mark(_of(batch_of([_event(2.0, 403)]), "role", [Role.WHO]), RANGES)
    assert (effects, marked.column("blocked_by_us").tolist()) == ([], [1])
    assert _blocks().mark(who, RANGES)[1] == []
    assert len(_blocks().mark(_of(rows, "role", [Role.WHERE] * 10), RANGES)[1]) == 1
    assert _blocks().mark(_of(rows, "role", [Role.SHOW] * 10), RANGES)[1] == []
