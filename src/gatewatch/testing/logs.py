"""A rig for tests that any log must pass: the log, ways to hurt it, and a consumer that remembers.

``tests/contract/test_logs.py`` runs on it; so may the tests of a log of one's own.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing

from gatewatch.clock import SystemClock, stopwatch
from gatewatch.log.base import Consumer, Log, Polled, TopicPartition, TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.memory import MemoryLog

WAIT_S = 30.0  # longer than any rebalance: a test that needs it has failed


class Rig(ABC):
    """A log, and what no seam has."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def topic(self, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        """A new topic under a name that nobody has used."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(name, partitions, 1, configs or {})])
        return name

    def join(self, *topics: str, group: str = "", member: str = "m", values_only: bool = False) -> Reader:
        """A reader in a group, which by default is named as the first topic; before its first poll."""
        return Reader(self.log.consumer(topics, group=group or topics[0], member=member, values_only=values_only))

    def write(self, topic: str, values: Iterable[bytes], partition: int = 0) -> None:
        """Write records; they are there when this returns."""
        producer = self.log.producer()
        for value in values:
            producer.send(topic, value, partition=partition)
        producer.flush(WAIT_S)
        producer.close()

    @abstractmethod
    def drop_before(self, tp: TopicPartition, offset: int) -> None:
        """Do what retention does."""

    @abstractmethod
    def delete(self, topic: str) -> None:
        """Delete a topic."""

    @abstractmethod
    def expel(self, group: str, member: str) -> None:
        """End a member's session."""


class MemoryRig(Rig):
    """On the memory log, with a session as short as tests like it."""

    def __init__(self) -> None:
        self._memory = MemoryLog(SystemClock(), session_timeout_s=1.0)
        super().__init__(self._memory)

    def drop_before(self, tp: TopicPartition, offset: int) -> None:
        """Do what retention does."""
        self._memory.drop_before(tp, offset)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self._memory.delete(topic)

    def expel(self, group: str, member: str) -> None:
        """End a member's session."""
        self._memory.expel(group, member)


class KafkaRig(Rig):
    """On a real broker."""

    def __init__(self, log: KafkaLog) -> None:
        self._kafka = log
        super().__init__(log)

    def drop_before(self, tp: TopicPartition, offset: int) -> None:
        """Do what retention does."""
        with closing(self._kafka.admin()) as admin:
            admin.delete_records(tp, offset)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        with closing(self._kafka.admin()) as admin:
            admin.delete(topic)

    def expel(self, group: str, member: str) -> None:
        """End a member's session."""
        with closing(self._kafka.admin()) as admin:
            admin.remove_member(group, member)


class Reader:
    """A consumer that remembers what its polls brought.

    Attributes:
        consumer: what it polls.
        resume: whether it resumes what it is given.
        owned: partitions that are its own.
        news: polls that changed that.
        records: partition, offset and value, in the order they came.
    """

    def __init__(self, consumer: Consumer, *, resume: bool = True) -> None:
        self.consumer = consumer
        self.resume = resume
        self.owned: set[TopicPartition] = set()
        self.news: list[Polled] = []
        self.records: list[tuple[TopicPartition, int, bytes | None]] = []

    def poll(self, timeout_s: float = 0.1, max_records: int = 5000) -> Polled:
        """Poll once."""
        polled = self.consumer.poll(timeout_s, max_records)
        if polled.assigned or polled.revoked or polled.lost:
            self.news.append(polled)
        self.owned -= {*polled.revoked, *polled.lost}
        self.owned |= set(polled.assigned)
        if polled.assigned and self.resume:
            self.consumer.resume(polled.assigned)
        for chunk in polled.chunks:
            self.records += [(chunk.tp, o, v) for o, v in zip(chunk.offsets, chunk.values, strict=True)]
        return polled

    @property
    def values(self) -> list[bytes | None]:
        """All values, in the order they came."""
        return [value for _, _, value in self.records]

    @property
    def offsets(self) -> list[int]:
        """All offsets, in the order they came."""
        return [offset for _, offset, _ in self.records]

    def close(self) -> None:
        """Close the consumer."""
        self.consumer.close()


def until(done: Callable[[], bool], *readers: Reader) -> None:
    """Poll readers in turn until something holds; fails the test after ``WAIT_S``."""
    deadline = stopwatch() + WAIT_S
    while not done():
        if stopwatch() > deadline:
            seen = [(len(r.records), sorted(r.owned), r.news) for r in readers]
            raise AssertionError(f"did not happen within {WAIT_S:.0f} s; records, partitions and news were {seen}")
        for reader in readers:
            reader.poll()


def numbered(n: int, start: int = 0) -> Sequence[bytes]:
    """Values that tell their order: ``b"0"``, ``b"1"``, ...

    >>> numbered(2, start=7)
    [b'7', b'8']
    """
    return [b"%d" % i for i in range(start, start + n)]
