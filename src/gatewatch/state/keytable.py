"""A bounded table of keys: fixed rows, found by keyed hash in 8-way sets, safe against whoever sprays keys.

Rules of admission (DESIGN: "State is bounded by construction"):

1. a free row is taken;
2. else the lightest row of the set may be evicted, where a row with a success in the last 7 days outranks every row
   without one, and weight is an event count that decays over an hour;
3. a key without a success never evicts a row that has one, save the lightest where all eight of the set have: one way
   of a set is open to those without, and where successes are many, a lone row without one that was seen within the
   hour is not theirs either. Else ten million customers who come in one morning would hide every guessed password;
4. a *suspicious* row (a detector holds it, see :func:`hold`) outranks plain rows without success, but only the two
   heaviest of a set do: whoever makes ten million keys just suspicious enough cannot fill the table with them;
5. a table made with ``authenticated_only`` admits a key only at a row that authenticated;
6. an event that says nothing by itself evicts nobody: the key waits at the set's *door*, and the next of its events
   that finds it there is its first in a row. So keys that come once, which are most keys of most floods, neither cost
   a row nor push one out. Detectors say which events those are: whatever may lead to a finding is let in at once.

A key without a row is not lost: it counts in the rollups, and ``stats`` counts the evictions and refusals.

Memory: 24 bytes a row, plus the detector's own fields. Cost of a look-up: about 10 ns where the table is in the cache.
Where it is not, each look-up waits for memory, unless the loop asks for it some rows ahead: :func:`look_ahead`. All
that the table notes of a set is in three neighbouring cache lines: a new place in memory is what costs, not a line.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.errors import StateError
from gatewatch.state.jit import kernel
from gatewatch.state.notes import (
    CUSTOMER,
    LATEST,
    NOTE,
    WEIGHT_TAU_S,
    is_suspicious,
    order_of,
    rank_of,
    second_of,
    succeeded_after,
    weight_of,
)
from gatewatch.state.prefetch import LINE_BYTES, by_lines, prefetch

WAYS = 8  # rows a set: 8 keys of 8 bytes are one cache line
HELD_WAYS = 2  # rows of a set that suspicion may hold
OPEN_WAYS = 1  # rows of a set for keys without a success: an eighth of the room at most, and enough to count
DOOR = 8  # keys that wait: what is left of three lines

EVICTED, REFUSED, ADMITTED = 0, 1, 2  # indices into stats; who waits was refused
# Rows that are asked for together, a stride before their visit: memory takes about 100 ns, a visit somewhat more, and
# what is asked for too early is lost from the cache (32 kB of L1) before it is used.
STRIDE = 8
# Below this a table is in the cache of the core anyway (512 kB to 2 MB of L2 on servers of the last ten years)
CACHED_BYTES = 1 << 20
_LATER = 1e12  # seconds: later than any row of a lower rank

_U64, _U32 = np.uint64, np.uint32

# One set of rows: three cache lines, of which a key that has a row needs its own two
SET = np.dtype(
    [
        ("keys", np.uint64, (WAYS,)),  # 0 is free
        ("door", np.uint32, (DOOR,)),  # fingerprints of keys that came when the set was full, the newest first
        ("notes", NOTE, (WAYS,)),
    ]
)


class Head(NamedTuple):
    """What a kernel needs of a table, as arrays. Pass it to :func:`find_or_admit`."""

    sets: npt.NDArray[np.void]  # (rows / WAYS,) SET
    stats: npt.NDArray[np.int64]  # (3,) evicted, refused, admitted


class KeyTable:
    """Rows of one dtype under 64-bit keys.

    Args:
        rows: how many keys at most; rounded up to a whole set, at least 8.
        dtype: the detector's own fields of a row; a new row is all zeros.
        authenticated_only: admit a key only at a row that authenticated (principals, credentials).

    ``head`` and ``rows`` are what kernels work on.
    """

    def __init__(self, rows: int, dtype: np.dtype[np.void], *, authenticated_only: bool = False) -> None:
        n = max(1, -(-rows // WAYS)) * WAYS
        self.authenticated_only = authenticated_only
        self.head = Head(sets=by_lines(n // WAYS, SET), stats=np.zeros(3, np.int64))
        self.rows: npt.NDArray[np.void] = by_lines(n, dtype)

    @property
    def used(self) -> int:
        """Rows that hold a key. Cost: one pass over the keys."""
        return int(np.count_nonzero(self.head.sets["keys"]))

    @property
    def capacity(self) -> int:
        """Rows there are."""
        return int(self.rows.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, bytes."""
        return int(sum(a.nbytes for a in self.head) + self.rows.nbytes)

    def row_of(self, key: int) -> int:
        """The row that holds ``key``, or -1."""
        return int(find(self.head, _U64(key)))

    def is_held(self, row: int) -> bool:
        """Whether a detector holds the row."""
        return is_held(self.head, row)

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all arrays, by name."""
        return {**{name: a.copy() for name, a in self.head._asdict().items()}, "rows": self.rows.copy()}

    def restore(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Take over the arrays of :meth:`snapshot`. Nothing decays by being restored.

        Raises:
            StateError: another capacity or another row layout.
        """
        own = {**self.head._asdict(), "rows": self.rows}
        for name, mine in own.items():
            theirs = arrays.get(name)
            if theirs is None or theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise StateError(f"key table: {name!r} in the snapshot does not fit (other capacity or version)")
        for name, mine in own.items():  # only now: a refused snapshot must not leave half of itself behind
            mine[...] = arrays[name]


