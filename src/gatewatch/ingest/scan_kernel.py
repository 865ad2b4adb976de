"""The kernel of :mod:`gatewatch.ingest.scan`: JSON's grammar, as far as it is plain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.events.formats.base import LATEST_S
from gatewatch.ingest.scan_fields import (
    AUTH,
    BOOL,
    DECIMAL,
    INT,
    KIND,
    LENGTH,
    NONE,
    NOTHING,
    OTHER,
    SLOT,
    STOPS,
    STRING,
    TAKEN,
    TEXT,
    TRUTH,
    TS_BIT,
    UNKNOWN,
    WORDS,
    Fields,
    Out,
)  # fmt: skip
from gatewatch.ingest.scan_numbers import number_at
from gatewatch.ingest.scan_text import BACKSLASH, QUOTE, string_end, unescape
from gatewatch.state.jit import kernel
from gatewatch.state.words import WORD, byte, word

_COLON, _COMMA, _ZERO, _NINE = b":,09"
_OPEN, _CLOSE, _OPEN_ARRAY, _CLOSE_ARRAY = b"{}[]"
_NULL, _TRUE, _FALSE = b"null", b"true", b"false"


@kernel
def read(
    data: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    fields: Fields,
    out: Out,
) -> int:
    """Read all values; returns how many events there are in those that are plain. ``out`` has room for each brace.

    A NUL stands after each value, and room for two words at the end. Escapes are overwritten by what they mean.
    """
    rows = 0
    for v in range(begins.shape[0]):
        first = rows
        at = blanks(data, begins[v])
        many = byte(data, at) == _OPEN_ARRAY
        if many:
            at = blanks(data, at + 1)
        ended = many and byte(data, at) == _CLOSE_ARRAY
        if ended:
            at += 1
        while not ended and byte(data, at) == _OPEN:
            at = event(data, at, rows, fields, out)
            out.places[0, rows], out.places[1, rows] = v, rows - first
            rows += 1
            if at < 0 or not many:
                ended = at >= 0
                break
            at = blanks(data, at) + 1
            ended = byte(data, at - 1) == _CLOSE_ARRAY
            if not ended:
                if byte(data, at - 1) != _COMMA:
                    break
                at = blanks(data, at)
        if not ended or blanks(data, at) != ends[v]:
            forget(out, first, rows)
            out.odd[v] = True
            rows = first
    return rows


@kernel
def braces(data: npt.NDArray[np.uint8]) -> int:
    """At most so many objects are there. Cost: 16 bytes and more at a time."""
    n = 0
    for at in range(data.shape[0]):
        n += data[at] == _OPEN
    return n


@kernel(inline=True)
def event(data: npt.NDArray[np.uint8], at: int, row: int, fields: Fields, out: Out) -> int:
    """One object, from its brace; where it ends, or -1."""
    before = NONE
    seen = np.uint64(0)
    at = blanks(data, at + 1)
    while byte(data, at) == QUOTE:
        field, end = field_at(data, at + 1, before, fields)
        at = blanks(data, end + 1)
        bit = np.uint64(field != OTHER) << np.uint64(field)
        if byte(data, end) != QUOTE or byte(data, at) != _COLON or seen & bit:
            return -1
        seen |= bit
        at = value_at(data, blanks(data, at + 1), field, row, fields, out)
        if at < 0:
            return -1
        at = blanks(data, at)
        if byte(data, at) == _CLOSE:
            out.seen[0] |= seen
            return at + 1 if seen & TS_BIT and 0.0 <= out.numbers[0, row] <= LATEST_S else -1
        if byte(data, at) != _COMMA:
            break
        at = blanks(data, at + 1)
        before = field
    return -1


@kernel(inline=True)
def field_at(data: npt.NDArray[np.uint8], at: int, before: int, fields: Fields) -> tuple[int, int]:
    """The field whose name begins there, and where the name ends: at a quote, if it is plain."""
    field = fields.guess[before]
    end = at + fields.facts[field, LENGTH]
    if end >= at and byte(data, end) == QUOTE and same(data, at, fields.names[field]):
        return field, end
    end = string_end(data, at)
    field = field_of(data, at, end, fields.names, fields.facts)
    fields.guess[before] = field
    return field, end


@kernel(inline=True)
def value_at(data: npt.NDArray[np.uint8], at: int, field: int, row: int, fields: Fields, out: Out) -> int:
    """The value of a field; where it ends, or -1 where it is not plain."""
    kind, takes, slot = fields.facts[field, KIND], fields.facts[field, TAKEN], fields.facts[field, SLOT]
    first = byte(data, at)
    if first == QUOTE and takes & TEXT:
        return text_at(data, at + 1, kind, slot, row, fields, out)
    if _ZERO <= first <= _NINE and takes & DECIMAL:
        at, number = number_at(data, at, fields.tens, kind == INT)
        if kind != UNKNOWN:
            out.numbers[slot, row] = number
        return at
    if first == _NULL[0]:
        return literal(data, at, _NULL)
    if not takes & TRUTH:
        return -1
    if kind == BOOL:
        out.numbers[slot, row] = first == _TRUE[0]
    return literal(data, at, _TRUE) if first == _TRUE[0] else literal(data, at, _FALSE)


@kernel(inline=True)
def text_at(data: npt.NDArray[np.uint8], at: int, kind: int, slot: int, row: int, fields: Fields, out: Out) -> int:
    """A string, from after its quote; where it ends, or -1."""
    end = string_end(data, at)
    stop = end
    if byte(data, end) == BACKSLASH:
        stop, end = unescape(data, end)
    if end < 0 or byte(data, end) != QUOTE:
        return -1
    if kind == STRING:
        out.spans[slot, row], out.spans[STOPS + slot, row] = at, stop
    elif kind == AUTH:
        code = field_of(data, at, stop, fields.names[WORDS:], fields.facts[WORDS:])
        if code == fields.facts.shape[0] - WORDS:
            return -1
        out.numbers[slot, row] = fields.facts[WORDS + code, SLOT]
    return end + 1


@kernel(inline=True)
def blanks(data: npt.NDArray[np.uint8], at: int) -> int:
    """The next place where none of JSON's four blanks is."""
    while byte(data, at) <= 32:
        blank = byte(data, at)
        if blank != 32 and blank != 10 and blank != 13 and blank != 9:  # noqa: PLR1714 - a kernel: no set is made
            break
        at += 1
    return at


