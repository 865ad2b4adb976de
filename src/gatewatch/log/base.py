"""The seam between Gatewatch and the log it runs on.

One contract suite (``tests/contract/test_logs.py``) holds for every implementation. A log has topics, a topic has
partitions, a partition has records at rising offsets (with gaps where it was compacted).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

# What a clean stop waits for acknowledgements: it has 10 s, of which a commit and the end of the clients take some.
LAST_FLUSH_S = 6.0

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Records that were passed over, because the batch they stand in cannot be read: damaged, or a zip bomb."""

    why: str  # quotes nothing of it
    first: int  # offset
    last: int
    raw: bytes  # the batch, as it was sent

    def __str__(self) -> str:
        """What is missing and why."""
        return f"{self.why}: offsets {self.first} to {self.last} cannot be read"


@dataclass(slots=True)
class Chunk:
    """Records of one partition, in offset order, as parallel lists: Python pays per object, so there is none a record.

    ``keys`` and ``headers`` are empty lists where the consumer was opened with ``values_only``. A tombstone's value is
    ``None``.

    Where the consumer was opened with ``values_only`` or ``passes_over``, records that cannot be read are one without a
    value, at the last of their offsets, and ``unreadable`` says what was there; any other consumer raises.
    """

    tp: TopicPartition
    offsets: list[int]
    values: list[bytes | None]
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)  # -1 where the writer gave none; never an event's time
    unreadable: dict[int, Unreadable] = field(default_factory=dict)  # by offset

    def values_between(self, low: int, high: int | None = None) -> Chunk:
        """Places ``low`` to ``high`` of one that was read with ``values_only``."""
        offsets = self.offsets[low:high]
        unreadable = {at: what for at, what in self.unreadable.items() if offsets and offsets[0] <= at <= offsets[-1]}
        return Chunk(self.tp, offsets, self.values[low:high], unreadable=unreadable)


