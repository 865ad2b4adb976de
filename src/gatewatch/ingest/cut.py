"""Cuts the rows of one routed partition into records that the log takes. A value is never split over two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import encode, schema_id


@dataclass(frozen=True, slots=True)
class Piece:
    """One record's worth of rows. ``stops`` maps a stream index to the offset after its last row; None: all read."""

    value: bytes
    schema: bytes
    rows: int
    stops: dict[int, int] | None


def pieces(batch: pa.RecordBatch, rows_max: int, bytes_max: int) -> Iterator[Piece]:
    """Cut ``batch`` into records of at most ``rows_max`` rows and about ``bytes_max`` bytes.

    A single value (an array of events) that is larger goes in one record all the same: the topic's size limit, not this
    one, is the wall.
    """
    yield from _pieces(batch, -(-batch.num_rows // rows_max), bytes_max, schema_id(batch), last=True)


def _pieces(batch: pa.RecordBatch, parts: int, bytes_max: int, schema: bytes, *, last: bool) -> Iterator[Piece]:
    """Cut into so many parts, and those that are too large once more. ``last``: the batch ends what was read."""
    for low, high in pairwise(_bounds(batch, parts)):
        part = batch.slice(low, high - low)
        ends = last and high == batch.num_rows
        value = encode(part)
        if len(value) > bytes_max and len(_bounds(part, 2)) > 2:
            yield from _pieces(part, -(-len(value) // bytes_max), bytes_max, schema, last=ends)
        else:
            yield Piece(value, schema, high - low, None if ends else _stops(part))


def _bounds(batch: pa.RecordBatch, parts: int) -> list[int]:
    """Row numbers where pieces begin, each at the first row of a value, and where the last ends.

    With ``parts`` > 1 there are two at least, unless it is all one value.
    """
    n = batch.num_rows
    if parts <= 1:
        return [0, n]
    src, offset = _places(batch)
    starts = np.flatnonzero(np.r_[True, (src[1:] != src[:-1]) | (offset[1:] != offset[:-1])])
    wanted = np.linspace(0, n, parts + 1)[1:-1]
    chosen = {int(starts[np.searchsorted(starts, w, side="right") - 1]) for w in wanted} - {0}
    if not chosen:  # the first value is larger than its part: it goes alone
        chosen = {int(start) for start in starts[1:2]}
    return [0, *sorted(chosen), n]


def _stops(batch: pa.RecordBatch) -> dict[int, int]:
    src, offset = _places(batch)
    return {int(s): int(offset[src == s].max()) + 1 for s in np.unique(src)}


def _places(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    return batch.column("src").to_numpy(), batch.column("offset").to_numpy()
