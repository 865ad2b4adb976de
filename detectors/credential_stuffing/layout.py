"""What the detector remembers, as arrays: a row for each key, two memories of pairs, one line for the site a scope.

Only shapes live here. Numbers that kernels compile in stand in ``kernel.py``: Numba's disk cache watches one file.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

EXACT = 16  # fingerprints a row keeps exactly; beyond, first contacts are counted, which the pair memory made distinct
SLOTS = 8  # names a row follows one by one; whoever tries more of them in turn is seen by the first-contact test
ADDRESSES = 4  # addresses of a network told apart; three are needed

# One key: an address, a network or an account. 360 bytes, and 33 of the key table.
ROW = np.dtype(
    [
        ("t", "f8"),  # event time of the newest row
        # First-contact test (kernel.py, "excursion")
        ("w", "f8"),  # its statistic, nats
        ("gain", "f8"),  # what failures added since the excursion began, nats
        ("credit", "f8"),  # what successes took away, nats
        ("since", "f8"),  # event time of the excursion's first failure
        ("tries", "f8"),  # failures in the excursion, repeats included
        ("bad_new", "f8"),  # of them first contacts
        ("ok_new", "f8"),  # first contacts in the excursion that succeeded
        ("exact", "u4", (EXACT,)),  # fingerprints of the names failed on
        ("addresses", "u4", (ADDRESSES,)),  # fingerprints of the addresses failed from (networks only)
        # First contacts before the excursion, decayed over a day
        ("ok_day", "f4"),
        ("bad_day", "f4"),
        # Runs of failures, one name each
        ("slot", "u4", (SLOTS,)),  # fingerprint, 0 is free
        ("streak", "f4", (SLOTS,)),  # failures without a success between, decayed over a day
        ("slot_since", "f8", (SLOTS,)),
        ("slot_broken", "u1", (SLOTS,)),  # 1: this looks like a broken client, not like guessing
        # Plain limits
        ("minute", "f4"),  # failures, decayed over a minute
        ("ten_minutes", "f4"),  # first contacts that failed, decayed over ten minutes
        ("fails", "f8"),  # failures since the row was last calm: the size of what is being told
        # Cool-down
        ("told_at", "f8"),  # event time of the last finding
        ("told_n", "f8"),  # ``fails`` at that time
        ("taken", "f8"),  # successes after an attack
        ("taken_at", "f8"),
        ("taken_told", "f8"),
        ("told_rank", "u1"),  # how grave the last finding was, 0 for none
        ("n_exact", "u1"),
        ("n_addresses", "u1"),
    ],
    align=True,
)

# What is normal at this site, one line a scope
SITE = np.dtype(
    [
        ("ok", "f8"),  # first contacts that succeeded, decayed over 7 days
        ("bad", "f8"),  # and that failed
        ("contacts", "f8"),  # first contacts, decayed over a day: how many chances of a false alarm a day brings
        ("theta0", "f8"),  # success ratio of first contacts, frozen between ticks
        ("threshold", "f8"),  # nats, frozen between ticks
        ("rows", "i8"),  # rows that counted
    ]
)

CLOCK = np.dtype([("now", "f8"), ("tick", "f8"), ("rows", "i8")])


class Pairs(NamedTuple):
    """A set of pairs that forgets: two generations of a blocked Bloom filter, the older one dropped in turn."""

    bits: npt.NDArray[np.uint64]  # (2, words), words a multiple of 8: one block is a cache line
    state: npt.NDArray[np.int64]  # (3,) current generation, pairs added to it, generations dropped
    since: npt.NDArray[np.float64]  # (2,) event time at which the current one began; seconds one lasts

    @classmethod
    def sized(cls, pairs: int, lasts_s: float) -> Pairs:
        """Room for ``pairs`` a generation at 16 bits each, in a power of two of blocks."""
        words = 8
        while words * 4 < pairs:
            words *= 2
        return cls(np.zeros((2, words), np.uint64), np.zeros(3, np.int64), np.array([-np.inf, lasts_s]))


class Side(NamedTuple):
    """One scope: its key table's head and rows, and its line of the site."""

    head: Any  # gatewatch.state.keytable.Head
    rows: npt.NDArray[np.void]
    site: npt.NDArray[np.void]  # (1,)


class Memory(NamedTuple):
    """Everything that outlives a batch."""

    ip: Side
    network: Side
    account: Side
    seen: Pairs  # pairs that failed in the last 12-24 hours
    good: Pairs  # pairs that succeeded in the last 7-14 days
    clock: npt.NDArray[np.void]  # (1,)
    salts: npt.NDArray[np.uint64]  # (4,) a key for each scope's pairs, one for names that are absent


class Columns(NamedTuple):
    """The columns of a batch that matter."""

    ts: npt.NDArray[np.float64]
    role: npt.NDArray[np.uint8]
    auth: npt.NDArray[np.int8]
    blocked: npt.NDArray[np.int8]
    account: npt.NDArray[np.uint64]
    credential: npt.NDArray[np.uint64]
    principal: npt.NDArray[np.uint64]
    ip: npt.NDArray[np.uint64]
    network: npt.NDArray[np.uint64]


class Tuning(NamedTuple):
    """Options as the kernel needs them."""

    failures_per_minute: float
    accounts_per_10min: float
    broken_client_failures: float
    alarms_per_day: float  # for one scope
    refresh_s: float
    flags: int  # bit s: scope s is watched


class Out(NamedTuple):
    """The arrays of :class:`gatewatch.sdk.Hits`."""

    row: npt.NDArray[np.int32]
    scope: npt.NDArray[np.int8]
    reason: npt.NDArray[np.int8]
    nats: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    window_s: npt.NDArray[np.float64]
    since: npt.NDArray[np.float64]
    warm: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
