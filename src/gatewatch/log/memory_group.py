"""Consumer groups of the memory log: who reads which partition, and how partitions change hands.

As with Kafka's static members and its Range assignor: members stand in the order of their ids, each topic's partitions
are dealt in runs, and only a join, a leave or an expulsion changes that. A partition goes to its new owner only after
the old one has polled (and its marks were committed), left or been expelled; so it never has two owners.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from gatewatch.clock import SystemClock
from gatewatch.errors import FencedError, LogError, TopicMissingError
from gatewatch.log.base import Chunk, Polled, TopicPartition

if TYPE_CHECKING:
    from gatewatch.log.memory import MemoryLog

_clock = SystemClock()  # waits and sessions are real time; event time never comes from here


class Group:
    """One consumer group. All methods are called under the log's lock."""

    def __init__(self, name: str, log: MemoryLog) -> None:
        self.name = name
        self.committed: dict[TopicPartition, int] = {}
        self.topics: set[str] = set()
        self._log = log
        self._members: dict[str, MemoryConsumer] = {}
        self._gone: dict[str, float] = {}  # closed members that may come back, and until when
        self._target: dict[str, set[TopicPartition]] = {}

    def join(self, member: str, topic_ids: Mapping[str, str], *, values_only: bool) -> MemoryConsumer:
        """A member comes, or comes back under its old id: then nobody else's partitions move."""
        self._expire()
        new = MemoryConsumer(self._log, self, member, topic_ids, values_only=values_only)
        old = self._members.get(member)
        self._members[member] = new
        self._gone.pop(member, None)
        self.topics |= set(topic_ids)
        if old is not None:
            old.fence()
        if old is None or old.topics != new.topics:
            self._deal()
        self._log.changed.notify_all()
        return new

    def leave(self, consumer: MemoryConsumer) -> None:
        """A member closes; it keeps its place for the session."""
        if self._members.get(consumer.member) is not consumer:
            return
        if self._log.session_timeout_s > 0:
            self._gone[consumer.member] = _clock.monotonic() + self._log.session_timeout_s
        else:
            self._remove(consumer.member)

    def expel(self, member: str) -> None:
        """A member's session ran out."""
        self._members[member].expelled = True
        self._remove(member)

    def rejoin(self, consumer: MemoryConsumer) -> None:
        """An expelled member comes again."""
        if consumer.member in self._members:
            consumer.fence()
            return
        consumer.expelled = False
        self._members[consumer.member] = consumer
        self._deal()

    def forget(self, topic: str) -> None:
        """A topic was deleted: its offsets mean nothing any more."""
        self.committed = {tp: offset for tp, offset in self.committed.items() if tp.topic != topic}

    def is_member(self, consumer: MemoryConsumer) -> bool:
        """Whether its commits count."""
        return self._members.get(consumer.member) is consumer

    def target(self, consumer: MemoryConsumer) -> set[TopicPartition]:
        """What it shall own."""
        self._expire()
        return self._target.get(consumer.member, set())

    def free(self, tp: TopicPartition, consumer: MemoryConsumer) -> bool:
        """Whether nobody else holds on to it still."""
        return not any(tp in other.owned for other in self._members.values() if other is not consumer)

    def wait_s(self) -> float:
        """Until the next closed member's place falls to the others."""
        return min((until - _clock.monotonic() for until in self._gone.values()), default=3600.0)

    def _expire(self) -> None:
        now = _clock.monotonic()
        for member in [m for m, until in self._gone.items() if until <= now]:
            del self._gone[member]
            self._remove(member)

    def _remove(self, member: str) -> None:
        del self._members[member]
        self._gone.pop(member, None)
        self._deal()

    def _deal(self) -> None:
        """Range assignment: runs of partitions, topic by topic, in order of member ids."""
        self._target = {member: set() for member in self._members}
        for topic in sorted(self.topics):
            readers = sorted(m for m, c in self._members.items() if topic in c.topics)
            try:
                n = len(self._log.topic(topic).partitions)
            except TopicMissingError:
                continue  # deleted: its readers hear of it from poll
            for i, member in enumerate(readers):
                low, high = i * n // len(readers), (i + 1) * n // len(readers)
                self._target[member] |= {TopicPartition(topic, p) for p in range(low, high)}
        self._log.changed.notify_all()


