"""The fields of bodies: hashed straight from Arrow's buffers, and only for bodies whose structure is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Batch, kernel, mix, read_only

from .layout import FACTS, FIELDS, FULL, Facts

U64, U32 = np.uint64, np.uint32


def facts_of(batch: Batch) -> Facts:
    """The buffers of the batch's ``shape_fields``, without a copy."""
    if batch.has("shape_fields"):
        column: Any = batch.arrow.column("shape_fields")
        if column.null_count < len(column):
            values = column.values
            _, offsets, data = values.buffers()
            texts = _view(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
            starts = column.offsets.to_numpy(zero_copy_only=True)
            return Facts(read_only(starts), read_only(texts), read_only(_view(data, np.uint8)))
    return NO_FACTS


def _view(buffer: Any, dtype: Any) -> npt.NDArray[Any]:
    return np.zeros(0, dtype) if buffer is None else np.frombuffer(memoryview(buffer), dtype)


NO_FACTS = Facts(*(read_only(np.zeros(0, dtype)) for dtype in (np.int32, np.int32, np.uint8)))


@kernel
def read(starts: Any, offsets: Any, data: Any, i: int, salt: np.uint64, out: Any) -> int:
    """Fingerprints of one row's fields into ``out``; how many. Cost: about 10 ns a field."""
    if starts.shape[0] == 0:
        return 0
    n = 0
    for j in range(starts[i], starts[i + 1]):
        if n == FACTS:
            break
        out[n] = _fingerprint(data, offsets[j], offsets[j + 1], salt)
        n += 1
    return n


@kernel
def _fingerprint(data: Any, start: int, stop: int, salt: np.uint64) -> np.uint32:
    """32 bits that nobody without the seed can choose, never 0: a free place is 0."""
    h = mix(U64(stop - start), salt)
    word = U64(0)
    filled = 0
    for at in range(start, stop):
        word |= U64(data[at]) << U64(8 * filled)
        filled += 1
        if filled == 8:
            h = mix(word, h)
            word = U64(0)
            filled = 0
    if filled > 0:
        h = mix(word, h)
    return U32((h >> U64(32)) | U64(1))


@kernel
def place_of(e: Any, fact: np.uint32) -> int:
    """Where an endpoint keeps a field, or -1."""
    at = int(fact >> U32(1)) & (FIELDS - 1)
    for _ in range(FIELDS):
        if e.fields[at] == fact:
            return at
        if e.fields[at] == U32(0):
            return -1
        at = (at + 1) & (FIELDS - 1)
    return -1


@kernel
def keep(e: Any, fact: np.uint32) -> int:
    """The field's place, made where there is room; else -1."""
    at = int(fact >> U32(1)) & (FIELDS - 1)
    for _ in range(FIELDS):
        if e.fields[at] == fact:
            return at
        if e.fields[at] == U32(0):
            if e.used >= FULL:
                return -1
            e.fields[at] = fact
            e.used += 1
            return at
        at = (at + 1) & (FIELDS - 1)
    return -1
