"""One caller's open hour on one model: begun, added to, closed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import find_or_admit, kernel, mix

from .constants import DAY_S, RECENT
from .layout import Memory
from .past import learn_own, rise
from .peers import forget, learn, profile

U64, U16 = np.uint64, np.uint16


@kernel
def clear(pair: Any, hour: float, t: float) -> None:
    """A new row, which may have been another's, with its first hour open."""
    pair.told_at = pair.told_hour = -np.inf
    pair.frozen_at = np.inf
    pair.hours = 0.0
    pair.mean[:] = 0.0
    pair.var[:] = 0.0
    pair.recent[:] = U16(0)
    open_hour(pair, hour, t)


@kernel
def open_hour(pair: Any, hour: float, t: float) -> None:
    """Begin an hour."""
    pair.hour, pair.began = hour, t
    pair.calls = pair.out = pair.repeats = pair.sized = pair.asked = pair.next = pair.told_nats = 0.0
    pair.shapes = U64(0)


@kernel
def count_hour(pair: Any, shape: np.uint64, size: float, got: float) -> None:
    """Add a request to the open hour."""
    pair.calls += 1.0
    pair.out += got
    if shape != U64(0):
        pair.shapes |= U64(1) << (mix(shape, U64(1)) >> U64(58))
    if size < 0.0 and shape == U64(0):
        return
    pair.sized += 1.0
    both = mix(shape, U64(size + 2.0))
    print_, at = U16(both >> U64(48) | U64(1)), int(both % U64(RECENT))
    pair.repeats += pair.recent[at] == print_
    pair.recent[at] = print_


@kernel
def close_hour(
    pair: Any, target: np.uint64, who: np.uint64, newcomer: bool, released: bool, memory: Memory,
    values: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    """The open hour is over: peers and the caller's past learn from it, unless it was told of.

    What a person expects (``released``) the caller's past learns all the same; it makes nobody else's hours usual.
    """
    profile(pair, values)
    common = memory.common[0]
    t = pair.began
    common.day = 1.0 + common.day * math.exp(-max(0.0, t - common.day_t) / DAY_S)
    common.day_t = max(common.day_t, t)
    told = pair.told_hour == pair.hour
    if told and not released:
        rise(pair, values, t)
        return
    pair.frozen_at = np.inf
    learn_own(pair, values)
    if told:
        return
    learn(memory.pool[0], values, pair.calls, who, newcomer, t)
    at, new = find_or_admit(memory.models, target, t, success=True, authenticated_only=False)
    if at < 0:
        return
    if new:
        forget(memory.model_rows[at], t)
    learn(memory.model_rows[at], values, pair.calls, who, newcomer, t)
