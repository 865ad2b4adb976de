"""Who else would be hit: how much of what is served a key carries, and how many callers share an address.

Decide's guards ask this before they block. What is *served* counts, not what is asked for: an attacker who sends most
requests of a site carries nothing of it while he is refused. And who is *in good health* was there before: a principal
counts at an address when it succeeded there in two different thirds of a day, so the victims of a credential stuffing
do not make its address an office. It also shows how often the key asked of late (``rates.py``).

State is fixed: hashed slots without keys. Two keys in one slot make both look larger, so errors only spare somebody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.detect import rates
from gatewatch.errors import StateError
from gatewatch.events.batch import ROUTED, AuthCode, Batch, Role
from gatewatch.records import Finding, Scope
from gatewatch.state.jit import kernel, scale
from gatewatch.state.rows import rows_of

U64 = np.uint64
SLOTS = 1 << 15  # 8,000 addresses a partition and day, of a site with 100,000, share a slot with a quarter of a chance
THIRD_S = 8 * 3600.0  # a working day touches two of them
HALF_LIFE_S = 600.0  # live traffic is that of the last minutes
# A share of fewer served requests than this is chance, and a small site's only customer would be spared for nothing.
LEAST_SERVED = 1000.0
SCOPES = (Scope.IP, Scope.NETWORK, Scope.PRINCIPAL)
_SHARED = 2  # of which the first two are addresses
_WHO, _WHERE = int(Role.WHO), int(Role.WHERE)
_SUCCESS, _FAILURE = int(AuthCode.SUCCESS), int(AuthCode.FAILURE)
_NEVER = -1.0


class State(NamedTuple):
    """All that is remembered. What was served is counted for where and who rows apart."""

    clock: npt.NDArray[np.float64]  # (2,) the third of a day and the half-life that the newest row was in
    served: npt.NDArray[np.float64]  # (2,) rows, faded
    weights: npt.NDArray[np.float32]  # (scopes, slots) the same a slot
    bits: npt.NDArray[np.uint64]  # (addresses' scopes, thirds of a day, slots) one bit for each principal, by its hash
    span: npt.NDArray[np.float64]  # of rates.Rates
    counts: npt.NDArray[np.uint16]


class Traffic:
    """One task's view. Cost: about 0.16 us a row, mostly misses of the cache; 4.4 MB.

    Args:
        partitions: of `routed`: a task sees one part of the traffic, and takes the other parts to be as large as its
            own without the key.
    """

    version: ClassVar[int] = 2

    def __init__(self, partitions: int) -> None:
        self._others = float(partitions)
        self._state = State(
            clock=np.full(2, _NEVER),
            served=np.zeros(2),
            weights=np.zeros((len(SCOPES), SLOTS), np.float32),
            bits=np.zeros((_SHARED, 3, SLOTS), np.uint64),
            **rates.fresh(len(SCOPES))._asdict(),
        )

    def tell(self, batch: Batch, found: Sequence[tuple[int, Finding]]) -> list[Finding]:
        """Take a batch in; its findings, by row, with what their rows' keys carry and how often they asked."""
        if not found:  # as nearly always: these arrays take longer to make than ten rows to look at
            asked, scopes, share, healthy, series = _NOTHING_ASKED
            _scan(self._state, rows_of(batch), asked, scopes, self._others, share, healthy, series)
            return []
        asked = np.array([row for row, _finding in found], np.int64)
        scopes = np.array([_number(finding.scope) for _row, finding in found], np.int64)
        share, healthy = np.full(len(found), np.nan), np.full(len(found), -1, np.int64)
        series = np.full((len(found), rates.CELLS), np.nan, np.float32)
        _scan(self._state, rows_of(batch), asked, scopes, self._others, share, healthy, series)
        return [_with(finding, float(share[i]), int(healthy[i]), series[i]) for i, (_row, finding) in enumerate(found)]

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of everything."""
        return {name: array.copy() for name, array in self._state._asdict().items()}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what :meth:`snapshot` gave.

        Raises:
            StateError: it is of another size.
        """
        own = self._state._asdict()
        for name, mine in own.items():
            theirs = arrays.get(name)
            if theirs is None or theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise StateError(f"traffic: {name!r} in the snapshot does not fit (another version)")
        for name, mine in own.items():  # only now: a refused snapshot must not leave half of itself behind
            mine[...] = arrays[name]


def warm_up() -> None:
    """Compile, or load from the cache on disk. Cost: 3 s where it is not there yet."""
    Traffic(1).tell(Batch(pa.RecordBatch.from_pylist([], schema=ROUTED)), [])


_NOTHING_ASKED = (
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0),
    np.zeros(0, np.int64),
    np.zeros((0, rates.CELLS), np.float32),
)


