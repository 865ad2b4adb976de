"""What is blocked, as detect knows it: whose refusals are ours, and who gets through all the same.

Decide tells every detect task what it ordered, by control records in `routed`. From then on a refusal of such a key is
our doing: the row is marked ``blocked_by_us``, so no detector learns from it and no block is prolonged by it. A request
that *began* after the order's grace and was served all the same shows that the gateway does not do as it was told. A
gateway is known by the topic that its events come from: one may obey while another does not.

Who may write to `routed` can copy our own sealed records to its end again. So a word on an order counts only if it may
come after what is known: one that was taken back stays so (decide makes none of its id again), one that runs is only
prolonged, and one that began before the key's newest says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ROUTED, Batch, Role
from gatewatch.records import Control, Effect, Scope, SourceRange
from gatewatch.state.hashing import HashSeed, hash_text

GRACE_S = 5.0  # an order is effective within seconds, or it is not (the target is 5 s from the first alertable event)
# Orders that one task follows, and as many ids of orders taken back; guards let 30 a minute pass, for ten minutes each
# at first. The next to end makes room.
ORDERS_MAX = 10_000
THROUGH_MIN = 3  # requests served after the grace, before it is said that an order has no effect: retries may cross it
THROUGH_EVERY_S = 300.0  # and said again so often
# An order that was obeyed, then was not, counts as obeyed again once nobody was served for so long: one of several
# replicas that does not obey is one finding, not one for each request that met it. Three pulls of a bouncer.
SETTLED_S = 30.0
_REFUSED = (403, 429)  # not 401: the attacker's own failed logins go on
_SCOPES = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK)
# All rows of a key have this role in one partition, so one task alone judges an order, in the order of the log
_ROLE = {scope: Role.WHERE if scope in (Scope.IP, Scope.NETWORK) else Role.WHO for scope in _SCOPES}
_NEVER = float("-inf")


class Shown(msgspec.Struct):
    """What one gateway's traffic has shown of an order. Times are event times, -inf for never."""

    gateway: str
    works_at: float = _NEVER  # the refusal that said so
    through: int = 0  # requests served all the same, since then
    served_at: float = _NEVER  # the last of them
    told_at: float = _NEVER  # when it was said that it has no effect, if that still holds

    def see(self, control: Control, ts: float, began: float, *, refused: bool) -> Effect | None:
        """What one more request of the key says about the order, where that is news."""
        if refused:
            return self._refuse(control, ts)
        if began <= control.start + GRACE_S or ts <= self.works_at:
            return None
        self.through += 1
        self.served_at = max(self.served_at, ts)
        if self.through < THROUGH_MIN or ts - self.told_at < THROUGH_EVERY_S:
            return None
        self.told_at = ts
        return Effect(decision_id=control.decision_id, ts=ts, through=self.through, gateway=self.gateway)

    def _refuse(self, control: Control, ts: float) -> Effect | None:
        first = self.works_at == _NEVER
        if not first and (self.told_at == _NEVER or ts - self.served_at < SETTLED_S):
            return None
        self.works_at, self.through, self.told_at = ts, 0, _NEVER
        return Effect(decision_id=control.decision_id, ts=ts, after_s=ts - control.start, gateway=self.gateway)


@dataclass(slots=True)
class _Order:
    control: Control
    shown: dict[str, Shown] = field(default_factory=dict)  # by gateway: as many as there are source topics

    def at(self, gateway: str) -> Shown:
        """What is known of it there."""
        return self.shown.setdefault(gateway, Shown(gateway))


Book = tuple[tuple[Control, tuple[Shown, ...]], ...]
Gone = tuple[tuple[str, float], ...]  # ids of orders taken back, and when they would have ended


