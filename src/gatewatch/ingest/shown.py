"""Which events are shown to all routed partitions, so that each knows what bodies an endpoint gets.

A principal's events meet in one partition, so a partition learns of an endpoint only from those who call it there: at
a small site often from nobody. So of each endpoint one body in ten seconds is shown to all; once it was shown many, one
in a minute. Only bodies of authenticated callers that were served: what others send must teach nobody.

The choice is a function of the events and of bounded memory. A worker that starts again has forgotten it and shows
other events than before; which of them count, and that each counts once, is the range protocol's, as for all rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import ABSENT, AuthCode
from gatewatch.ingest.columns import Columns
from gatewatch.state.jit import kernel

U64 = np.uint64
OFTEN_S, SELDOM_S = 10.0, 60.0  # event time between two bodies that are shown of an endpoint
MANY = 500  # shown bodies after which it is known well: surprises are then of 1 in 1,000 and less
SLOTS, WAYS = 4096, 4  # endpoints remembered, 115 kB; a site has hundreds, and made-up paths find no room
IDLE_S = 600.0  # without a body, after which an endpoint's place is another's
_SUCCESS = int(AuthCode.SUCCESS)


class Memory(NamedTuple):
    """Endpoints by hash, in sets of :data:`WAYS`."""

    key: npt.NDArray[np.uint64]  # (SLOTS,) 0 is free
    seen: npt.NDArray[np.float64]  # event time of the newest body
    last: npt.NDArray[np.float64]  # of the newest that was shown
    shown: npt.NDArray[np.int32]  # how many were


class Shown:
    """What one ingest worker remembers of it.

    Args:
        partitions: of `routed`: where there is one, nothing needs to be shown.
    """

    def __init__(self, partitions: int) -> None:
        self._needed = partitions > 1
        self._memory = Memory(
            np.zeros(SLOTS, np.uint64), np.zeros(SLOTS), np.full(SLOTS, -np.inf), np.zeros(SLOTS, np.int32)
        )

    def choose(self, columns: Columns) -> npt.NDArray[np.bool_] | None:
        """(n,) which events are to be shown; None: none of them. Cost: about 10 ns an event that has a body."""
        if not self._needed or not (columns.has("shape_hash") or "shape_kinds" in columns.numbers):
            return None
        shown = np.zeros(columns.n, np.bool_)
        n = choose(
            columns.key("k_principal"),
            columns.key("k_endpoint"),
            columns.key("k_path"),
            columns.key("k_shape"),
            _numbers(columns, "shape_kinds"),
            _numbers(columns, "status"),
            _numbers(columns, "auth"),
            columns.numbers["ts"],
            self._memory,
            shown,
        )
        return shown if n else None


def _numbers(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    values = columns.numbers.get(name)
    if values is None:
        return np.full(columns.n, ABSENT[name], np.float64)
    return values.astype(np.float64, copy=False)


@kernel
def choose(
    principal: npt.NDArray[np.uint64],
    endpoint: npt.NDArray[np.uint64],
    path: npt.NDArray[np.uint64],
    shape: npt.NDArray[np.uint64],
    kinds: npt.NDArray[np.float64],
    status: npt.NDArray[np.float64],
    auth: npt.NDArray[np.float64],
    ts: npt.NDArray[np.float64],
    memory: Memory,
    shown: npt.NDArray[np.bool_],
) -> int:
    """Mark the events that are to be shown, row by row; how many there are."""
    n = 0
    for i in range(ts.shape[0]):
        if principal[i] == U64(0) or auth[i] != _SUCCESS or status[i] >= 400:
            continue
        if shape[i] == U64(0) and np.isnan(kinds[i]):
            continue
        key = endpoint[i] if endpoint[i] != U64(0) else path[i]
        if key == U64(0):
            continue
        at = _place(memory, key, ts[i])
        if at < 0:
            continue
        gap = ts[i] - memory.last[at]
        if gap >= (OFTEN_S if memory.shown[at] < MANY else SELDOM_S) or gap < -SELDOM_S:  # or time went back
            memory.last[at] = ts[i]
            memory.shown[at] += memory.shown[at] < MANY
            shown[i] = True
            n += 1
    return n


@kernel
def _place(memory: Memory, key: np.uint64, t: float) -> int:
    """The endpoint's place, or -1: the first body only takes a place, so that paths which come once are not shown."""
    first = int((key >> U64(20)) % U64(SLOTS // WAYS)) * WAYS
    oldest = first
    for at in range(first, first + WAYS):
        if memory.key[at] == key:
            memory.seen[at] = t
            return at
        if memory.seen[at] < memory.seen[oldest]:
            oldest = at
    if memory.key[oldest] == U64(0) or abs(t - memory.seen[oldest]) >= IDLE_S:
        memory.key[oldest], memory.seen[oldest] = key, t
        memory.last[oldest], memory.shown[oldest] = -np.inf, 0
    return -1
