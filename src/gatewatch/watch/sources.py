"""What ingest can see of its sources: lateness, silence, lost events, fields that stop, and what cannot be read.

Facts in, conditions out. Times are seconds on the monotonic line, so a clock that is set makes nobody silent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gatewatch.log.base import TopicPartition
from gatewatch.settings import Settings, Source, WatchSettings
from gatewatch.watch.behind import Behind, late, some
from gatewatch.watch.faded import Faded
from gatewatch.watch.needs import Needed
from gatewatch.watch.reasons import DEAD, FIELD, LOST, PAUSED, SILENT
from gatewatch.watch.usual import Usual
from gatewatch.watch.watch import Condition

SAMPLE_S = 1.0  # fields are looked for this often, in the events that came together
# A field of fewer samples in a row would be missed by chance; and without this much traffic nobody can tell.
LEAST_SAMPLES = 20
WINDOW_S = 300.0  # over which the share of dead letters is taken
LEAST_ELEMENTS = 500.0  # of which a share means something: 1 % of them is five
LOST_S = 300.0  # a gap is told for so long: once at least, twice at most


@dataclass(slots=True)
class _Field:
    """One need of a topic. Its time is that of traffic: while nothing arrives, no field is missing."""

    usual: Usual = field(default_factory=lambda: Usual(0.0))
    samples: int = 0  # that had it
    without: int = 0  # since then


@dataclass(slots=True)
class _Topic:
    """One source, as this worker sees it: the partitions that it has."""

    usual: Usual
    ok: Faded = field(default_factory=lambda: Faded(WINDOW_S))
    dead: Faded = field(default_factory=lambda: Faded(WINDOW_S))
    lost: int = 0
    lost_at: float = float("-inf")
    fields: dict[Needed, _Field] = field(default_factory=dict)
    sampled_at: float = float("-inf")
    traffic_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Halted:
    """A partition that is not read, because what it holds cannot be."""

    for_s: float
    dead: int  # elements that led to it
    of: int
    retry_s: float  # until it is tried again


class Sources:
    """All sources of one worker. Cost: some dictionary look-ups a chunk, and a sample of events once a second.

    Args:
        settings: sources and limits.
        needs: what detectors cannot do without.
    """

    def __init__(self, settings: Settings, needs: Sequence[Needed] = ()) -> None:
        self._settings: WatchSettings = settings.watch
        self._sources: Mapping[str, Source] = {source.topic: source for source in settings.sources}
        self._needs = needs
        self._topics: dict[str, _Topic] = {}
        self._behind: dict[TopicPartition, Behind] = {}

    def own(self, tps: Collection[TopicPartition], now: float) -> None:
        """These partitions, and no others, are ours."""
        topics = {tp.topic for tp in tps}
        self._behind = {tp: self._behind.get(tp, Behind()) for tp in tps}
        self._topics = {topic: self._topics.get(topic) or _Topic(Usual(now)) for topic in sorted(topics)}

    def arrived(self, tp: TopicPartition, now: float) -> None:
        """Records of a partition were read."""
        if (topic := self._topics.get(tp.topic)) is not None:
            topic.usual.seen(now)

    def decoded(self, tp: TopicPartition, events: int, dead: int, has: Callable[[str], bool], now: float) -> None:
        """What they held: so many events, elements that could not be read, and whether some event has a column."""
        topic = self._topics.get(tp.topic)
        if topic is None:
            return
        topic.ok.add(events, now)
        topic.dead.add(dead, now)
        if events and now - topic.sampled_at >= SAMPLE_S:
            topic.traffic_s += min(now - topic.sampled_at, 2 * SAMPLE_S)  # longer pauses are the source's silence
            topic.sampled_at = now
            self._sample(topic, has)

    def lost(self, tp: TopicPartition, offsets: int, now: float) -> None:
        """Retention took offsets of a partition before they were read."""
        if (topic := self._topics.get(tp.topic)) is not None:
            topic.lost = offsets + (topic.lost if now - topic.lost_at < LOST_S else 0)
            topic.lost_at = now

    def conditions(
        self,
        lag: Mapping[TopicPartition, int],
        read: Mapping[TopicPartition, int],
        halted: Mapping[TopicPartition, Halted],
        now: float,
        *,
        history: bool = False,
    ) -> Iterator[Condition]:
        """What cannot be seen now.

        Args:
            lag: records not read yet of each partition.
            read: next offset to read of each.
            halted: those that are paused for what they hold.
            now: monotonic seconds.
            history: an old file is read: that it ends is no silence.
        """
        for tp, behind in self._behind.items():
            if tp in read and tp in lag:
                behind.tell(read[tp], read[tp] + lag[tp], now)
        # One that is paused says so itself
        yield from late({tp: b for tp, b in self._behind.items() if tp not in halted}, self._settings.behind, now)
        for name, topic in self._topics.items():
            paused = {tp: how for tp, how in halted.items() if tp.topic == name}
            yield from _paused(name, paused)
            yield from _lost(name, topic, now)
            if not paused:
                yield from self._dead(name, topic, now)
            if not history:
                waiting = any(lag.get(tp, 0) for tp in self._behind if tp.topic == name)
                if not waiting and not paused:
                    yield from self._silent(name, topic, now)
                yield from self._gone(name, topic)

    def _sample(self, topic: _Topic, has: Callable[[str], bool]) -> None:
        for need in self._needs:
            seen = topic.fields.setdefault(need, _Field())
            if any(map(has, need.fields)):
                seen.usual.seen(topic.traffic_s)
                seen.samples += 1
                seen.without = 0
            else:
                seen.without += 1

    def _dead(self, name: str, topic: _Topic, now: float) -> Iterator[Condition]:
        dead, limit = topic.dead.at(now), self._settings.dead_letter_share
        total = dead + topic.ok.at(now)
        if total >= LEAST_ELEMENTS and dead / total > limit:
            yield Condition(DEAD, name, dead / total, limit, f"about {dead:.0f} of the last {total:.0f} elements")

    def _silent(self, name: str, topic: _Topic, now: float) -> Iterator[Condition]:
        limit = self._sources[name].silent_after
        if limit is None:
            limit = topic.usual.limit(self._settings.silence, self._settings.silence_max)
        gap = topic.usual.gap(now)
        if gap > limit:
            usual = max(topic.usual.longest, topic.usual.before)
            never = topic.usual.first is None
            says = "nothing since this worker began" if never else f"the longest gap of late was {usual:.0f} s"
            yield Condition(SILENT, name, gap, limit, says, gap)

    def _gone(self, name: str, topic: _Topic) -> Iterator[Condition]:
        for need, seen in topic.fields.items():
            if seen.samples < LEAST_SAMPLES or seen.without < LEAST_SAMPLES:
                continue
            limit = seen.usual.limit(self._settings.silence, self._settings.silence_max)
            gap = seen.usual.gap(topic.traffic_s)
            if gap > limit:
                says = f"blind on it: {', '.join(need.by)}"
                yield Condition(FIELD, f"{need.name} of {name}", gap, limit, says, gap)


def _paused(name: str, paused: Mapping[TopicPartition, Halted]) -> Iterator[Condition]:
    if paused:
        worst = max(paused.values(), key=lambda how: (how.dead, how.for_s))
        partitions = some(sorted(tp.partition for tp in paused))
        says = (
            f"{worst.dead:,} of {worst.of:,} elements could not be read; partitions {partitions} wait, tried again in "
            f"{worst.retry_s:.0f} s"
        )
        yield Condition(PAUSED, name, worst.dead, 0.0, says, worst.for_s, {"partitions": partitions})


def _lost(name: str, topic: _Topic, now: float) -> Iterator[Condition]:
    if now - topic.lost_at < LOST_S:
        says = f"{topic.lost:,} offsets were gone when they were to be read"
        yield Condition(LOST, name, topic.lost, 0.0, says, now - topic.lost_at)
