"""One endpoint: its templates, their fields and sizes, the kinds of characters in its values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import kernel, scale

from .constants import (
    ADMIT_CALLERS,
    ADMIT_HITS,
    BIN_NATS,
    CELL,
    DAY_S,
    FAR,
    FAR_NATS,
    MEMORY,
    NEW_FIELD_NATS,
    NEW_FIELDS,
    OPEN_SHARE,
    RELEASE_CALLERS,
    SHARE_MEMORY,
)
from .facts import keep, place_of
from .layout import BINS, FACTS, FULL, TEMPLATES, VOTERS, WORDS, Body
from .sizes import learn

U64, U32 = np.uint64, np.uint32


@kernel
def clear(e: Any, t: float) -> None:
    """A new endpoint's row, which may have been another's."""
    e.first = t
    e.n = e.callers = e.novel = e.content = e.share = 0.0
    e.kinds[:] = 0.0
    e.far[:] = 0.0
    e.odd[:] = U32(0)
    e.fields[:] = U32(0)
    e.used = 0
    e.shape[:] = U64(0)
    e.known[:] = 0


@kernel
def slot_of(e: Any, shape: np.uint64) -> int:
    """Where the endpoint keeps a structure, as a template or not yet; or -1."""
    for j in range(TEMPLATES):
        if e.shape[j] == shape:
            return j
    return -1


@kernel
def unknown_structure(e: Any, facts: Any, n_facts: int) -> tuple[float, int, float, int]:
    """Nats of a body of no template, its fields never seen, similarity to the nearest template, bin of its distance.

    How rare bodies of no template are here, and how rare one as far off is among them. Of the latter the first guess is
    exp(-distance); where far ones are common, that is learned.
    """
    nats = -math.log((e.novel + CELL) / (e.n + 1.0))
    if n_facts == 0:
        return nats, 0, 0.0, 0
    new, nearest = _compare(e, facts, n_facts)
    distance = NEW_FIELD_NATS * min(new, NEW_FIELDS) + FAR_NATS * max(0.0, 1.0 - nearest - FAR)
    far = min(BINS - 1, int(distance / BIN_NATS))
    beyond = 0.0
    total = 0.0
    for j in range(BINS):
        total += e.far[j]
        if j >= far:
            beyond += e.far[j]
    return nats - math.log((beyond + math.exp(-distance)) / (total + 1.0)), new, nearest, far


@kernel
def _compare(e: Any, facts: Any, n_facts: int) -> tuple[int, float]:
    """Fields never seen (none where the table of fields is full), and Jaccard similarity to the nearest template."""
    facts[FACTS:] = U64(0)
    new = 0
    for j in range(n_facts):
        at = place_of(e, U32(facts[j]))
        if at < 0:
            new += 1
        else:
            facts[FACTS + (at >> 6)] |= U64(1) << U64(at & 63)
    nearest = 0.0
    for j in range(TEMPLATES):
        if e.shape[j] != U64(0) and e.known[j] == 1:
            both = either = 0
            for k in range(WORDS):
                both += _ones(facts[FACTS + k] & e.bits[j, k])
                either += _ones(facts[FACTS + k] | e.bits[j, k])
            nearest = max(nearest, both / max(1, either + new))
    return (0 if e.used >= FULL else new), nearest


@kernel
def _ones(word: np.uint64) -> int:
    n = 0
    while word != U64(0):
        word &= word - U64(1)
        n += 1
    return n


@kernel
def rare_kinds(e: Any, kinds: np.uint64) -> tuple[float, int, int]:
    """Nats of the two rarest of these kinds of characters, and which they are.

    Two, because kinds come together (a mail address has both a dot and an "@"): with more of them, what is ordinary
    adds up (on HttpParams one benign value in 1,000 reaches 7.1 nats with two, as it should, and 12 with four).
    """
    rarest, rare = np.inf, np.inf
    kind = other = -1
    j = 0
    while kinds != U64(0):
        if kinds & U64(1):
            if e.kinds[j] < rarest:
                rare, other = rarest, kind
                rarest, kind = e.kinds[j], j
            elif e.kinds[j] < rare:
                rare, other = e.kinds[j], j
        kinds >>= U64(1)
        j += 1
    nats = 0.0 if kind < 0 else -math.log((rarest + CELL) / (e.content + 1.0))
    return nats - (0.0 if other < 0 else math.log((rare + CELL) / (e.content + 1.0))), kind, other


@kernel
def note_surprise(e: Any, odd: bool, caller: np.uint32) -> bool:
    """Count it; whether so many bodies of so many callers surprise that the endpoint itself has changed."""
    e.share += ((1.0 if odd else 0.0) - e.share) / SHARE_MEMORY
    if odd and e.odd[0] != caller and e.odd[1] != caller and e.odd[2] != caller:
        e.odd[2], e.odd[1], e.odd[0] = e.odd[1], e.odd[0], caller
    return bool(e.share > OPEN_SHARE and e.odd[2] != U32(0))


@kernel
def teach(e: Any, body: Body, slot: int, far: int, facts: Any, n_facts: int, first: bool, share: float) -> None:
    """Learn from one body; who has seen very many forgets half.

    ``far`` is -1 before there are templates; a structure needs ``share`` of the bodies to become one.
    """
    e.n += 1.0
    e.callers += 1.0 if first else 0.0
    if body.has_kinds:
        e.content += 1.0
        kinds = body.kinds
        j = 0
        while kinds != U64(0):
            if kinds & U64(1):
                e.kinds[j] += 1.0
            kinds >>= U64(1)
            j += 1
    if body.shape != U64(0):
        if slot >= 0 and e.known[slot] == 1:
            e.means[slot], e.vars[slot] = _sized(e, slot, body.size)
            e.count[slot] += 1.0
        else:
            e.novel += 1.0
            if far >= 0:
                e.far[far] += 1.0
            _propose(e, body, slot, facts, n_facts, ADMIT_CALLERS, share)
    if e.n >= MEMORY:
        e.n *= 0.5
        e.callers *= 0.5
        e.novel *= 0.5
        e.content *= 0.5
        scale(e.kinds, 0.5)
        scale(e.far, 0.5)
        scale(e.count, 0.5)
        scale(e.since_n, 0.5)


@kernel
def vote(e: Any, body: Body, slot: int, far: int, facts: Any, n_facts: int) -> None:
    """A structure that surprises, from an established caller: with enough of them it is a release."""
    if slot >= 0 and e.known[slot] == 1:
        return
    if _propose(e, body, slot, facts, n_facts, RELEASE_CALLERS, 0.0):
        e.novel += 1.0
        e.far[far] += 1.0


@kernel
def _propose(e: Any, body: Body, slot: int, facts: Any, n_facts: int, callers: int, share: float) -> bool:
    """One more body of a structure that is no template; whether it is one now."""
    if slot < 0:
        slot = _room(e)
        e.shape[slot] = body.shape
        e.count[slot] = 0.0
        e.since[slot] = body.t
        e.since_n[slot] = e.n
        e.known[slot] = 0
        e.voters[slot, :] = U32(0)
        e.bits[slot, :] = U64(0)
    e.means[slot], e.vars[slot] = _sized(e, slot, body.size)
    e.count[slot] += 1.0
    n = 0
    for j in range(VOTERS):
        if e.voters[slot, j] == U32(0):
            e.voters[slot, j] = body.caller
        n += 1
        if e.voters[slot, j] == body.caller:
            break
    while n < VOTERS and e.voters[slot, n] != U32(0):
        n += 1
    old = body.t - e.since[slot] >= DAY_S and callers == ADMIT_CALLERS
    least = max(ADMIT_HITS, share * (e.n - e.since_n[slot]))
    if e.count[slot] < least or not (n >= callers or old):
        return False
    e.known[slot] = 1
    for j in range(n_facts):
        at = keep(e, U32(facts[j]))
        if at >= 0:
            e.bits[slot, at >> 6] |= U64(1) << U64(at & 63)
    return True


@kernel
def _room(e: Any) -> int:
    """A free slot, else the lightest of those that are no templates yet, else the lightest."""
    best = 0
    for j in range(TEMPLATES):
        if e.shape[j] == U64(0):
            return j
        if (e.known[j], e.count[j]) < (e.known[best], e.count[best]):
            best = j
    return best


@kernel
def _sized(e: Any, slot: int, size: float) -> tuple[float, float]:
    if e.count[slot] == 0.0:
        return (size, 0.0) if math.isfinite(size) else (0.0, 0.0)
    if not math.isfinite(size):
        return e.means[slot], e.vars[slot]
    return learn(e.count[slot], e.means[slot], e.vars[slot], size)
