"""One HTTP body as Kafka values: unpacked within a limit, and cut only where one value would be too large for Kafka.

Nothing is judged here: what is no JSON is passed on, and becomes a dead letter with its place.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

# Below Kafka's own limit of 1 MiB for a record, with room for its framing.
VALUE_BYTES = 1_000_000
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say "a gzip header"
_ENCODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class BodyError(Exception):
    """A body that is not taken: the HTTP status, and what the sender can do."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


async def unpacked(chunks: AsyncIterator[bytes], encoding: str, limit: int, grow: Callable[[int], None]) -> bytes:
    """The whole body, decompressed as it comes: a bomb costs no more than ``limit``.

    ``grow`` is told of each piece's bytes, and may raise.

    Raises:
        BodyError: too large, broken, or compressed in a way we do not read.
    """
    coding = encoding.strip().lower()
    if coding not in {"", "identity", *_ENCODINGS}:
        raise BodyError(415, "this Content-Encoding is not read: send gzip, or nothing")
    unzip = zlib.decompressobj(_ENCODINGS[coding]) if coding in _ENCODINGS else None
    body = bytearray()
    try:
        async for chunk in chunks:
            left = limit + 1 - len(body)
            piece = chunk if unzip is None else unzip.decompress(chunk, left)
            body += piece[:left]
            if len(body) > limit:
                raise BodyError(413, f"more than {limit:,} bytes unpacked: send smaller batches")
            grow(len(piece))
    except zlib.error:
        raise BodyError(400, f"the body is not {coding}, or is broken") from None
    if unzip is not None and not unzip.eof:
        raise BodyError(400, f"the body is not {coding}, or ends early")
    return bytes(body)


def values_of(body: bytes, elements: int) -> list[bytes]:
    """The Kafka values of a body: one, unless it is larger than a record may be.

    Raises:
        BodyError: too many elements, or one that is too large by itself.
    """
    head = body.lstrip()[:1]
    if not head:
        return []
    wrap = head == b"["
    parts = _array(body, elements) if wrap else _lines(body, elements)
    if len(parts) > elements:
        raise _too_many(elements)
    if len(body) <= VALUE_BYTES:
        return [body]
    return [b"[" + b",".join(group) + b"]" if wrap else b"\n".join(group) for group in _groups(parts)]


def _lines(body: bytes, elements: int) -> list[bytes]:
    if max(body.count(b"\n"), body.count(b"\r")) > elements:  # before there is an object for each
        raise _too_many(elements)
    return body.splitlines() if b"\n" in body else [body]


def _array(body: bytes, elements: int) -> list[bytes]:
    """The elements of an array; of what is none the whole.

    Raises:
        BodyError: there are more; found before there is an object for each, for 16 MB of ``1,1,1`` would be 900 MB.
    """
    try:
        if body.count(b",") >= elements:
            _count(body, elements)
        return [bytes(raw) for raw in _RAWS.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [body]


class _Element:
    """Stands for any element while they are counted."""


def _count(body: bytes, elements: int) -> None:
    one, seen = _Element(), 0

    def count(_type: type, _element: object) -> _Element:
        nonlocal seen
        seen += 1
        if seen > elements:
            raise _too_many(elements)
        return one

    msgspec.json.decode(body, type=list[_Element], dec_hook=count)


def _too_many(elements: int) -> BodyError:
    return BodyError(413, f"more than {elements:,} elements: send smaller batches")


def _groups(parts: list[bytes]) -> Iterator[list[bytes]]:
    """Neighbours together, up to a value's size."""
    group: list[bytes] = []
    size = 2
    for part in parts:
        if len(part) + 2 > VALUE_BYTES:
            raise BodyError(413, f"one element is larger than {VALUE_BYTES:,} bytes: log less of it, or split it")
        if group and size + len(part) + 1 > VALUE_BYTES:
            yield group
            group, size = [], 2
        group.append(part)
        size += len(part) + 1
    yield group
