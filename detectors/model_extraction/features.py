"""Which rows of a batch asked for a watched feature."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Batch


def asked(batch: Batch, watched: Collection[str]) -> npt.NDArray[np.uint8]:
    """(rows,) 1 where a row asked for one of ``watched``; (0,) where no row of the batch has features.

    Cost: Arrow finds the distinct names, each is looked up once.
    """
    nothing = np.zeros(0, np.uint8)
    if not batch.has("features"):
        return nothing
    column: Any = batch.arrow.column("features")
    if column.null_count == len(column):
        return nothing
    if column.null_count:
        column = column.fill_null([])
    starts = column.offsets.to_numpy().astype(np.int64)
    first, last = int(starts[0]), int(starts[-1])
    coded = column.values.slice(first, last - first).dictionary_encode()
    is_watched = np.array([*(name in watched for name in coded.dictionary.to_pylist()), False])
    codes = coded.indices.fill_null(len(is_watched) - 1).to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(is_watched[codes])])
    found: npt.NDArray[np.uint8] = (before[starts[1:] - first] > before[starts[:-1] - first]).astype(np.uint8)
    return found
