"""A source partition that cannot be read is paused, not drained.

What goes to dead letters is lost to detection until a person sends it again; when a gateway changes its format, all of
it would. So past a run of bad elements, or a share of the last ones, the partition waits where it is. After a while the
next few values are tried: if they can be read, it goes on by itself; if not, it waits twice as long. So whoever can
write broken lines can delay a source by minutes, and cannot stop it for good.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from gatewatch.ingest.read import Read
from gatewatch.log.base import Chunk, Consumer, TopicPartition
from gatewatch.settings import IngestSettings
from gatewatch.watch.sources import Halted

WINDOW = 2000  # elements of which the share is taken; of fewer than half as many a share is chance
TRIAL_VALUES = 100  # read at a trial: what dead letters cost while nobody comes, some 10,000 values a day
LONGEST_RETRY_S = 900.0  # where doubling ends: at most so late a source is found mended


class _Stage(Enum):
    READS = auto()
    WAITS = auto()
    TRIES = auto()  # resumed, until a chunk comes
    TRIED = auto()  # it came, and is not decoded yet
    JUDGED = auto()  # it is decoded


@dataclass(slots=True)
class _Partition:
    """One partition's last elements, and how it waits."""

    stage: _Stage = _Stage.READS
    ok: float = 0.0
    dead: float = 0.0
    run: int = 0  # of bad ones, unbroken
    halted_at: float = 0.0
    retry_at: float = 0.0
    retry_s: float = 0.0  # how long it waits the next time
    tried_to: int = 0  # offset after the values of the last trial


class Halts:
    """All partitions of one worker. Times are monotonic seconds.

    Args:
        settings: limits.
        consumer: what is paused and resumed.
    """

    def __init__(self, settings: IngestSettings, consumer: Consumer) -> None:
        self._settings, self._consumer = settings, consumer
        self._partitions: dict[TopicPartition, _Partition] = {}

    @property
    def paused(self) -> set[TopicPartition]:
        """Those that wait, or are being tried."""
        return {tp for tp, p in self._partitions.items() if p.stage is not _Stage.READS}

    def state(self, now: float) -> dict[TopicPartition, Halted]:
        """How each of them stands."""
        return {
            tp: Halted(now - p.halted_at, round(p.dead), round(p.ok + p.dead), max(p.retry_at - now, 0.0))
            for tp, p in self._partitions.items()
            if p.stage is not _Stage.READS
        }

    def own(self, tps: Collection[TopicPartition]) -> None:
        """These partitions, and no others, are ours."""
        self._partitions = {tp: partition for tp, partition in self._partitions.items() if tp in tps}

    def admit(self, chunk: Chunk) -> Chunk:
        """A chunk that was polled, or as much of it as a trial wants; the rest is read again."""
        partition = self._partitions.get(chunk.tp)
        if partition is None or partition.stage in (_Stage.READS, _Stage.WAITS):
            return chunk
        n = 0  # a second chunk of the same poll
        if partition.stage is _Stage.TRIES:
            n = min(TRIAL_VALUES, len(chunk.offsets))
            partition.stage, partition.tried_to = _Stage.TRIED, chunk.offsets[n - 1] + 1
            self._consumer.pause([chunk.tp])
        if n < len(chunk.offsets):
            self._consumer.seek(chunk.tp, partition.tried_to)
        return chunk.values_between(0, n)

    def decoded(self, tp: TopicPartition, part: Read) -> None:
        """What a chunk of a partition held. Cost: nothing where every element could be read."""
        partition = self._partitions.get(tp)
        if partition is None:
            if not part.bad:
                return
            partition = self._partitions[tp] = _Partition()
        if partition.stage is _Stage.TRIED:
            partition.stage = _Stage.JUDGED
            partition.ok = partition.dead = 0.0
        partition.ok += part.n
        partition.dead += part.dead
        partition.run = part.dead_at_end + (0 if part.n else partition.run)

    def turn(self, now: float) -> None:
        """Pause what has gone beyond its limits, and resume what may be tried, or could be read again."""
        for tp, partition in list(self._partitions.items()):
            if partition.stage is _Stage.READS:
                self._look(tp, partition, now)
            elif partition.stage is _Stage.WAITS and now >= partition.retry_at:
                partition.stage = _Stage.TRIES
                self._consumer.resume([tp])
            elif partition.stage is _Stage.JUDGED:
                self._judge(tp, partition, now)

    def _look(self, tp: TopicPartition, partition: _Partition, now: float) -> None:
        total = partition.ok + partition.dead
        beyond = total >= WINDOW / 2 and partition.dead > self._settings.dead_letter_share * total
        if beyond or partition.run >= self._settings.dead_letter_run:
            partition.halted_at, partition.retry_s = now, self._settings.dead_letter_retry
            self._wait(tp, partition, now)
        elif total > WINDOW:
            partition.ok, partition.dead = partition.ok / 2, partition.dead / 2

    def _judge(self, tp: TopicPartition, partition: _Partition, now: float) -> None:
        """A trial is over."""
        total = partition.ok + partition.dead
        if partition.dead > self._settings.dead_letter_share * total or (partition.dead and not partition.ok):
            self._wait(tp, partition, now)
        else:
            del self._partitions[tp]
            self._consumer.resume([tp])

    def _wait(self, tp: TopicPartition, partition: _Partition, now: float) -> None:
        partition.stage = _Stage.WAITS
        partition.retry_at = now + partition.retry_s
        partition.retry_s = min(2 * partition.retry_s, max(LONGEST_RETRY_S, self._settings.dead_letter_retry))
        self._consumer.pause([tp])
