"""A record between our own workers that makes no sense is set aside, as ingest does with events: a dead letter."""

from __future__ import annotations

import hashlib

import msgspec

from gatewatch.errors import BadReason
from gatewatch.log.base import TopicPartition
from gatewatch.records import DeadLetter

_DETAIL_CAP = 300


def dead_letter(tp: TopicPartition, offset: int, value: bytes | None, name: str, why: str) -> bytes:
    """The record of `dead-letters`, as it stands in the topic.

    Args:
        tp: where it is.
        offset: of it, or of the last record of a damaged batch of Kafka's.
        value: what stands there. Only its size and hash go on: it holds addresses and names.
        name: of the topic, without the prefix.
        why: in words.
    """
    raw = value or b""
    return msgspec.json.encode(
        DeadLetter(
            reason=BadReason.RECORD.value,
            detail=why[:_DETAIL_CAP],
            topic=tp.topic,
            partition=tp.partition,
            offset=offset,
            index=0,
            format=name,
            size=len(raw),
            sha256=hashlib.sha256(raw).hexdigest(),
        )
    )
