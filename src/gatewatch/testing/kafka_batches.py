"""Record batches of Kafka without a broker: made, damaged, and read as the consumer reads what a broker sends."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from crc32c import crc32c
from kafka import TopicPartition as KafkaTopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from gatewatch.log.base import TopicPartition
from gatewatch.log.guarded import guard

GZIP, LZ4, ZSTD = 1, 3, 4  # Kafka's numbers
HEADER_BYTES = DefaultRecordBatch.HEADER_STRUCT.size


class GuardedReader:
    """As much of a consumer as reads batches. ``found`` is what it passed over."""

    class _Fetcher:
        PartitionRecords: Any = Fetcher.PartitionRecords

    def __init__(self, tp: TopicPartition, *, values_only: bool) -> None:
        self._tp = KafkaTopicPartition(*tp)
        self._fetcher = GuardedReader._Fetcher()
        self.found = guard(self, values_only=values_only)

    def read(self, data: bytes, at: int = 0, step: int = 5000) -> list[tuple[int, bytes | None]]:
        """Offset and value of everything in ``data``, from an offset on, ``step`` records a poll."""
        records = self._fetcher.PartitionRecords(at, self._tp, MemoryRecords(data))
        found: list[tuple[int, bytes | None]] = []
        while records:
            found += [(record.offset, record.value) for record in records.take(step)]
        return found


def batch(
    base: int, values: Sequence[bytes | None], codec: int = 0, headers: Sequence[tuple[str, bytes | None]] = ()
) -> bytes:
    """A batch as a producer sends it and a broker stores it; its first record has the offset ``base``."""
    builder = MemoryRecordsBuilder(2, codec, 1 << 30)
    for value in values:
        builder.append(1_700_000_000_000, b"key", value, list(headers))
    builder.close()
    data = bytearray(builder.buffer())
    struct.pack_into(">q", data, 0, base)
    return bytes(data)


def sealed(data: bytes) -> bytes:
    """A batch that was changed, with the length and checksum that its writer would give it."""
    changed = bytearray(data)
    struct.pack_into(">i", changed, 8, len(changed) - DefaultRecordBatch.AFTER_LEN_OFFSET)
    crc = crc32c(changed[DefaultRecordBatch.ATTRIBUTES_OFFSET :])
    struct.pack_into(">I", changed, DefaultRecordBatch.CRC_OFFSET, crc)
    return bytes(changed)