def _number(scope: Scope) -> int:
    return SCOPES.index(scope) if scope in SCOPES else -1


def _with(finding: Finding, share: float, healthy: int, series: npt.NDArray[np.float32]) -> Finding:
    told: dict[str, str] = {}
    if not math.isnan(share):
        told["share"] = f"{share:.4f}"
    if healthy >= 0:
        told["healthy_principals"] = str(healthy)
    known = tuple(round(float(rate), 1) for rate in series if not math.isnan(rate))
    if not told and not known:
        return finding
    return msgspec.structs.replace(finding, context={**finding.context, **told}, series=known)


@kernel
def _scan(
    state: State,
    rows: Any,
    asked: npt.NDArray[np.int64],
    scopes: npt.NDArray[np.int64],
    others: float,
    share: npt.NDArray[np.float64],
    healthy: npt.NDArray[np.int64],
    series: npt.NDArray[np.float32],
) -> None:
    """Row by row, so that nothing depends on the cut; ``asked`` rises, and is answered as its row comes by."""
    ts, role, ip, network = rows.ts, rows.role, rows.k_ip, rows.k_network
    principal, auth, status = rows.k_principal, rows.auth, rows.status
    asking = rates.Rates(state.span, state.counts)
    at = 0
    for i in range(ts.shape[0]):
        _turn(state, ts[i])
        where, who = role[i] & _WHERE != 0, role[i] & _WHO != 0
        cell = rates.turn(asking, ts[i])
        success = auth[i] == _SUCCESS
        served = success or (200 <= status[i] < 400 and auth[i] != _FAILURE)
        if where:
            _count(state, asking, cell, 0, ip[i], served)
            _count(state, asking, cell, 1, network[i], served)
            state.served[0] += served
        if who:
            _count(state, asking, cell, 2, principal[i], served)
            state.served[1] += served
        if success and where and principal[i] != U64(0):
            bit = U64(1) << (principal[i] >> U64(58))
            state.bits[0, 0, _slot(ip[i])] |= bit
            state.bits[1, 0, _slot(network[i])] |= bit
        while at < asked.shape[0] and asked[at] == i:
            scope = scopes[at]
            if scope >= 0:
                key = ip[i] if scope == 0 else network[i] if scope == 1 else principal[i]
                share[at] = _share(state, scope, _slot(key), others)
                if scope < _SHARED:
                    healthy[at] = _healthy(state, scope, _slot(key))
                rates.tell(asking, scope, key, ts[i], series[at])
            at += 1


@kernel
def _count(state: State, asking: rates.Rates, cell: int, scope: int, key: np.uint64, served: bool) -> None:
    """One request of a key."""
    rates.add(asking, cell, scope, key)
    if served:
        state.weights[scope, _slot(key)] += np.float32(1.0)


@kernel
def _turn(state: State, ts: float) -> None:
    """Let time go on to a row: half of the weights at each half-life, another third of a day at each third."""
    half, third = np.floor(ts / HALF_LIFE_S), np.floor(ts / THIRD_S)
    if state.clock[1] == _NEVER:
        state.clock[0], state.clock[1] = third, half
    if half > state.clock[1]:
        fade = 0.5 ** (half - state.clock[1])
        scale(state.weights, np.float32(fade))
        scale(state.served, fade)
        state.clock[1] = half
    if third > state.clock[0]:
        for _ in range(min(3, int(third - state.clock[0]))):
            _begin_third(state.bits)
        state.clock[0] = third


@kernel(allocates=True)
def _begin_third(bits: npt.NDArray[np.uint64]) -> None:
    bits[:, 2] = bits[:, 1]
    bits[:, 1] = bits[:, 0]
    bits[:, 0] = U64(0)


@kernel
def _slot(key: np.uint64) -> int:
    """Not by the low bits: they chose the routed partition, so here all keys have some of them in common."""
    return int((key >> U64(20)) & U64(SLOTS - 1))


@kernel
def _share(state: State, scope: int, slot: int, others: float) -> float:
    """Of what is served, as if the other partitions served as much as this one without the key; NaN: too little."""
    total, mine = state.served[1 if scope == 2 else 0], float(state.weights[scope, slot])
    if total < LEAST_SERVED:
        return np.nan
    return float(mine / max(mine + max(total - mine, 0.0) * others, 1.0))


@kernel
def _healthy(state: State, scope: int, slot: int) -> int:
    """Principals that succeeded in two of the last three thirds of a day."""
    a, b, c = state.bits[scope, 0, slot], state.bits[scope, 1, slot], state.bits[scope, 2, slot]
    both = (a & b) | (b & c) | (a & c)
    n = 0
    while both != U64(0):
        both &= both - U64(1)
        n += 1
    return n
