"""Models that take turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewatch.adapters.generations import Generations
from gatewatch.adapters.rows import Reader
from gatewatch.sdk import StateError

READER = Reader(("bytes_out", "user_agent"), "k_principal")


class Remembers:
    """Everything it was taught, as a score."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def score(self, event: Any) -> float:
        del event
        return float(np.dot(self.seen, np.arange(1, len(self.seen) + 1)))

    def learn(self, event: Any) -> None:
        self.seen.append(event.bytes_out)


def taught(n: int, remember: int = 10) -> Generations:
    """Generations that have learned n events."""
    generations = Generations(Remembers, READER, remember)
    block = np.zeros(n, READER.dtype)
    block["bytes_out"] = np.arange(n)
    block["user_agent"] = "curl"
    for event, row in zip(READER.events(block), block, strict=True):
        generations.learn(event, row)
    return generations


@pytest.mark.parametrize("n", [0, 9, 10, 11, 19, 20, 21, 57])
def test_a_restored_model_is_the_same(n: int) -> None:
    """Otherwise findings differ after a restart."""
    before = taught(n)
    after = Generations(Remembers, READER, 10)
    after.restore(before.snapshot())
    block = np.zeros(30, READER.dtype)
    block["bytes_out"] = 7.0
    for event, row in zip(READER.events(block), block, strict=True):
        assert after.score(event) == before.score(event)
        before.learn(event, row)
        after.learn(event, row)


def test_memory_ends() -> None:
    """Otherwise a model that keeps all it sees ends the worker after a month."""
    generations = taught(1000)
    assert 10 <= generations.count <= 20
    assert generations.nbytes == taught(0).nbytes


def test_a_ring_of_another_size_is_refused() -> None:
    """Otherwise a changed option ends in a model that nobody asked for."""
    with pytest.raises(StateError, match="capacity"):
        taught(5, remember=20).restore(taught(5).snapshot())


def test_columns_that_are_none_are_refused() -> None:
    """Otherwise a spelling mistake is found by a quarantine in production."""
    with pytest.raises(ValueError, match="bytes_otu"):
        Reader(("bytes_otu",), "k_principal")
    with pytest.raises(ValueError, match="features"):
        Reader(("features",), "k_principal")
