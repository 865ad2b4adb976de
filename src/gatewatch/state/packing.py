"""Arrays as compressed chunks of bounded size, and back.

What is packed is a sequence of numpy's own ``.npy`` blocks (never pickles) in one zstd stream, cut into chunks: first a
block of bytes with the names of the arrays and the caller's own small document, then each array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from numpy.lib import format as npy

from gatewatch.errors import StateError

Arrays = Mapping[str, npt.NDArray[Any]]

CHUNK_BYTES = 512 * 1024  # half of Kafka's default limit of a record; as large as a routed batch
LEVEL = 1  # zstd: about 400 MB/s; level 3 saves 5 % more of tables of hashes at half the speed
LIMIT_BYTES = 4 << 30  # of all arrays: a task of a large site holds some 300 MB; more is not one of ours
_HEAD_BYTES = 64 << 20  # of names and document


class _Head(msgspec.Struct, array_like=True):
    names: list[str]
    document: bytes


class _Chunker:
    """A file for writing that hands on compressed chunks."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._chunker: Any = zstandard.ZstdCompressor(level=LEVEL).chunker(chunk_size=CHUNK_BYTES)
        self._emit = emit
        self.raw_bytes = 0

    def write(self, data: bytes) -> int:
        self.raw_bytes += len(data)
        for chunk in self._chunker.compress(data):
            self._emit(bytes(chunk))
        return len(data)

    def finish(self) -> None:
        for chunk in self._chunker.finish():
            self._emit(bytes(chunk))


def pack(document: bytes, arrays: Arrays, emit: Callable[[bytes], None]) -> int:
    """Give ``emit`` chunk after chunk, each at most ``CHUNK_BYTES``; returns the bytes before compression.

    Cost: about 3 ms a MB, of which the interpreter is held for a tenth: meant for a thread beside the loop.
    """
    out = _Chunker(emit)
    head = msgspec.msgpack.encode(_Head(list(arrays), document))
    for array in (np.frombuffer(head, np.uint8), *arrays.values()):
        npy.write_array(cast("BinaryIO", out), array, version=(2, 0), allow_pickle=False)
    out.finish()
    return out.raw_bytes


def unpack(chunks: Sequence[bytes], *, limit_bytes: int = LIMIT_BYTES) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """The document and the arrays of :func:`pack`.

    Raises:
        StateError: this was not written by :func:`pack`, is cut short, or is larger than ``limit_bytes``.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(BytesIO(b"".join(chunks))) as stream:
            raw = _read(stream, min(limit_bytes, _HEAD_BYTES))
            head = msgspec.msgpack.decode(raw.tobytes(), type=_Head)
            arrays: dict[str, npt.NDArray[Any]] = {}
            left = limit_bytes
            for name in head.names:
                arrays[name] = _read(stream, left)
                left -= arrays[name].nbytes
    except (zstandard.ZstdError, ValueError, TypeError, EOFError, msgspec.DecodeError) as error:
        raise StateError(f"a snapshot cannot be unpacked: {error}") from error
    return head.document, arrays


def digest(chunk: bytes) -> str:
    """16 hex digits: against damage, not against forgery (who may write the topic may write the digest)."""
    return hashlib.sha256(chunk).hexdigest()[:16]


def _read(stream: Any, limit_bytes: int) -> npt.NDArray[Any]:
    """One block; its size is looked at before there is memory for it."""
    if npy.read_magic(stream) != (2, 0):
        raise ValueError("not a block of version 2")
    shape, fortran, dtype = npy.read_array_header_2_0(stream)
    if dtype.hasobject or fortran:
        raise ValueError(f"a block of {dtype}: only plain arrays in C order are written")
    count = int(np.prod(shape, dtype=object))
    nbytes = count * dtype.itemsize
    if not 0 <= nbytes <= limit_bytes:
        raise ValueError(f"a block of {nbytes} bytes, over the limit of {limit_bytes}")
    array = np.empty(shape, dtype)
    if nbytes:
        _fill(stream, array.reshape(-1).view(np.uint8))
    return array


def _fill(stream: Any, target: npt.NDArray[np.uint8]) -> None:
    view = target.data
    at = 0
    while at < len(view):
        got = stream.readinto(view[at:])
        if not got:
            raise EOFError("the data ends in the middle of an array")
        at += got
