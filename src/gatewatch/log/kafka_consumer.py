"""A member of a consumer group on kafka-python, which says what happens to its partitions instead of calling back.

The client's rebalance listener runs on its I/O thread, where nothing may block. So the listener only pauses what is
new, sends the marks of what goes, and writes down events; :meth:`KafkaConsumer.poll` hands them out in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata
from kafka import KafkaConsumer as Client
from kafka import TopicPartition as KafkaTopicPartition
from kafka.consumer.group import RangePartitionAssignor
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import MemberState

from gatewatch.clock import SystemClock
from gatewatch.errors import FencedError, LogError, TopicMissingError
from gatewatch.log.base import Chunk, Polled, TopicPartition
from gatewatch.log.guarded import guard, take_found
from gatewatch.log.kafka_config import COMMIT_S, PATIENCE_S, client_config, consumer_config
from gatewatch.log.kafka_connect import connect
from gatewatch.log.kafka_join import keep_join, shared_out
from gatewatch.log.membership import Membership, commit_rest, is_of
from gatewatch.log.overlooked import Overlooked
from gatewatch.settings import KafkaSettings

_FENCED = (CommitFailedError, FencedInstanceIdError, IllegalGenerationError, UnknownMemberIdError)
JOIN_POLL_S = 0.5  # polls while joining: shorter ones can leave the client waiting for ever (2 of 50 at 50 ms)
NEWS_S = 0.2  # the client's poll waits for records even where the assignment changed; so we look this often
TOPIC_CHECK_S = 5.0  # how often an idle consumer looks whether its topics are still there
REJOINS = 2  # tries to join anew before we give up


class KafkaConsumer:
    """See :class:`gatewatch.log.base.Consumer`. ``topic_ids`` are the ids of the topics to read, by name.

    Raises:
        TopicMissingError: one of the topics does not exist.
        BrokerError: no broker, or it refuses us.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic_ids: Mapping[str, str],
        *,
        group: str,
        member: str,
        values_only: bool,
        passes_over: bool,
    ) -> None:
        config = client_config(settings, f"gatewatch-{member}") | consumer_config(settings, group=group, member=member)
        config["partition_assignment_strategy"] = [RangePartitionAssignor]
        self._client: Any = connect(Client, settings, config)
        self._topics, self._group, self._member = list(topic_ids), group, member
        self._values_only, self._passes_over = values_only, passes_over
        self._topic_ids = dict(topic_ids)
        self._clock = SystemClock()
        self._members = Membership()
        self._overlooked = Overlooked(group, self._clock)
        self._joined_at = self._checked_at = self._clock.monotonic()
        self._join_limit_s = settings.session_timeout
        self._rebalance_limit_s = settings.session_timeout + config["max_poll_interval_ms"] / 1000
        self._rejoins = 0
        self._found = guard(self._client, values_only=values_only)
        self._listener = _Listener(self._client, self._members, self._topic_ids)
        try:
            self._subscribe()
            check_topics(self._client, self._topics)
        except BaseException:
            self._client.close(autocommit=False)
            raise

    def poll(self, timeout_s: float, max_records: int = 5000) -> Polled:
        """Wait for records or a change of assignment."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            records = self._poll_client(min(deadline - self._clock.monotonic(), NEWS_S), max_records)
            self._watch_membership()
            polled = self._members.take()
            self._restart(self._members.take_renewed())
            polled.chunks = [self._chunk(tp, batch) for tp, batch in records.items() if batch]
            if not records:
                self._check_topics()
            if polled or self._clock.monotonic() >= deadline:
                return polled

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """Ids of its topics, as they were when it joined."""
        return self._topic_ids

    def mark(self, tp: TopicPartition, next_offset: int) -> None:
        """Everything before ``next_offset`` is done; of a partition that is no longer ours it says nothing."""
        self._members.mark(tp, next_offset)

    def commit(self) -> None:
        """Commit every mark made since the last commit.

        While the group rebalances, or the broker is away for no longer than ``PATIENCE_S``, they are kept for the next
        one: a worker that ended instead would be back after the broker.
        """
        marks = self._members.take_marks()
        if not marks:
            return
        began = self._clock.monotonic()
        try:
            self._client.commit(_offsets(marks, self._topic_ids), timeout_ms=int(COMMIT_S * 1000))
        except RebalanceInProgressError:
            self._members.put_back(marks)
        except _FENCED as error:
            raise FencedError(
                f"member {self._member!r} of group {self._group!r} may not commit any more: {_text(error)}"
            ) from error
        except KafkaError as error:
            if self._members.not_committed(marks, began) >= PATIENCE_S or not error.retriable:
                raise LogError(f"group {self._group!r}: offsets could not be committed: {_text(error)}") from error
        else:
            self._members.committed()

    def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of this group."""
        try:
            found = {tp: self._ask_committed(tp) for tp in tps}
        except KafkaError as error:
            raise LogError(f"group {self._group!r}: committed offsets cannot be read: {_text(error)}") from error
        there = {tp: at for tp, at in found.items() if at is not None}
        return {tp: at.offset for tp, at in there.items() if is_of(at.metadata, self._topic_ids[tp.topic])}

    def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that is still there."""
        return self._edges(self._client.beginning_offsets, tps)

    def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset after the last record."""
        return self._edges(self._client.end_offsets, tps)

    def offsets_at(self, tps: Collection[TopicPartition], ts: float) -> dict[TopicPartition, int]:
        """First offset written at or after ``ts``, else the end."""
        try:
            found = self._client.offsets_for_times({_theirs(tp): round(ts * 1000) for tp in tps})
        except KafkaError as error:
            raise LogError(f"group {self._group!r}: offsets at a time cannot be read: {_text(error)}") from error
        ends = self.end_offsets(tps)
        return {tp: ends[tp] if (at := found.get(_theirs(tp))) is None else int(at.offset) for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """The next record polled is the first at or after ``offset``."""
        self._members.check_owned([tp])
        self._client.seek(_theirs(tp), offset)
        self._members.next_offset[tp] = offset

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Polls bring nothing from these."""
        self._members.check_owned(tps)
        self._client.pause(*map(_theirs, tps))

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Undo :meth:`pause`."""
        self._members.check_owned(tps)
        self._client.resume(*map(_theirs, tps))

    def lag(self) -> dict[TopicPartition, int]:
        """Records not yet polled; a partition that was never fetched is absent."""
        found: dict[TopicPartition, int] = {}
        for tp, position in self._members.next_offset.items():
            if (end := self._client.highwater(_theirs(tp))) is not None:
                found[tp] = max(end - position, 0)
        return found

    def close(self) -> None:
        """Go away. The group keeps our partitions for the session timeout, so that a restart moves nothing."""
        try:
            commit_rest(self._members, self._group, self._clock, self._poll_and_commit)
        finally:
            self._members.closed = True
            self._client.close(autocommit=False, timeout_ms=1000)

    def _poll_and_commit(self) -> None:
        self._poll_client(NEWS_S, 1)
        self.commit()

    def _subscribe(self) -> None:
        self._client.subscribe(self._topics, listener=self._listener)

    def _poll_client(self, timeout_s: float, max_records: int) -> dict[Any, list[Any]]:
        coordinator = self._client._coordinator  # noqa: SLF001 - no public way to know before a poll
        keep_join(coordinator)
        if coordinator.need_rejoin():
            timeout_s = max(timeout_s, JOIN_POLL_S)
        try:
            found: dict[Any, list[Any]] = self._client.poll(
                timeout_ms=int(max(timeout_s, 0.0) * 1000), max_records=max_records
            )
        except _FENCED as error:
            raise FencedError(f"member {self._member!r} of group {self._group!r}: {_text(error)}") from error
        except KafkaConnectionError:
            # The coordinator was looked for while the broker is away: mostly such a poll finds nothing, but where it
            # waits for a connection that is refused it raises that. Commits say when an outage is too long.
            return {}
        except KafkaError as error:
            raise LogError(f"group {self._group!r}: {_text(error)}") from error
        return found

    def _chunk(self, theirs: Any, records: list[Any]) -> Chunk:
        tp = TopicPartition(*theirs)
        offsets = [r.offset for r in records]
        self._members.polled(tp, offsets)
        chunk = Chunk(tp, offsets, [r.value for r in records])
        if self._found:
            chunk.unreadable = take_found(self._found, chunk, passes_over=self._passes_over)
        if not self._values_only:
            chunk.keys = [r.key for r in records]
            chunk.headers = [tuple(r.headers) for r in records]
            chunk.timestamps_ms = [r.timestamp for r in records]
        return chunk

    def _watch_membership(self) -> None:
        """Notice a join that hangs, and an older member under our id."""
        state = self._client.group_metadata().state
        now = self._clock.monotonic()
        coordinator = self._client._coordinator  # noqa: SLF001 - a join that was lost and a fenced id show only there
        if state is MemberState.STABLE:
            self._joined_at, self._rejoins = now, 0
            # Heartbeats that were refused for good are switched off; before a rejoin they are, too.
            if not (coordinator._heartbeat_enabled or coordinator.need_rejoin()):  # noqa: SLF001 - as above
                raise FencedError(f"another worker of group {self._group!r} has our id {self._member!r}")
            self._look_for_overlooked(coordinator)
            return
        # Waiting for others to join may take as long as their slowest batch; a join that nobody waits for is lost.
        limit_s = self._rebalance_limit_s if coordinator.need_rejoin() else self._join_limit_s
        if now - self._joined_at < limit_s:
            return
        if self._rejoins >= REJOINS:
            raise LogError(
                f"member {self._member!r} could not join group {self._group!r}: {REJOINS} new tries of {limit_s:.0f} s"
            )
        self._rejoins += 1
        self._joined_at = now
        self._members.lose(list(self._members.owned))
        self._client.unsubscribe()
        self._subscribe()

    def _look_for_overlooked(self, coordinator: Any) -> None:
        """A member that knows that it leads sees by itself when the topics change."""
        if coordinator._is_leader:  # noqa: SLF001 - no public way to know
            return
        there = coordinator._metadata_snapshot  # noqa: SLF001 - as above; another object after each change
        if self._overlooked.found(there, lambda: shared_out(coordinator, self._group, COMMIT_S)):
            coordinator.request_rejoin()

    def _restart(self, tps: Collection[TopicPartition]) -> None:
        """Partitions that came back after somebody else may have had them go on from what is committed."""
        if not tps:
            return
        committed = self.committed(tps)
        beginnings = self.beginning_offsets([tp for tp in tps if tp not in committed])
        for tp in tps:
            self._client.seek(_theirs(tp), committed.get(tp, beginnings.get(tp, 0)))

    def _check_topics(self) -> None:
        now = self._clock.monotonic()
        if now - self._checked_at >= TOPIC_CHECK_S:
            self._checked_at = now
            check_topics(self._client, self._topics)

    def _ask_committed(self, tp: TopicPartition) -> Any:
        return self._client.committed(_theirs(tp), metadata=True, timeout_ms=int(PATIENCE_S * 1000))

    def _edges(self, ask: Any, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if not tps:
            return {}
        try:
            found = ask([_theirs(tp) for tp in tps], timeout_ms=int(PATIENCE_S * 1000))
        except KafkaError as error:
            raise LogError(f"offsets of {next(iter(tps)).topic!r} cannot be read: {_text(error)}") from error
        return {TopicPartition(*tp): offset for tp, offset in found.items()}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Runs on the client's I/O thread, while ours waits inside poll or close: may not block."""

    def __init__(self, client: Any, members: Membership, topic_ids: Mapping[str, str]) -> None:
        self._client, self._members, self._topic_ids = client, members, topic_ids
        self._generation = -1

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """The group rebalances: everything may go (Range is eager), so what is done is said now."""
        marks = self._members.revoking([TopicPartition(*tp) for tp in revoked])
        if marks:
            self._client.commit_async(_offsets(marks, self._topic_ids))
        self._generation = self._client.group_metadata().generation_id

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """What is new starts paused; what we kept goes on as it was."""
        unbroken = self._client.group_metadata().generation_id - self._generation in (0, 1)
        new = self._members.assigned([TopicPartition(*tp) for tp in assigned], unbroken=unbroken)
        if new:
            self._client.pause(*map(_theirs, new))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """The group went on without us: nothing may be committed."""
        self._members.lose([TopicPartition(*tp) for tp in lost])


def check_topics(client: Any, topics: Sequence[str]) -> None:
    """Ask for each topic; that also has the client know them before it joins, without which a join can hang.

    Raises:
        TopicMissingError: one does not exist.
    """
    for topic in topics:
        try:
            partitions = client.partitions_for_topic(topic)
        except UnknownTopicOrPartitionError as error:  # so it says where another look was on its way
            raise missing(topic) from error
        except KafkaError as error:
            raise LogError(f"topic {topic!r} cannot be looked up: {_text(error)}") from error
        if not partitions:
            raise missing(topic)


def missing(topic: str) -> TopicMissingError:
    """The error for a topic that does not exist."""
    return TopicMissingError(
        f"topic {topic!r} does not exist: create it (`gatewatch topics create` makes Gatewatch's own), "
        "or correct `sources:` or `kafka.prefix`"
    )


def _theirs(tp: TopicPartition) -> Any:
    return KafkaTopicPartition(*tp)


def _offsets(marks: dict[TopicPartition, int], topic_ids: Mapping[str, str]) -> dict[Any, Any]:
    return {_theirs(tp): OffsetAndMetadata(offset, topic_ids[tp.topic], -1) for tp, offset in marks.items()}


def _text(error: KafkaError) -> str:
    return str(error) or type(error).__name__
