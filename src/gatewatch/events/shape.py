"""The structure of a body, and nothing of its content.

A path is the keys on the way to a value, with array indices collapsed to ``[]``; with the value's type it is one fact
of structure: ``messages[].role:str``. The set of them, hashed, tells one client library from another and a probe from
both (algorithms.md C).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import xxhash

from gatewatch.events.event import NAME_CAP, NAMES_CAP, Shape
from gatewatch.events.kinds import kinds_of
from gatewatch.events.secrets import looks_secret

NODES = 256  # a chat request has some 30; beyond this more nodes tell nothing new (algorithms.md C)
DEPTH = 16
PARSE_BYTES = 1 << 20  # larger bodies are only measured

# Parts of a key that vary from request to request, and so would make every body a structure of its own
_VARIABLE = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[\w.+-]+@[\w.-]+|(?:0x)?(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}|\d+")
_NAME = re.compile(r"[\w.\-$@/<>*:]{1,64}")  # what a field name looks like; other keys are content in disguise
_REASON = re.compile(r"[A-Za-z_]{1,32}")  # why an answer ended: one word of the model server, all else is content


@dataclass(slots=True)
class _Walk:
    """What has been seen on the way through a body."""

    facts: set[str] = field(default_factory=set)
    nodes: int = 0
    keys: int = 0
    depth: int = 0
    longest_array: int = 0
    longest_string: int = 0
    strings: list[str] = field(default_factory=list)

    def visit(self, value: Any, path: str, depth: int) -> None:
        self.nodes += 1
        self.depth = max(self.depth, depth)
        if isinstance(value, dict):
            self.keys += len(value)
            if depth < DEPTH:
                for key, child in value.items():
                    if self.nodes >= NODES:
                        break
                    self.visit(child, f"{path}.{name_of(key)}" if path else name_of(key), depth + 1)
        elif isinstance(value, list):
            self.longest_array = max(self.longest_array, len(value))
            if depth < DEPTH:
                for child in value:
                    if self.nodes >= NODES:
                        break
                    self.visit(child, f"{path}[]", depth + 1)
        elif isinstance(value, str):
            self.longest_string = max(self.longest_string, len(value))
            self.strings.append(value)
        self.facts.add(f"{path}:{_type(value)}")


def shape_of(body: Any) -> Shape:
    """The shape of a body: parsed JSON, or bytes or text of it. Anything else is only measured.

    At most ``NODES`` nodes and ``DEPTH`` levels are walked. Cost: about 15 us for a chat request, and 5 us for
    each 1,000 characters in it.
    """
    size, parsed, readable = _parsed(body)
    if not readable or not isinstance(parsed, (dict, list)):
        return _plain(body, size, parsed)
    walk = _Walk()
    walk.visit(parsed, "", 0)
    facts = sorted(walk.facts)
    return Shape(
        hash=_hash(walk.facts),
        fields=[_cut(fact) for fact in facts[:NAMES_CAP]],
        depth=walk.depth,
        keys=walk.keys,
        longest_array=walk.longest_array,
        longest_string=walk.longest_string,
        kinds=kinds_of(walk.strings),
        body_size=size,
    )


def _plain(body: Any, size: int, parsed: Any) -> Shape:
    """The shape of what has no structure: a word, a number, a form, a file."""
    longest = len(parsed) if isinstance(parsed, str) else size
    text = parsed if isinstance(parsed, str) else None
    if (
        text is None
        and parsed is None
        and size <= PARSE_BYTES
        and isinstance(body, (str, bytes, bytearray, memoryview))
    ):
        text = body if isinstance(body, str) else bytes(body).decode(errors="replace")
    kinds = kinds_of([text]) if text is not None else None
    return Shape(
        hash=_hash({f":{_type(parsed)}"}), depth=0, keys=0, longest_string=longest, kinds=kinds, body_size=size
    )


def add_output(shape: Shape | None, response: Any) -> Shape:
    """What a model's answer tells of itself, where it is of a known form: why it ended, and whether it refused."""
    shape = shape if shape is not None else Shape()
    _size, parsed, readable = _parsed(response)
    choices = parsed.get("choices") if readable and isinstance(parsed, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else parsed
    if not isinstance(first, dict):
        return shape
    reason = first.get("finish_reason") or first.get("stop_reason")
    if isinstance(reason, str) and _REASON.fullmatch(reason):
        shape.finish_reason = reason
    message = first.get("message")
    if isinstance(message, dict) and "refusal" in message:
        shape.refusal = message["refusal"] is not None
    elif shape.finish_reason in {"content_filter", "refusal"}:
        shape.refusal = True
    return shape


def name_of(key: str) -> str:
    """A key as a field name: variable parts become ``*``, and what is no name at all becomes ``?``.

    >>> [name_of(k) for k in ("model", "user_8841", "tell me a secret", "0f8fad5b-d9cb-469f-a165-70867728950e")]
    ['model', 'user_*', '?', '*']
    """
    return _name(key) if len(key) <= NAME_CAP else "?"


@lru_cache(maxsize=4096)  # clients use the same few; of strangers' keys it holds some 300 KB at most
def _name(key: str) -> str:
    if not _NAME.fullmatch(key) or looks_secret(key):
        return "?"
    return _VARIABLE.sub("*", key)


def _parsed(body: Any) -> tuple[int, Any, bool]:
    """Size in bytes, the value, and whether it is JSON."""
    if isinstance(body, str):
        body = body.encode(errors="replace")
    if not isinstance(body, (bytes, bytearray, memoryview, msgspec.Raw)):
        raw = _encoded(body)
        return len(raw), body, bool(raw)
    raw = bytes(body)
    parsed, readable = _json(raw)
    if isinstance(parsed, str):  # JSON in a string, as several gateways log bodies
        inner = parsed.encode(errors="replace")
        within, is_json = _json(inner)
        return (len(inner), within, True) if is_json else (len(inner), parsed, True)
    return len(raw), parsed, readable


def _json(raw: bytes) -> tuple[Any, bool]:
    if len(raw) > PARSE_BYTES:
        return None, False
    try:
        return msgspec.json.decode(raw), True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, False


def _encoded(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError):
        return b""


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "num"  # 1 and 1.0 are the same to whoever wrote the client
    if isinstance(value, dict):
        return "obj"
    return "arr" if isinstance(value, list) else "str"


def _hash(facts: set[str]) -> str:
    return xxhash.xxh3_64_hexdigest("\n".join(sorted(facts)).encode(errors="replace"))


def _cut(fact: str) -> str:
    """The end of a long path: there stands what tells it from others."""
    return fact if len(fact) <= NAME_CAP else "…" + fact[1 - NAME_CAP :]
