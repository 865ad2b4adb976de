"""What the detector remembers, as arrays: a row for each caller and model, for each caller, for each model's peers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import CALIBRATOR

from .constants import RECENT

# What is measured of an hour, in the order of ``mean`` and ``var`` and of the peers' histograms
CALLS, OUT, REPEATS, SPREAD, ASKED = range(5)
METRICS = 5
BINS = 64  # of each histogram; volumes in half octaves, shares in steps of 1/60, shapes one by one

# One caller on one model. 320 bytes, and 24 of the key table.
PAIR = np.dtype(
    [
        ("hour", "f8"),  # which one is open: epoch hours
        ("began", "f8"),  # event time of its first row
        ("calls", "f8"),  # in this hour: requests served,
        ("out", "f8"),  # tokens (else bytes) that they got,
        ("repeats", "f8"),  # those of a shape and size seen among the last few,
        ("sized", "f8"),  # those that have a shape or size,
        ("asked", "f8"),  # those that asked for a watched feature
        ("next", "f8"),  # judged again at so many
        ("shapes", "u8"),  # a bit for each shape
        ("told_hour", "f8"),
        ("told_at", "f8"),
        ("told_nats", "f8"),
        ("frozen_at", "f8"),  # since when every hour was told of; inf where not
        ("hours", "f8"),  # that its own past knows of
        ("mean", "f8", (5,)),
        ("var", "f8", (5,)),
        ("recent", "u2", (RECENT,)),  # fingerprints of shapes and sizes, each in the place that it has; 0 is free
    ],
    align=True,
)

# One caller
CALLER = np.dtype([("first", "f8"), ("told_at", "f8"), ("released_until", "f8")], align=True)

# What callers of a model do in an hour, the pool of all models being one of them
PEERS = np.dtype(
    [
        ("t", "f8"),
        ("n", "f8"),  # hours of callers, decayed
        ("newcomers", "f8"),  # of them by newcomers
        ("shared", "f8"),  # of them with calls enough for shares
        ("who", "u8"),  # a bit for each caller
        ("count", "f4", (5, BINS)),
    ],
    align=True,
)

COMMON = np.dtype(
    [
        ("now", "f8"),  # the largest event time
        ("began", "f8"),  # the first event time
        ("rows", "i8"),  # that counted
        ("behaviour", "i8"),  # of them with a shape, a size or features
        ("day", "f8"),  # hours of callers a day, decayed: how many tests there are
        ("day_t", "f8"),
        ("calibrator", CALIBRATOR),  # how much the scores of hours differ from what their five p-values claim
    ]
)


class Params(NamedTuple):
    """The options as the kernel needs them."""

    least_calls: float  # of an hour, before it is judged
    least_nats: float
    alarms_per_day: float
    limit: float  # queries an hour; inf where none is set
    sweep: float  # queries an hour of a sweep; inf where none is set
    newcomer_s: float
    warm_s: float
    warm_hours: float  # of callers
    warm_callers: int  # bits of ``PEERS.who``


class Memory(NamedTuple):
    """Heads (gatewatch.sdk.Head) and rows of the three tables, the pool of all models, the clock."""

    pairs: Any
    pair_rows: npt.NDArray[np.void]  # PAIR
    callers: Any
    caller_rows: npt.NDArray[np.void]  # CALLER
    models: Any
    model_rows: npt.NDArray[np.void]  # PEERS
    pool: npt.NDArray[np.void]  # (1,) PEERS
    common: npt.NDArray[np.void]  # (1,) COMMON
    values: npt.NDArray[np.float64]  # (METRICS,) room for those of one hour; nothing is remembered in it


class Found(NamedTuple):
    """Where findings go: arrays of gatewatch.sdk.Hits."""

    row: npt.NDArray[Any]
    reason: npt.NDArray[Any]
    nats: npt.NDArray[Any]
    threshold: npt.NDArray[Any]
    observed: npt.NDArray[Any]
    expected: npt.NDArray[Any]
    window_s: npt.NDArray[Any]
    since: npt.NDArray[Any]
    warm: npt.NDArray[Any]
    detail: npt.NDArray[Any]
