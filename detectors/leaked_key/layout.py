"""What the detector remembers, as arrays: a row for each key, agents just released, one line a scope for all keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import CALIBRATOR

from .constants import KINDS, MARKS, PLACES

SLOTS = 8  # values of each kind kept: a service has one or two networks; who has more is known by its rate of new ones

# One key. 496 bytes, and 24 of the key table.
ROW = np.dtype(
    [
        ("t", "f8"),  # event time of the newest row
        ("born", "f8"),
        ("known_at", "f8"),  # when there was enough to judge by; inf before
        ("stepped_at", "f8"),  # when the slow counts last decayed
        ("seen", "u4", (KINDS, SLOTS)),  # fingerprints of the values of each kind, 0 is free
        ("weight", "f4", (KINDS, SLOTS)),  # how often, decayed over 28 days
        ("events", "f4"),  # decayed over 7 days, and the seconds that they took
        ("seconds", "f4"),
        ("days", "f4"),  # days in use since it was known, decayed over 28 days,
        ("novel", "f4", (KINDS,)),  # and how many new values of each kind came, decayed as well
        ("novel_day", "u2", (KINDS,)),  # the last day with one
        ("home_agent", "u4"),  # agent of the newest row from a known place
        ("home_at", "f8"),
        # The place on probation
        ("level", "u1"),  # how new: 1 network, 2 operator, 3 country; 0: no place is on probation
        ("mark", "u1", (MARKS,)),  # what came with it
        ("second", "u1"),  # another agent than the owner's was used from there
        ("beside", "u1"),  # used in turn with known places for longer than a handover takes
        ("accused", "u1"),
        ("away", "u1"),  # the newest row came from there
        ("place", "u4", (PLACES,)),
        ("place_since", "f8"),
        ("place_last", "f8"),
        ("place_n", "f4"),  # events from there,
        ("place_now", "f4"),  # those of the last 10 minutes, decayed
        ("switches", "f4"),  # between there and known places, decayed over 10 minutes
        ("nats", "f4", (1 + MARKS,)),  # of the place, and of each mark
        ("told_at", "f8"),
        ("told_n", "f4"),
        ("told_reason", "u1"),
    ],
    align=True,
)

# A user agent that keys began to use at home; the last two of them are not counted twice
AGENT_ROW = np.dtype([("keys", "f4"), ("t", "f8"), ("who", "u4", (2,))], align=True)

# What is normal for the keys of one scope
POP = np.dtype(
    [
        ("now", "f8"),  # event time, and the last tick
        ("tick", "f8"),
        ("rows", "i8"),  # rows that counted
        ("alive", "f8"),  # key-days, decayed over a day: how many chances of a false alarm a day brings
        ("days", "f8"),  # key-days, decayed over 28 days
        ("novel", "f8", (KINDS,)),  # of them with a new value
        ("places", "f8", (PLACES,)),  # benign new places by level, one a key, level and day; decayed over 28 days
        ("marks", "f8", (PLACES, MARKS)),  # of them with each mark
        # Frozen between ticks
        ("daily", "f8", (KINDS,)),  # share of key-days with a new value
        ("share", "f8", (PLACES, MARKS)),
        ("model_threshold", "f8"),
        ("threshold", "f8"),
        ("calibrator", CALIBRATOR),  # how high new places have come, day by day
    ],
    align=True,
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

    known_events: float
    known_s: float
    probation_s: float
    release_s: float
    burst_ratio: float
    min_nats: float
    refresh_s: float
    alarms_per_day: float  # of one scope


class Memory(NamedTuple):
    """What one scope remembers: heads (gatewatch.sdk.Head) and rows of its tables, and what its keys have in common."""

    keys: Any
    rows: npt.NDArray[np.void]  # (keys,) ROW
    agents: Any
    agent_rows: npt.NDArray[np.void]  # (agents,) AGENT_ROW
    pop: npt.NDArray[np.void]  # (1,) POP


class Use(NamedTuple):
    """One use of a key: scalars only, which Numba passes for nothing. A value that is absent is 0."""

    i: int  # row of the batch
    t: float
    network: np.uint32
    asn: np.uint32
    country: np.uint32
    agent: np.uint32
    model: np.uint32
