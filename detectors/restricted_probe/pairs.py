"""A set of pairs that forgets: two generations of a blocked Bloom filter, 4 bits a pair within one cache line.

A pair that is met again moves on into the current generation, so what is in use is never forgotten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import kernel

from .constants import SEEN_S

U64 = np.uint64
BITS = 4  # a pair


def room(pairs: int) -> npt.NDArray[np.uint64]:
    """Both generations for ``pairs`` each, at 16 bits a pair: a power of two of words."""
    words = 8
    while words * 4 < pairs:
        words *= 2
    return np.zeros((2, words), np.uint64)


@kernel
def met(bits: npt.NDArray[np.uint64], common: Any, pair: np.uint64) -> bool:
    """Whether the pair was met before (wrongly so for about 1 in 300 at full load); from now on it was."""
    block = int((pair >> U64(36)) & U64(bits.shape[1] // 8 - 1)) * 8
    now = common.generation
    if _has(bits, now, block, pair):
        return True
    old = _has(bits, 1 - now, block, pair)
    for j in range(BITS):
        nine = (pair >> U64(9 * j)) & U64(511)
        bits[now, block + int(nine >> U64(6))] |= U64(1) << (nine & U64(63))
    common.added += 1
    return old


@kernel
def turn(bits: npt.NDArray[np.uint64], common: Any, t: float) -> None:
    """Drop the older generation when the current one is old, or full (16 pairs a word of 16 bits each: 4 words)."""
    if common.since == -np.inf:
        common.since = t
    if t - common.since < SEEN_S and common.added <= 4 * bits.shape[1]:
        return
    common.generation = 1 - common.generation
    common.added = 0
    common.since = t
    common.turns += 1
    bits[common.generation, :] = U64(0)


@kernel
def _has(bits: npt.NDArray[np.uint64], generation: int, block: int, pair: np.uint64) -> bool:
    for j in range(BITS):
        nine = (pair >> U64(9 * j)) & U64(511)
        if not (bits[generation, block + int(nine >> U64(6))] >> (nine & U64(63))) & U64(1):
            return False
    return True
