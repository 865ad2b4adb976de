"""Sets of pairs that forget, and what asks for memory ahead."""

from __future__ import annotations

import numpy as np

from gatewatch.state.jit import kernel
from gatewatch.state.pairs import add_pair, ask_pair, forget_older, has_pair, is_full, meet, no_pairs
from gatewatch.state.prefetch import LINE_BYTES, by_lines, prefetch


def _hashes(n: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(1, 2**64, n, np.uint64)


def test_what_was_added_is_held_in_its_generation_only() -> None:
    """A pair that is lost would be a first contact again: a customer would look like somebody who tries."""
    pairs = no_pairs(1000)
    for pair in _hashes(1000, 1):
        add_pair(pairs, 0, pair)

    assert all(has_pair(pairs, 0, pair) for pair in _hashes(1000, 1))
    assert not any(has_pair(pairs, 1, pair) for pair in _hashes(1000, 1))


def test_a_full_set_is_seldom_wrong() -> None:
    """Pairs that are wrongly held to be known hide first contacts; one in 300 is what detectors reckon with."""
    room = 20_000
    pairs = no_pairs(room)
    for pair in _hashes(room, 1):
        add_pair(pairs, 0, pair)
    wrong = sum(has_pair(pairs, 0, pair) for pair in _hashes(100_000, 2))

    assert wrong / 100_000 < 1 / 250
    assert is_full(pairs, room + 1)
    assert not is_full(pairs, room - 100)


def test_what_is_met_again_is_never_forgotten_and_the_rest_is_after_two_generations() -> None:
    """A customer who comes every day would be a newcomer each week; or the set fills up until everybody is known."""
    pairs, now = no_pairs(1000), 0
    often, once = _hashes(2, 3)
    assert [meet(pairs, now, pair) for pair in (often, once, once)] == [(False, 1), (False, 1), (True, 0)]
    now = forget_older(pairs, now)
    assert meet(pairs, now, often) == (True, 1)
    now = forget_older(pairs, now)
    assert [meet(pairs, now, pair) for pair in (often, once)] == [(True, 1), (False, 1)]


def test_blocks_are_whole_cache_lines() -> None:
    """A block on two lines costs two misses, and the memory asked for ahead would be half of what is needed."""
    for n in (1, 7, 100, 4096):
        assert by_lines(n, np.uint64).ctypes.data % LINE_BYTES == 0
    assert no_pairs(1).nbytes == 2 * LINE_BYTES
    assert no_pairs(1_000_000).nbytes < 4.001e6


@kernel
def _ask_for_anything(array: np.ndarray[tuple[int], np.dtype[np.uint64]], at: int) -> float:
    prefetch(array, at, 0)
    ask_pair(array.reshape((2, array.shape[0] // 2)), np.uint64(at & 0xFFFF))
    return float(array[0])


def test_asking_ahead_reads_and_changes_nothing() -> None:
    """A request for memory beyond the array's end would crash the worker on the last rows of a batch."""
    array = by_lines(32, np.uint64)
    array[0] = 7

    assert [_ask_for_anything(array, at) for at in (0, 31, 10**12, -5)] == [7.0] * 4
    assert array.sum() == 7
