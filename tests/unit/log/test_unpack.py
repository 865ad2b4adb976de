"""What producers compress is read, and what would fill the memory is refused first."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
from collections.abc import Callable

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from gatewatch.log.unpack import UNPACKED_BYTES, UnpackError, unpack

LIMIT = 1 << 20
NOISE = random.Random(8).randbytes(3000)
TEXTS = (b"", b"x", b'{"principal":"alice","status":200}\n' * 20_000, NOISE * 40)


def _snappy(data: bytes) -> bytes:
    packed: bytes = pa.Codec("snappy").compress(data, asbytes=True)
    return packed


def _xerial(data: bytes) -> bytes:
    """Snappy as Java's clients write it."""
    blocks = [_snappy(data[i : i + 32_768]) for i in range(0, len(data), 32_768)]
    head = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def _lz4(data: bytes) -> bytes:
    return bytes(lz4.frame.compress(data, block_linked=False))


def _lz4_unsized(data: bytes) -> bytes:
    """As Java writes it: the frame does not say how long it is."""
    return bytes(lz4.frame.compress(data, block_linked=False, store_size=False))


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def _zstd_unsized(data: bytes) -> bytes:
    """As Java writes it: the frame does not say how long it is."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


CODECS = [
    pytest.param(1, gzip.compress, id="gzip"),
    pytest.param(2, _snappy, id="snappy"),
    pytest.param(2, _xerial, id="snappy of Java"),
    pytest.param(3, _lz4, id="lz4"),
    pytest.param(3, _lz4_unsized, id="lz4 of Java"),
    pytest.param(4, _zstd, id="zstd"),
    pytest.param(4, _zstd_unsized, id="zstd of Java"),
]
Pack = Callable[[bytes], bytes]


@pytest.mark.parametrize(("codec", "pack"), CODECS)
def test_what_a_producer_compressed_comes_back(codec: int, pack: Pack) -> None:
    """If this fails, sources with compression are read wrong, or not at all."""
    for text in TEXTS:
        assert unpack(codec, pack(text), LIMIT) == text


@pytest.mark.parametrize(("codec", "pack"), CODECS)
def test_the_limit_itself_is_allowed_and_a_byte_more_is_not(codec: int, pack: Pack) -> None:
    """If this fails, the limit is another one than documented, or none."""
    assert unpack(codec, pack(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    with pytest.raises(UnpackError, match=r"more than 1 MiB|unpacks to"):
        unpack(codec, pack(bytes(LIMIT + 1)), LIMIT)


@pytest.mark.parametrize(("codec", "pack"), CODECS)
def test_what_is_damaged_is_refused_in_words(codec: int, pack: Pack) -> None:
    """If this fails, one damaged batch ends the worker with a traceback, or hangs it."""
    whole = pack(TEXTS[2])
    damage = random.Random(9)
    refused: list[str] = []
    for _ in range(200):
        bad = bytearray(whole[: damage.randrange(len(whole))] if damage.random() < 0.3 else whole)
        for _ in range(damage.randrange(4)):
            if bad:
                bad[damage.randrange(len(bad))] = damage.randrange(256)
        try:
            unpack(codec, bytes(bad), LIMIT)
        except UnpackError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all("alice" not in text for text in refused)


@pytest.mark.parametrize(("codec", "pack"), CODECS)
def test_a_bomb_costs_twice_the_limit_and_no_more(codec: int, pack: Pack) -> None:
    """If this fails, a batch of a megabyte fills the memory of the worker, and ends it."""
    bomb = pack(bytes(4 * UNPACKED_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(UnpackError):
            unpack(codec, bomb)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.1 * UNPACKED_BYTES


def test_a_frame_may_not_claim_what_it_does_not_hold() -> None:
    """If this fails, sixteen bytes that claim to be a terabyte are given one."""
    frame = bytearray(lz4.frame.compress(b"x" * 100, block_linked=False))
    frame[6:14] = struct.pack("<Q", 1 << 40)
    with pytest.raises(UnpackError):
        unpack(3, bytes(frame), LIMIT)
    with pytest.raises(UnpackError):
        unpack(2, b"\xff\xff\xff\xff\x0f" + b"\x00" * 20, LIMIT)


def test_a_codec_that_kafka_does_not_have_is_named() -> None:
    """If this fails, a batch of tomorrow's Kafka ends the worker with a KeyError."""
    with pytest.raises(UnpackError, match="codec 5"):
        unpack(5, b"x")