@kernel(inline=True)
def set_of(head: Head, key: np.uint64) -> int:
    """Number of the key's set. Bits from the middle choose: the low ones choose the routed partition.

    32 of them times the number of sets, by 2^32: as even as a remainder, without a division (Lemire 2019).
    """
    return int((((key >> _U64(20)) & _U64(0xFFFFFFFF)) * _U64(head.sets.shape[0])) >> _U64(32))


@kernel
def used_rows(head: Head) -> int:
    """Rows that hold a key, from the statistics: each admission fills a free row or evicts."""
    return int(head.stats[ADMITTED] - head.stats[EVICTED])


@kernel(inline=True)
def find(head: Head, key: np.uint64) -> int:
    """The row that holds ``key``, or -1."""
    if key == _U64(0):
        return -1
    at = set_of(head, key)
    way = _way_of(head.sets[at], key)
    return at * WAYS + way if way >= 0 else -1


@kernel(inline=True)
def _way_of(one: Any, key: np.uint64) -> int:
    """Which of a set's rows holds the key (0: the first free one), or -1.

    With a jump out, not without: the processor guesses it, and so has asked for the row before the keys are there.
    """
    for way in range(WAYS):
        if one.keys[way] == key:
            return way
    return -1


@kernel(inline=True)
def is_far(head: Head, rows: npt.NDArray[np.void]) -> bool:
    """Whether so much of the table is in use that most look-ups miss the cache."""
    return bool(used_rows(head) * rows.itemsize > CACHED_BYTES)


@kernel
def look_ahead(
    head: Head, rows: npt.NDArray[np.void], keys: npt.NDArray[np.uint64], i: int, at_once: bool = True
) -> None:
    """Have in the cache what the visits of the next strides' keys will need. Call it at each :data:`STRIDE`-th row.

    ``keys`` (batch rows,) are those to be looked up, ``i`` is the row under way, ``at_once`` as most will be admitted
    with. A key that is not looked up after all costs a little time and changes nothing; a table that is in the cache
    anyway is left alone.
    """
    if is_far(head, rows):
        n = keys.shape[0]
        for j in range(ahead(i, 2), min(n, i + 3 * STRIDE)):
            ask_set(head, keys[j])
        for j in range(ahead(i, 1), min(n, i + 2 * STRIDE)):
            ask_row(head, rows, keys[j], at_once)


@kernel
def ahead(i: int, strides: int) -> int:
    """The first row to be asked for so many strides ahead of row ``i``: of a batch that begins, all up to there."""
    return i + strides * STRIDE if i > 0 else 0


@kernel(inline=True)
def ask_set(head: Head, key: np.uint64) -> None:
    """Have in the cache, some rows later, the key's set: before :func:`ask_row`."""
    at = set_of(head, key)
    for skip in range(0, head.sets.itemsize, LINE_BYTES):
        prefetch(head.sets, at, skip)


@kernel
def ask_row(head: Head, rows: npt.NDArray[np.void], key: np.uint64, at_once: bool = True) -> None:
    """Have in the cache, some rows later, the key's row, or the one that it will most likely take."""
    at = set_of(head, key)
    one = head.sets[at]
    way = _way_of(one, key)
    if way < 0:
        way = _way_of(one, _U64(0))
    if way < 0 and (at_once or _at_door(one, key) >= 0):
        way = _guess(one)
    if way >= 0:
        _ask_lines(rows, at * WAYS + way)


@kernel
def _guess(one: Any) -> int:
    """The way that is most likely the victim: seen least lately, of those without a success where there are any."""
    guess, least = 0, np.inf
    for way in range(WAYS):
        note = one.notes[way]
        order = float(note.last) + (LATEST if note.success > _U32(0) else 0.0)
        if order < least:
            guess, least = way, order
    return guess


@kernel(inline=True)
def _ask_lines(rows: npt.NDArray[np.void], at: int) -> None:
    for skip in range(0, rows.itemsize, LINE_BYTES):
        prefetch(rows, at, skip)
    prefetch(rows, at, rows.itemsize - 1)  # rows need not begin with a line