@dataclass(slots=True)
class Polled:
    """What one poll brought: records, and what happened to the assignment before them.

    ``assigned`` partitions start PAUSED: seek if you must, then :meth:`Consumer.resume` them. ``revoked`` were taken
    in good order (what was marked has been committed as far as possible); ``lost`` were taken without us: their state
    must be dropped and nothing of it sent. A partition that went and came back is among ``revoked`` or ``lost`` and
    among ``assigned``.
    """

    chunks: list[Chunk] = field(default_factory=list)
    assigned: tuple[TopicPartition, ...] = ()
    revoked: tuple[TopicPartition, ...] = ()
    lost: tuple[TopicPartition, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything came."""
        return bool(self.chunks or self.assigned or self.revoked or self.lost)


class Consumer(Protocol):
    """A member of a consumer group. One thread only; no method may be called from a rebalance callback."""

    def poll(self, timeout_s: float, max_records: int = 5000) -> Polled:
        """Wait at most ``timeout_s`` for records or a change of assignment.

        Raises:
            LogError: the log says no for good (authorization, topic gone, offset out of range), this member cannot
                join within the watchdog's limit, or a batch cannot be read and not only values are wanted. The worker
                must end.
        """
        ...

    def mark(self, tp: TopicPartition, next_offset: int) -> None:
        """Everything of ``tp`` before ``next_offset`` is done; :meth:`commit` and a revocation will say so.

        Does nothing for a partition that is not (or no longer) ours: acknowledgements may come late.
        """
        ...

    def commit(self) -> None:
        """Commit every mark made since the last commit, and wait.

        While the group rebalances marks wait for the next; they may where the broker is away, for half a minute.

        A commit says which life of its topic it is of: a worker that has not noticed yet that a topic was deleted and
        made again commits an old offset for the new one.

        Raises:
            FencedError: the partitions belong to somebody else now.
            LogError: no answer in time; may be called again.
        """
        ...

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """Ids of its topics, as they were when it joined: what it commits and what is committed is judged by these."""
        ...

    def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of this group; partitions without one, or with one of an earlier life, are absent."""
        ...

    def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that is still there, for each partition."""
        ...

    def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset after the last record, for each partition."""
        ...

    def offsets_at(self, tps: Collection[TopicPartition], ts: float) -> dict[TopicPartition, int]:
        """First offset written at or after ``ts`` (epoch seconds, by the log's clock), else the end; for each."""
        ...

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """The next record polled from ``tp`` is the first at or after ``offset``."""
        ...

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Polls bring nothing from these until :meth:`resume`; they stay assigned."""
        ...

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Undo :meth:`pause`."""
        ...

    def lag(self) -> dict[TopicPartition, int]:
        """Records not yet polled, for each assigned partition, as of the last fetch. Cost: no request to the log.

        A partition that was not fetched from yet is absent.
        """
        ...

    def close(self) -> None:
        """Go. Commits nothing by itself.

        A member has a stable id, so the group keeps its partitions for it until its session runs out (``kafka.
        session_timeout``): a restart moves nothing, and the others take over only after that.
        """
        ...


class Producer(Protocol):
    """Writes records. Thread-safe. In-flight sends are bounded: ``send`` waits while there are too many."""

    @property
    def in_flight(self) -> int:
        """Records sent and not yet acknowledged."""
        ...

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
        """Queue one record; ``on_ack(offset)`` is called once every in-sync replica has it.

        The call comes from another thread, perhaps before ``send`` returns. An error in it fails the producer.

        Raises:
            RecordTooLargeError: larger than the topic takes; nothing was queued and the producer is still good.
            TopicMissingError: no such topic; the same.
            LogError: no key for a compacted topic, or no such partition; the same.
            SendError: an earlier record was not acknowledged, or there was no room for ``max_block_s``.
        """
        ...

    def check(self) -> None:
        """Raise the first failure of an earlier send, if there was one.

        Raises:
            SendError: a record was not acknowledged; this producer must not be used again.
        """
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until everything queued is acknowledged.

        Raises:
            SendError: it was not, within ``timeout_s``.
        """
        ...

    def close(self, *, flush: bool = True) -> None:
        """End. Without ``flush`` what is queued is dropped (what a worker does after any error)."""
        ...


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be."""

    name: str
    partitions: int
    replication: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)  # Kafka's own names: cleanup.policy, retention.ms


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What a topic is. ``id`` changes when a topic is deleted and made again under the same name.

    ``configs`` are those in effect; a log may leave out defaults.
    """

    name: str
    id: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


class Admin(Protocol):
    """Topics and groups, for commands and start-up checks. Short-lived."""

    def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create those that do not exist; returns the names that were made."""
        ...

    def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        """Those that exist."""
        ...

    def alter(self, name: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic that exists."""
        ...

    def group_lag(self, group: str) -> dict[TopicPartition, int]:
        """End offset minus committed offset, for each partition the group has committed."""
        ...

    def close(self) -> None:
        """End."""
        ...


class Log(Protocol):
    """One log: where consumers, producers and admins come from."""

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        member: str,
        values_only: bool = False,
        passes_over: bool = False,
    ) -> Consumer:
        """Join ``group`` under the stable id ``member`` (a restart with the same id causes no rebalance).

        ``values_only`` leaves keys and headers out. With it, or with ``passes_over``, what cannot be read ends nothing:
        see :class:`Chunk`.

        Raises:
            TopicMissingError: one of ``topics`` does not exist.
            BrokerError: no broker, or it refused us; the text says which check failed (address, TLS, login).
        """
        ...

    def producer(self, *, linger_ms: int = 5) -> Producer:
        """A producer of its own. ``linger_ms`` trades 4 ms of delay for two thirds of the CPU (kafka.md 6)."""
        ...

    def admin(self) -> Admin:
        """For topics and groups."""
        ...

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
    ) -> Iterator[Chunk]:
        """All records of all partitions, or some, from ``start`` to what is the end now, in no group.

        ``start`` maps partition to offset; the default is the beginning. For commands and for state that is rebuilt
        (``decisions``).
        """
        ...

    def close(self) -> None:
        """Close what it opened."""
        ...
