"""What the detector remembers, as arrays: a row for each key, two memories of pairs, one line for the site a scope.

Only shapes live here; numbers are in ``constants.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

EXACT = 16  # fingerprints a row keeps exactly; beyond, first contacts are counted, which the pair memory made distinct
SLOTS = 8  # names a row follows one by one; whoever tries more of them in turn is seen by the first-contact test
ADDRESSES = 4  # addresses of a network told apart; three are needed

# One key: an address, a network or an account. 368 bytes, and 33 of the key table.
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
        ("at_once", "f4"),  # failures on typed names, one less every LEAK_S
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
        ("pending", "u1"),  # 1: a first contact failed, and is yet to be learned from
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
        ("first", "f8"),  # the same of the first-contact test, for a source that is not shared
        ("rows", "i8"),  # rows that counted
    ]
)

# What all scopes share: event time, the generations of pairs, and the options as the kernel needs them
COMMON = np.dtype(
    [
        ("now", "f8"),  # the largest event time of a row that counted
        ("tick", "f8"),  # its number of 10 s
        ("seen_now", "i8"),  # current generation of the pairs that failed
        ("seen_added", "i8"),
        ("seen_turns", "i8"),
        ("seen_since", "f8"),
        ("good_now", "i8"),  # and of those that succeeded
        ("good_added", "i8"),
        ("good_turns", "i8"),
        ("good_since", "f8"),
        ("salts", "u8", (3,)),  # a key for the pairs of each scope
        ("no_name", "u8"),  # stands for a name or a source that is absent
        ("failures_at_once", "f8"),
        ("failures_per_minute", "f8"),
        ("accounts_per_10min", "f8"),
        ("broken_client_failures", "f8"),
        ("alarms_per_day", "f8"),  # for one scope
        ("refresh_s", "f8"),
        ("networks", "u1"),
        ("accounts", "u1"),
    ],
    align=True,
)

# Clients of one program and project: when one of them was last told of, or would have been, as broken
FLEET = np.dtype([("key", "u8"), ("t", "f8")])

# A finding, before it goes into gatewatch.sdk.Hits
FOUND = np.dtype(
    [
        ("row", "i4"),
        ("scope", "i1"),
        ("reason", "i1"),
        *((name, "f8") for name in ("nats", "threshold", "observed", "expected", "window_s", "since")),
        ("detail", "f8", (8,)),
    ],
    align=True,
)


class Tables(NamedTuple):
    """Heads (gatewatch.state.keytable.Head) and rows of the three key tables."""

    ip: Any
    network: Any
    account: Any
    rows_ip: npt.NDArray[np.void]
    rows_network: npt.NDArray[np.void]
    rows_account: npt.NDArray[np.void]


class Memory(NamedTuple):
    """What is remembered beside the tables."""

    seen: npt.NDArray[np.uint64]  # (blocks, 2, words) pairs that failed: two generations, the older one dropped in turn
    good: npt.NDArray[np.uint64]  # (blocks, 2, words) pairs that succeeded
    fleets: npt.NDArray[np.void]  # (FLEETS,) FLEET; a later one takes the place
    doors: npt.NDArray[np.uint64]  # (2, DOORS) what opened with a token, and without
    site: npt.NDArray[np.void]  # (3,) SITE
    common: npt.NDArray[np.void]  # (1,) COMMON


class Attempt(NamedTuple):
    """One row as one scope sees it: scalars only, which Numba passes for nothing."""

    i: int  # row of the batch
    scope: int
    t: float  # event time
    ok: bool
    pair: np.uint64  # of the key and what it was tried with: a name for sources, the source for an account
    bare: np.uint64  # of the key and what was asked for: the pair, where nobody is named
    fleet: np.uint64  # the program and the project of whoever tried, 0 where neither is known
    walks: bool  # nobody is named, but what was asked for is: many of those are a walk, not many names
    typed: bool  # on an account that was named, as a person or a script that guesses does
    broken: bool  # a repeat guesses nothing: a bare credential, or no name on a customer's key
    address: np.uint64
