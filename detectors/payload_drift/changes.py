"""What a caller does that is odd, remembered: what goes on is no news, and a new version of a client is no probe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import KINDS, kernel

from .constants import CONTAINED, FORGET_S, FROZEN_S, GROWTH, MOST_CHANGES, ORDINARY_NATS
from .layout import NEWS, OWN, Body, Params, Score

U64, U32 = np.uint64, np.uint32
_BITS = U64(64 * NEWS - 1)
# What versions, times, zones, names and addresses are written in: the values of fields that a new client adds
_HARMLESS = ("space", "not ASCII", "+", ",", "-", ".", "/", ":", "@", "_", "//")
HARMLESS = U64(sum(1 << KINDS.index(name) for name in _HARMLESS))


@kernel
def forget(row: Any) -> None:
    """Nothing of it is known to be odd."""
    row.changed_at = row.odd_at = -np.inf
    row.counted = U64(0)
    row.fields[:] = U64(0)
    row.odd_shape[:] = U32(0)
    row.next = row.changes = 0
    row.far = 0.0
    row.told_change = 0


@kernel
def note(row: Any, t: float) -> None:
    """Something odd: of the same time as what was odd before, or after a quiet day."""
    if t - row.odd_at >= FORGET_S:
        forget(row)
        row.changed_at = t
    row.odd_at = max(t, row.odd_at)


@kernel
def may_teach(row: Any, t: float) -> bool:
    """Whether it has been odd for so long that it is a habit."""
    return bool(t - row.changed_at >= FROZEN_S and math.isfinite(row.changed_at))


@kernel
def new_structure(row: Any, shape: np.uint32, fields: Any, n: int) -> bool:
    """Whether an odd structure is one more, and not the same change again: fields that it brought already.

    ``fields`` begins with the ``n`` that the endpoint does not know.
    """
    for j in range(OWN):
        if row.odd_shape[j] == shape:
            return False
    row.odd_shape[row.next] = shape
    row.next = (row.next + 1) % OWN
    known = n > 0
    for j in range(n):
        known = _add(row, fields[j]) and known
    return not known


@kernel
def _add(row: Any, field: np.uint64) -> bool:
    """Put a field into the bitmap, as two bits of 256; whether they were there."""
    there = True
    for shift in (1, 12):
        at = (field >> U64(shift)) & _BITS
        bit = U64(1) << (at & U64(63))
        there = there and row.fields[at >> U64(6)] & bit != U64(0)
        row.fields[at >> U64(6)] |= bit
    return there


@kernel
def new_kinds(row: Any, kinds: np.uint64) -> bool:
    """Whether there are kinds of characters among them that were not odd before."""
    new = kinds & ~row.counted != U64(0)
    row.counted |= kinds
    return bool(new)


@kernel
def new_size(row: Any, nats: float) -> bool:
    """Whether a size is further off than those told of."""
    return bool(nats >= GROWTH * row.far)


@kernel
def is_version(row: Any, body: Body, score: Score, p: Params) -> bool:
    """Whether a structure that nobody sends is a new version of the caller's client.

    It was served, its caller authenticated and is established, it has all fields that bodies here have, and more;
    characters are ordinary or harmless, its size is ordinary; and it is one of the first such changes within a day.
    """
    plain = body.kinds & ~row.known & ~HARMLESS == U64(0)
    odd = score.size + (0.0 if plain else score.characters)
    return bool(
        score.new_fields > 0
        and score.contains >= CONTAINED
        and body.teaches
        and not p.anonymous
        and row.n >= p.caller_rows
        and odd < ORDINARY_NATS
        and row.changes <= MOST_CHANGES
    )