class MemoryConsumer:
    """A member of a group of the memory log; see :class:`gatewatch.log.base.Consumer`."""

    def __init__(
        self, log: MemoryLog, group: Group, member: str, topic_ids: Mapping[str, str], *, values_only: bool
    ) -> None:
        self.member = member
        self.topics = frozenset(topic_ids)
        self.owned: dict[TopicPartition, int] = {}  # and the next offset to poll
        self.expelled = False
        self._log, self._group = log, group
        self._topic_ids = dict(topic_ids)
        self._values_only = values_only
        self._paused: set[TopicPartition] = set()
        self._marks: dict[TopicPartition, int] = {}
        self._fenced = self._closed = False
        self._turn = 0

    def poll(self, timeout_s: float, max_records: int = 5000) -> Polled:
        """Wait for records or a change of assignment."""
        deadline = _clock.monotonic() + timeout_s
        with self._log.changed:
            while True:
                polled = self._poll(max_records)
                if polled:
                    return polled
                left = min(deadline - _clock.monotonic(), self._group.wait_s())
                if deadline <= _clock.monotonic():
                    return polled
                self._log.changed.wait(max(left, 0.0))

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """Ids of its topics, as they were when it joined."""
        return self._topic_ids

    def mark(self, tp: TopicPartition, next_offset: int) -> None:
        """Everything before ``next_offset`` is done; of a partition that is no longer ours it says nothing."""
        if tp in self.owned:
            self._marks[tp] = next_offset

    def commit(self) -> None:
        """Commit every mark made since the last commit."""
        with self._log.changed:
            self._check_fenced()
            if not self._group.is_member(self):
                raise FencedError(f"member {self.member!r} was removed from group {self._group.name!r}")
            self._commit({tp: offset for tp, offset in self._marks.items() if tp in self.owned})
            self._marks.clear()

    def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of this group."""
        with self._log.changed:
            return {tp: self._group.committed[tp] for tp in tps if tp in self._group.committed}

    def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that is still there."""
        with self._log.changed:
            return {tp: self._log.partition(tp).start for tp in tps}

    def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset after the last record."""
        with self._log.changed:
            return {tp: self._log.partition(tp).end for tp in tps}

    def offsets_at(self, tps: Collection[TopicPartition], ts: float) -> dict[TopicPartition, int]:
        """First offset written at or after ``ts``, else the end."""
        with self._log.changed:
            return {tp: self._log.partition(tp).offset_at(round(ts * 1000)) for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """The next record polled is the first at or after ``offset``."""
        with self._log.changed:
            self._check_owned([tp])
            self.owned[tp] = offset

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Polls bring nothing from these."""
        with self._log.changed:
            self._check_owned(tps)
            self._paused.update(tps)

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Undo :meth:`pause`."""
        with self._log.changed:
            self._check_owned(tps)
            self._paused.difference_update(tps)

    def lag(self) -> dict[TopicPartition, int]:
        """Records not yet polled, for each assigned partition."""
        with self._log.changed:
            return {tp: max(self._log.partition(tp).end - at, 0) for tp, at in self.owned.items()}

    def close(self) -> None:
        """Leave. Commits nothing."""
        with self._log.changed:
            if not self._closed:
                self._closed = True
                self.owned.clear()
                self._group.leave(self)
                self._log.changed.notify_all()

    def fence(self) -> None:
        """Another consumer has our id."""
        self._fenced = True
        self.owned.clear()

    def _poll(self, max_records: int) -> Polled:
        self._check_fenced()
        for topic, life in self._topic_ids.items():
            if self._log.topic(topic).id != life:
                raise TopicMissingError(f"topic {topic!r} was deleted and made again: start the worker again")
        polled = Polled(lost=self._lose())
        target = self._group.target(self)
        polled.revoked = tuple(sorted(tp for tp in self.owned if tp not in target))
        if polled.revoked:
            self._commit({tp: self._marks[tp] for tp in polled.revoked if tp in self._marks})
            self._drop(polled.revoked)
            self._log.changed.notify_all()
        polled.assigned = tuple(sorted(tp for tp in target if tp not in self.owned and self._group.free(tp, self)))
        for tp in polled.assigned:
            self.owned[tp] = self._group.committed.get(tp, self._log.partition(tp).start)
            self._paused.add(tp)
        polled.chunks = self._fetch(max_records)
        return polled

    def _fetch(self, max_records: int) -> list[Chunk]:
        """Records of the partitions that are not paused; another one comes first each time."""
        active = [tp for tp in sorted(self.owned) if tp not in self._paused]
        chunks: list[Chunk] = []
        self._turn += 1
        for i in range(len(active)):
            tp = active[(i + self._turn) % len(active)]
            chunk = self._log.partition(tp).read(tp, self.owned[tp], max_records, values_only=self._values_only)
            if chunk is not None:
                self.owned[tp] = chunk.offsets[-1] + 1
                chunks.append(chunk)
                max_records -= len(chunk.values)
            if max_records <= 0:
                break
        return chunks

    def _lose(self) -> tuple[TopicPartition, ...]:
        """After an expulsion everything is lost; then we join again."""
        if not self.expelled:
            return ()
        lost = tuple(sorted(self.owned))
        self._drop(lost)
        self._group.rejoin(self)
        self._check_fenced()
        return lost

    def _drop(self, tps: Collection[TopicPartition]) -> None:
        for tp in tps:
            del self.owned[tp]
            self._marks.pop(tp, None)
            self._paused.discard(tp)

    def _commit(self, marks: Mapping[TopicPartition, int]) -> None:
        alive = {tp: at for tp, at in marks.items() if self._log.topic(tp.topic).id == self._topic_ids[tp.topic]}
        self._group.committed.update(alive)
        self._log.committed_by_all(alive)

    def _check_fenced(self) -> None:
        if self._closed:
            raise LogError("this consumer is closed")
        if self._fenced:
            raise FencedError(f"another worker of group {self._group.name!r} has our id {self.member!r}")

    def _check_owned(self, tps: Collection[TopicPartition]) -> None:
        if missing := [tp for tp in tps if tp not in self.owned]:
            raise LogError(f"{missing[0].topic}-{missing[0].partition} is not assigned to {self.member!r}")
