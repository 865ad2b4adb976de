"""Lists of words in a batch, whatever was sliced off and left out."""

from __future__ import annotations

import pytest

from gatewatch.events.batch import Batch
from gatewatch.sdk import words_of
from gatewatch.testing.batches import batch_of

ROWS: list[tuple[str, ...] | None] = [("tools",), None, ("logprobs", "tools"), (), ("seed",)]


def _batch(rows: list[tuple[str, ...] | None]) -> Batch:
    return batch_of([{"ts": 1.0 + i, "principal": "p", "features": features} for i, features in enumerate(rows)])


@pytest.mark.parametrize("first", [0, 1, 2])
def test_each_row_has_its_own_words(first: int) -> None:
    """A caller is told to have asked for what the one before it asked for."""
    words = words_of(Batch(_batch(ROWS).arrow.slice(first)), "features")
    assert words is not None
    found = [
        tuple(words.distinct[code] for code in words.codes[start:stop])
        for start, stop in zip(words.starts[:-1].tolist(), words.starts[1:].tolist(), strict=True)
    ]
    assert found == [row or () for row in ROWS[first:]]


def test_where_nobody_has_any_there_are_none() -> None:
    """Each batch would pay for a column that nobody fills."""
    assert words_of(_batch([None, None]), "features") is None
