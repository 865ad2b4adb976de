"""One Kafka value taken apart: an object, an array of objects, or lines of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_BOM = b"\xef\xbb\xbf"  # Windows begins files with it
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW = msgspec.json.Decoder(msgspec.Raw)
# Strings as a whole (an unfinished one reaches to the end), and what opens, closes or parts. Possessive: linear time.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)


def json_elements(value: bytes) -> Iterator[bytes]:
    """Elements of a JSON value. Never raises; what is broken comes out as an element of its own.

    >>> list(json_elements(b'[{"a":1},{"b":]},{"c"'))
    [b'{"a":1}', b'{"b":]}', b'{"c"']
    """
    value = value.removeprefix(_BOM)
    head = value.lstrip()[:1]
    if not head:
        return
    if head == b"[":
        try:
            yield from map(bytes, _RAWS.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield from split_array(value)
    elif b"\n" not in value or _is_one(value):
        yield value
    else:
        yield from (line for line in value.splitlines() if line.strip())


def split_array(value: bytes) -> Iterator[bytes]:
    """Elements of an array that is no JSON as a whole, by its brackets only, so that one bad element costs no other.

    A truncated array ends with its truncated element. Nothing recurses: nesting does not matter here.
    """
    start = value.index(b"[") + 1
    depth = 0
    for match in _MARK.finditer(value, start):
        mark = match[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark == b"," and depth == 0:
            yield value[start : match.start()].strip()
            start = match.end()
        elif mark == b"]" and depth == 0:
            last = value[start : match.start()].strip()
            if last:
                yield last
            start = match.end()
            break
        elif mark in (b"]", b"}"):
            depth = max(depth - 1, 0)
    else:
        yield value[start:].strip()  # nothing stands after a comma: the truncation is reported, too
        return
    rest = value[start:].strip()
    if rest:
        yield rest


def _is_one(value: bytes) -> bool:
    """Whether a value of several lines is one object, whole or broken, and not lines of objects."""
    try:
        _RAW.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.lstrip().partition(b"\n")[0].strip() == b"{"  # as pretty printers begin
    return True
