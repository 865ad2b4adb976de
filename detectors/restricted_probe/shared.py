"""Is a resource refused to many customers at once? Then a permission or a page changed, and nobody is probing.

Only customers have a voice: keys that have been served, and that the test does not suspect already. So a crowd of
scanners that try the same names, or a thief with a bundle of keys, cannot talk itself out of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Head, find, find_or_admit, kernel, mix

from .constants import HOUR_S, LOCKED, MISSING, REFUSED, VOTERS
from .layout import KEPT, Contact, Params
from .row import evidence, fingerprint, second_of, step_back

U64 = np.uint64
_WHO = 4  # voices kept: three others are needed


@kernel
def refused_to_many(head: Head, rows: npt.NDArray[np.void], row: Any, contact: Contact, p: Params) -> bool:
    """Raise the key's voice, if it has one, and say whether more than three customers were refused within the hour."""
    name = mix(U64(fingerprint(contact.resource)), p.salt)
    who = fingerprint(contact.key)
    now = second_of(contact.t)
    if not contact.known or evidence(row) >= 0.5 * p.threshold:
        at = find(head, name)
        return at >= 0 and _others(rows[at], who, now) >= VOTERS
    at, new = find_or_admit(head, name, contact.t, success=False, authenticated_only=False)
    if at < 0:
        return False
    if new:
        rows[at].who[:] = np.uint32(0)
    _note(rows[at], who, now)
    return _others(rows[at], who, now) >= VOTERS


@kernel
def forgive(head: Head, rows: npt.NDArray[np.void], row: Any, contact: Contact, p: Params) -> None:
    """Before a key is accused: take back what has been refused to many since. What is on the list stays."""
    who = fingerprint(contact.key)
    now = second_of(contact.t)
    for j in range(KEPT):
        if row.kind[j] not in (REFUSED, MISSING, LOCKED):
            continue
        at = find(head, mix(U64(row.resource[j]), p.salt))
        if at >= 0 and _others(rows[at], who, now) >= VOTERS:
            step_back(row, j, p)


@kernel
def _note(row: Any, who: np.uint32, now: np.uint32) -> None:
    """Count a voice; the oldest one makes room."""
    oldest = 0
    for j in range(_WHO):
        if row.who[j] == who:
            row.when[j] = max(now, row.when[j])
            return
        if row.who[j] == 0 or (row.who[oldest] != 0 and row.when[j] < row.when[oldest]):
            oldest = j
    row.who[oldest] = who
    row.when[oldest] = now


@kernel
def _others(row: Any, who: np.uint32, now: np.uint32) -> int:
    """Voices but the key's own within an hour; a late row asks for those of its own time."""
    n = 0
    for j in range(_WHO):
        near = abs(float(now) - float(row.when[j])) < HOUR_S
        n += row.who[j] != 0 and row.who[j] != who and near
    return n
