"""A body becomes Kafka values: one where it fits, none that Kafka would refuse, and no bomb unpacks."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.formats.elements import json_elements
from gatewatch.receive.body import VALUE_BYTES, BodyError, unpacked, values_of


def _unpack(data: bytes, encoding: str, limit: int = 10_000, piece: int = 7) -> tuple[bytes, int]:
    """The body of some wire bytes, and how many bytes were told."""
    told: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for i in range(0, len(data), piece):
            yield data[i : i + piece]

    return asyncio.run(unpacked(chunks(), encoding, limit, told.append)), sum(told)


@given(st.binary(max_size=500), st.sampled_from(["", "identity", "gzip", "GZIP", "deflate"]))
def test_what_was_packed_comes_out(body: bytes, encoding: str) -> None:
    """If this fails, a gateway that compresses its batches sends only dead letters."""
    sent = body
    if encoding.lower() == "gzip":
        sent = gzip.compress(body)
    elif encoding == "deflate":
        sent = zlib.compress(body)
    assert _unpack(sent, encoding) == (body, len(body))


def test_a_bomb_stops_at_the_limit() -> None:
    """If this fails, a kilobyte from a sender takes a gigabyte of our memory."""
    with pytest.raises(BodyError, match="more than 10,000 bytes") as caught:
        _unpack(gzip.compress(bytes(50_000_000)), "gzip", piece=100)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("data", "encoding", "status"),
    [(b"{}", "br", 415), (b"no gzip", "gzip", 400), (gzip.compress(b"whole" * 99)[:20], "gzip", 400)],
)
def test_what_cannot_be_unpacked_is_refused(data: bytes, encoding: str, status: int) -> None:
    """If this fails, a broken transfer is acknowledged, and the sender never sends it again."""
    with pytest.raises(BodyError) as caught:
        _unpack(data, encoding)
    assert caught.value.status == status


@pytest.mark.parametrize("body", [b'{"a":1}', b'[{"a":1},{"b":2}]', b'{"a":1}\n{"b":2}\n', b"GET / 200", b"[broken"])
def test_a_body_is_one_value_as_it_came(body: bytes) -> None:
    """If this fails, what ingest reads is not what the gateway sent."""
    assert values_of(body, 100) == [body]
    assert values_of(b" \n", 100) == []


@pytest.mark.parametrize("array", [True, False])
def test_a_large_batch_is_cut_between_its_elements(array: bool) -> None:
    """If this fails, LiteLLM's default batch of 512 is refused by Kafka, and lost."""
    elements = [msgspec.json.encode({"i": i, "pad": "x" * 12_000}) for i in range(512)]
    body = b"[" + b",".join(elements) + b"]" if array else b"\n".join(elements)
    values = values_of(body, 1000)
    assert len(values) == 7
    assert max(map(len, values)) <= VALUE_BYTES
    read = [msgspec.json.decode(element)["i"] for value in values for element in json_elements(value)]
    assert read == list(range(512))


@pytest.mark.parametrize("body", [b"[" + b"1," * 2_000_000 + b"1]", b"{}\n" * 1_500_000, b"{}\n" + b"\r" * 4_000_000])
def test_too_many_elements_are_never_taken_apart(body: bytes) -> None:
    """If this fails, a sender's 16 MB of commas are 900 MB of ours, and the machine kills the receiver."""
    tracemalloc.start()
    try:
        with pytest.raises(BodyError, match="more than 10,000 elements"):
            values_of(body, 10_000)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()


def test_commas_within_elements_are_no_elements() -> None:
    """If this fails, a batch of large records is refused for what stands in them."""
    body = msgspec.json.encode([{"tokens": list(range(50))}] * 10)
    assert values_of(body, 10) == [body]


def test_what_no_broker_would_take_is_refused_before_it_is_sent() -> None:
    """If this fails, one huge element ends the producer for everybody."""
    with pytest.raises(BodyError, match="one element is larger"):
        values_of(b"[1," + b'"' + b"x" * VALUE_BYTES + b'"]', 10)
    with pytest.raises(BodyError, match="more than 2 elements"):
        values_of(b"[1,2,3]", 2)
