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
5. a table made with ``authenticated_only`` admits a key only at a row that authenticated.

A key without a row is not lost: it counts in the rollups, and ``stats`` counts the evictions and refusals.

Memory: 24 bytes a row, plus the detector's own fields. Cost of a look-up: about 10 ns where the table is in the cache.
Where it is not, each look-up waits for memory, unless the loop asks for it some rows ahead: :func:`look_ahead`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.errors import StateError
from gatewatch.state.jit import kernel
from gatewatch.state.prefetch import LINE_BYTES, by_lines, prefetch

WAYS = 8  # rows a set: 8 keys of 8 bytes are one cache line
HELD_WAYS = 2  # rows of a set that suspicion may hold
OPEN_WAYS = 1  # rows of a set for keys without a success: an eighth of the room at most, and enough to count
SUCCESS_KEEP_S = 7 * 86400.0  # a success this recent makes a row a customer's (DESIGN)
WEIGHT_TAU_S = 3600.0  # weight forgets over an hour: long enough to rank a batch job that runs hourly

EVICTED, REFUSED, ADMITTED = 0, 1, 2  # indices into stats
_CUSTOMER = 2  # the rank of rows with a success; 1 that of suspicious ones, 0 of all others
# Rows that are asked for together, a stride before their visit: memory takes about 100 ns, a visit somewhat more, and
# what is asked for too early is lost from the cache (32 kB of L1) before it is used.
STRIDE = 8
# Below this a table is in the cache of the core anyway (512 kB to 2 MB of L2 on servers of the last ten years)
CACHED_BYTES = 1 << 20

_U64, _U32 = np.uint64, np.uint32
_LATEST = 4294967295.0  # that a second in a note can be

# What the table itself notes of a key: one record, since a look-up needs all of it. Whole seconds are enough for
# weights that fade over an hour.
NOTE = np.dtype(
    [
        ("last", np.uint32),  # second of event time of the last touch, never going back
        ("success", np.uint32),  # second of the last success, 0 for never
        ("weight", np.float32),  # decayed count of touches, as of ``last``
        ("held", np.uint32),  # 1 where a detector holds the row
    ]
)


class Head(NamedTuple):
    """What a kernel needs of a table, as arrays. Pass it to :func:`find_or_admit`."""

    keys: npt.NDArray[np.uint64]  # (rows,) 0 is free
    notes: npt.NDArray[np.void]  # (rows,) NOTE
    stats: npt.NDArray[np.int64]  # (3,) evicted, refused, admitted


