"""How often a key asked in the last two hours: the picture in an alert.

Counts in cells of five minutes, in hashed slots without keys, so the memory is fixed. Two keys in one slot make one
picture of both; nothing is decided by it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.records import SERIES_STEP_S
from gatewatch.state.jit import kernel

U64 = np.uint64
CELLS = 24
SLOTS = 1 << 14  # of 8,000 addresses in two hours, a third share one with somebody who is mostly as quiet as they are
COUNT_MAX = np.uint16(65_535)  # of one cell: 200 requests a second; more is shown as that much
LEAST_S = 60.0  # the cell that goes on is held against this much time at least, or its first request is a spike
_NEVER = -1.0


class Rates(NamedTuple):
    """All that is remembered; ``scopes`` as :data:`gatewatch.detect.traffic.SCOPES`. 2.4 MB."""

    span: npt.NDArray[np.float64]  # (2,) numbers of the first cell ever seen, and of the newest
    counts: npt.NDArray[np.uint16]  # (cells, scopes, slots): cell ``n`` stands at ``n % CELLS``


def fresh(scopes: int) -> Rates:
    """Nothing seen."""
    return Rates(np.full(2, _NEVER), np.zeros((CELLS, scopes, SLOTS), np.uint16))


@kernel
def turn(rates: Rates, ts: float) -> int:
    """Let time go on to a request: where its cell stands; -1 where it comes too late for that."""
    cell = np.floor(ts / SERIES_STEP_S)
    if cell != rates.span[1]:
        _go_on(rates, cell)
        if cell <= rates.span[1] - CELLS:
            return -1
    return int(cell) % CELLS


@kernel
def add(rates: Rates, at: int, scope: int, key: np.uint64) -> None:
    """One request of a key, in the cell at that place."""
    slot = _slot(key)
    if at >= 0 and rates.counts[at, scope, slot] < COUNT_MAX:
        rates.counts[at, scope, slot] += np.uint16(1)


@kernel
def tell(rates: Rates, scope: int, key: np.uint64, ts: float, series: npt.NDArray[np.float32]) -> None:
    """Requests a minute of each cell up to ``ts`` into ``series`` (cells,), oldest first; NaN before all we saw."""
    newest, slot = np.floor(ts / SERIES_STEP_S), _slot(key)
    for i in range(CELLS):
        cell = newest - (CELLS - 1 - i)
        lasted_s = max(ts - cell * SERIES_STEP_S, LEAST_S) if cell == newest else SERIES_STEP_S
        known = rates.span[0] <= cell and cell > rates.span[1] - CELLS
        series[i] = float(rates.counts[int(cell) % CELLS, scope, slot]) * 60.0 / lasted_s if known else np.nan


@kernel
def _go_on(rates: Rates, cell: float) -> None:
    """Let time go on to a cell: it and those that were skipped begin empty."""
    if rates.span[0] == _NEVER:
        rates.span[0], rates.span[1] = cell, cell
    while rates.span[1] < cell:
        rates.span[1] = max(rates.span[1] + 1.0, cell - CELLS + 1.0)
        rates.counts[int(rates.span[1]) % CELLS] = 0


@kernel
def _slot(key: np.uint64) -> int:
    """By other bits than those that chose the routed partition."""
    return int((key >> U64(20)) & U64(SLOTS - 1))