@kernel
def weight_at(head: Head, row: int, now: float) -> float:
    """The row's decayed weight at ``now``; a time before the last touch does not raise it."""
    return weight_of(head.sets[row // WAYS].notes[row % WAYS], now)


@kernel(inline=True)
def touch(head: Head, row: int, now: float, success: bool) -> None:
    """Count one more event on a row."""
    note, second = head.sets[row // WAYS].notes[row % WAYS], second_of(now)
    note.weight = np.float32(math.copysign(weight_of(note, now) + 1.0, note.weight))
    note.last = max(note.last, second)
    if success:
        note.success = max(note.success, second)


@kernel(inline=True)
def hold(head: Head, row: int, held: bool) -> None:
    """Say that a detector finds the row suspicious (or does so no longer)."""
    note = head.sets[row // WAYS].notes[row % WAYS]
    note.weight = np.float32(math.copysign(note.weight, -1.0 if held else 1.0))


@kernel(inline=True)
def is_held(head: Head, row: int) -> bool:
    """Whether a detector holds the row."""
    return is_suspicious(head.sets[row // WAYS].notes[row % WAYS])


@kernel(inline=True)
def succeeded_since(head: Head, row: int, t: float) -> bool:
    """Whether the row's key has had a success after ``t``."""
    return succeeded_after(head.sets[row // WAYS].notes[row % WAYS], t)


@kernel
def _victim(one: Any, now: float, success: bool) -> int:
    """The way of the set that a newcomer may take, or -1."""
    third = _third_heaviest_held(one, now)
    best, customer = 0, -1  # the lightest of the lowest rank, and the lightest with a success
    least, least_customer, others = np.inf, np.inf, 0
    for way in range(WAYS):
        rank = rank_of(one.notes[way], now, third)
        order = order_of(one.notes[way], now)
        others += rank < CUSTOMER
        if rank == CUSTOMER and order < least_customer:
            customer, least_customer = way, order
        if order + rank * _LATER < least:
            best, least = way, order + rank * _LATER
    if others < OPEN_WAYS:
        return customer
    if success:
        open_way = others == OPEN_WAYS and now - float(one.notes[best].last) < WEIGHT_TAU_S
        return customer if open_way else best
    return best if rank_of(one.notes[best], now, third) == 0 else -1


@kernel
def _third_heaviest_held(one: Any, now: float) -> float:
    """Held rows heavier than this are within the two that suspicion may hold."""
    held = 0
    for way in range(WAYS):
        held += is_suspicious(one.notes[way])
    if held <= HELD_WAYS:
        return -1.0
    first = second = third = -1.0
    for way in range(WAYS):
        if is_suspicious(one.notes[way]):
            w = weight_of(one.notes[way], now)
            if w > first:
                first, second, third = w, first, second
            elif w > second:
                second, third = w, second
            elif w > third:
                third = w
    return third


@kernel(inline=True)
def find_or_admit(
    head: Head, key: np.uint64, now: float, success: bool, authenticated_only: bool, at_once: bool = True
) -> tuple[int, bool]:
    """The row for ``key`` after counting this event on it, and whether it is new (the caller zeroes its fields).

    Returns (-1, False) where the key may not have a row; the caller scores it against its peers or not at all.
    ``success``: this event shows a real customer (it authenticated and was served). ``at_once``: it may lead to a
    finding by itself, so the key does not wait at the door where that would push another out.
    """
    row = find(head, key)
    if row >= 0:
        touch(head, row, now, success)
        return row, False
    if key == _U64(0):
        return -1, False
    return _admit(head, key, now, success, authenticated_only, at_once)


@kernel
def _admit(
    head: Head, key: np.uint64, now: float, success: bool, authenticated_only: bool, at_once: bool
) -> tuple[int, bool]:
    at = set_of(head, key)
    one = head.sets[at]
    way = -1 if authenticated_only and not success else _room(head, one, key, now, success, at_once)
    if way < 0:
        head.stats[REFUSED] += 1
        return -1, False
    head.stats[ADMITTED] += 1
    one.keys[way] = key
    note = one.notes[way]
    note.weight = np.float32(1.0)
    note.last = second_of(now)
    note.success = note.last if success else _U32(0)
    return at * WAYS + way, True


@kernel
def _room(head: Head, one: Any, key: np.uint64, now: float, success: bool, at_once: bool) -> int:
    """The way of its set that a key may take now, or -1."""
    free = _way_of(one, _U64(0))
    if free >= 0:
        return free
    place = _at_door(one, key)
    if place < 0 and not at_once:
        _wait(one, key, DOOR - 1)
        return -1
    way = _victim(one, now, success)
    head.stats[EVICTED] += way >= 0
    return way


@kernel
def _at_door(one: Any, key: np.uint64) -> int:
    """Where at the door the key waits, or -1."""
    name, found = _name(key), -1
    for place in range(DOOR):
        found = place if one.door[place] == name else found
    return found


@kernel
def _wait(one: Any, key: np.uint64, place: int) -> None:
    """Put the key first at the door; that at ``place`` goes."""
    for j in range(place, 0, -1):
        one.door[j] = one.door[j - 1]
    one.door[0] = _name(key)


@kernel
def _name(key: np.uint64) -> np.uint32:
    """32 bits of the key, none of which chose the set."""
    return _U32(((key >> _U64(52)) << _U64(20)) | (key & _U64(0xFFFFF)))