@kernel(inline=True)
def same(data: npt.NDArray[np.uint8], at: int, name: npt.NDArray[np.uint64]) -> bool:
    """Whether a name stands there; what follows it does not matter."""
    return bool(((word(data, at) ^ name[0]) & name[2]) | ((word(data, at + WORD) ^ name[1]) & name[3]) == 0)


@kernel
def field_of(
    data: npt.NDArray[np.uint8], start: int, stop: int, names: npt.NDArray[np.uint64], facts: npt.NDArray[np.int64]
) -> int:
    """Which of the names it is, up to the one that stands for all others."""
    for at in range(facts.shape[0]):
        length = int(facts[at, LENGTH])
        if length < 0:
            return at
        if length == stop - start and same(data, start, names[at]):
            return at
    return len(facts)


@kernel(inline=True)
def literal(data: npt.NDArray[np.uint8], at: int, wanted: bytes) -> int:
    """Where a literal ends, or -1 where it is not that one."""
    for j in range(len(wanted)):
        if byte(data, at + j) != wanted[j]:
            return -1
    return at + len(wanted)


@kernel
def forget(out: Out, first: int, last: int) -> None:
    """Rows are as nobody had written them."""
    for row in range(first, last):
        out.spans[:, row] = 0
        for at in range(out.numbers.shape[0]):
            out.numbers[at, row] = NOTHING[at]
