"""Columns of words, such as ``features``, and paths without their ids: each distinct one is looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gatewatch.events.batch import Batch

_ID = "[A-Za-z0-9]{20,}|[0-9a-fA-F-]{8,}|[0-9]+"


@dataclass(frozen=True, slots=True)
class Words:
    """The words of all rows, one row after the other.

    Attributes:
        distinct: each word once; ``None`` at the end, for places where a list holds nothing.
        codes: (words,) which of ``distinct`` each is.
        starts: (rows + 1,) int64, where each row's words begin in ``codes``, and where the last ones end.
    """

    distinct: list[str | None]
    codes: npt.NDArray[np.integer[Any]]
    starts: npt.NDArray[np.int64]


def words_of(batch: Batch, name: str) -> Words | None:
    """The words of a column; ``None`` where no row has any. Cost: Arrow finds the distinct ones, once a batch."""
    if not batch.has(name):
        return None
    if name not in batch.memo:
        batch.memo[name] = _read(batch, name)
    words: Words | None = batch.memo[name]
    return words


def _read(batch: Batch, name: str) -> Words | None:
    column: Any = batch.arrow.column(name)
    if column.null_count == len(column):
        return None
    if column.null_count:
        column = column.fill_null([])
    starts = column.offsets.to_numpy().astype(np.int64)
    first, last = int(starts[0]), int(starts[-1])
    coded = column.values.slice(first, last - first).dictionary_encode()
    distinct = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False)
    return Words(distinct, codes, starts - first)


def templates_of(batch: Batch, rows: npt.NDArray[np.intp]) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """The paths of some rows without their ids, each distinct one once, and which of them each row has.

    Numbers, long hexadecimals and runs of 20 letters and digits are taken for ids: ``/v1/orders/4711`` and
    ``/v1/orders/4712`` are both ``/v*/orders/*``. Rows without a path have the last one, ``None``. Cost: 1 us a row.
    """
    paths = batch.arrow.column("path").take(pa.array(rows))
    coded = pc.replace_substring_regex(paths, pattern=_ID, replacement="*").dictionary_encode()
    distinct = [*coded.dictionary.to_pylist(), None]
    return distinct, coded.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
