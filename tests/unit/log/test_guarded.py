"""Batches that the client would stumble over, without a broker: what it is given is what a broker sent."""

from __future__ import annotations

import pytest

from gatewatch.errors import LogError
from gatewatch.log.base import Chunk, TopicPartition
from gatewatch.log.guarded import take_found
from gatewatch.log.unpack import UNPACKED_BYTES
from gatewatch.testing.kafka_batches import GZIP, ZSTD, GuardedReader, batch, sealed

TP = TopicPartition("access", 0)


def damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    """With other bytes somewhere."""
    assert old in data
    return sealed(data.replace(old, new))


@pytest.mark.parametrize("step", [1, 2, 5000])
@pytest.mark.parametrize("codec", [GZIP, ZSTD])
def test_a_bomb_is_passed_over_and_its_neighbours_are_read(codec: int, step: int) -> None:
    """If this fails, one batch of a kilobyte ends ingest for want of memory, again after each restart."""
    client = GuardedReader(TP, values_only=True)
    bomb = batch(5, [b"a", bytes(UNPACKED_BYTES), b"b"], codec)
    data = batch(3, [b"x", b"y"], codec) + bomb + batch(8, [b"z"])
    assert client.read(data, 3, step) == [(3, b"x"), (4, b"y"), (7, None), (8, b"z")]
    ((place, told),) = client.found.items()
    assert place == (TP, 7)
    assert (told.first, told.last, told.raw) == (5, 7, bomb)
    assert "more than 64 MiB" in told.why


def test_a_restart_in_the_middle_of_a_bomb_goes_on_after_it() -> None:
    """If this fails, a worker that goes on from a committed offset never gets past what it passed over before."""
    client = GuardedReader(TP, values_only=True)
    data = batch(0, [b"a", bytes(UNPACKED_BYTES)], GZIP) + batch(2, [b"z"])
    assert client.read(data, 1) == [(1, None), (2, b"z")]
    assert client.read(data, 2) == [(2, b"z")]


def test_records_before_the_damage_count() -> None:
    """If this fails, one bad record costs the whole batch that it stands in."""
    client = GuardedReader(TP, values_only=True)
    data = damaged(batch(0, [b"good one", b"BAD", b"good two"]), b"\x06BAD", b"\x7eBAD")  # its length: 63, zigzag
    assert client.read(data + batch(3, [b"z"])) == [(0, b"good one"), (2, None), (3, b"z")]
    assert [(told.first, told.last, told.why) for told in client.found.values()] == [(1, 2, "damaged")]


def test_what_does_not_unpack_is_told_by_its_codec() -> None:
    """If this fails, a producer that compresses wrongly ends ingest, and nobody learns how."""
    client = GuardedReader(TP, values_only=True)
    whole = batch(0, [b"x" * 500], GZIP)
    data = damaged(whole, whole[-20:-10], bytes(10))
    assert client.read(data + batch(1, [b"z"])) == [(0, None), (1, b"z")]
    assert [told.why for told in client.found.values()] == ["damaged gzip"]


def test_keys_and_headers_of_sources_are_not_looked_at() -> None:
    """If this fails, a header that is not UTF-8, or a million of them, stops a source."""
    client = GuardedReader(TP, values_only=True)
    odd = damaged(batch(0, [b"a", None, b""], headers=[("name", b"")]), b"name", b"\xff\xff\xff\xff")
    many = batch(3, [b"b"], ZSTD, headers=[("", None)] * 1_000_000)
    assert client.read(odd + many) == [(0, b"a"), (1, None), (2, b""), (3, b"b")]
    assert not client.found


def test_on_our_own_topics_nothing_is_passed_over() -> None:
    """If this fails, findings go missing where somebody broke a batch of ours, and the worker goes on."""
    client = GuardedReader(TP, values_only=False)
    data = batch(0, [b"a", bytes(UNPACKED_BYTES)], ZSTD)
    ((offset, value),) = client.read(data)
    with pytest.raises(LogError, match=r"access-0: .* unpack to more than 64 MiB: offsets 0 to 1 cannot be read"):
        take_found(client.found, Chunk(TP, [offset], [value]), passes_over=False)


def test_a_chunk_takes_what_is_its_own() -> None:
    """If this fails, what was passed over is told for another partition, twice, or kept for ever."""
    client = GuardedReader(TP, values_only=True)
    client.read(batch(4, [bytes(UNPACKED_BYTES + 1)], ZSTD))
    assert take_found(client.found, Chunk(TopicPartition("access", 1), [4], [None]), passes_over=True) == {}
    taken = take_found(client.found, Chunk(TP, [4], [None]), passes_over=True)
    assert list(taken) == [4]
    assert not client.found
    chunk = Chunk(TP, [3, 4, 5], [b"", None, b""], unreadable=taken)
    assert (list(chunk.values_between(0, 2).unreadable), chunk.values_between(2).unreadable) == ([4], {})
