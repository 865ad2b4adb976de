"""What detect can see of itself: lateness, detectors that are off, tables that forget, records that make no sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatewatch.log.base import TopicPartition
from gatewatch.sdk import TableStats
from gatewatch.settings import WatchSettings
from gatewatch.watch.behind import Behind, late
from gatewatch.watch.faded import Faded
from gatewatch.watch.reasons import CROWDED, OFF, UNREADABLE
from gatewatch.watch.watch import Condition

WINDOW_S = 3600.0  # over which evictions are taken; the limit is a share an hour
UNREADABLE_S = 300.0  # a record that cannot be read is told for so long: once at least, twice at most


@dataclass(slots=True)
class _Unreadable:
    """Records of one topic that made no sense, since there was none for :data:`UNREADABLE_S`."""

    records: int
    first_at: float
    last_at: float
    place: str  # of the last


class Tasks:
    """All tasks of one worker.

    Args:
        settings: limits.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._behind: dict[TopicPartition, Behind] = {}
        self._off: Mapping[str, int] = {}
        self._unreadable: dict[str, _Unreadable] = {}  # by topic
        self._tables: dict[tuple[str, str], tuple[int, int, Faded]] = {}  # capacity, evicted ever, evicted of late

    def measured(self, off: Mapping[str, int], tables: Mapping[tuple[str, str], TableStats], now: float) -> None:
        """What is measured every few seconds.

        Args:
            off: in how many partitions each detector is switched off.
            tables: by detector and table, summed over the worker's partitions.
            now: monotonic seconds.
        """
        self._off = off
        fresh: dict[tuple[str, str], tuple[int, int, Faded]] = {}
        for name, stats in tables.items():
            _capacity, before, evicted = self._tables.get(name, (0, stats.evicted, Faded(WINDOW_S)))
            evicted.add(max(stats.evicted - before, 0), now)  # the sum falls when a partition goes
            fresh[name] = (stats.capacity, stats.evicted, evicted)
        self._tables = fresh

    def unreadable(self, tp: TopicPartition, offset: int, now: float) -> None:
        """A record was passed over."""
        known = self._unreadable.get(tp.topic)
        if known is None or now - known.last_at >= UNREADABLE_S:
            known = self._unreadable[tp.topic] = _Unreadable(0, now, now, "")
        known.records += 1
        known.last_at, known.place = now, f"{tp.topic}-{tp.partition}-{offset}"

    def conditions(
        self, lag: Mapping[TopicPartition, int], read: Mapping[TopicPartition, int], now: float
    ) -> Iterator[Condition]:
        """What cannot be seen now; ``lag`` and ``read`` as for sources."""
        self._behind = {tp: self._behind.get(tp, Behind()) for tp in read}
        for tp, behind in self._behind.items():
            if tp in lag:
                behind.tell(read[tp], read[tp] + lag[tp], now)
        yield from late(self._behind, self._settings.behind, now)
        for detector, partitions in self._off.items():
            if partitions:
                says = "it raised three times there; the log has the traceback, a restart gives it another chance"
                yield Condition(OFF, detector, partitions, 0.0, says)
        for topic, known in self._unreadable.items():
            if now - known.last_at < UNREADABLE_S:
                says = (
                    f"{known.records:,} were passed over, the last at {known.place}: see `gatewatch dead-letters list`"
                )
                yield Condition(UNREADABLE, topic, known.records, 0.0, says, now - known.first_at)
        for (detector, table), (capacity, _ever, evicted) in self._tables.items():
            share = evicted.at(now) / max(capacity, 1)
            if share > self._settings.evicted_share:
                says = f"some {evicted.at(now):,.0f} of {capacity:,} keys lost their row to others within the hour"
                yield Condition(CROWDED, f"{detector}/{table}", share, self._settings.evicted_share, says)
