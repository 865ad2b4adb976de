"""What stands beside the batches of `routed`, and what could not be read on the way there."""

from __future__ import annotations

import msgspec

# Header names of a routed record
H_KIND = "gw-kind"
H_SCHEMA = "gw-schema"
H_RANGES = "gw-ranges"
H_LAYOUT = "gw-layout"  # partitions and hash-seed id: refused where they differ
H_SEAL = "gw-seal"  # that one of our own workers wrote all of these: see records/seal.py
H_READ_AT = "gw-read-at"  # wall time when ingest sent it, for latency metrics only; never state


class SourceRange(msgspec.Struct, frozen=True, array_like=True):
    """Which offsets [start, stop) of one source partition a routed record covers for its routed partition.

    ``watermark`` is the event time up to which that source partition has been read, -inf where the range was cut short
    and says nothing of it. ``opened`` marks the first range of a worker that has just taken the partition over at its
    committed offset: everything before that offset was acknowledged by every routed partition, so a jump to ``start``
    is no reordering but somebody's doing (an operator moved the offset). ``lost`` counts source offsets in the range
    that retention had removed before they were read.
    """

    topic_id: str
    partition: int
    start: int
    stop: int
    watermark: float
    opened: bool = False
    lost: int = 0
    topic: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An element that could not be read, with its place. ``raw`` is bounded, and absent unless the config grants it."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    index: int
    format: str
    size: int
    sha256: str
    raw: bytes | None = None
