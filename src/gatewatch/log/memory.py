"""A log in memory, for replay, demo and most tests: the same seam and the same group rules as Kafka.

Everything happens under one lock; a record is a slot in five lists, so batches pass at the price of a list append. What
Kafka does by network and timeouts, tests do here by hand: :meth:`MemoryLog.drop_before` (retention),
:meth:`MemoryLog.expel` (a session that ran out), :meth:`MemoryLog.delete` (a topic made again has another id),
:meth:`MemoryLog.fail_sends` (a broker that does not acknowledge).
"""

from __future__ import annotations

import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from gatewatch.clock import Clock
from gatewatch.errors import SendError, TopicMissingError
from gatewatch.log.base import Chunk, Headers, TopicInfo, TopicPartition, TopicSpec
from gatewatch.log.limits import checked_size
from gatewatch.log.memory_group import Group, MemoryConsumer

_READ_RECORDS = 5000  # in one chunk of read()


@dataclass(slots=True)
class Partition:
    """Records of one partition: parallel lists, the first slot standing for offset ``start``."""

    start: int = 0
    values: list[bytes | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return self.start + len(self.values)

    def append(self, value: bytes | None, key: bytes | None, headers: Headers, timestamp_ms: int) -> int:
        """Add a record; returns its offset."""
        self.values.append(value)
        self.keys.append(key)
        self.headers.append(headers)
        self.timestamps_ms.append(timestamp_ms)
        return self.end - 1

    def read(self, tp: TopicPartition, offset: int, limit: int, *, values_only: bool = False) -> Chunk | None:
        """Up to ``limit`` records at or after ``offset``; ``None`` where there are none."""
        low = max(offset - self.start, 0)
        high = min(low + limit, len(self.values))
        if low >= high:
            return None
        chunk = Chunk(tp, list(range(self.start + low, self.start + high)), self.values[low:high])
        if not values_only:
            chunk.keys = self.keys[low:high]
            chunk.headers = self.headers[low:high]
            chunk.timestamps_ms = self.timestamps_ms[low:high]
        return chunk

    def offset_at(self, timestamp_ms: int) -> int:
        """The first offset written then or later, else the end."""
        return next((self.start + i for i, t in enumerate(self.timestamps_ms) if t >= timestamp_ms), self.end)

    def drop_before(self, offset: int) -> None:
        """Forget the head, as retention does."""
        n = min(max(offset - self.start, 0), len(self.values))
        for column in (self.values, self.keys, self.headers, self.timestamps_ms):
            del column[:n]
        self.start += n


@dataclass(slots=True)
class Topic:
    """One topic, in one of its lives."""

    spec: TopicSpec
    id: str
    partitions: list[Partition]
    configs: dict[str, str]


class MemoryLog:
    """Topics, groups and their offsets in one process. Thread-safe.

    Args:
        clock: stamps the records; without one their timestamp is -1.
        session_timeout_s: how long a closed member keeps its partitions, so that a restart under the same id moves
            nothing. 0: it leaves at once.
        forget: topics whose records are dropped once every group that reads them has committed past them. A replay
            would else keep its whole input. Topics without a committing group are kept.
    """

    def __init__(
        self, clock: Clock | None = None, *, session_timeout_s: float = 0.0, forget: Collection[str] = ()
    ) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.session_timeout_s = session_timeout_s
        self._clock = clock
        self._forget = frozenset(forget)
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._lives = count()
        self._failing: set[str] = set()

    def consumer(
        self, topics: Sequence[str], *, group: str, member: str, values_only: bool = False, passes_over: bool = False
    ) -> MemoryConsumer:
        """Join a group; see :class:`gatewatch.log.base.Log`. There are no batches here that could be damaged."""
        del passes_over
        with self.changed:
            ids = {name: self.topic(name).id for name in topics}
            found = self._groups.setdefault(group, Group(group, self))
            return found.join(member, ids, values_only=values_only)

    def producer(self, *, linger_ms: int = 5) -> MemoryProducer:
        """A producer of its own; ``linger_ms`` means nothing here."""
        del linger_ms
        return MemoryProducer(self)

    def admin(self) -> MemoryAdmin:
        """For topics and groups."""
        return MemoryAdmin(self)

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
    ) -> Iterator[Chunk]:
        """All records up to what is the end now, in no group."""
        with self.changed:
            life = self.topic(topic)
            ends = [p.end for p in life.partitions]
        for number, partition in enumerate(life.partitions):
            if partitions is not None and number not in partitions:
                continue
            tp = TopicPartition(topic, number)
            at = (start or {}).get(number, 0)
            while at < ends[number]:
                with self.changed:
                    at = max(at, partition.start)
                    chunk = partition.read(tp, at, min(_READ_RECORDS, ends[number] - at))
                if chunk is None:
                    break
                yield chunk
                at = chunk.offsets[-1] + 1

    def close(self) -> None:
        """Let go of everything."""
        with self.changed:
            self._topics.clear()
            self._groups.clear()
            self.changed.notify_all()

    def drop_before(self, tp: TopicPartition, offset: int) -> None:
        """What retention does: the head of a partition is gone."""
        with self.changed:
            self.partition(tp).drop_before(offset)

    def delete(self, topic: str) -> None:
        """Delete a topic; its consumers hear of it at their next poll."""
        with self.changed:
            self.topic(topic)
            del self._topics[topic]
            for group in self._groups.values():
                group.forget(topic)
            self.changed.notify_all()

    def expel(self, group: str, member: str) -> None:
        """What a broker does to a member whose session ran out: its partitions go to the others."""
        with self.changed:
            self._groups[group].expel(member)

    def fail_sends(self, topic: str) -> None:
        """From now on no record of ``topic`` is acknowledged: producers that send one are failed for good."""
        with self.changed:
            self._failing.add(topic)

    def topic(self, name: str) -> Topic:
        """The topic, for the other classes of this log.

        Raises:
            TopicMissingError: it does not exist.
        """
        if name not in self._topics:
            raise TopicMissingError(f"topic {name!r} does not exist: create it first")
        return self._topics[name]

    def partition(self, tp: TopicPartition) -> Partition:
        """One partition.

        Raises:
            TopicMissingError: it does not exist.
        """
        partitions = self.topic(tp.topic).partitions
        if not 0 <= tp.partition < len(partitions):
            raise TopicMissingError(f"topic {tp.topic!r} has {len(partitions)} partitions, no number {tp.partition}")
        return partitions[tp.partition]

    def make(self, spec: TopicSpec) -> bool:
        """Create a topic; false where it exists. Ids are the same in every run, so that replays are repeatable."""
        with self.changed:
            if spec.name in self._topics:
                return False
            life = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{spec.name}/{next(self._lives)}"))
            partitions = [Partition() for _ in range(spec.partitions)]
            self._topics[spec.name] = Topic(spec, life, partitions, dict(spec.configs))
            return True

    def append(self, tp: TopicPartition, value: bytes | None, key: bytes | None, headers: Headers) -> int:
        """Write one record and wake who waits."""
        timestamp_ms = -1 if self._clock is None else int(self._clock.now() * 1000)
        with self.changed:
            if tp.topic in self._failing:
                raise SendError(f"{tp.topic}-{tp.partition}: not acknowledged (fail_sends)")
            offset = self.partition(tp).append(value, key, headers, timestamp_ms)
            self.changed.notify_all()
            return offset

    def extend(self, tp: TopicPartition, values: Sequence[bytes]) -> None:
        """Write many values at once, without keys and headers: how a file is fed in. Cost: 0.1 us a value."""
        timestamp_ms = -1 if self._clock is None else int(self._clock.now() * 1000)
        with self.changed:
            partition = self.partition(tp)
            partition.values.extend(values)
            partition.keys.extend([None] * len(values))
            partition.headers.extend([()] * len(values))
            partition.timestamps_ms.extend([timestamp_ms] * len(values))
            self.changed.notify_all()

    def committed_by_all(self, tps: Collection[TopicPartition]) -> None:
        """Drop what every group that reads these partitions has committed, where that was asked for."""
        for tp in tps:
            if tp.topic in self._forget:
                readers = [g for g in self._groups.values() if tp.topic in g.topics]
                self.partition(tp).drop_before(min(g.committed.get(tp, 0) for g in readers))

    def group_lag(self, group: str) -> dict[TopicPartition, int]:
        """End minus committed, for each committed partition of a group."""
        with self.changed:
            found = self._groups.get(group)
            committed = {} if found is None else found.committed
            return {tp: self.partition(tp).end - offset for tp, offset in committed.items()}


