"""One key's row: the first-contact test, and the set of what it was refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import kernel

from .constants import AGAIN, LISTED, LOCKED, MISSING, PAUSE_S, REFUSED, TOLD, TOLD_SHARE, WEEK_S
from .layout import KEPT, WORDS, Params

U64, U32 = np.uint64, np.uint32


@kernel
def fingerprint(key: np.uint64) -> np.uint32:
    """32 bits of a key, never 0: a free slot is 0."""
    return U32((key >> U64(32)) | U64(1))


@kernel
def second_of(t: float) -> np.uint32:
    """Whole epoch seconds, within what 32 bits hold (to 2106)."""
    return U32(min(max(t, 0.0), 4294967295.0))


@kernel
def clear(row: Any, t: float) -> None:
    """A new key's row, which may have been another's."""
    row.t = t
    row.told_at = row.listed_at = row.canary_at = -np.inf
    row.since = t
    row.run = row.run_told = row.told_n = 0.0
    row.told_rank = 0
    end_excursion(row)
    row.touched[:] = U64(0)
    row.kind[:] = 0


@kernel
def end_excursion(row: Any) -> None:
    """Nothing is held against the key by the first-contact test."""
    row.refused = row.missing = row.credit = 0.0
    row.n_refused = row.n_missing = row.n_served = row.n_locked = 0.0
    row.n_addresses = 0


@kernel
def evidence(row: Any) -> float:
    """The statistic of the first-contact test, nats."""
    return float(row.refused + row.missing - row.credit)


@kernel
def age(row: Any, t: float, p: Params) -> float:
    """Bring the row to ``t``; returns what an event at ``t`` weighs in it: less than 1 if it comes late."""
    gap = t - row.t
    if gap <= 0.0:
        return 1.0 if gap == 0.0 else float(math.exp(gap / p.decay_s))
    row.t = t
    w = evidence(row)
    rested = gap > PAUSE_S and row.told_rank > 0
    if rested:
        row.told_rank = 0
        row.told_n = 0.0
        for j in range(KEPT):
            row.kind[j] = TOLD if row.kind[j] != 0 else 0
    if w <= 0.0:
        return 1.0
    keep = math.exp(-gap / p.decay_s)
    if rested:
        keep = min(keep, TOLD_SHARE * p.threshold / w)
    row.refused *= keep
    row.missing *= keep
    row.credit *= keep
    if w * keep < 0.5 * p.down:  # less than half a served contact is left
        end_excursion(row)
    return 1.0


@kernel
def step_down(row: Any, weight: float, p: Params) -> None:
    """A first contact that was served: W falls, but never below 0, so old good behaviour buys nothing."""
    w = evidence(row)
    if w <= 0.0:
        return
    fall = weight * p.down
    if fall >= w:
        end_excursion(row)
        return
    row.credit += fall
    row.n_served += 1.0


@kernel
def step_up(row: Any, kind: int, resource: np.uint32, weight: float, t: float, p: Params) -> None:
    """A first contact that was not served."""
    if evidence(row) <= 0.0:
        row.since = t
    if kind in (MISSING, LOCKED):
        row.missing += weight * p.missing_weight * p.up
        row.n_missing += 1.0
        row.n_locked += 1.0 if kind == LOCKED else 0.0
    else:
        row.refused += weight * p.up
        row.n_refused += 1.0
    at = _slot_for(row)
    row.resource[at] = resource
    row.when[at] = second_of(t)
    row.kind[at] = kind


@kernel
def step_back(row: Any, at: int, p: Params) -> None:
    """What was held against the key turns out to be refused to many, or to be its own: forget it."""
    if row.kind[at] in (MISSING, LOCKED):
        row.missing -= row.missing / max(row.n_missing, 1.0)
        row.n_missing = max(0.0, row.n_missing - 1.0)
        row.n_locked = max(0.0, row.n_locked - (1.0 if row.kind[at] == LOCKED else 0.0))
    else:
        row.refused = max(0.0, row.refused - p.up)
        row.n_refused = max(0.0, row.n_refused - 1.0)
    row.kind[at] = 0
    if evidence(row) <= 0.0:
        end_excursion(row)


@kernel
def note_address(row: Any, address: np.uint32) -> None:
    """One more address speaks for the network."""
    for j in range(row.n_addresses):
        if row.addresses[j] == address:
            return
    if row.n_addresses < row.addresses.shape[0]:
        row.addresses[row.n_addresses] = address
        row.n_addresses += 1


@kernel
def ease(row: Any, weight: float, p: Params) -> None:
    """What was locked is asked for again, or another id of it: who walks goes on to the next name.

    A client with a dead token does not, and a lock tells nobody which ids are there.
    """
    if row.n_locked > 0.0:
        row.missing = max(0.0, row.missing - AGAIN * weight * p.down)
    if evidence(row) <= 0.0:
        end_excursion(row)


@kernel
def was_made(row: Any, resource: np.uint32, p: Params) -> None:
    """A resource is served: if it was not there before, the key looked whether it is, and then made it.

    If it was locked, the key came without a token first, and then with one.
    """
    for j in range(KEPT):
        if row.kind[j] in (MISSING, LOCKED) and row.resource[j] == resource:
            step_back(row, j, p)


@kernel
def holds(row: Any, resource: np.uint32) -> bool:
    """Whether the row has this resource among those refused or missing."""
    n = 0
    for j in range(KEPT):
        n += row.kind[j] != 0 and row.resource[j] == resource
    return n > 0


@kernel
def refused_within(row: Any, seconds: float) -> int:
    """Distinct resources refused (not: missing, nor told of before) in the last time of the row."""
    n = 0
    for j in range(KEPT):
        counts = row.kind[j] in (REFUSED, LISTED)
        n += counts and row.t - row.when[j] < seconds
    return n


@kernel
def touch_name(row: Any, bit: int, t: float) -> None:
    """A name on the list was refused; names refused more than a week before count no more."""
    if t - row.listed_at > WEEK_S:
        row.touched[:] = U64(0)
    row.listed_at = max(row.listed_at, t)
    row.touched[bit // 64] |= U64(1) << U64(bit % 64)


@kernel
def touched(row: Any) -> int:
    """How many names on the list were refused."""
    n = 0
    for j in range(WORDS):
        word = row.touched[j]
        while word != U64(0):
            word &= word - U64(1)
            n += 1
    return n


@kernel
def _slot_for(row: Any) -> int:
    """A free slot, else the oldest one."""
    oldest = 0
    for j in range(KEPT):
        if row.kind[j] == 0:
            return j
        if row.when[j] < row.when[oldest]:
            oldest = j
    return oldest
