"""What is blocked, as detect knows it: whose refusals are ours, and who gets through all the same.

Decide tells every detect task what it ordered, by control records in `routed`. From then on a refusal of such a key is
our doing: the row is marked ``blocked_by_us``, so no detector learns from it and no block is prolonged by it. A request
that *began* after the order's grace and was served all the same shows that the gateway does not do as it was told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ROUTED, Batch
from gatewatch.records import Control, Effect, Scope
from gatewatch.state.hashing import HashSeed, hash_text

GRACE_S = 5.0  # an order is effective within seconds, or it is not (the target is 5 s from the first alertable event)
# Orders that one task follows; guards let 30 a minute pass, for ten minutes each at first. The next to end makes room.
ORDERS_MAX = 10_000
THROUGH_MIN = 3  # requests served after the grace, before it is said that an order has no effect: retries may cross it
THROUGH_EVERY_S = 300.0  # and said again so often
_REFUSED = (403, 429)  # not 401: the attacker's own failed logins go on
_SCOPES = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK)


@dataclass(slots=True)
class _Order:
    control: Control
    refused: bool = False  # somebody was, so it works
    through: int = 0
    told_at: float = float("-inf")


@dataclass(slots=True)
class Blocks:
    """Orders that run, by scope and key. Cost: nothing without orders; else some 20 us a batch and scope."""

    seed: HashSeed
    _orders: dict[Scope, dict[int, _Order]] = field(default_factory=dict)

    def hear(self, control: Control) -> None:
        """An order is given, prolonged or taken back; the newest word on a key holds."""
        if control.scope not in _SCOPES:
            return
        orders = self._orders.setdefault(control.scope, {})
        key = hash_text(control.key, self.seed)
        if control.removed:
            orders.pop(key, None)
        elif (old := orders.get(key)) is not None and old.control.decision_id == control.decision_id:
            old.control = control
        else:
            orders[key] = _Order(control)
        if not orders:
            del self._orders[control.scope]
        elif len(orders) > ORDERS_MAX:
            del orders[min(orders, key=lambda k: (orders[k].control.until, k))]

    def mark(self, batch: Batch) -> tuple[Batch, list[Effect]]:
        """The batch with our refusals marked, and what is new about orders: the first refusal, or requests served."""
        if not self._orders or not batch.n:
            return batch, []
        ours = np.zeros(batch.n, np.bool_)
        effects: list[Effect] = []
        status = batch.column("status")
        refused = np.isin(status, _REFUSED) | (batch.column("blocked_by_us") == 1)
        latency_s = np.nan_to_num(batch.column("latency_ms"), nan=0.0) / 1000.0
        for scope, orders in self._orders.items():
            keys = batch.column(f"k_{scope.value}")
            for row in np.flatnonzero(np.isin(keys, np.fromiter(orders, np.uint64, len(orders)))).tolist():
                order, ts = orders[int(keys[row])], float(batch.ts[row])
                if order.control.start <= ts < order.control.until:
                    ours[row] |= bool(refused[row])
                    effects += _seen(order, ts, ts - float(latency_s[row]), refused=bool(refused[row]))
        self._forget(float(batch.ts.max()))
        return (_marked(batch, ours) if ours.any() else batch), effects

    def book(self) -> tuple[tuple[Control, bool, int, float], ...]:
        """Every order, with what is known of it, for a snapshot."""
        return tuple((o.control, o.refused, o.through, o.told_at) for of in self._orders.values() for o in of.values())

    def become(self, book: tuple[tuple[Control, bool, int, float], ...]) -> None:
        """Know what :meth:`book` said."""
        self._orders = {}
        for control, refused, through, told_at in book:
            order = _Order(control, refused, through, told_at)
            self._orders.setdefault(control.scope, {})[hash_text(control.key, self.seed)] = order

    def _forget(self, now: float) -> None:
        """Orders that have ended; a late row finds them gone and teaches, which is what it would have done anyway."""
        for scope, orders in list(self._orders.items()):
            over = [key for key, order in orders.items() if order.control.until + GRACE_S < now]
            for key in over:
                del orders[key]
            if not orders:
                del self._orders[scope]


def _seen(order: _Order, ts: float, began: float, *, refused: bool) -> list[Effect]:
    """What one request of a blocked key says about its order."""
    control = order.control
    if refused:
        if order.refused:
            return []
        order.refused = True
        return [Effect(decision_id=control.decision_id, ts=ts, after_s=ts - control.start)]
    if began <= control.start + GRACE_S:
        return []
    order.through += 1
    if order.through < THROUGH_MIN or ts - order.told_at < THROUGH_EVERY_S:
        return []
    order.told_at = ts
    return [Effect(decision_id=control.decision_id, ts=ts, through=order.through)]


def _marked(batch: Batch, ours: npt.NDArray[np.bool_]) -> Batch:
    flags = np.where(ours, np.int8(1), batch.column("blocked_by_us"))
    column, name = pa.array(flags, pa.int8()), "blocked_by_us"
    if batch.has(name):
        at = batch.arrow.schema.get_field_index(name)
        return Batch(batch.arrow.set_column(at, ROUTED.field(name), column))
    return Batch(batch.arrow.append_column(ROUTED.field(name), column))
