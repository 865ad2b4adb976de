"""kafka-python's reading of record batches, so that one which cannot be read is passed over and told of.

Left alone the client unpacks whatever a batch holds, and ends the poll at one that is damaged; after a restart it
would meet the same one again. Here a batch that cannot be read, or unpacks to more than ``UNPACKED_BYTES``, gives one
record without a value in its place, at its last offset, and a word about it.

Where only values are wanted, keys and headers are not looked at: millions of headers in a record cost nothing then.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from gatewatch.errors import LogError
from gatewatch.log.base import Chunk, TopicPartition, Unreadable
from gatewatch.log.unpack import UnpackError, unpack

_BATCHES = 2  # magic of all batches since Kafka 0.11; a broker turns older ones into it, unless told to keep them
_DAMAGE = (UnpackError, KafkaError, ValueError, LookupError, TypeError, OverflowError, struct.error)

Found = dict[tuple[TopicPartition, int], Unreadable]  # by the offset of the record that stands for it


def guard(client: Any, *, values_only: bool) -> Found:
    """Have a ``kafka.KafkaConsumer`` read like that. Each poll puts what it passes over into what is returned here."""
    found: Found = {}
    fetcher = client._fetcher  # noqa: SLF001 - the client has no seam for how batches are read
    fetcher.PartitionRecords = partial(_PartitionRecords, found, values_only)
    return found


def take_found(found: Found, chunk: Chunk, *, passes_over: bool) -> dict[int, Unreadable]:
    """What was passed over among the records of a chunk, by offset.

    Raises:
        LogError: there is some, and its reader cannot go on without.
    """
    mine = {offset: found.pop((chunk.tp, offset)) for tp, offset in list(found) if tp == chunk.tp}
    if mine and not passes_over:
        first = min(mine.values(), key=lambda unreadable: unreadable.first)
        raise LogError(f"{chunk.tp.topic}-{chunk.tp.partition}: {first}")
    return mine


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # the library has no types
    """What was fetched from one partition."""

    def __init__(self, found: Found, values_only: bool, *args: Any, **kwargs: Any) -> None:
        self._found, self._values_only = found, values_only
        super().__init__(*args, **kwargs)

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Any:
        place = TopicPartition(*tp)

        def tell(unreadable: Unreadable) -> None:
            self._found[place, unreadable.last] = unreadable

        return super()._unpack_records(tp, _Batches(records, tell, values_only=self._values_only), *deserializers)


class _Batches:
    """The batches of one fetch."""

    def __init__(self, records: Any, tell: Callable[[Unreadable], None], *, values_only: bool) -> None:
        self._records, self._tell, self._values_only = records, tell, values_only

    def next_batch(self) -> _Batch | None:
        """The next one; ``None`` at the end."""
        batch = self._records.next_batch()
        return None if batch is None else _Batch(batch, self._tell, values_only=self._values_only)


class _Batch:
    """One batch: the client's own, but for how it is unpacked and what happens where that fails."""

    def __init__(self, batch: Any, tell: Callable[[Unreadable], None], *, values_only: bool) -> None:
        self._batch, self._tell, self._values_only = batch, tell, values_only

    def __getattr__(self, name: str) -> Any:
        """Offsets, checksums and the like."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Its records. Instead of those that cannot be read, one that stands for them."""
        batch = self._batch
        first = last = batch.base_offset
        if batch.magic >= _BATCHES:
            last = batch.last_offset
        packed = bytes(batch._buffer) if batch.compression_type else b""  # noqa: SLF001 - no public way to the bytes
        try:
            for record in self._records(packed):
                first = record.offset + 1
                yield record
        except _DAMAGE as error:
            if first <= last:
                why = str(error) if isinstance(error, UnpackError) else "damaged"
                self._tell(Unreadable(why, first, last, packed))
                yield DefaultRecord(0, last, -1, 0, None, None, [])

    def _records(self, packed: bytes) -> Iterator[Any]:
        batch = self._batch
        if batch.magic < _BATCHES:
            if packed:
                raise UnpackError("compressed in a format of before Kafka 0.11")
            return iter(batch)
        if packed:
            header = DefaultRecordBatch.HEADER_STRUCT.size
            batch._buffer = unpack(batch.compression_type, packed[header:])  # noqa: SLF001 - what the
            batch._pos, batch._decompressed = 0, True  # noqa: SLF001 - client's own method does, without a limit
        return _values(batch) if self._values_only else iter(batch)


def _values(batch: Any) -> Iterator[Any]:
    """The records of an unpacked batch, without keys, headers and times.

    Raises:
        ValueError: it is damaged.
        IndexError: the same.
    """
    buffer, at = batch._buffer, batch._pos  # noqa: SLF001 - as above
    base, least, most, length = batch.base_offset, 0, batch.last_offset_delta, len(buffer)
    for _ in range(batch.records_count):
        size, start = decode_varint(buffer, at)
        end = start + size
        _time, at = decode_varint(buffer, start + 1)  # after a byte of attributes, which Kafka does not use
        delta, at = decode_varint(buffer, at)
        key_size, at = decode_varint(buffer, at)
        value_size, at = decode_varint(buffer, at + max(key_size, 0))
        if not (at + max(value_size, 0) < end <= length and least <= delta <= most):
            raise ValueError("a record that does not fit its batch")
        least = delta + 1
        value = bytes(buffer[at : at + value_size]) if value_size >= 0 else None
        yield DefaultRecord(size, base + delta, -1, 0, None, value, [])
        at = end
