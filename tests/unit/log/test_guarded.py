"""Batches that the client would stumble over, without a broker: what it is given is what a broker sent."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from crc32c import crc32c
from kafka import TopicPartition as KafkaTopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from gatewatch.errors import LogError
from gatewatch.log.base import Chunk, TopicPartition
from gatewatch.log.guarded import guard, take_found
from gatewatch.log.unpack import UNPACKED_BYTES

TP = TopicPartition("access", 0)
GZIP, ZSTD = 1, 4


class Client:
    """As much of a consumer as is guarded."""

    class Reading:
        """The fetcher: how it takes records apart."""

        PartitionRecords: Any = Fetcher.PartitionRecords

    def __init__(self) -> None:
        self._fetcher = Client.Reading()

    def read(self, data: bytes, at: int = 0, step: int = 5000) -> list[tuple[int, bytes | None]]:
        """Offset and value of everything in it, from an offset on, ``step`` records a poll."""
        records = self._fetcher.PartitionRecords(at, KafkaTopicPartition(*TP), MemoryRecords(data))
        found: list[tuple[int, bytes | None]] = []
        while records:
            found += [(record.offset, record.value) for record in records.take(step)]
        return found


def batch(base: int, values: list[bytes | None], codec: int = 0, headers: Any = ()) -> bytes:
    """A batch as a producer sends it and a broker stores it."""
    builder = MemoryRecordsBuilder(2, codec, 1 << 30)
    for value in values:
        builder.append(1_700_000_000_000, b"key", value, list(headers))
    builder.close()
    data = bytearray(builder.buffer())
    struct.pack_into(">q", data, 0, base)
    return bytes(data)


def damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    """With other bytes, and the checksum that its writer would give it."""
    changed = bytearray(data.replace(old, new))
    assert changed != data
    assert len(changed) == len(data)
    crc = crc32c(changed[DefaultRecordBatch.ATTRIBUTES_OFFSET :])
    struct.pack_into(">I", changed, DefaultRecordBatch.CRC_OFFSET, crc)
    return bytes(changed)


@pytest.mark.parametrize("step", [1, 2, 5000])
@pytest.mark.parametrize("codec", [GZIP, ZSTD])
def test_a_bomb_is_passed_over_and_its_neighbours_are_read(codec: int, step: int) -> None:
    """If this fails, one batch of a kilobyte ends ingest for want of memory, again after each restart."""
    client = Client()
    found = guard(client, values_only=True)
    bomb = batch(5, [b"a", bytes(UNPACKED_BYTES), b"b"], codec)
    data = batch(3, [b"x", b"y"], codec) + bomb + batch(8, [b"z"])
    assert client.read(data, 3, step) == [(3, b"x"), (4, b"y"), (7, None), (8, b"z")]
    ((place, told),) = found.items()
    assert place == (TP, 7)
    assert (told.first, told.last, told.raw) == (5, 7, bomb)
    assert "more than 64 MiB" in told.why


def test_a_restart_in_the_middle_of_a_bomb_goes_on_after_it() -> None:
    """If this fails, a worker that goes on from a committed offset never gets past what it passed over before."""
    client = Client()
    guard(client, values_only=True)
    data = batch(0, [b"a", bytes(UNPACKED_BYTES)], GZIP) + batch(2, [b"z"])
    assert client.read(data, 1) == [(1, None), (2, b"z")]
    assert client.read(data, 2) == [(2, b"z")]


def test_records_before_the_damage_count() -> None:
    """If this fails, one bad record costs the whole batch that it stands in."""
    client = Client()
    found = guard(client, values_only=True)
    data = damaged(batch(0, [b"good one", b"BAD", b"good two"]), b"\x06BAD", b"\x7eBAD")  # its length: 63, zigzag
    assert client.read(data + batch(3, [b"z"])) == [(0, b"good one"), (2, None), (3, b"z")]
    assert [(told.first, told.last, told.why) for told in found.values()] == [(1, 2, "damaged")]


def test_what_does_not_unpack_is_told_by_its_codec() -> None:
    """If this fails, a producer that compresses wrongly ends ingest, and nobody learns how."""
    client = Client()
    found = guard(client, values_only=True)
    whole = batch(0, [b"x" * 500], GZIP)
    data = damaged(whole, whole[-20:-10], bytes(10))
    assert client.read(data + batch(1, [b"z"])) == [(0, None), (1, b"z")]
    assert [told.why for told in found.values()] == ["damaged gzip"]


def test_keys_and_headers_of_sources_are_not_looked_at() -> None:
    """If this fails, a header that is not UTF-8, or a million of them, stops a source."""
    client = Client()
    found = guard(client, values_only=True)
    odd = damaged(batch(0, [b"a", None, b""], headers=[("name", b"")]), b"name", b"\xff\xff\xff\xff")
    many = batch(3, [b"b"], ZSTD, headers=[("", None)] * 1_000_000)
    assert client.read(odd + many) == [(0, b"a"), (1, None), (2, b""), (3, b"b")]
    assert not found


def test_on_our_own_topics_nothing_is_passed_over() -> None:
    """If this fails, findings go missing where somebody broke a batch of ours, and the worker goes on."""
    client = Client()
    found = guard(client, values_only=False)
    data = batch(0, [b"a", bytes(UNPACKED_BYTES)], ZSTD)
    ((offset, value),) = client.read(data)
    with pytest.raises(LogError, match=r"access-0: .* unpack to more than 64 MiB: offsets 0 to 1 cannot be read"):
        take_found(found, Chunk(TP, [offset], [value]), values_only=False)


def test_a_chunk_takes_what_is_its_own() -> None:
    """If this fails, what was passed over is told for another partition, twice, or kept for ever."""
    client = Client()
    found = guard(client, values_only=True)
    client.read(batch(4, [bytes(UNPACKED_BYTES + 1)], ZSTD))
    assert take_found(found, Chunk(TopicPartition("access", 1), [4], [None]), values_only=True) == {}
    taken = take_found(found, Chunk(TP, [4], [None]), values_only=True)
    assert list(taken) == [4]
    assert not found
    chunk = Chunk(TP, [3, 4, 5], [b"", None, b""], unreadable=taken)
    assert (list(chunk.values_between(0, 2).unreadable), chunk.values_between(2).unreadable) == ([4], {})