@dataclass(slots=True)
class Blocks:
    """Orders that run, by scope and key. Cost: nothing without orders; else some 20 us a batch and scope."""

    seed: HashSeed
    _orders: dict[Scope, dict[int, _Order]] = field(default_factory=dict)
    _gone: dict[str, float] = field(default_factory=dict)  # as in Gone

    def hear(self, control: Control) -> None:
        """An order is given, prolonged or taken back; the newest word on a key holds."""
        if control.scope not in _SCOPES:
            return
        orders = self._orders.setdefault(control.scope, {})
        key = hash_text(control.key, self.seed)
        old = orders.get(key)
        known = old is not None and old.control.decision_id == control.decision_id
        if control.removed:
            self._take_back(control)
            if known:
                del orders[key]
        elif control.decision_id in self._gone or (old is not None and _is_older(control, old.control)):
            pass
        elif old is not None and known:
            old.control = control
        else:
            orders[key] = _Order(control)
        if not orders:
            del self._orders[control.scope]
        elif len(orders) > ORDERS_MAX:
            del orders[min(orders, key=lambda k: (orders[k].control.until, k))]

    def mark(self, batch: Batch, ranges: Sequence[SourceRange]) -> tuple[Batch, list[Effect]]:
        """The batch with our refusals marked, and what is new about orders: the first refusal, or requests served.

        ``ranges`` are the batch's: they name the topic of each row.
        """
        if not self._orders or not batch.n:
            return batch, []
        ours = np.zeros(batch.n, np.bool_)
        effects: list[Effect] = []
        status = batch.column("status")
        refused = np.isin(status, _REFUSED) | (batch.column("blocked_by_us") == 1)
        latency_s = np.nan_to_num(batch.column("latency_ms"), nan=0.0) / 1000.0
        role, src = batch.column("role"), batch.column("src")
        for scope, orders in self._orders.items():
            keys = batch.column(f"k_{scope.value}")
            for row in np.flatnonzero(np.isin(keys, np.fromiter(orders, np.uint64, len(orders)))).tolist():
                order, ts = orders[int(keys[row])], float(batch.ts[row])
                if order.control.start <= ts < order.control.until:
                    ours[row] |= bool(refused[row])
                    if role[row] & _ROLE[scope]:
                        shown = order.at(ranges[src[row]].topic)
                        began = ts - float(latency_s[row])
                        effect = shown.see(order.control, ts, began, refused=bool(refused[row]))
                        effects += () if effect is None else (effect,)
        self._forget(float(batch.ts.max()))
        return (_marked(batch, ours) if ours.any() else batch), effects

    def book(self) -> Book:
        """Every order, with what is known of it, for a snapshot."""
        return tuple(
            (order.control, tuple(msgspec.structs.replace(shown) for shown in order.shown.values()))
            for orders in self._orders.values()
            for order in orders.values()
        )

    def gone(self) -> Gone:
        """The orders taken back that may be given again by a copy, for a snapshot."""
        return tuple(self._gone.items())

    def become(self, book: Book, gone: Gone = ()) -> None:
        """Know what :meth:`book` and :meth:`gone` said."""
        self._orders, self._gone = {}, dict(gone)
        for control, shown in book:
            order = _Order(control, {one.gateway: msgspec.structs.replace(one) for one in shown})
            self._orders.setdefault(control.scope, {})[hash_text(control.key, self.seed)] = order

    def _take_back(self, control: Control) -> None:
        """Remember it for as long as it would have held: a copy of what gave it would end then, too."""
        over = [id_ for id_, until in self._gone.items() if until + GRACE_S < control.start]
        for id_ in over:
            del self._gone[id_]
        self._gone[control.decision_id] = max(control.until, self._gone.get(control.decision_id, _NEVER))
        if len(self._gone) > ORDERS_MAX:
            del self._gone[min(self._gone, key=lambda id_: (self._gone[id_], id_))]

    def _forget(self, now: float) -> None:
        """Orders that have ended; a late row finds them gone and teaches, which is what it would have done anyway."""
        for scope, orders in list(self._orders.items()):
            over = [key for key, order in orders.items() if order.control.until + GRACE_S < now]
            for key in over:
                del orders[key]
            if not orders:
                del self._orders[scope]


def _is_older(said: Control, known: Control) -> bool:
    """Whether a word on a key came before what is known of it: each renewal of an order ends later than the last."""
    if said.decision_id == known.decision_id:
        return said.until < known.until
    return said.start < known.start


def _marked(batch: Batch, ours: npt.NDArray[np.bool_]) -> Batch:
    flags = np.where(ours, np.int8(1), batch.column("blocked_by_us"))
    column, name = pa.array(flags, pa.int8()), "blocked_by_us"
    if batch.has(name):
        at = batch.arrow.schema.get_field_index(name)
        return Batch(batch.arrow.set_column(at, ROUTED.field(name), column))
    return Batch(batch.arrow.append_column(ROUTED.field(name), column))