class MemoryProducer:
    """Writes at once; ``on_ack`` is called before ``send`` returns."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._failure: SendError | None = None
        self._closed = False
        self._turn = count()

    @property
    def in_flight(self) -> int:
        """None: everything is written at once."""
        return 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int | None = None,
        key: bytes | None = None,
        headers: Headers = (),
        on_ack: Callable[[int], None] | None = None,
    ) -> None:
        """Write one record; see :class:`gatewatch.log.base.Producer`."""
        self.check()
        with self._log.changed:
            life = self._log.topic(topic)
            n = len(life.partitions)
            checked_size(topic, life.configs, n, value, partition=partition, key=key, headers=headers)
            if partition is None:
                partition = zlib.crc32(key) % n if key is not None else next(self._turn) % n
        try:
            offset = self._log.append(TopicPartition(topic, partition), value, key, headers)
        except SendError as error:
            self._failure = error
            raise
        if on_ack is not None:
            self._tell(on_ack, topic, offset)

    def _tell(self, on_ack: Callable[[int], None], topic: str, offset: int) -> None:
        try:
            on_ack(offset)
        except Exception as error:
            self._failure = SendError(f"topic {topic!r}: the acknowledgement of a record failed: {error}")
            raise self._failure from error

    def check(self) -> None:
        """Raise the first failure of an earlier send."""
        if self._closed:
            raise SendError("this producer is closed")
        if self._failure is not None:
            raise SendError(f"an earlier record failed: {self._failure}") from self._failure

    def flush(self, timeout_s: float) -> None:
        """Everything is written already."""
        del timeout_s
        self.check()

    def close(self, *, flush: bool = True) -> None:
        """End."""
        del flush
        self._closed = True


class MemoryAdmin:
    """Topics and groups of a memory log."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create those that do not exist; returns the names that were made."""
        return [spec.name for spec in specs if self._log.make(spec)]

    def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        """Those that exist."""
        found: dict[str, TopicInfo] = {}
        with self._log.changed:
            for name in names:
                try:
                    life = self._log.topic(name)
                except TopicMissingError:
                    continue
                found[name] = TopicInfo(name, life.id, len(life.partitions), life.spec.replication, dict(life.configs))
        return found

    def alter(self, name: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic that exists."""
        with self._log.changed:
            self._log.topic(name).configs.update(configs)

    def group_lag(self, group: str) -> dict[TopicPartition, int]:
        """End offset minus committed offset, for each partition the group has committed."""
        return self._log.group_lag(group)

    def close(self) -> None:
        """End."""
