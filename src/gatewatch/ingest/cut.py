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
    value, schema = encode(batch), schema_id(batch)
    parts = max(-(-batch.num_rows // rows_max), -(-len(value) // bytes_max))
    if parts <= 1:
        yield Piece(value, schema, batch.num_rows, None)
        return
    src = batch.column("src").to_numpy()
    offset = batch.column("offset").to_numpy()
    bounds = _bounds(src, offset, parts)
    for low, high in pairwise(bounds):
        last = high == batch.num_rows
        stops = None if last else _stops(src[low:high], offset[low:high])
        yield Piece(encode(batch.slice(low, high - low)), schema, high - low, stops)


def _bounds(src: npt.NDArray[np.uint16], offset: npt.NDArray[np.int64], parts: int) -> list[int]:
    """Row numbers where pieces begin, each at the first row of a value."""
    n = len(src)
    starts = np.flatnonzero(np.r_[True, (src[1:] != src[:-1]) | (offset[1:] != offset[:-1])])
    wanted = np.linspace(0, n, parts + 1)[1:-1]
    chosen = {int(starts[np.searchsorted(starts, w, side="right") - 1]) for w in wanted}
    return sorted({0, n} | chosen)


def _stops(src: npt.NDArray[np.uint16], offset: npt.NDArray[np.int64]) -> dict[int, int]:
    return {int(s): int(offset[src == s].max()) + 1 for s in np.unique(src)}
