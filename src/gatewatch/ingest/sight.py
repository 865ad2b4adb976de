"""What ingest notices about its own reading: what it must not drain, and what it cannot see."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from gatewatch.clock import Clock
from gatewatch.ingest.halts import Halts
from gatewatch.ingest.read import Read
from gatewatch.log.base import Chunk, Consumer, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.settings import Settings
from gatewatch.watch.needs import Needed
from gatewatch.watch.reporter import Reporter
from gatewatch.watch.sources import Sources
from gatewatch.watch.watch import Condition


class Sight:
    """Over all source partitions of one worker.

    Args:
        settings: sources and limits.
        consumer: whose partitions are paused.
        clock: injected time.
        metrics: what to count on.
        reporter: says what cannot be seen; ``None``: nobody does.
        needs: fields that detectors cannot do without.
        halts: whether what cannot be read is paused; a replay reads it all.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        clock: Clock,
        metrics: Metrics,
        *,
        reporter: Reporter | None,
        needs: Sequence[Needed],
        halts: bool,
    ) -> None:
        self._consumer, self._clock, self._metrics, self._reporter = consumer, clock, metrics, reporter
        self._halts = Halts(settings.ingest, consumer) if halts else None
        self._sources = Sources(settings, needs)

    @property
    def halted(self) -> set[TopicPartition]:
        """Partitions that are paused for what they hold."""
        return set() if self._halts is None else self._halts.paused

    def own(self, tps: Collection[TopicPartition]) -> None:
        """These partitions, and no others, are ours."""
        self._sources.own(tps, self._clock.monotonic())
        if self._halts is not None:
            self._halts.own(tps)

    def admit(self, chunk: Chunk) -> Chunk:
        """A chunk that was polled, or what may be read of it now."""
        self._sources.arrived(chunk.tp, self._clock.monotonic())
        return chunk if self._halts is None else self._halts.admit(chunk)

    def decoded(self, tp: TopicPartition, part: Read) -> None:
        """What a chunk held."""
        if self._halts is not None:
            self._halts.decoded(tp, part)
        self._sources.decoded(tp, part.n, part.dead, part.raw.has, self._clock.monotonic())

    def lost(self, tp: TopicPartition, offsets: int) -> None:
        """Retention took offsets before they were read."""
        self._sources.lost(tp, offsets, self._clock.monotonic())

    def turn(self, read: Mapping[TopicPartition, int], *, history: bool) -> None:
        """Once a turn of the worker, when nothing that was decoded waits for a verdict.

        Args:
            read: next offset of each of our partitions.
            history: an old file is read.
        """
        if self._halts is not None:
            self._halts.turn(self._clock.monotonic())
        if self._reporter is not None:
            self._reporter.turn(lambda: self._blind(read, history=history))

    def _blind(self, read: Mapping[TopicPartition, int], *, history: bool) -> Iterator[Condition]:
        now = self._clock.monotonic()
        halted = {} if self._halts is None else self._halts.state(now)
        self._metrics.source_paused({tp: tp in halted for tp in read})
        return self._sources.conditions(self._consumer.lag(), read, halted, now, history=history)
