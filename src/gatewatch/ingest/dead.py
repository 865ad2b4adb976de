"""Elements that cannot be read become records of `dead-letters`, with their place; their siblings live."""

from __future__ import annotations

import hashlib

import msgspec

from gatewatch.errors import BadReason
from gatewatch.events.formats.base import BadElement
from gatewatch.log.base import Chunk, TopicPartition
from gatewatch.records import DeadLetter

RAW_CAP = 4096  # bytes kept of an element where the config grants it: enough to see what is wrong with it
_DETAIL_CAP = 300


def dead_letter(bad: BadElement, tp: TopicPartition, offset: int, format_name: str, *, keep_raw: bool) -> DeadLetter:
    """The record for one bad element. Without ``keep_raw`` only its size and hash are kept: it may hold content.

    Of a batch never more: what would be sent again is no element.
    """
    return DeadLetter(
        reason=bad.reason.value,
        detail=bad.detail[:_DETAIL_CAP],
        topic=tp.topic,
        partition=tp.partition,
        offset=offset,
        index=bad.element_index,
        format=format_name,
        size=len(bad.raw),
        sha256=hashlib.sha256(bad.raw).hexdigest(),
        raw=bad.raw[:RAW_CAP] if keep_raw and bad.reason is not BadReason.BATCH else None,
    )


def unreadable(chunk: Chunk) -> list[BadElement]:
    """What was passed over in the log itself. It was not decoded, so it cannot be sent again: ``raw`` is the batch."""
    return [
        BadElement(chunk.offsets.index(offset), 0, BadReason.BATCH, str(batch), batch.raw, batch.last - batch.first + 1)
        for offset, batch in chunk.unreadable.items()
    ]


def encode(letter: DeadLetter) -> bytes:
    """As it stands in the topic."""
    return msgspec.json.encode(letter)
