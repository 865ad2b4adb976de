"""Plain native events read straight into columns, without an object for each.

Most of what ingest costs is making Python objects of a JSON text and columns of the objects. So a kernel reads what is
plain: objects and arrays of them whose values are unescaped ASCII strings, positive numbers, true, false and null. A
value that holds anything else (escapes, large exponents, nested objects, a field twice, what is no JSON) is left to
msgspec as a whole, so nothing is decided here about what an event may be. A test holds the two to the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import ABSENT, CODES, FLOATS, STRINGS
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import LATEST_S
from gatewatch.events.formats.native import FAST_BYTES
from gatewatch.ingest.raw import AUTH_CODES, Numbers, Raw
from gatewatch.state.jit import kernel

_TS = "ts"
_USUAL_BYTES = 100  # of an event, at least; smaller ones are counted
_FLOATS = (_TS, *(name for name in FLOATS if name in AccessEvent.__struct_fields__))
_INTS = ("status", "asn")
_CODES = tuple(name for name in CODES if name in AccessEvent.__struct_fields__)
_NESTED = ("features", "shape", "body", "response_body")
_STRING, _FLOAT, _INT, _BOOL, _AUTH, _NOT_PLAIN, _UNKNOWN = range(7)  # kinds of fields
_TEXT, _DECIMAL, _TRUTH = 1, 2, 4  # kinds of values
_TAKES = (_TEXT, _DECIMAL, _DECIMAL, _TRUTH, _TEXT, 0, _TEXT | _DECIMAL | _TRUTH)  # of each kind of field
_NAME_ROOM = 16  # the longest is `response_body`
_AUTHS = tuple(word for word in AUTH_CODES if word is not None)
_EXACT = 1 << 53  # up to here a float64 holds every integer
_DIGITS = 18  # more could overflow an int64
_PLACES = 22  # the largest power of ten that a float64 holds
_PADDING = b"\0" * 32  # the longest name, and a literal: nothing is read beyond it

_QUOTE, _COLON, _COMMA, _POINT, _ZERO, _NINE, _EXPONENT, _MINUS = b'":,.09e-'
_OPEN, _CLOSE, _OPEN_ARRAY, _CLOSE_ARRAY = b"{}[]"
_NULL, _TRUE, _FALSE = b"null", b"true", b"false"


class Fields(NamedTuple):
    """What a name means: few arrays, since each call of a kernel's function hands all of them on.

    ``names`` are those of fields, then a place for every name that is none of ours, then words of ``auth``; ``facts``
    of each are its length, its kind, the kinds of values it takes and its row of the output (a word's code). ``guess``
    is which field came after which the last time: producers keep their order.
    """

    names: npt.NDArray[np.uint8]  # (names, _NAME_ROOM)
    facts: npt.NDArray[np.int64]  # (names, 4)
    guess: npt.NDArray[np.int64]
    ends: npt.NDArray[np.bool_]  # (256,) bytes that a plain string does not hold
    tens: npt.NDArray[np.float64]


class Out(NamedTuple):
    """Where it goes: a column is a row of these."""

    spans: npt.NDArray[np.int32]  # starts of strings, then their stops
    numbers: npt.NDArray[np.float64]
    places: npt.NDArray[np.int64]  # (2, rows) value and element
    odd: npt.NDArray[np.bool_]  # (values,)
    seen: npt.NDArray[np.uint64]  # (1,) fields that some event has


class Scanned(NamedTuple):
    """Rows of what was plain, which value and element each is of, and which values (their numbers) were not plain."""

    raw: Raw
    value_index: npt.NDArray[np.int64]
    element_index: npt.NDArray[np.int64]
    odd: npt.NDArray[np.int64]


def scan(values: Sequence[bytes | None]) -> Scanned:
    """Read some values of the native format. Cost: 0.8 us an event of 450 bytes, and 60 us a call."""
    plain = [v if v is not None and len(v) <= FAST_BYTES else b"" for v in values]
    text = b"\0".join(plain) + _PADDING
    sizes = np.fromiter(map(len, plain), np.int64, len(plain))
    begins = np.cumsum(sizes + 1) - sizes - 1
    data = np.frombuffer(text, np.uint8)
    room = len(plain) + len(text) // _USUAL_BYTES
    n = read(data, begins, begins + sizes, _FIELDS, out := _out(len(plain), room))
    if n < 0:  # smaller events than usual
        room = text.count(b'"ts"')  # each has one
        n = read(data, begins, begins + sizes, _FIELDS, out := _out(len(plain), room))
    starts, stops = (np.ascontiguousarray(of[:, :n]) for of in np.split(out.spans, 2))
    raw = Raw(n, _numbers(out, n), data, starts, stops, {})
    return Scanned(raw, out.places[0, :n], out.places[1, :n], np.flatnonzero(out.odd))


def _out(values: int, room: int) -> Out:
    return Out(
        np.zeros((2 * len(STRINGS), room), np.int32),
        np.repeat(_NOTHING[:, None], room, axis=1),
        np.zeros((2, room), np.int64),
        np.zeros(values, np.bool_),
        np.zeros(1, np.uint64),
    )


def _numbers(out: Out, n: int) -> Numbers:
    """Columns of numbers, without the sizes that no event has."""
    seen = int(out.seen[0])
    numbers: Numbers = {"ts_raw": out.numbers[0, :n]}
    for at, name in enumerate(_COLUMNS[1:], start=1):
        if name not in _FLOATS:
            numbers[name] = out.numbers[at, :n].astype(np.int64 if name in _INTS else np.int8)
        elif seen >> _NAMES.index(name) & 1:
            numbers[name] = out.numbers[at, :n]
    return numbers


_COLUMNS = (*_FLOATS, *_INTS, *_CODES)
_NOTHING = np.array([np.nan if name == _TS else float(ABSENT[name]) for name in _COLUMNS])
_NAMES = (*(name for name in STRINGS if name in AccessEvent.__struct_fields__), *_COLUMNS, *_NESTED)
_LENGTH, _KIND, _TAKEN, _SLOT = range(4)  # of a field's facts
_OTHER = len(_NAMES)  # every name that is none of ours
_NONE = _OTHER + 1  # before the first field
_WORDS = _OTHER + 1  # of auth
_STOPS = len(STRINGS)


def _fields() -> Fields:
    words = (*_NAMES, "", *_AUTHS)
    names, facts = np.zeros((len(words), _NAME_ROOM), np.uint8), np.zeros((len(words), 4), np.int64)
    for at, name in enumerate(words):
        names[at, : len(name)] = np.frombuffer(name.encode(), np.uint8)
        facts[at] = len(name), *_facts(name)
    facts[_OTHER] = -1, _UNKNOWN, _TAKES[_UNKNOWN], 0
    facts[_WORDS:, _SLOT] = [AUTH_CODES[word] for word in _AUTHS]
    ends = np.zeros(256, np.bool_)
    ends[:32] = ends[128:] = ends[[ord('"'), ord("\\")]] = True
    tens = np.array([float(10**k) for k in range(_PLACES + 1)])
    return Fields(names, facts, np.full(_NONE + 1, _OTHER, np.int64), ends, tens)


def _facts(name: str) -> tuple[int, int, int]:
    """Kind of a field, what it takes, and its row."""
    if name in STRINGS:
        return _STRING, _TAKES[_STRING], STRINGS.index(name)
    if name not in _COLUMNS:
        return _NOT_PLAIN, 0, 0
    kind = _FLOAT if name in _FLOATS else _INT if name in _INTS else _AUTH if name == "auth" else _BOOL
    return kind, _TAKES[kind], _COLUMNS.index(name)


_FIELDS = _fields()
_TS_BIT = np.uint64(1 << _NAMES.index(_TS))


@kernel
def read(
    data: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    fields: Fields,
    out: Out,
) -> int:
    """Read all values; returns how many events there are in those that are plain, or -1 where there is no room.

    A NUL stands after each value.
    """
    rows = 0
    for v in range(begins.shape[0]):
        first = rows
        at = blanks(data, begins[v])
        many = data[at] == _OPEN_ARRAY
        if many:
            at = blanks(data, at + 1)
        ended = many and data[at] == _CLOSE_ARRAY
        if ended:
            at += 1
        while not ended and data[at] == _OPEN:
            if rows == out.places.shape[1]:
                return -1
            at = event(data, at, rows, fields, out)
            out.places[0, rows], out.places[1, rows] = v, rows - first
            rows += 1
            if at < 0 or not many:
                ended = at >= 0
                break
            at = blanks(data, at) + 1
            ended = data[at - 1] == _CLOSE_ARRAY
            if not ended:
                if data[at - 1] != _COMMA:
                    break
                at = blanks(data, at)
        if not ended or blanks(data, at) != ends[v]:
            forget(out, first, rows)
            out.odd[v] = True
            rows = first
    return rows


@kernel
def event(data: npt.NDArray[np.uint8], at: int, row: int, fields: Fields, out: Out) -> int:
    """One object, from its brace; where it ends, or -1."""
    before = _NONE
    seen = np.uint64(0)
    at = blanks(data, at + 1)
    while data[at] == _QUOTE:
        field, end = field_at(data, at + 1, before, fields)
        at = blanks(data, end + 1)
        bit = np.uint64(field != _OTHER) << np.uint64(field)
        if data[end] != _QUOTE or data[at] != _COLON or seen & bit:
            return -1
        seen |= bit
        at = value_at(data, blanks(data, at + 1), field, row, fields, out)
        if at < 0:
            return -1
        at = blanks(data, at)
        if data[at] == _CLOSE:
            out.seen[0] |= seen
            return at + 1 if seen & _TS_BIT and 0.0 <= out.numbers[0, row] <= LATEST_S else -1
        if data[at] != _COMMA:
            break
        at = blanks(data, at + 1)
        before = field
    return -1


@kernel
def field_at(data: npt.NDArray[np.uint8], at: int, before: int, fields: Fields) -> tuple[int, int]:
    """The field whose name begins there, and where the name ends: at a quote, if it is plain."""
    field = fields.guess[before]
    end = at + fields.facts[field, _LENGTH]
    if end >= at and data[end] == _QUOTE and same(data, at, end, fields.names[field]):
        return field, end
    end = string_end(data, at, fields.ends)
    field = field_of(data, at, end, fields.names, fields.facts)
    fields.guess[before] = field
    return field, end


@kernel
def value_at(data: npt.NDArray[np.uint8], at: int, field: int, row: int, fields: Fields, out: Out) -> int:
    """The value of a field; where it ends, or -1 where it is not plain."""
    kind, takes, slot = fields.facts[field, _KIND], fields.facts[field, _TAKEN], fields.facts[field, _SLOT]
    byte = data[at]
    if byte == _QUOTE and takes & _TEXT:
        return text_at(data, at + 1, kind, slot, row, fields, out)
    if _ZERO <= byte <= _NINE and takes & _DECIMAL:
        at, number = number_at(data, at, fields.tens, kind == _INT)
        if kind != _UNKNOWN:
            out.numbers[slot, row] = number
        return at
    if byte == _NULL[0]:
        return literal(data, at, _NULL)
    if not takes & _TRUTH:
        return -1
    if kind == _BOOL:
        out.numbers[slot, row] = byte == _TRUE[0]
    return literal(data, at, _TRUE) if byte == _TRUE[0] else literal(data, at, _FALSE)


@kernel
def text_at(data: npt.NDArray[np.uint8], at: int, kind: int, slot: int, row: int, fields: Fields, out: Out) -> int:
    """A string, from after its quote; where it ends, or -1."""
    end = string_end(data, at, fields.ends)
    if data[end] != _QUOTE:
        return -1
    if kind == _STRING:
        out.spans[slot, row], out.spans[_STOPS + slot, row] = at, end
    elif kind == _AUTH:
        word = field_of(data, at, end, fields.names[_WORDS:], fields.facts[_WORDS:])
        if word == fields.facts.shape[0] - _WORDS:
            return -1
        out.numbers[slot, row] = fields.facts[_WORDS + word, _SLOT]
    return end + 1


@kernel
def number_at(
    data: npt.NDArray[np.uint8], at: int, tens: npt.NDArray[np.float64], whole_only: bool
) -> tuple[int, float]:
    """A number without sign, or with an exponent below zero: where it ends, or -1, and what it is."""
    begin = at
    digits = 0
    while _ZERO <= data[at] <= _NINE:
        digits = digits * 10 + int(data[at]) - _ZERO
        at += 1
    whole = at - begin
    places = 0
    if data[at] == _POINT:
        at += 1
        while _ZERO <= data[at] <= _NINE and whole + places <= _DIGITS:
            digits = digits * 10 + int(data[at]) - _ZERO
            at += 1
            places += 1
        if places == 0:
            return -1, np.nan
    if whole + places > _DIGITS or (whole > 1 and data[begin] == _ZERO):
        return -1, np.nan
    if whole_only:
        return (at, float(digits)) if places == 0 and data[at] != _EXPONENT and digits <= _EXACT else (-1, np.nan)
    if data[at] == _EXPONENT:
        at, power = power_at(data, at)
        places += power
    if at < 0 or places > _PLACES:
        return -1, np.nan
    value = quotient(digits, tens[places])
    return (-1 if np.isnan(value) else at), value


@kernel
def power_at(data: npt.NDArray[np.uint8], at: int) -> tuple[int, int]:
    """An exponent below zero, as Python writes a small price: 1.35e-05; where it ends, or -1."""
    if data[at + 1] != _MINUS:
        return -1, 0
    at += 2
    power = 0
    while _ZERO <= data[at] <= _NINE and power <= _PLACES:
        power = power * 10 + int(data[at]) - _ZERO
        at += 1
    return (-1 if data[at - 1] == _MINUS else at), power


@kernel
def quotient(digits: int, ten: float) -> float:
    """``digits / ten`` as a reader of decimal numbers rounds it; NaN where that cannot be told.

    Beyond 2^53 the quotient is worked out to twice the precision (Dekker 1971), and given only where its second half
    is not next to the middle between two numbers.
    """
    high = np.float64(digits)
    if digits <= _EXACT or ten == 1.0:
        return high / ten
    low = np.float64(digits - np.int64(high))
    first = high / ten
    product = first * ten
    a, b = halves(first)
    c, d = halves(ten)
    error = ((a * c - product) + a * d + b * c) + b * d
    second = ((high - product) - error + low) / ten
    total = first + second
    rest = second - (total - first)
    return total if total + rest * (1.0 + 1e-9) == total else np.nan


@kernel
def halves(x: float) -> tuple[float, float]:
    """A number as the sum of two of 26 bits (Veltkamp)."""
    c = 134217729.0 * x
    high = c - (c - x)
    return high, x - high


@kernel
def blanks(data: npt.NDArray[np.uint8], at: int) -> int:
    """The next place where none of JSON's four blanks is."""
    while data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9:
        at += 1
    return at


@kernel
def string_end(data: npt.NDArray[np.uint8], at: int, ends: npt.NDArray[np.bool_]) -> int:
    """The next place of something that a plain string does not hold: its quote, if it is one."""
    while not ends[data[at]]:
        at += 1
    return at


@kernel
def same(data: npt.NDArray[np.uint8], start: int, stop: int, name: npt.NDArray[np.uint8]) -> bool:
    """Whether a name stands there."""
    j = 0
    while start + j < stop and data[start + j] == name[j]:
        j += 1
    return start + j == stop


@kernel
def field_of(
    data: npt.NDArray[np.uint8], start: int, stop: int, names: npt.NDArray[np.uint8], facts: npt.NDArray[np.int64]
) -> int:
    """Which of the names it is, up to the one that stands for all others."""
    for at in range(facts.shape[0]):
        length = int(facts[at, _LENGTH])
        if length < 0:
            return at
        if length == stop - start and same(data, start, stop, names[at]):
            return at
    return len(facts)


@kernel
def literal(data: npt.NDArray[np.uint8], at: int, word: bytes) -> int:
    """Where a literal ends, or -1 where it is not that one."""
    for j in range(len(word)):
        if data[at + j] != word[j]:
            return -1
    return at + len(word)


@kernel
def forget(out: Out, first: int, last: int) -> None:
    """Rows are as nobody had written them."""
    for row in range(first, last):
        out.spans[:, row] = 0
        for at in range(out.numbers.shape[0]):
            out.numbers[at, row] = _NOTHING[at]
