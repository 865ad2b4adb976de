"""What has been sent to and acknowledged by each routed partition, for each source partition.

Between ingest and detect it works like TCP: every routed record names the range [start, stop) of source offsets that
it covers for its routed partition, with or without rows. A source offset may be committed once EVERY routed partition
has acknowledged a range past it. Nothing here is durable: a restarted worker begins at the committed offset, and detect
trims what it has applied already.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gatewatch.log.base import TopicPartition
from gatewatch.records import SourceRange


@dataclass(slots=True)
class Stream:
    """One source partition, as this worker reads it.

    ``sent`` and ``acked`` are (partitions,) int64: the end of the last range for each routed partition; ``opened``
    (partitions,) bool: that partition has had its first range. ``holes`` are what retention removed and some routed
    partition has not been told of: (offset after it, offsets lost).
    """

    topic_id: str
    tp: TopicPartition
    read: int  # next offset to read: all before it are in batches or skipped
    sent: npt.NDArray[np.int64]
    acked: npt.NDArray[np.int64]
    opened: npt.NDArray[np.bool_]
    holes: list[tuple[int, int]] = field(default_factory=list)
    watermark: float = -np.inf

    def take(self, q: int, stop: int) -> SourceRange:
        """The range up to ``stop`` for routed partition ``q``, counted as sent."""
        sent = int(self.sent[q])
        taken = SourceRange(
            topic_id=self.topic_id,
            partition=self.tp.partition,
            start=sent,
            stop=stop,
            # A range that is cut short does not reach the newest event time: the last piece of the round will say it
            watermark=self.watermark if stop >= self.read else -np.inf,
            opened=not self.opened[q],
            lost=sum(n for end, n in self.holes if sent < end <= stop),
            topic=self.tp.topic,
        )
        self.sent[q], self.opened[q] = stop, True
        if self.holes:
            told = int(self.sent.min())
            self.holes = [hole for hole in self.holes if hole[0] > told]
        return taken


class Ranges:
    """The streams of all source partitions that this worker owns.

    Main thread only, except :meth:`acknowledged`, which the producer's thread calls.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._streams: dict[TopicPartition, Stream] = {}
        self._acks: deque[tuple[int, list[tuple[TopicPartition, str, int]]]] = deque()
        self._lock = threading.Lock()

    def open(self, tp: TopicPartition, topic_id: str, committed: int | None, beginning: int) -> int:
        """Start a stream at what is committed, or at the beginning; returns the offset to seek to.

        Where retention has removed offsets that nobody had committed, the hole becomes an explicit lost range.
        """
        start = committed if committed is not None else beginning
        n = self._partitions
        stream = Stream(
            topic_id,
            tp,
            read=start,
            sent=np.full(n, start),
            acked=np.full(n, start),
            opened=np.zeros(n, bool),
        )
        self._streams[tp] = stream
        if beginning > start:
            self.hole(tp, beginning)
        return stream.read

    def close(self, tps: Iterable[TopicPartition]) -> None:
        """Forget partitions that were taken from us."""
        for tp in tps:
            self._streams.pop(tp, None)

    def hole(self, tp: TopicPartition, stop: int) -> None:
        """Offsets from where we are to ``stop`` are gone for good."""
        stream = self._streams[tp]
        stream.holes.append((stop, stop - stream.read))
        stream.read = stop

    def advance(self, tp: TopicPartition, read: int, watermark: float) -> None:
        """Everything before ``read`` has been decoded; the newest event time there is ``watermark``."""
        stream = self._streams[tp]
        stream.read = max(stream.read, read)
        stream.watermark = max(stream.watermark, watermark)

    def streams(self) -> list[Stream]:
        """All of them, in order of topic and partition; the index is a row's ``src``."""
        return [self._streams[tp] for tp in sorted(self._streams)]

    def owns(self, tp: TopicPartition) -> bool:
        """Whether the partition is ours."""
        return tp in self._streams

    def take(self, q: int, stops: dict[TopicPartition, int] | None = None) -> list[SourceRange]:
        """Ranges for the next record of routed partition ``q``, in the order of :meth:`streams`; counted as sent.

        ``stops`` cuts them short, where a batch is split. Every stream has a range (perhaps an empty one), so that the
        index of a range is the index of its stream.
        """
        return [s.take(q, s.read if stops is None else max(stops.get(s.tp, 0), int(s.sent[q]))) for s in self.streams()]

    def acknowledged(self, q: int, ranges: list[SourceRange]) -> None:
        """A record with these ranges is in routed partition ``q``. Called by the producer's thread."""
        stops = [(TopicPartition(r.topic, r.partition), r.topic_id, r.stop) for r in ranges]
        with self._lock:
            self._acks.append((q, stops))

    def committable(self) -> dict[TopicPartition, int]:
        """For each source partition, the offset that every routed partition has acknowledged."""
        with self._lock:
            acks, self._acks = self._acks, deque()
        for q, stops in acks:
            for tp, topic_id, stop in stops:
                stream = self._streams.get(tp)
                if stream is not None and stream.topic_id == topic_id:
                    stream.acked[q] = max(stream.acked[q], stop)
        return {tp: int(stream.acked.min()) for tp, stream in self._streams.items()}
