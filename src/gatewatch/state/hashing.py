"""Keyed 64-bit hashes of strings, a whole column at a time.

SipHash-1-3 (Aumasson and Bernstein 2012; the reduced rounds that CPython and Rust use for their tables): whoever does
not know the key cannot choose strings that meet in one set of a key table. xxHash is faster by 15 ns a string, but its
seed does not stop chosen collisions, so it is used only where nobody gains by one (shape hashes).

Why our own: no kept library hashes an Arrow column without a Python call a string. It is held to CPython's own
SipHash-1-3 by a test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.state.jit import kernel
from gatewatch.state.words import byte, word

U64 = np.uint64


@dataclass(frozen=True, slots=True)
class HashSeed:
    """The 128-bit key of all hashes of one installation; ``id`` may be shown, the key may not.

    One that ``is_public`` stands in the program: for flows within one process, which nobody else can write to.
    """

    k0: int
    k1: int
    is_public: bool = False

    @classmethod
    def from_secret(cls, secret: str) -> HashSeed:
        """Derive the key from any secret text."""
        return cls(*_key(secret))

    @classmethod
    def public(cls, text: str) -> HashSeed:
        """Derive a key that is no secret."""
        return cls(*_key(text), is_public=True)

    @property
    def id(self) -> str:
        """Eight hex digits that tell two seeds apart and give neither away."""
        return hashlib.sha256(b"id" + self.k0.to_bytes(8, "little") + self.k1.to_bytes(8, "little")).hexdigest()[:8]


def _key(text: str) -> tuple[int, int]:
    digest = hashlib.sha256(b"gatewatch hash seed\0" + text.encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def hash_column(strings: pa.StringArray, seed: HashSeed) -> npt.NDArray[np.uint64]:
    """Hash each string; null and "" give 0, and no other string does.

    Cost: about 20 ns a string of 16 bytes.
    """
    n = len(strings)
    if strings.null_count == n:
        return np.zeros(n, np.uint64)
    _, offsets_buffer, data_buffer = strings.buffers()
    offsets = _view(offsets_buffer, np.int32)[strings.offset : strings.offset + n + 1]
    hashes = siphash13_many(_view(data_buffer, np.uint8), offsets, U64(seed.k0), U64(seed.k1))
    if strings.null_count:  # Arrow allows bytes under a null
        hashes[strings.is_null().to_numpy(zero_copy_only=False)] = 0
    return hashes


def _view(buffer: pa.Buffer | None, dtype: Any) -> npt.NDArray[Any]:
    return np.zeros(0, dtype) if buffer is None else np.frombuffer(memoryview(buffer), dtype)


def hash_text(text: str | None, seed: HashSeed) -> int:
    """One string, the same as in a column."""
    return int(hash_column(pa.array([text], pa.string()), seed)[0])


@kernel(inline=True)
def _rotl(x: np.uint64, b: int) -> np.uint64:
    return U64((x << U64(b)) | (x >> U64(64 - b)))


@kernel(inline=True)
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 = U64(v0 + v1)
    v1 = _rotl(v1, 13) ^ v0
    v0 = _rotl(v0, 32)
    v2 = U64(v2 + v3)
    v3 = _rotl(v3, 16) ^ v2
    v0 = U64(v0 + v3)
    v3 = _rotl(v3, 21) ^ v0
    v2 = U64(v2 + v1)
    v1 = _rotl(v1, 17) ^ v2
    v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


@kernel(inline=True)
def siphash13(data: npt.NDArray[np.uint8], start: int, stop: int, k0: np.uint64, k1: np.uint64) -> np.uint64:
    """SipHash-1-3 of ``data[start:stop]``."""
    v0 = k0 ^ U64(0x736F6D6570736575)
    v1 = k1 ^ U64(0x646F72616E646F6D)
    v2 = k0 ^ U64(0x6C7967656E657261)
    v3 = k1 ^ U64(0x7465646279746573)
    length = stop - start
    at = start
    for _ in range(length // 8):
        m = word(data, at)
        v3 ^= m
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= m
        at += 8
    m = U64(length & 0xFF) << U64(56)
    rest = stop - at
    if length >= 8:
        if rest:
            m |= word(data, stop - 8) >> U64(8 * (8 - rest))
    else:
        for j in range(rest):
            m |= U64(byte(data, at + j)) << U64(8 * j)
    v3 ^= m
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= m
    v2 ^= U64(0xFF)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel(allocates=True)
def siphash13_many(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], k0: np.uint64, k1: np.uint64
) -> npt.NDArray[np.uint64]:
    """SipHash-1-3 of each ``data[offsets[i]:offsets[i+1]]``; empty is 0 and nothing else is."""
    n = offsets.shape[0] - 1
    out = np.zeros(n, np.uint64)
    for i in range(n):
        if offsets[i + 1] > offsets[i]:
            h = siphash13(data, offsets[i], offsets[i + 1], k0, k1)
            out[i] = h if h != U64(0) else U64(1)
    return out


@kernel(inline=True)
def mix(a: np.uint64, b: np.uint64) -> np.uint64:
    """Two keyed hashes into one (a pair's key). The inputs are secret-keyed already, so a strong mixer is enough.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014) over a and b combined.
    """
    z = U64(a ^ U64(_rotl(b, 31) * U64(0x9E3779B97F4A7C15)))
    z = U64((z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9))
    z = U64((z ^ (z >> U64(27))) * U64(0x94D049BB133111EB))
    return U64(z ^ (z >> U64(31)))
