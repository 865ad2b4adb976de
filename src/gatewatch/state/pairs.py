"""A set of pairs that forgets: two generations of a blocked Bloom filter (Putze, Sanders and Singler 2007).

A pair is a 64-bit hash and sets :data:`BITS` bits within one cache line of the current generation; that of the older
one is its neighbour, so a pair is one place in memory. Whoever owns the set
holds the number of the current generation, and says when the older one goes (:func:`forget_older`). Wrong about 1 in
300 new pairs at :data:`PAIRS_A_WORD`, never about an old one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.state.jit import kernel
from gatewatch.state.prefetch import LINE_BYTES, by_lines, prefetch

BITS = 4  # a pair sets so many
PAIRS_A_WORD = 4  # 16 bits a pair: what the filter is made for
_WORDS = LINE_BYTES // 8  # of a block

Pairs = npt.NDArray[np.uint64]  # (blocks, 2, words of a block)
_U64 = np.uint64


def no_pairs(pairs: int) -> Pairs:
    """Both generations, empty, with room for so many pairs each: 4 bytes a pair in all."""
    blocks = max(1, -(-pairs // (PAIRS_A_WORD * _WORDS)))
    return by_lines(2 * _WORDS * blocks, np.uint64).reshape(blocks, 2, _WORDS)


def room_of(bits: Pairs) -> int:
    """How many pairs a generation is made for."""
    return PAIRS_A_WORD * _WORDS * int(bits.shape[0])


@kernel
def is_full(bits: Pairs, added: float) -> bool:
    """Whether so many pairs are more than a generation is made for."""
    return bool(added > PAIRS_A_WORD * _WORDS * bits.shape[0])


@kernel(inline=True)
def has_pair(bits: Pairs, generation: int, pair: np.uint64) -> bool:
    """Whether the pair was added to that generation. Cost: one cache line."""
    block = _block(bits, pair)
    for j in range(BITS):
        nine = (pair >> _U64(9 * j)) & _U64(511)
        if not (bits[block, generation, int(nine >> _U64(6))] >> (nine & _U64(63))) & _U64(1):
            return False
    return True


@kernel
def add_pair(bits: Pairs, generation: int, pair: np.uint64) -> None:
    """Remember the pair in that generation."""
    block = _block(bits, pair)
    for j in range(BITS):
        nine = (pair >> _U64(9 * j)) & _U64(511)
        bits[block, generation, int(nine >> _U64(6))] |= _U64(1) << (nine & _U64(63))


@kernel
def meet(bits: Pairs, now: int, pair: np.uint64) -> tuple[bool, int]:
    """Whether the pair was met before, and how many pairs that added to the current generation, 0 or 1.

    One that only the older generation has moves on to the current one: what is in use is never forgotten.
    """
    if has_pair(bits, now, pair):
        return True, 0
    old = has_pair(bits, 1 - now, pair)
    add_pair(bits, now, pair)
    return old, 1


@kernel
def forget_older(bits: Pairs, now: int) -> int:
    """Empty the older generation, which is the current one from now on; its number. Cost: a pass over it."""
    bits[:, 1 - now, :] = _U64(0)
    return 1 - now


@kernel(inline=True)
def ask_pair(bits: Pairs, pair: np.uint64) -> None:
    """Have in the cache, some rows later, what is known of the pair."""
    block = _block(bits, pair)
    prefetch(bits, 2 * _WORDS * block, 0)
    prefetch(bits, 2 * _WORDS * block, LINE_BYTES)


@kernel(inline=True)
def _block(bits: Pairs, pair: np.uint64) -> int:
    """The pair's block; bits 0 to 35 say which bits of it are the pair's."""
    return int(((pair >> _U64(36)) * _U64(bits.shape[0])) >> _U64(28))
