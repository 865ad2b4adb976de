"""A bounded table of keys: fixed rows, found by keyed hash in 8-way sets, safe against whoever sprays keys.

Rules of admission (DESIGN: "State is bounded by construction"):

1. a free row is taken;
2. else the lightest row of the set may be evicted, where a row with a success in the last 7 days outranks every row
   without one, and weight is an event count that decays over an hour;
3. a key without a success never evicts a row that has one;
4. a *suspicious* row (a detector holds it, see :func:`hold`) outranks plain rows without success, but only the two
   heaviest of a set do: whoever makes ten million keys just suspicious enough cannot fill the table with them;
5. a table made with ``authenticated_only`` admits a key only at a row that authenticated.

A key without a row is not lost: it counts in the rollups, and ``stats`` counts the evictions and refusals.

Memory: 33 bytes a row, plus the detector's own fields. Cost of a look-up: one cache line of keys, about 10 ns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.errors import StateError
from gatewatch.state.jit import kernel

WAYS = 8  # rows a set: 8 keys of 8 bytes are one cache line
LINE_BYTES = 64  # of a cache line, on every processor that people run this on
HELD_WAYS = 2  # rows of a set that suspicion may hold
SUCCESS_KEEP_S = 7 * 86400.0  # a success this recent makes a row a customer's (DESIGN)
WEIGHT_TAU_S = 3600.0  # weight forgets over an hour: long enough to rank a batch job that runs hourly

EVICTED, REFUSED, ADMITTED = 0, 1, 2  # indices into stats

_U64 = np.uint64


class Head(NamedTuple):
    """What a kernel needs of a table, as arrays. Pass it to :func:`find_or_admit`."""

    keys: npt.NDArray[np.uint64]  # (rows,) 0 is free
    last: npt.NDArray[np.float64]  # (rows,) event time of the last touch, never going back
    success: npt.NDArray[np.float64]  # (rows,) event time of the last success, -inf for never
    weight: npt.NDArray[np.float64]  # (rows,) decayed count of touches, as of ``last``
    held: npt.NDArray[np.uint8]  # (rows,) 1 where a detector holds the row
    stats: npt.NDArray[np.int64]  # (3,) evicted, refused, admitted


class KeyTable:
    """Rows of one dtype under 64-bit keys.

    Args:
        rows: how many keys at most; rounded up to a power of two, at least 8.
        dtype: the detector's own fields of a row; a new row is all zeros.
        authenticated_only: admit a key only at a row that authenticated (principals, credentials).

    ``head`` and ``rows`` are what kernels work on.
    """

    VERSION = 1

    def __init__(self, rows: int, dtype: np.dtype[np.void], *, authenticated_only: bool = False) -> None:
        sets = 1
        while sets * WAYS < rows:
            sets *= 2
        n = sets * WAYS
        self.authenticated_only = authenticated_only
        self.head = Head(
            keys=_by_lines(n, np.uint64),
            last=_by_lines(n, np.float64),
            success=_by_lines(n, np.float64),
            weight=_by_lines(n, np.float64),
            held=np.zeros(n, np.uint8),
            stats=np.zeros(3, np.int64),
        )
        self.head.last.fill(-np.inf)
        self.head.success.fill(-np.inf)
        self.rows: npt.NDArray[np.void] = _by_lines(n, dtype)

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


def _by_lines(n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """(n,) zeros that begin with a cache line, so that a set's eight keys are on one.

    Numpy's own begin 16 bytes into a page, and each set is on two: 15 % of a look-up in a table larger than the cache.
    """
    item = np.dtype(dtype).itemsize
    raw = np.zeros(n * item + LINE_BYTES, np.uint8)
    skip = -raw.ctypes.data % LINE_BYTES
    return raw[skip : skip + n * item].view(dtype)


@kernel
def set_of(head: Head, key: np.uint64) -> int:
    """First row of the key's set. The top bits choose: the low ones choose the routed partition."""
    sets = head.keys.shape[0] // WAYS
    return int((key >> _U64(20)) % _U64(sets)) * WAYS


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
def weight_at(head: Head, row: int, now: float) -> float:
    """The row's decayed weight at ``now``; a time before the last touch does not raise it."""
    gap = now - head.last[row]
    if gap <= 0.0:
        return float(head.weight[row])
    return float(head.weight[row] * np.exp(-gap / WEIGHT_TAU_S))


@kernel
def touch(head: Head, row: int, now: float, success: bool) -> None:
    """Count one more event on a row."""
    head.weight[row] = weight_at(head, row, now) + 1.0
    head.last[row] = max(head.last[row], now)
    if success:
        head.success[row] = max(head.success[row], now)


@kernel
def hold(head: Head, row: int, held: bool) -> None:
    """Say that a detector finds the row suspicious (or does so no longer)."""
    head.held[row] = 1 if held else 0


@kernel
def _victim(head: Head, base: int, now: float, success: bool) -> int:
    """The row of the set that a newcomer may take, or -1."""
    third = _third_heaviest_held(head, base, now)
    best = -1
    best_class = 99
    best_weight = np.inf
    for row in range(base, base + WAYS):
        w = weight_at(head, row, now)
        if head.success[row] > now - SUCCESS_KEEP_S:
            rank = 2
        elif head.held[row] == 1 and w > third:
            rank = 1
        else:
            rank = 0
        if rank < best_class or (rank == best_class and w < best_weight):
            best, best_class, best_weight = row, rank, w
    if best_class == 2 and not success:
        return -1
    if best_class == 1 and not success:
        return -1
    return best


@kernel
def _third_heaviest_held(head: Head, base: int, now: float) -> float:
    """Held rows heavier than this are within the two that suspicion may hold."""
    first = second = third = -1.0
    for row in range(base, base + WAYS):
        if head.held[row] == 1:
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
    if key == _U64(0):
        return -1, False
    base = set_of(head, key)
    free = -1
    for way in range(WAYS):
        held_key = head.keys[base + way]
        if held_key == key:
            touch(head, base + way, now, success)
            return base + way, False
        if held_key == _U64(0) and free < 0:
            free = base + way
    if authenticated_only and not success:
        head.stats[REFUSED] += 1
        return -1, False
    row = free if free >= 0 else _victim(head, base, now, success)
    if row < 0:
        head.stats[REFUSED] += 1
        return -1, False
    if free < 0:
        head.stats[EVICTED] += 1
    head.stats[ADMITTED] += 1
    head.keys[row] = key
    head.weight[row] = 1.0
    head.last[row] = now
    head.success[row] = now if success else -np.inf
    head.held[row] = 0
    return row, True
