"""What the detector remembers, as arrays: a row for each caller and a row for each endpoint."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

OWN = 8  # structures kept of one caller: a client library has one to three, with tools on or off
TEMPLATES = 32  # structures kept of one endpoint (algorithms C)
FIELDS = 512  # fields known of one endpoint: a place in this table is a bit in a template (algorithms C)
FULL = 384  # beyond three quarters the table takes no more, and unknown fields count for nothing
WORDS = FIELDS // 64
KIND_BITS = 53  # kinds of characters that a float64 can carry
BINS = 16
VOTERS = 3
SEEN = 4  # words of an endpoint's bitmap of callers: counts some thousand of them
NEWS = 4  # words of a caller's bitmap of fields that it was the first to send
FACTS = 64  # fields of one body, as many as an event carries

# One caller: a principal or an address. 360 bytes, and 24 of the key table.
ROW = np.dtype(
    [
        ("t", "f8"),  # event time of the newest row
        ("first", "f8"),  # of the first
        ("since", "f8"),  # when the excursion began
        ("told_at", "f8"),
        ("released_until", "f8"),  # so long a person expects what it sends
        ("structure", "f8"),  # nats of evidence: what structures added since then,
        ("characters", "f8"),  # kinds of characters,
        ("size", "f8"),  # sizes,
        ("credit", "f8"),  # and what ordinary bodies took away
        ("known", "u8"),  # kinds of characters it has sent
        ("changed_at", "f8"),  # when it was odd for the first time, of late
        ("odd_at", "f8"),  # and for the last time; what follows was odd since the former:
        ("counted", "u8"),  # kinds,
        ("fields", "u8", (NEWS,)),  # fields, as a bitmap,
        ("odd_shape", "u4", (OWN,)),  # structures,
        ("next", "i4"),  # place of the next of those,
        ("changes", "i4"),  # how many structures that nobody sends,
        ("far", "f4"),  # nats of a size as told
        ("n", "f4"),  # bodies learned from
        ("novel", "f4"),  # of them, those with a structure that was new for this caller
        ("odd", "f4"),  # bodies of the excursion that surprised
        ("told", "f4"),  # nats last told
        ("mean", "f4"),  # of the logarithm of all sizes
        ("var", "f4"),
        ("shape", "u4", (OWN,)),  # fingerprints of structures
        ("count", "f4", (OWN,)),
        ("means", "f4", (OWN,)),  # of the logarithm of sizes within a structure
        ("vars", "f4", (OWN,)),
        ("limit_at", "f4", (5,)),  # times over a limit when last told, 0 for never
        ("told_change", "u1"),  # 1 where a new version of its client was told of, of late
        ("rank", "u1"),  # 1 where something was told in this excursion
    ],
    align=True,
)

# One endpoint. 6 KB.
ENDPOINT = np.dtype(
    [
        ("first", "f8"),
        ("n", "f8"),  # bodies learned from
        ("seen", "u8", (SEEN,)),  # bitmap of callers
        ("novel", "f8"),  # of the bodies, those that were the first of a structure
        ("content", "f8"),  # of them, those that say which kinds of characters they hold
        ("share", "f8"),  # of the last bodies, those that surprised
        ("kinds", "f8", (KIND_BITS,)),  # bodies that hold each kind of character
        ("far", "f8", (BINS,)),  # structures that came after the first, by distance
        ("mean", "f8"),  # of the logarithm of all sizes
        ("var", "f8"),
        ("odd", "u4", (VOTERS,)),  # callers that surprised last
        ("fields", "u4", (FIELDS,)),  # fingerprints
        ("used", "i4"),
        ("shape", "u8", (TEMPLATES,)),  # 0 is free
        ("count", "f4", (TEMPLATES,)),
        ("taught", "f4", (TEMPLATES,)),  # of them, those that did not surprise
        ("since", "f8", (TEMPLATES,)),
        ("since_n", "f8", (TEMPLATES,)),  # bodies of the endpoint by then
        ("means", "f4", (TEMPLATES,)),
        ("vars", "f4", (TEMPLATES,)),
        ("known", "u1", (TEMPLATES,)),  # 1 a template, 2 not yet, but its fields are known, 0 neither
        ("voters", "u4", (TEMPLATES, VOTERS)),
        ("bits", "u8", (TEMPLATES, WORDS)),
    ],
    align=True,
)

# One scope's counts
COMMON = np.dtype([("now", "f8"), ("rows", "i8"), ("bodies", "i8")])

# A finding, before it goes into gatewatch.sdk.Hits
FOUND = np.dtype(
    [
        ("row", "i4"),
        ("reason", "i1"),
        ("warm", "u1"),
        *((name, "f8") for name in ("nats", "threshold", "observed", "expected", "window_s", "since")),
        ("detail", "f8", (8,)),
    ],
    align=True,
)


class Params(NamedTuple):
    """The options as the kernels need them."""

    threshold: float  # nats
    gate: float  # nats beyond which a body teaches nothing
    endpoint_rows: float  # bodies before an endpoint's templates are trusted
    caller_rows: float  # before a caller's own structures are
    warm_s: float
    refresh_s: float
    decay_s: float
    anonymous: bool  # callers are addresses
    salt: Any  # uint64


class Facts(NamedTuple):
    """The fields of all bodies of a batch, as Arrow holds them; all empty where there are none."""

    starts: npt.NDArray[Any]  # (n + 1,) int32: where each row's fields begin
    offsets: npt.NDArray[Any]  # int32: where each field begins in ``data``
    data: npt.NDArray[Any]  # uint8


class Memory(NamedTuple):
    """What one scope remembers: heads (gatewatch.sdk.Head) and rows of its tables, counts, room to work in."""

    callers: Any
    rows: npt.NDArray[np.void]  # (callers,) ROW
    guests: Any
    guest_rows: npt.NDArray[np.void]  # (guests,) ROW
    endpoints: Any
    profiles: npt.NDArray[np.void]  # (endpoints,) ENDPOINT
    common: npt.NDArray[np.void]  # (1,) COMMON
    limits: npt.NDArray[np.float64]  # (LIMITS,)
    scratch: npt.NDArray[np.uint64]  # (FACTS + WORDS,) fields of the body at hand, and their bits


class Body(NamedTuple):
    """One body as the tests see it: scalars only, which Numba passes for nothing."""

    i: int
    t: float
    caller: np.uint32
    shape: np.uint64
    size: float  # logarithm of bytes, NaN where unknown
    kinds: np.uint64
    has_kinds: bool
    teaches: bool  # it was served


class Score(NamedTuple):
    """What one body says, nats, and where it stands."""

    structure: float
    characters: float
    size: float
    template: int  # slot of the endpoint, -1
    own: int  # slot of the caller, -1
    new_fields: int
    nearest: float  # Jaccard similarity to the nearest template
    contains: float  # share of a template's fields that it has, of the template of which it has most
    far: int  # bin of its distance
    kind: int  # bits of the two rarest kinds, -1
    other: int
    expected: float  # logarithm of bytes
