"""Values are taken apart, and what is almost JSON is mended, without losing a neighbour."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.formats.elements import json_elements
from gatewatch.events.formats.mend import mended

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b"", []),
        (b" \r\n ", []),
        (b"[]", []),
        (b" [ ] ", []),
        (b'{"a":1}', [b'{"a":1}']),
        (b"[1, [2], {}]", [b"1", b"[2]", b"{}"]),
        (b'[{"a":"],[\\""},2]', [b'{"a":"],[\\""}', b"2"]),
        (b'[{"a":},2]', [b'{"a":}', b"2"]),  # no JSON: cut by its brackets
        (b'[{"a":"],[\\""},{"b":}]', [b'{"a":"],[\\""}', b'{"b":}']),
        (b'{"a":1}\n{"a":\n{"a":3}', [b'{"a":1}', b'{"a":', b'{"a":3}']),
        (b'{"a":\n{"a":2}', [b'{"a":', b'{"a":2}']),
        (b'{\n "a": 1\n}\n', [b'{\n "a": 1\n}\n']),
        (b'{\n "a": 1,\n "b"', [b'{\n "a": 1,\n "b"']),  # one object, broken off: one bad element and not three
    ],
)
def test_what_the_elements_of_a_value_are(value: bytes, elements: list[bytes]) -> None:
    """If this fails, events are lost at the seams of a batch, or one error is told many times."""
    assert list(json_elements(value)) == elements


@given(st.lists(ANY, min_size=1, max_size=5), st.integers(0, 5))
def test_a_broken_neighbour_changes_no_element(rows: list[Any], at: int) -> None:
    """If this fails, what an event says depends on the entry beside it."""
    parts = [json.dumps(row).encode() for row in rows]
    broken = [*parts[:at], b'{"urt":}', *parts[at:]]
    assert list(json_elements(b"[" + b",".join(broken) + b"]")) == broken


@given(st.binary())
def test_no_bytes_stop_it(value: bytes) -> None:
    """If this fails, a message ends the worker."""
    for raw in (value, b"[" + value, b"[" + value + b"]"):
        assert all(isinstance(element, bytes) for element in json_elements(raw))
    mended(value)


@given(ANY)
def test_what_is_json_stays_as_it_is(row: Any) -> None:
    """If this fails, mending one field changes others."""
    raw = msgspec.json.encode(row)
    assert msgspec.json.decode(mended(raw)) == msgspec.json.decode(raw)


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (b'{"a":,"b":2}', {"a": None, "b": 2}),
        (b'{"b":2,"a": }', {"a": None, "b": 2}),
        (b'{"a":NaN,"b":-Infinity,"c":Infinity}', {"a": None, "b": None, "c": None}),
        (b'{"a":1e999,"b":-1e999,"c":1.5e3}', {"a": None, "b": None, "c": 1500.0}),
        (b'{"a":"NaN and \\":, too","b":NaN}', {"a": 'NaN and ":, too', "b": None}),
        (b'{"a":"\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\\ud83d","b":"\\ud83d\\ude00","c":"\\\\ud83d"}', {"a": "\ufffd", "b": "\U0001f600", "c": "\\ud83d"}),
        (b'{"a":"\\ude00\\ud83d"}', {"a": "\ufffd\ufffd"}),
    ],
)
def test_what_almost_json_means(raw: bytes, meant: Any) -> None:
    """If this fails, one odd byte hides a request from every detector, or changes what it says."""
    assert msgspec.json.decode(mended(raw)) == meant
