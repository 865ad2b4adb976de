"""What no broker would take is refused before it is sent: a refused record ends an idempotent producer for good."""

from __future__ import annotations

from collections.abc import Mapping

from gatewatch.errors import LogError, RecordTooLargeError
from gatewatch.log.base import Headers

DEFAULT_MAX_MESSAGE_BYTES = 1_048_588  # Kafka's own default of max.message.bytes
# The largest ingest.batch_bytes (8 MiB) and its headers. Below it the topic's own limit counts.
MAX_REQUEST_BYTES = 10 << 20
# Framing of one record in a batch of its own: 61 B of batch header, up to 21 B of lengths and deltas, rounded up.
RECORD_OVERHEAD_BYTES = 90
HEADER_OVERHEAD_BYTES = 10


def checked_size(
    topic: str,
    configs: Mapping[str, str],
    partitions: int,
    value: bytes | None,
    *,
    partition: int | None = None,
    key: bytes | None = None,
    headers: Headers = (),
) -> int:
    """Upper bound of a record's bytes on the wire, uncompressed.

    Raises:
        RecordTooLargeError: larger than the topic's ``max.message.bytes``.
        LogError: no key where one is needed, or no such partition.
    """
    size = RECORD_OVERHEAD_BYTES + len(value or b"") + len(key or b"")
    for name, content in headers:
        size += len(name) + len(content) + HEADER_OVERHEAD_BYTES
    limit = min(int(configs.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)), MAX_REQUEST_BYTES)
    if size > limit:
        raise RecordTooLargeError(
            f"a record of {size:,} bytes for topic {topic!r}, which takes {limit:,} (max.message.bytes)"
        )
    if key is None and (value is None or "compact" in configs.get("cleanup.policy", "")):
        raise LogError(f"topic {topic!r}: a tombstone, or a record of a compacted topic, needs a key")
    if partition is not None and not 0 <= partition < partitions:
        raise LogError(f"topic {topic!r} has {partitions} partitions, no number {partition}")
    return size