class KeyTable:
    """Rows of one dtype under 64-bit keys.

    Args:
        rows: how many keys at most; rounded up to a whole set, at least 8.
        dtype: the detector's own fields of a row; a new row is all zeros.
        authenticated_only: admit a key only at a row that authenticated (principals, credentials).

    ``head`` and ``rows`` are what kernels work on.
    """

    VERSION = 1

    def __init__(self, rows: int, dtype: np.dtype[np.void], *, authenticated_only: bool = False) -> None:
        n = max(1, -(-rows // WAYS)) * WAYS
        self.authenticated_only = authenticated_only
        self.head = Head(
            keys=by_lines(n, np.uint64),
            notes=by_lines(n, NOTE),
            stats=np.zeros(3, np.int64),
        )
        self.rows: npt.NDArray[np.void] = by_lines(n, dtype)

    @property
    def used(self) -> int:
        """Rows that hold a key. Cost: one pass over the keys."""
        return int(np.count_nonzero(self.head.keys))

    @property
    def capacity(self) -> int:
        """Rows there are."""
        return int(self.head.keys.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, bytes."""
        return int(sum(a.nbytes for a in self.head) + self.rows.nbytes)

    def row_of(self, key: int) -> int:
        """The row that holds ``key``, or -1."""
        return int(find(self.head, _U64(key)))

    def is_held(self, row: int) -> bool:
        """Whether a detector holds the row."""
        return bool(self.head.notes["held"][row])

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


@kernel
def set_of(head: Head, key: np.uint64) -> int:
    """First row of the key's set. Bits from the middle choose: the low ones choose the routed partition.

    32 of them times the number of sets, by 2^32: as even as a remainder, without a division (Lemire 2019).
    """
    sets = _U64(head.keys.shape[0] // WAYS)
    return int((((key >> _U64(20)) & _U64(0xFFFFFFFF)) * sets) >> _U64(32)) * WAYS


@kernel
def used_rows(head: Head) -> int:
    """Rows that hold a key, from the statistics: each admission fills a free row or evicts."""
    return int(head.stats[ADMITTED] - head.stats[EVICTED])


@kernel
def find(head: Head, key: np.uint64) -> int:
    """The row that holds ``key``, or -1."""
    if key == _U64(0):
        return -1
    base = set_of(head, key)
    for way in range(WAYS):
        if head.keys[base + way] == key:
            return base + way
    return -1


@kernel
def is_far(head: Head, rows: npt.NDArray[np.void]) -> bool:
    """Whether so much of the table is in use that most look-ups miss the cache."""
    return bool(used_rows(head) * rows.itemsize > CACHED_BYTES)


@kernel
def look_ahead(head: Head, rows: npt.NDArray[np.void], keys: npt.NDArray[np.uint64], i: int) -> None:
    """Have in the cache what the visits of the next strides' keys will need. Call it at each :data:`STRIDE`-th row.

    ``keys`` (batch rows,) are those to be looked up, ``i`` is the row under way. A key that is not looked up after all
    costs a little time and changes nothing; a table that is in the cache anyway is left alone.
    """
    if is_far(head, rows):
        n = keys.shape[0]
        for j in range(ahead(i, 3), min(n, i + 4 * STRIDE)):
            ask_set(head, keys[j])
        for j in range(ahead(i, 2), min(n, i + 3 * STRIDE)):
            ask_row(head, rows, keys[j])
        for j in range(ahead(i, 1), min(n, i + 2 * STRIDE)):
            ask_place(head, rows, keys[j])


@kernel
def ahead(i: int, strides: int) -> int:
    """The first row to be asked for so many strides ahead of row ``i``: of a batch that begins, all up to there."""
    return i + strides * STRIDE if i > 0 else 0


@kernel
def ask_set(head: Head, key: np.uint64) -> None:
    """Have in the cache, some rows later, which keys are in the key's set: before :func:`ask_row`."""
    prefetch(head.keys, set_of(head, key), 0)


@kernel
def ask_row(head: Head, rows: npt.NDArray[np.void], key: np.uint64) -> None:
    """Have in the cache, some rows later, what the key's visit needs: before :func:`ask_place`."""
    at = find(head, key)
    if at >= 0:
        prefetch(head.notes, at, 0)
        _ask_lines(rows, at)
    else:  # it will want one of its set: their notes are on two lines
        prefetch(head.notes, set_of(head, key), 0)
        prefetch(head.notes, set_of(head, key), LINE_BYTES)


@kernel
def ask_place(head: Head, rows: npt.NDArray[np.void], key: np.uint64) -> None:
    """Have in the cache, some rows later, the row that a key without one will most likely take."""
    if find(head, key) >= 0:
        return
    base = set_of(head, key)
    guess, least = base, np.inf
    for row in range(base, base + WAYS):
        if head.keys[row] == _U64(0):
            guess = row
            break
        note = head.notes[row]
        order = float(note.last) + (_LATEST if note.success > _U32(0) else 0.0)
        if order < least:
            guess, least = row, order
    _ask_lines(rows, guess)


@kernel
def _ask_lines(rows: npt.NDArray[np.void], at: int) -> None:
    for skip in range(0, rows.itemsize, LINE_BYTES):
        prefetch(rows, at, skip)
    prefetch(rows, at, rows.itemsize - 1)  # rows need not begin with a line


@kernel
def _second(now: float) -> np.uint32:
    return _U32(min(max(now, 0.0), _LATEST))


@kernel
def weight_at(head: Head, row: int, now: float) -> float:
    """The row's decayed weight at ``now``; a time before the last touch does not raise it."""
    note = head.notes[row]
    gap = float(_second(now)) - float(note.last)
    if gap <= 0.0:
        return float(note.weight)
    return float(note.weight) * float(np.exp(-gap / WEIGHT_TAU_S))


@kernel
def touch(head: Head, row: int, now: float, success: bool) -> None:
    """Count one more event on a row."""
    note, second = head.notes[row], _second(now)
    note.weight = np.float32(weight_at(head, row, now) + 1.0)
    note.last = max(note.last, second)
    if success:
        note.success = max(note.success, second)


@kernel
def hold(head: Head, row: int, held: bool) -> None:
    """Say that a detector finds the row suspicious (or does so no longer)."""
    head.notes[row].held = _U32(1) if held else _U32(0)


@kernel
def is_held(head: Head, row: int) -> bool:
    """Whether a detector holds the row."""
    return bool(head.notes[row].held == _U32(1))


@kernel
def succeeded_since(head: Head, row: int, t: float) -> bool:
    """Whether the row's key has had a success after ``t``."""
    success = head.notes[row].success
    return bool(success > _U32(0) and float(success) > t)


@kernel
def _victim(head: Head, base: int, now: float, success: bool) -> int:
    """The row of the set that a newcomer may take, or -1."""
    third = _third_heaviest_held(head, base, now)
    best = customer = -1  # the lightest of the lowest rank, and the lightest with a success
    best_rank, others = _CUSTOMER + 1, 0
    for row in range(base, base + WAYS):
        rank = _rank(head, row, now, third)
        if rank == _CUSTOMER and (customer < 0 or _is_lighter(head, row, customer, now)):
            customer = row
        others += rank < _CUSTOMER
        if rank < best_rank or (rank == best_rank and _is_lighter(head, row, best, now)):
            best, best_rank = row, rank
    if others < OPEN_WAYS:
        return customer
    if success:
        open_way = others == OPEN_WAYS and now - float(head.notes[best].last) < WEIGHT_TAU_S
        return customer if open_way else best
    return best if best_rank == 0 else -1


@kernel
def _rank(head: Head, row: int, now: float, third: float) -> int:
    if succeeded_since(head, row, now - SUCCESS_KEEP_S):
        return _CUSTOMER
    return 1 if is_held(head, row) and (third < 0.0 or weight_at(head, row, now) > third) else 0


@kernel
def _is_lighter(head: Head, row: int, other: int, now: float) -> bool:
    """Whether a row weighs less than another at ``now``. Mostly seen without an exponential, which takes most of it."""
    a, b, second = head.notes[row], head.notes[other], _second(now)
    a_last, b_last = min(a.last, second), min(b.last, second)
    if a.weight >= b.weight and a_last >= b_last:
        return False
    if a.weight <= b.weight and a_last <= b_last:
        return True
    return bool(weight_at(head, row, now) < weight_at(head, other, now))


@kernel
def _third_heaviest_held(head: Head, base: int, now: float) -> float:
    """Held rows heavier than this are within the two that suspicion may hold."""
    held = 0
    for row in range(base, base + WAYS):
        held += is_held(head, row)
    if held <= HELD_WAYS:
        return -1.0
    first = second = third = -1.0
    for row in range(base, base + WAYS):
        if is_held(head, row):
            w = weight_at(head, row, now)
            if w > first:
                first, second, third = w, first, second
            elif w > second:
                second, third = w, second
            elif w > third:
                third = w
    return third


@kernel
def find_or_admit(head: Head, key: np.uint64, now: float, success: bool, authenticated_only: bool) -> tuple[int, bool]:
    """The row for ``key`` after counting this event on it, and whether it is new (the caller zeroes its fields).

    Returns (-1, False) where the key may not have a row; the caller scores it against its peers or not at all.
    ``success``: this event shows a real customer (it authenticated and was served).
    """
    row = find(head, key)
    if row >= 0:
        touch(head, row, now, success)
        return row, False
    if key == _U64(0):
        return -1, False
    return _admit(head, key, now, success, authenticated_only)


@kernel
def _admit(head: Head, key: np.uint64, now: float, success: bool, authenticated_only: bool) -> tuple[int, bool]:
    if authenticated_only and not success:
        head.stats[REFUSED] += 1
        return -1, False
    base = set_of(head, key)
    row, free = -1, False
    for way in range(WAYS):
        if head.keys[base + way] == _U64(0):
            row, free = base + way, True
            break
    if not free:
        row = _victim(head, base, now, success)
    if row < 0:
        head.stats[REFUSED] += 1
        return -1, False
    if not free:
        head.stats[EVICTED] += 1
    head.stats[ADMITTED] += 1
    head.keys[row] = key
    note = head.notes[row]
    note.weight = np.float32(1.0)
    note.last = _second(now)
    note.success = note.last if success else _U32(0)
    note.held = _U32(0)
    return row, True
