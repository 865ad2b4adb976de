"""What the detector remembers, as arrays: a row for each key, pairs, resources refused to many, one line for all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

KEPT = 32  # resources a row keeps exactly: the largest count asked for is 12, and a full set forgets its oldest
ADDRESSES = 3  # of a network told apart: as many as it takes
NAMES = 256  # names on the ``restricted`` list: one bit each in a row
WORDS = NAMES // 64

# One key: a principal, an address or a network. 432 bytes, and 33 of the key table.
ROW = np.dtype(
    [
        ("t", "f8"),  # event time of the newest row
        ("refused", "f8"),  # nats: what refusals added since the excursion began, decayed
        ("missing", "f8"),  # nats: what names that do not exist added
        ("credit", "f8"),  # nats: what first contacts that were served took away
        ("since", "f8"),  # event time of the excursion's first step up
        ("told_at", "f8"),  # event time of the last finding
        ("n_refused", "f4"),  # first contacts in the excursion: refused,
        ("n_missing", "f4"),  # not there,
        ("n_served", "f4"),  # and served
        ("n_locked", "f4"),  # of those not there: asked for without a credential (401)
        ("told_n", "f4"),  # of the first two, at the last finding
        ("run", "f4"),  # refusals, repeats included, of a key that was never served
        ("run_told", "f4"),
        ("listed_at", "f8"),  # when the last name on the list was refused
        ("canary_at", "f8"),  # when a canary was last told of
        ("touched", "u8", (WORDS,)),  # which names on the list were refused, a bit each
        ("resource", "u4", (KEPT,)),  # fingerprints of the resources refused or missing
        ("when", "u4", (KEPT,)),  # epoch seconds
        ("kind", "u1", (KEPT,)),  # REFUSED, MISSING, LISTED or TOLD; 0 is free
        ("told_rank", "u1"),
        ("n_addresses", "u1"),
        ("addresses", "u4", (ADDRESSES,)),  # fingerprints of addresses that spoke for a network
    ],
    align=True,
)

# A resource that was refused: which customers it was refused to within the hour
SHARED = np.dtype([("who", "u4", (4,)), ("when", "u4", (4,))], align=True)

# One scope's clock
COMMON = np.dtype(
    [
        ("now", "f8"),  # the largest event time
        ("generation", "i8"),  # of pairs: the current one
        ("added", "i8"),
        ("turns", "i8"),
        ("since", "f8"),
        ("rows", "i8"),  # rows that counted
    ]
)

# A finding, before it goes into gatewatch.sdk.Hits
FOUND = np.dtype(
    [
        ("row", "i4"),
        ("reason", "i1"),
        *((name, "f8") for name in ("nats", "threshold", "observed", "expected", "window_s", "since")),
        ("detail", "f8", (8,)),
    ],
    align=True,
)


class Params(NamedTuple):
    """The options as the kernel needs them."""

    threshold: float  # nats
    up: float  # nats of one refused first contact
    missing_weight: float  # of a name that does not exist, against a refusal
    down: float  # nats of one served first contact
    expected_share: float  # of first contacts of who knows what it may use, not served
    decay_s: float
    refused_per_hour: float  # inf for addresses
    refused_per_week: float
    never_served: float  # inf for addresses
    covered: float  # names on the list
    least_addresses: int  # 0 where the key is no network
    refresh_s: float
    salt: Any  # uint64: a feature is not a model of the same name


class Names(NamedTuple):
    """Names on the lists, as an open hash table of a power of two of slots; none where the lists are empty."""

    key: npt.NDArray[np.uint64]  # (slots,) 0 is free
    weight: npt.NDArray[np.float64]  # (slots,) 0: not restricted
    bit: npt.NDArray[np.int16]  # (slots,) of a restricted name in ``touched``, -1 for none
    canary: npt.NDArray[np.uint8]  # (slots,)


class Memory(NamedTuple):
    """What one scope remembers: heads (gatewatch.sdk.Head) and rows of its tables, pairs, clock."""

    keys: Any
    rows: npt.NDArray[np.void]  # (keys,) ROW
    shared: Any
    shared_rows: npt.NDArray[np.void]  # (resources,) SHARED
    pairs: npt.NDArray[np.uint64]  # (blocks, 2, words)
    served: npt.NDArray[np.uint64]  # (OPEN,) resources served to anybody; the scan of addresses keeps it
    common: npt.NDArray[np.void]  # (1,) COMMON
    said: npt.NDArray[np.uint8]  # (rows of a batch,) what the scan of addresses says of a row: ACCUSED and the like


class Asked(NamedTuple):
    """What the rows of a batch ask for, beside what is in their records: hashes of strings."""

    features: npt.NDArray[np.uint64]  # of all rows, one after the other
    starts: npt.NDArray[np.int64]  # (n + 1,) where each row's features begin; (0,) where no row has any
    family: npt.NDArray[np.uint64]  # of the path without its ids, where it is not there or locked; (0,) where none is


NOTHING_ASKED = Asked(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64))


class Contact(NamedTuple):
    """One row as one scope sees it: scalars only, which Numba passes for nothing."""

    i: int  # row of the batch
    t: float  # event time
    outcome: int
    key: np.uint64
    known: bool  # the key was served before
    address: np.uint64
    resource: np.uint64
    weight: float  # of the resource: 0 where it is not on the list
    bit: int  # of its name on the list, -1 where it is not on it
    canary: bool
    first: bool  # the pair of key and resource was not met before
    again: bool  # it says less: another id of its family was missing before, or others are served what was locked
