"""One endpoint: its templates, their fields and sizes, the kinds of characters in its values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import KINDS, kernel, scale

from .constants import (
    ADMIT_CALLERS,
    ADMIT_HITS,
    BIN_NATS,
    CELL,
    DAY_S,
    FAR,
    FAR_NATS,
    HOSTILE_CELL,
    MEMORY,
    NEW_FIELD_NATS,
    NEW_FIELDS,
    OPEN_SHARE,
    RELEASE_CALLERS,
    SEEN_HITS,
    SHARE_MEMORY,
    TEXT_CELL,
    TEXT_SHARE,
)
from .facts import keep, place_of
from .layout import BINS, FACTS, FULL, KIND_BITS, SEEN, TEMPLATES, VOTERS, WORDS, Body
from .sizes import learn

U64, U32 = np.uint64, np.uint32
_HOSTILE = ("control character", "$", ";", "< >", "\\", "`", "{ }", "|", "..", "--", "/*")
_OTHERS = tuple(float(name not in _HOSTILE) for name in KINDS) + (1.0,) * (KIND_BITS - len(KINDS))
CELLS = np.array([CELL if other else HOSTILE_CELL for other in _OTHERS])
_LINE_BREAK = KINDS.index("line break or tab")


@kernel
def clear(e: Any, t: float) -> None:
    """A new endpoint's row, which may have been another's."""
    e.first = t
    e.n = e.novel = e.content = e.share = e.mean = e.var = 0.0
    e.seen[:] = U64(0)
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
def unknown_structure(e: Any, slot: int, facts: Any, n_facts: int) -> tuple[float, int, float, float, int]:
    """Nats of a body of no template, its fields never seen, nearness, share of a template in it, bin of its distance.

    How rare structures are that come for the first time, and how rare one as far off is among them. Of the latter the
    first guess is exp(-distance); where far ones are common, that is learned. One that came before and did not surprise
    is as rare as it was, if that is less.
    """
    nats = -math.log((e.novel + CELL) / (e.n + 1.0))
    usual = np.inf if slot < 0 else -math.log((e.taught[slot] + CELL) / (e.n + 1.0))
    if n_facts == 0:
        return min(nats, usual), 0, 0.0, 0.0, 0
    new, nearest, contains = _compare(e, facts, n_facts)
    distance = NEW_FIELD_NATS * min(new, NEW_FIELDS) + FAR_NATS * max(0.0, 1.0 - nearest - FAR)
    far = min(BINS - 1, int(distance / BIN_NATS))
    beyond = 0.0
    total = 0.0
    for j in range(BINS):
        total += e.far[j]
        if j >= far:
            beyond += e.far[j]
    nats -= math.log((beyond + math.exp(-distance)) / (total + 1.0))
    return min(nats, usual), new, nearest, contains, far


@kernel
def _compare(e: Any, facts: Any, n_facts: int) -> tuple[int, float, float]:
    """Fields never seen (none where the table is full), Jaccard similarity to the nearest template, most of one in it.

    Fields that were never seen come to the front of ``facts``.
    """
    facts[FACTS:] = U64(0)
    new = 0
    for j in range(n_facts):
        at = place_of(e, U32(facts[j]))
        if at < 0:
            facts[j], facts[new] = facts[new], facts[j]
            new += 1
        else:
            facts[FACTS + (at >> 6)] |= U64(1) << U64(at & 63)
    nearest = contains = 0.0
    for j in range(TEMPLATES):
        if e.shape[j] != U64(0) and e.known[j] != 0:
            both = either = whole = 0
            for k in range(WORDS):
                both += _ones(facts[FACTS + k] & e.bits[j, k])
                either += _ones(facts[FACTS + k] | e.bits[j, k])
                whole += _ones(e.bits[j, k])
            nearest = max(nearest, both / max(1, either + new))
            contains = max(contains, both / max(1, whole))
    return (0 if e.used >= FULL else new), nearest, contains


@kernel
def _ones(word: np.uint64) -> int:
    n = 0
    while word != U64(0):
        word &= word - U64(1)
        n += 1
    return n


@kernel
def callers(e: Any) -> float:
    """About how many callers it had, counted by a bitmap (Whang 1990); no more than some thousand."""
    free = 64 * SEEN
    for k in range(SEEN):
        free -= _ones(e.seen[k])
    return 64.0 * SEEN * math.log(64.0 * SEEN / max(1, free))


@kernel
def rare_kinds(e: Any, kinds: np.uint64) -> tuple[float, int, int]:
    """Nats of the two rarest of these kinds of characters, and which they are.

    Two, because kinds come together (a mail address has both a dot and an "@"): with more of them, what is ordinary
    adds up (on HttpParams one benign value in 1,000 reaches 7.1 nats with two, as it should, and 12 with four).
    """
    first = second = 0.0
    kind = other = -1
    is_text = e.kinds[_LINE_BREAK] >= TEXT_SHARE * e.content
    j = 0
    while kinds != U64(0):
        if kinds & U64(1):
            cell = TEXT_CELL if is_text else CELLS[j]
            nats = -math.log((e.kinds[j] + cell) / (e.content + 1.0 + cell))
            if nats > first:
                second, other = first, kind
                first, kind = nats, j
            elif nats > second:
                second, other = nats, j
        kinds >>= U64(1)
        j += 1
    return first + second, kind, other


@kernel
def note_surprise(e: Any, odd: bool, caller: np.uint32) -> bool:
    """Count it; whether so many bodies of so many callers surprise that the endpoint itself has changed."""
    e.share += ((1.0 if odd else 0.0) - e.share) / SHARE_MEMORY
    if odd and e.odd[0] != caller and e.odd[1] != caller and e.odd[2] != caller:
        e.odd[2], e.odd[1], e.odd[0] = e.odd[1], e.odd[0], caller
    return bool(e.share > OPEN_SHARE and e.odd[2] != U32(0))


@kernel
def teach(e: Any, body: Body, slot: int, far: int, facts: Any, n_facts: int, share: float) -> None:
    """Learn from one body; who has seen very many forgets half.

    ``far`` is -1 before there are templates; a structure needs ``share`` of the bodies to become one.
    """
    if math.isfinite(body.size):
        e.mean, e.var = learn(e.n, e.mean, e.var, body.size)
    e.n += 1.0
    caller = body.caller >> U32(1)
    e.seen[(caller >> U32(6)) % U32(SEEN)] |= U64(1) << U64(caller & U32(63))
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
            _unknown(e, body, slot, far, facts, n_facts, share)
    if e.n >= MEMORY:
        e.n *= 0.5
        e.novel *= 0.5
        e.content *= 0.5
        scale(e.kinds, 0.5)
        scale(e.far, 0.5)
        scale(e.count, 0.5)
        scale(e.taught, 0.5)
        scale(e.since_n, 0.5)


@kernel
def _unknown(e: Any, body: Body, slot: int, far: int, facts: Any, n_facts: int, share: float) -> None:
    """A body whose structure is no template, and does not surprise."""
    if slot < 0:
        e.novel += 1.0
        if far >= 0:
            e.far[far] += 1.0
        slot = _begin(e, body)
    e.taught[slot] += 1.0
    if e.taught[slot] >= SEEN_HITS and e.known[slot] == 0:
        _know(e, slot, facts, n_facts)
        e.known[slot] = 2
    _propose(e, body, slot, facts, n_facts, ADMIT_CALLERS, share)


@kernel
def vote(e: Any, body: Body, slot: int, far: int, facts: Any, n_facts: int) -> None:
    """A structure that surprises, from an established caller: with enough of them it is a release."""
    if slot >= 0 and e.known[slot] == 1:
        return
    if slot < 0:
        slot = _begin(e, body)
    if _propose(e, body, slot, facts, n_facts, RELEASE_CALLERS, 0.0):
        e.novel += 1.0
        e.far[far] += 1.0


@kernel
def _propose(e: Any, body: Body, slot: int, facts: Any, n_facts: int, callers: int, share: float) -> bool:
    """One more body of a structure that is no template; whether it is one now."""
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
    _know(e, slot, facts, n_facts)
    e.known[slot] = 1
    return True


@kernel
def _know(e: Any, slot: int, facts: Any, n_facts: int) -> None:
    """Keep the fields of a structure."""
    for j in range(n_facts):
        at = keep(e, U32(facts[j]))
        if at >= 0:
            e.bits[slot, at >> 6] |= U64(1) << U64(at & 63)


@kernel
def _begin(e: Any, body: Body) -> int:
    """A place for a structure that comes for the first time."""
    slot = _room(e)
    e.shape[slot] = body.shape
    e.count[slot] = e.taught[slot] = 0.0
    e.since[slot] = body.t
    e.since_n[slot] = e.n
    e.known[slot] = 0
    e.voters[slot, :] = U32(0)
    e.bits[slot, :] = U64(0)
    return slot


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
