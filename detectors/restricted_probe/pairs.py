"""Which (key, resource) pairs were met, and until when that is remembered."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewatch.sdk import Pairs, forget_older, is_full, kernel, meet

from .constants import SEEN_S


@kernel
def met(bits: Pairs, common: Any, pair: np.uint64) -> bool:
    """Whether the pair was met before; from now on it was."""
    known, added = meet(bits, common.generation, pair)
    common.added += added
    return known


@kernel
def turn(bits: Pairs, common: Any, t: float) -> None:
    """Drop the older generation when the current one is old, or full."""
    if common.since == -np.inf:
        common.since = t
    if t - common.since < SEEN_S and not is_full(bits, common.added):
        return
    common.generation, common.added, common.since = forget_older(bits, common.generation), 0, t
    common.turns += 1
