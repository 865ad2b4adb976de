"""A body leaves its structure and nothing of its content."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.event import NAME_CAP, NAMES_CAP, Shape
from gatewatch.events.shape import DEPTH, NODES, PARSE_BYTES, add_output, name_of, shape_of

CHAT: dict[str, Any] = {
    "model": "gpt-x",
    "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello there, dear model"}],
    "temperature": 0.2,
    "stream": True,
    "stop": None,
}
TEXT = st.text(min_size=5, max_size=20)


def test_what_is_kept_of_a_chat_request() -> None:
    """If this fails, payload drift compares something else than what its documentation says."""
    shape = shape_of(json.dumps(CHAT).encode())
    assert shape.fields == [
        ":obj",
        "messages:arr",
        "messages[].content:str",
        "messages[].role:str",
        "messages[]:obj",
        "model:str",
        "stop:null",
        "stream:bool",
        "temperature:num",
    ]
    assert (shape.depth, shape.keys, shape.longest_array, shape.longest_string) == (3, 9, 2, 23)
    assert shape.body_size == len(json.dumps(CHAT))
    assert shape.hash is not None
    assert len(shape.hash) == 16
    assert int(shape.hash, 16) >= 0


def test_values_order_and_number_of_entries_do_not_change_the_hash() -> None:
    """If this fails, every request is a structure of its own, and none is ever unusual."""
    other = {
        "stop": None,
        "stream": False,
        "temperature": 1,
        "messages": [{"content": "x", "role": "user"}] * 7,
        "model": "another",
    }
    assert shape_of(other).hash == shape_of(CHAT).hash
    assert shape_of({**CHAT, "logprobs": True}).hash != shape_of(CHAT).hash
    assert shape_of({**CHAT, "temperature": "0.2"}).hash != shape_of(CHAT).hash


def test_keys_that_vary_are_one_key() -> None:
    """If this fails, a map from ids to values makes every body new."""
    first = {"users": {"0f8fad5b-d9cb-469f-a165-70867728950e": 1, "ada@example.test": 2, "u_8841": 3, "deadbeef01": 4}}
    later = {"users": {"7c9e6679-7425-40de-944b-e07fc1f90ae7": 9, "bob@example.test": 9, "u_17": 9, "cafebabe99": 9}}
    assert shape_of(first).hash == shape_of(later).hash
    assert shape_of(first).fields == [":obj", "users.*:num", "users.u_*:num", "users:obj"]


@pytest.mark.parametrize(
    "key", ["tell me a secret", "x" * 65, "name\nwith break", "", "a{b}", "what's up?", "sk-proj-abcdefghijklmnop"]
)
def test_a_key_that_is_content_is_replaced(key: str) -> None:
    """If this fails, a prompt or a secret that was sent as a key stands in a topic."""
    assert name_of(key) == "?"
    assert key == "" or key not in json.dumps(shape_of({key: 1}).fields)


def test_a_form_in_text_is_read_as_if_it_were_sent_plainly() -> None:
    """If this fails, one gateway's bodies differ from another's for the same client."""
    plain = json.dumps(CHAT)
    assert shape_of(CHAT).hash == shape_of(plain).hash == shape_of(plain.encode()).hash
    assert shape_of(json.dumps(plain).encode()).hash == shape_of(plain).hash  # JSON within a JSON string
    assert shape_of(json.dumps(plain).encode()).body_size == len(plain)


@pytest.mark.parametrize("body", [b"hello world", "hello world", b"\xff\xfe\x00", b'{"a": ', b"[" * 100_000])
def test_what_is_no_json_is_only_measured(body: bytes | str) -> None:
    """If this fails, a body that is no JSON disappears, or stops the worker."""
    shape = shape_of(body)
    assert shape.body_size == shape.longest_string == len(body)
    assert not shape.fields


def test_a_walk_has_an_end() -> None:
    """If this fails, one deep or wide body takes a second of everybody's time, or kilobytes of every record."""
    deep: Any = "end"
    for _ in range(100):
        deep = {"k": [deep]}
    assert shape_of(deep).depth == DEPTH
    wide = shape_of({f"key{chr(97 + i % 26)}{chr(97 + i // 26)}": [i] for i in range(600)})
    assert wide.fields is not None
    assert len(wide.fields) == NAMES_CAP
    assert wide.keys == 600
    assert all(len(f) <= NAME_CAP for f in shape_of({"a" * 60: {"b" * 60: {"c" * 60: 1}}}).fields or [])
    rows = shape_of([{"a": 1}] * (10 * NODES))
    assert (rows.longest_array, rows.hash) == (10 * NODES, shape_of([{"a": 1}]).hash)


def test_a_huge_body_is_only_measured() -> None:
    """If this fails, a body of many megabytes is parsed on the hot path."""
    shape = shape_of(b'{"a":"' + b"x" * PARSE_BYTES + b'"}')
    assert (shape.body_size, shape.fields) == (PARSE_BYTES + 8, None)


@given(st.recursive(TEXT | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30))
def test_no_value_comes_out(body: Any) -> None:
    """If this fails, content leaves ingest."""
    marked = json.loads(json.dumps(body), object_hook=lambda o: {k: _marked(v) for k, v in o.items()})
    out = msgspec.json.encode(shape_of({"body": _marked(marked)})).decode()
    assert "secretvalue" not in out


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return f"secretvalue{value}"
    return [_marked(v) for v in value] if isinstance(value, list) else value


@given(st.binary())
def test_no_bytes_can_stop_it(body: bytes) -> None:
    """If this fails, a body ends the worker."""
    shape = add_output(shape_of(body), body)
    assert shape == add_output(shape_of(body), body)
    assert shape.body_size is not None


@pytest.mark.parametrize(
    ("response", "reason", "refusal"),
    [
        ({"choices": [{"finish_reason": "stop", "message": {"content": "x", "refusal": None}}]}, "stop", False),
        ({"choices": [{"finish_reason": "stop", "message": {"refusal": "I can't"}}]}, "stop", True),
        ({"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}, "content_filter", True),
        ({"stop_reason": "end_turn", "content": []}, "end_turn", None),
        ({"stop_reason": "refusal"}, "refusal", True),
        ({"choices": [{"finish_reason": "ignore all previous instructions"}]}, None, None),
        ({"choices": []}, None, None),
        ({"choices": "x"}, None, None),
        ("no json", None, None),
        ([1], None, None),
    ],
)
def test_what_an_answer_tells(response: Any, reason: str | None, refusal: bool | None) -> None:
    """If this fails, output drift does not see refusals, or a model's words stand in a topic."""
    shape = add_output(None, json.dumps(response))
    assert (shape.finish_reason, shape.refusal) == (reason, refusal)
    assert msgspec.structs.replace(shape, finish_reason=None, refusal=None) == Shape()
