"""What the kernel reads by itself is what msgspec reads, and what it does not is left to msgspec."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.contract.format_cases import JSON_CASES, Case

from gatewatch.events.batch import STRINGS
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats import get
from gatewatch.events.formats.native import FAST_BYTES, Native
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.raw import columns_of
from gatewatch.ingest.read import read
from gatewatch.ingest.scan import scan
from gatewatch.ingest.scan_numbers import quotient
from gatewatch.state.hashing import HashSeed

SEED = HashSeed(1, 2)
PLAIN = b'{"ts": 1790000000.1234567, "principal": "acme", "status": 200, "auth": "success", "cost_usd": 1.35e-05}'
_NAMES = st.sampled_from((*AccessEvent.__struct_fields__, "body", "other", "ts", "t", "statu", "\u0074s"))
_NUMBERS = st.integers(0, 10**25) | st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1e6)
_WORDS = st.text(max_size=8) | st.sampled_from(("success", "failure", "none", "-", "", "203.0.113.9", "a\\b", "1.5"))
_NESTED = st.lists(_WORDS, max_size=2) | st.dictionaries(st.sampled_from(("hash", "depth", "fields", "x")), _WORDS)
_VALUES = _NUMBERS | _WORDS | st.booleans() | st.none() | _NESTED
_OBJECTS = st.lists(st.tuples(_NAMES, _VALUES), max_size=8)
_BLANKS = st.sampled_from(("", " ", "\n", "\t ", "\r\n"))


def _json(pairs: Sequence[tuple[str, object]], blank: str, *, escape: bool) -> str:
    """An object that may have a name twice, which a dictionary has not."""
    inner = f",{blank}".join(f"{json.dumps(k)}:{blank}{json.dumps(v, ensure_ascii=escape)}" for k, v in pairs)
    return f"{blank}{{{inner}{blank}}}"


_EVENTS = st.builds(
    lambda pairs, ts, blank, escape: _json([("ts", ts), *pairs], blank, escape=escape),
    _OBJECTS, st.floats(0, 2e11) | _VALUES, _BLANKS, st.booleans(),
)  # fmt: skip
_PLAIN_EVENTS = st.builds(
    lambda n, blank: _json([("ts", n / 7), ("method", "GET"), ("asn", n), ("bytes_in", n / 1e9)], blank, escape=True),
    st.integers(0, 10**10), _BLANKS,
)  # fmt: skip
_ONE = _EVENTS | _PLAIN_EVENTS | _OBJECTS.map(lambda pairs: _json(pairs, "", escape=True))
_MANY = st.tuples(st.lists(_ONE, max_size=4), _BLANKS, st.sampled_from(",;")).map(
    lambda made: f"[{made[1]}{f'{made[2]}{made[1]}'.join(made[0])}{made[1]}]"
)
_CUT = st.tuples(_ONE | _MANY, st.integers(0, 200)).map(lambda made: made[0][: made[1]])
_TEXTS = (_ONE | _MANY | _CUT | st.text(max_size=5)).map(lambda text: text.encode(errors="replace"))
_DAMAGED = st.tuples(_TEXTS, st.integers(0, 300), st.binary(max_size=2)).map(
    lambda made: made[0][: made[1]] + made[2] + made[0][made[1] + 1 :]
)
_ALL = st.lists(_TEXTS | _DAMAGED | st.none(), max_size=6)


def _same(values: Sequence[bytes | None]) -> None:
    form = get("native")
    decoded, part = form.decode(values), read(form, values)
    assert part.bad == decoded.bad
    assert part.value_index.tolist() == decoded.value_index
    assert part.element_index.tolist() == decoded.element_index
    assert part.raw.n == len(decoded.events)
    ours, theirs = (Cleaner(SEED).cleaned(raw) for raw in (part.raw, columns_of(decoded.events)))
    rows = np.arange(part.raw.n)
    for one, other in zip(ours.texts(STRINGS, rows), theirs.texts(STRINGS, rows), strict=True):
        assert one.to_pylist() == other.to_pylist()
    for name in ours.numbers | theirs.numbers | ours.lists | theirs.lists:
        assert str(ours[name].to_pylist()) == str(theirs[name].to_pylist()), name  # NaN is NaN, -0.0 is not 0.0


@given(_ALL)
@example([b'{"ts":1}', b'[{"ts":2},{"ts":3,"path":"\\u00e9"}]', b'{"ts":4}', b"[]", None, b'{"ts":5}{"ts":6}'])
@example([b'{"ts":1}\0', b'{"ts":1\0}', b'{"ts":1,}', b'{"ts":01}', b'{"ts":1.}', b'{"ts":1e5}', b'{"ts":1e-}'])
@example(
    [b"[", b"[ ", b'[{"ts":1},', b'[{"ts":1}', b'[{"ts":1},]', b"]", b"{", b'{"ts"', b'{"ts":', b'{"ts":1}]', b"[[]]"]
)
@example([b'{"ts":1,"status":1e-1}', b'{"ts":1,"status":200.0}', b'{"ts":1,"denied":nul}', b'{"ts":1,"denied":tru}'])
def test_the_kernel_and_the_format_read_the_same(values: list[bytes | None]) -> None:
    """If this fails, what an event means depends on what stands beside it."""
    _same(values)


# What may stand in a string: as it is, escaped, and what is neither JSON nor UTF-8: overlong forms, surrogates, numbers
# beyond Unicode, sequences that are cut, bytes that begin none.
_GOOD = (
    b"a",
    b"eight888",
    b" ",
    b"\x7f",
    b"%",
    b"\xc3\xa9",
    b"\xdf\xbf",
    b"\xe0\xa0\x80",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xe2\x80\xa8",
    b'\\"',
    b"\\\\",
    b"\\/",
    b"\\b",
    b"\\f",
    b"\\n",
    b"\\r",
    b"\\t",
    b"\\u0000",
    b"\\u0041",
    b"\\u00e9",
    b"\\u00E9",
    b"\\u07ff",
    b"\\u0800",
    b"\\uffff",
    b"\\ud83d\\ude00",
    b"\\uDBFF\\uDFFF",
)
_BAD = (
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff",
    b"\x80",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x00",
    b"\x1f",
    b"\n",
    b"\\ud83d",
    b"\\ude00",
    b"\\ud83d\\u0041",
    b"\\ud83dx",
    b"\\u12",
    b"\\u00g0",
    b"\\u 041",
    b"\\x",
    b"\\",
    b"\\U0041",
)
_FIELDS = st.sampled_from((b"path", b"request_id", b"principal", b"auth", b"unknown", b"error", b"ts", b"status"))


def _holding(parts: list[list[bytes]], fields: list[bytes]) -> bytes:
    strings = zip(fields, map(b"".join, parts), strict=False)
    return b'{"ts":1,%s}' % b",".join(b'"%s":"%s"' % pair for pair in strings)


@settings(max_examples=400)
@given(
    st.lists(st.lists(st.sampled_from(_GOOD + _BAD), max_size=5), min_size=1, max_size=3),
    st.lists(_FIELDS, min_size=3, max_size=3),
    st.booleans(),
)
def test_strings_of_any_bytes_read_the_same(parts: list[list[bytes]], fields: list[bytes], array: bool) -> None:
    """If this fails, whoever writes bytes that are no UTF-8 gets another name, or another fate, than msgspec gives."""
    value = _holding(parts, fields)
    _same([PLAIN, b"[%s,%s]" % (value, PLAIN) if array else value, PLAIN])


@pytest.mark.parametrize("part", _GOOD)
def test_text_of_any_language_needs_no_msgspec(part: bytes) -> None:
    """If this fails, a site whose users do not write English pays three times as much for ingest."""
    values = [_holding([[b"x", part, b"x"], [part] * 9], [b"path", b"request_id"])]
    assert scan(values).odd.tolist() == []
    _same(values)


def test_a_value_that_is_too_large_for_the_kernel_stands_where_it_stood() -> None:
    """If this fails, one huge array shifts the places of all events that were read with it."""
    large = b"[" + b",".join([PLAIN] * (FAST_BYTES // len(PLAIN) + 1)) + b"]"
    _same([PLAIN, large, None, PLAIN])
    assert scan([PLAIN, large, None, PLAIN]).odd.tolist() == [1, 2]


@pytest.mark.parametrize("part", _BAD)
def test_what_is_no_text_is_left_to_msgspec(part: bytes) -> None:
    """If this fails, the kernel lets through what no reader of JSON does."""
    assert scan([_holding([[b"x", part, b"x"]], [b"path"])]).odd.tolist() == [0]


@given(st.integers(0, 10**18 - 1), st.integers(0, 22))
@example(9007199254740993, 0)
@example(17900000001234567, 7)
def test_a_number_is_the_float_nearest_to_what_was_written(digits: int, places: int) -> None:
    """If this fails, times and sizes differ in the last bit from those of other readers."""
    found = quotient(digits, float(10**places))
    assert np.isnan(found) or found == float(f"{digits}e-{places}")


def test_what_producers_write_needs_no_msgspec() -> None:
    """If this fails, ingest costs three times as much, and nothing says so."""
    spaced = json.dumps({"ts": 1.5, "path": "/v1", "asn": None, "denied": False, "extra": "x", "n": 1.0}).encode()
    values = [PLAIN, spaced, b"[%s,\n %s]" % (PLAIN, spaced), b"[" + b",".join([b'{"ts":1}'] * 500) + b"]"]
    plain = scan(values)
    assert plain.odd.tolist() == []
    assert plain.raw.n == 504


@pytest.mark.parametrize("case", [c for c in JSON_CASES if isinstance(c.make(), Native)], ids=lambda case: case.name)
def test_samples_of_the_native_format_read_the_same(case: Case) -> None:
    """If this fails, a plain case is read in another way in a worker than in the contract suite."""
    raw = case.raw
    _same([PLAIN, raw, b"[" + raw + b"," + PLAIN + b"]", raw[:-1], PLAIN])
