"""Which (key, resource) pairs were met. One that is met again moves on: what is in use is never forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewatch.sdk import Pairs, add_pair, has_pair, is_full, kernel

from .constants import SEEN_S


@kernel
def met(bits: Pairs, common: Any, pair: np.uint64) -> bool:
    """Whether the pair was met before; from now on it was."""
    now = common.generation
    if has_pair(bits, now, pair):
        return True
    old = has_pair(bits, 1 - now, pair)
    add_pair(bits, now, pair)
    common.added += 1
    return old


@kernel
def turn(bits: Pairs, common: Any, t: float) -> None:
    """Drop the older generation when the current one is old, or full."""
    if common.since == -np.inf:
        common.since = t
    if t - common.since < SEEN_S and not is_full(bits, common.added):
        return
    common.generation = 1 - common.generation
    common.added = 0
    common.since = t
    common.turns += 1
    bits[common.generation, :] = np.uint64(0)
