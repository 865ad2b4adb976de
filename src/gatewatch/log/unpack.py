"""Compressed batches of Kafka, unpacked up to a limit.

A broker limits a batch as it is sent (``max.message.bytes``, 1 MiB), not what it unpacks to: 30 KB of zstd are a
gigabyte of zeros, which kafka-python holds three times. So what is larger than the limit is found out before it is in
memory. Snappy comes with pyarrow, as the client does without it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import lz4.frame
import pyarrow as pa
import zstandard

# A producer fills a batch by what it hopes to compress it to. At a batch.size of 1 MiB, which is much, and JSON that
# shrinks to a twentieth, that is some 20 MB; three times as much is no batch of logs any more.
UNPACKED_BYTES = 64 << 20

_LZ4_RATIO = 256  # a byte of a match's length adds at most 255 bytes
_FIRST_STEP = 32  # of zstd, in lengths of the input: JSON of one gateway shrinks to a tenth or twentieth
_LEAST_STEP_BYTES = 1 << 14
_XERIAL = b"\x82SNAPPY\x00"  # snappy as Java writes it: this, two versions of 4 bytes, then blocks with their length
_XERIAL_HEADER_BYTES = 16
_VARINT_BYTES = 5  # raw snappy begins with its unpacked length, at most 32 bits of it


class UnpackError(Exception):
    """It is damaged, or unpacks to more than the limit. The text quotes nothing of it."""


def unpack(codec: int, data: bytes, limit: int = UNPACKED_BYTES) -> bytes:
    """What ``data`` unpacks to. Cost: at most about twice ``limit`` bytes of memory, whatever it claims to be.

    Args:
        codec: Kafka's number: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        data: the compressed records of one batch.
        limit: bytes.

    Raises:
        UnpackError: it is larger than ``limit``, damaged, or Kafka has no such codec.
    """
    try:
        name, unpacker = _CODECS[codec]
    except KeyError:
        raise UnpackError(f"compressed by codec {codec}, which Kafka does not have") from None
    try:
        unpacked = unpacker(data, limit)
    except (OSError, RuntimeError, ValueError, LookupError, struct.error, zlib.error, zstandard.ZstdError) as error:
        raise UnpackError(f"damaged {name}") from error
    if len(unpacked) > limit:
        raise UnpackError(f"{len(data):,} bytes of {name} that unpack to more than {limit >> 20} MiB")
    return unpacked


def _gzip(data: bytes, limit: int) -> bytes:
    """All members of it, or one byte more than the limit."""
    found = b""
    while data and len(found) <= limit:
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(data, limit + 1 - len(found))
        if not member.eof and len(found) <= limit:
            raise ValueError
        data = member.unused_data
    return found


def _zstd(data: bytes, limit: int) -> bytes:
    """All frames of it, or one byte more than the limit. zstd itself refuses windows of more than 128 MiB."""
    found: list[bytes] = []
    room, step = limit + 1, max(_FIRST_STEP * len(data), _LEAST_STEP_BYTES)
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        while room and (part := reader.read(min(step, room))):  # as much memory as it asks for is taken at once
            found.append(part)
            room -= len(part)
            step *= 2
    return found[0] if len(found) == 1 else b"".join(found)


def _lz4(data: bytes, limit: int) -> bytes:
    """All frames of it, or one byte more than the limit."""
    claimed = lz4.frame.get_frame_info(data)["content_size"]
    if len(data) * _LZ4_RATIO <= limit and claimed <= limit:  # a frame gets as much memory as it claims to need
        return bytes(lz4.frame.decompress(data))  # a twelfth of the time for small ones
    found = b""
    while data and len(found) <= limit:
        frame = lz4.frame.LZ4FrameDecompressor()
        found += frame.decompress(data, max_length=limit + 1 - len(found))
        if not frame.eof and len(found) <= limit:
            raise ValueError
        data = frame.unused_data or b""
    return found


def _snappy(data: bytes, limit: int) -> bytes:
    """One block, or many as Java writes them. Each says how large it is, so nothing is unpacked in vain."""
    if not data.startswith(_XERIAL):
        return _snappy_block(data, limit)
    found: list[bytes] = []
    at, room = _XERIAL_HEADER_BYTES, limit
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError
        found.append(_snappy_block(data[at : at + size], room))
        room -= len(found[-1])
        at += size
    return b"".join(found)


def _snappy_block(data: bytes, room: int) -> bytes:
    size = shift = 0
    for byte in data[:_VARINT_BYTES]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # the bit that says there is more
            break
    if size > room:
        raise UnpackError(f"snappy of which one block alone unpacks to {size:,} bytes")
    unpacked: bytes = pa.Codec("snappy").decompress(data, size, asbytes=True)
    return unpacked


_CODECS: Mapping[int, tuple[str, Callable[[bytes, int], bytes]]] = {
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", _lz4),
    4: ("zstd", _zstd),
}
