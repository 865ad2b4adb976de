"""A set of pairs that forgets: two generations of a blocked Bloom filter, 4 bits a pair within one cache line.

Arrays are (2, words) uint64; the older generation is dropped in turn (``site.py``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import kernel

U64 = np.uint64
U32 = np.uint32


@kernel
def fingerprint(pair: np.uint64) -> np.uint32:
    """32 bits of a pair, never 0: a free slot is 0."""
    return U32((pair >> U64(32)) | U64(1))


@kernel
def note(found: npt.NDArray[np.uint32], n: int, fingerprint: np.uint32) -> int:
    """Put a fingerprint into a small set of ``n``, in place; how many there are now."""
    for j in range(n):
        if found[j] == fingerprint:
            return n
    found[n] = fingerprint
    return n + 1


@kernel
def _block(bits: npt.NDArray[np.uint64], pair: np.uint64) -> int:
    return int((pair >> U64(36)) & U64(bits.shape[1] // 8 - 1)) * 8


@kernel
def _has(bits: npt.NDArray[np.uint64], generation: int, block: int, pair: np.uint64) -> bool:
    for j in range(4):
        nine = (pair >> U64(9 * j)) & U64(511)
        if not (bits[generation, block + int(nine >> U64(6))] >> (nine & U64(63))) & U64(1):
            return False
    return True


@kernel
def holds(bits: npt.NDArray[np.uint64], now: int, pair: np.uint64) -> bool:
    """The pair was added lately; wrongly so for about 1 in 300 at full load."""
    block = _block(bits, pair)
    return _has(bits, now, block, pair) or _has(bits, 1 - now, block, pair)


@kernel
def add(bits: npt.NDArray[np.uint64], now: int, pair: np.uint64) -> None:
    """Remember the pair, in the generation ``now``."""
    block = _block(bits, pair)
    for j in range(4):
        nine = (pair >> U64(9 * j)) & U64(511)
        bits[now, block + int(nine >> U64(6))] |= U64(1) << (nine & U64(63))
