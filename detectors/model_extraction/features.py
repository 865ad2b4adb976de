"""Which rows of a batch asked for a watched feature."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Batch, words_of


def asked(batch: Batch, watched: Collection[str]) -> npt.NDArray[np.uint8]:
    """(rows,) 1 where a row asked for one of ``watched``; (0,) where no row of the batch has features.

    Cost: Arrow finds the distinct names, each is looked up once.
    """
    words = words_of(batch, "features")
    if words is None:
        return np.zeros(0, np.uint8)
    is_watched = np.array([word in watched for word in words.distinct])
    before = np.concatenate([[0], np.cumsum(is_watched[words.codes])])
    return (before[words.starts[1:]] > before[words.starts[:-1]]).astype(np.uint8)
