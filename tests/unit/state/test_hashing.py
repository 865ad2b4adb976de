"""Keyed hashes: the key columns of every batch."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.state.hashing import HashSeed, hash_column, hash_text, mix, siphash13

SEED = HashSeed.from_secret("a secret")


def _python_key(hash_seed: int) -> tuple[int, int]:
    """The SipHash key that CPython derives from PYTHONHASHSEED (a linear congruential generator); 0 is a zero key."""
    state, key = hash_seed, bytearray()
    for _ in range(16):
        state = (state * 214013 + 2531011) % 2**32
        key.append((state >> 16) & 0xFF)
    if hash_seed == 0:
        return 0, 0
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


@pytest.mark.parametrize("hash_seed", [0, 1, 4_000_000_000])
def test_is_the_siphash_that_python_has(hash_seed: int) -> None:
    """If ours were not SipHash-1-3, whoever sprays keys might find strings that meet in one set of a table."""
    texts = [b"x" * n for n in range(1, 40)] + [bytes(range(256))]
    code = f"import sys; assert sys.hash_info.algorithm == 'siphash13'; print(*[hash(t) for t in {texts!r}])"
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    expected = [int(h) for h in subprocess.check_output([sys.executable, "-c", code], env=env, text=True).split()]

    k0, k1 = _python_key(hash_seed)
    for text, want in zip(texts, expected, strict=True):
        got = int(siphash13(np.frombuffer(text, np.uint8), 0, len(text), np.uint64(k0), np.uint64(k1)))
        assert want % 2**64 == got


def test_absent_is_zero_and_nothing_else_is() -> None:
    """Hash 0 means "no key": were a name hashed to it, that customer would be watched by nobody."""
    column = pa.array(["alice", None, "", "bob"], pa.string())

    hashes = hash_column(column, SEED)

    assert (hashes == 0).tolist() == [False, True, True, False]
    assert hash_column(pa.nulls(3, pa.string()), SEED).tolist() == [0, 0, 0]
    assert hash_column(pa.array([], pa.string()), SEED).size == 0


def test_bytes_under_a_null_are_not_hashed() -> None:
    """Arrow may leave bytes under a null; hashed, rows without a principal would share somebody's baseline."""
    whole = pa.array(["alice", "bob"], pa.string())
    masked = pa.StringArray.from_buffers(2, whole.buffers()[1], whole.buffers()[2], pa.py_buffer(b"\x02"))

    assert masked.to_pylist() == [None, "bob"]
    assert hash_column(masked, SEED).tolist() == [0, hash_text("bob", SEED)]


@given(st.lists(st.none() | st.text(max_size=40)), st.integers(0, 5), st.integers(0, 5))
def test_a_slice_hashes_as_its_strings(texts: list[str | None], low: int, cut: int) -> None:
    """Batches are slices of larger ones: with a wrong offset every row would belong to its neighbour."""
    encodable = [t.encode(errors="replace").decode() if t is not None else None for t in texts]
    column = pa.array(encodable, pa.string())[low : max(low, len(texts) - cut)]

    assert hash_column(column, SEED).tolist() == [hash_text(t, SEED) for t in column.to_pylist()]


def test_seeds_do_not_share_hashes() -> None:
    """Who knows one installation's hashes must know nothing of another's, and a seed's id must not give it away."""
    other = HashSeed.from_secret("another secret")

    assert hash_text("alice", SEED) != hash_text("alice", other)
    assert SEED.id != other.id
    assert f"{SEED.k0:x}"[:8] != SEED.id
    assert HashSeed.from_secret("a secret") == SEED


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_a_pair_has_an_order(a: int, b: int) -> None:
    """(network, account) and (account, network) are different pairs: mixed up, first contacts would be missed."""
    forwards, backwards = int(mix(np.uint64(a), np.uint64(b))), int(mix(np.uint64(b), np.uint64(a)))

    assert forwards == int(mix(np.uint64(a), np.uint64(b)))
    assert (forwards == backwards) == (a == b)


def test_mixed_hashes_spread() -> None:
    """Pairs with one part in common must fall everywhere in a table, or its sets overflow."""
    buckets = np.array([int(mix(np.uint64(7), np.uint64(i))) >> 54 for i in range(1, 50_001)])
    counts = np.bincount(buckets, minlength=1024)

    # Poisson of mean 48.8: within 6.5 standard deviations everywhere
    assert counts.min() > 48.8 - 6.5 * 7
    assert counts.max() < 48.8 + 6.5 * 7
