"""Plain native events read straight into columns, without an object for each.

Most of what ingest costs is making Python objects of a JSON text and columns of the objects. So a kernel reads what is
plain: objects and arrays of them whose values are strings, positive numbers, true, false and null. A value that holds
anything else (large exponents, nested objects, a field twice, lone surrogates, what is no JSON or no UTF-8) is left to
msgspec as a whole, so nothing is decided here about what an event may be. A test holds the two to the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import STRINGS
from gatewatch.events.formats.native import FAST_BYTES
from gatewatch.ingest.raw import Numbers, Raw
from gatewatch.ingest.scan_fields import COLUMNS, FLOAT_NAMES, INT_NAMES, NAMES, NOTHING, THEIRS, Out
from gatewatch.ingest.scan_kernel import braces, read

_PADDING = b"\0" * 32  # the longest name, and a literal: nothing is read beyond it


class Scanned(NamedTuple):
    """Rows of what was plain, which value and element each is of, and which values (their numbers) were not plain."""

    raw: Raw
    value_index: npt.NDArray[np.int64]
    element_index: npt.NDArray[np.int64]
    odd: npt.NDArray[np.int64]


def scan(values: Sequence[bytes | None]) -> Scanned:
    """Read some values of the native format. Cost: 0.5 us an event of 450 bytes, and 60 us a call."""
    plain, sizes = _measured(values)
    begins = np.cumsum(sizes + 1) - sizes - 1
    data = np.frombuffer(bytearray(b"\0").join((*plain, _PADDING)), np.uint8)
    n = read(data, begins, begins + sizes, THEIRS, out := _out(len(plain), braces(data)))
    starts, stops = (np.ascontiguousarray(of[:, :n]) for of in np.split(out.spans, 2))
    raw = Raw(n, _numbers(out, n), data, starts, stops, {})
    return Scanned(raw, out.places[0, :n], out.places[1, :n], np.flatnonzero(out.odd))


def _measured(values: Sequence[bytes | None]) -> tuple[Sequence[bytes], npt.NDArray[np.int64]]:
    """The values and their sizes; what is absent or too large is empty. Each look at all of them is 20 ns a value."""
    plain = cast("Sequence[bytes]", values)
    try:
        sizes = np.fromiter(map(len, plain), np.int64, len(plain))
    except TypeError:  # a tombstone
        plain = [value or b"" for value in values]
        sizes = np.fromiter(map(len, plain), np.int64, len(plain))
    if sizes.max(initial=0) > FAST_BYTES:
        plain = [value if len(value) <= FAST_BYTES else b"" for value in plain]
        sizes[sizes > FAST_BYTES] = 0
    return plain, sizes


def _out(values: int, room: int) -> Out:
    return Out(
        np.zeros((2 * len(STRINGS), room), np.int32),
        np.repeat(NOTHING[:, None], room, axis=1),
        np.zeros((2, room), np.int64),
        np.zeros(values, np.bool_),
        np.zeros(1, np.uint64),
    )


def _numbers(out: Out, n: int) -> Numbers:
    """Columns of numbers, without the sizes that no event has."""
    seen = int(out.seen[0])
    numbers: Numbers = {"ts_raw": out.numbers[0, :n]}
    for at, name in enumerate(COLUMNS[1:], start=1):
        if name not in FLOAT_NAMES:
            numbers[name] = out.numbers[at, :n].astype(np.int64 if name in INT_NAMES else np.int8)
        elif seen >> NAMES.index(name) & 1:
            numbers[name] = out.numbers[at, :n]
    return numbers
