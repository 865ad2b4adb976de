"""Names of pairs: a few are kept exactly, all others in a set of which ``site.py`` drops the older half in turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Pairs, has_pair, kernel

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


@kernel(inline=True)
def holds(bits: Pairs, now: int, pair: np.uint64) -> bool:
    """The pair was added lately."""
    return has_pair(bits, now, pair) or has_pair(bits, 1 - now, pair)
