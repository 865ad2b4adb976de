"""The faster consumer, of the extra ``gatewatch[librdkafka]``: confluent-kafka behind the same seam.

Used for ingest, whose work is many small values: 1 us a message against 8 us. Everything else stays with kafka-python.

While the broker restarts, commits are kept for the next try. After an outage that is longer than the session the client
joins anew by itself, and a member may find itself fenced by its own repeated join: then we join with a new client, once
an outage. Should another worker have our id after all, it fences us again, and we end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import structlog
from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from gatewatch.clock import SystemClock
from gatewatch.errors import FencedError, LogError, TopicMissingError
from gatewatch.log.base import Chunk, Headers, Polled, TopicPartition
from gatewatch.log.kafka_config import PATIENCE_S, quiet_client_logs
from gatewatch.log.librdkafka_config import client_config, consumer_config
from gatewatch.log.librdkafka_group import shared_out
from gatewatch.log.membership import Membership, commit_rest, is_of
from gatewatch.log.overlooked import Overlooked
from gatewatch.settings import KafkaSettings

_FENCED = (
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError._FATAL,  # noqa: SLF001 - a consumer has one fatal error: an instance id that somebody else uses
)
_STALE = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)
# No coordinator, or none that answers: what a restart of the broker looks like.
_AWAY = (
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the library's own names of public constants
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.REQUEST_TIMED_OUT,
)
_REFUSED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
)
# It would ask for the same batch for ever, and say so to nobody.
_UNREADABLE = (KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG)  # noqa: SLF001 - as above
_NOT_ACTIVE = KafkaError._STATE  # noqa: SLF001 - the library's own name of a public constant
TOPIC_CHECK_S = 5.0  # how often an idle consumer looks whether its topics are still there: the client says nothing
TOPIC_CHECK_WAIT_S = 1.0  # and how long it waits for the answer
ANSWER_S = 2.0  # a broker that is there answers within milliseconds, on a busy machine within a second
_log = structlog.get_logger("gatewatch.log")
NEWS_S = 0.2  # a change of assignment shows only between two waits of the client
SEEK_RETRY_S = 0.01  # a partition takes some milliseconds to become active after its assignment


class LibrdkafkaConsumer:
    """See :class:`gatewatch.log.base.Consumer`. ``topic_ids`` are the ids of the topics to read, by name."""

    def __init__(
        self, settings: KafkaSettings, topic_ids: Mapping[str, str], *, group: str, member: str, values_only: bool
    ) -> None:
        quiet_client_logs()
        self._group, self._member, self._values_only = group, member, values_only
        self._topics, self._topic_ids = tuple(topic_ids), dict(topic_ids)
        self._one_topic = self._topics[0] if len(self._topics) == 1 else None
        self._clock = SystemClock()
        self._checked_at = self._clock.monotonic()
        self._members = Membership()
        self._paused: set[TopicPartition] = set()
        self._config = consumer_config(settings, group=group, member=member)
        self._admin_config = client_config(settings, member)
        self._client = self._joined()

    def poll(self, timeout_s: float, max_records: int = 5000) -> Polled:
        """Wait for records or a change of assignment."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            messages = self._messages(deadline - self._clock.monotonic(), max_records)
            self._look_for_overlooked()
            polled = self._members.take()
            polled.chunks = list(self._chunks(messages))
            if not messages:
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
        one. Whether there is a broker is asked first: the client's own commit waits for a coordinator for as long as
        ``kafka.session_timeout``, and hears of no SIGTERM meanwhile.
        """
        marks = self._members.take_marks()
        if not marks:
            return
        if self._rebalancing:
            self._members.put_back(marks)
            return
        began = self._clock.monotonic()
        error = self._commit(marks) if self._answers() else KafkaError(_AWAY[0])
        if error is None:
            self._members.committed()
        elif error.code() == KafkaError.REBALANCE_IN_PROGRESS or self._out_of_date(error):
            self._members.put_back(marks)
        elif error.code() in _FENCED:
            if not self._join_again():
                raise FencedError(
                    f"member {self._member!r} of group {self._group!r} may not commit any more: {error.str()}"
                )
        elif self._members.not_committed(marks, began) >= PATIENCE_S or error.code() not in _AWAY:
            raise LogError(f"group {self._group!r}: offsets could not be committed: {error.str()}")

    def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of this group."""
        try:
            found = self._client.committed([KafkaTopicPartition(*tp) for tp in tps], timeout=PATIENCE_S)
        except KafkaException as error:
            raise LogError(f"group {self._group!r}: committed offsets cannot be read: {error.args[0].str()}") from error
        there = [at for at in found if at.offset >= 0 and is_of(at.metadata, self._topic_ids[at.topic])]
        return {TopicPartition(at.topic, at.partition): at.offset for at in there}

    def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that is still there."""
        return {tp: self._edges(tp)[0] for tp in tps}

    def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset after the last record."""
        return {tp: self._edges(tp)[1] for tp in tps}

    def offsets_at(self, tps: Collection[TopicPartition], ts: float) -> dict[TopicPartition, int]:
        """First offset written at or after ``ts``, else the end."""
        asked = [KafkaTopicPartition(*tp, round(ts * 1000)) for tp in tps]
        try:
            found = self._client.offsets_for_times(asked, timeout=PATIENCE_S)
        except KafkaException as error:
            raise LogError(f"group {self._group!r}: offsets at a time cannot be read: {error.args[0].str()}") from error
        ends = self.end_offsets(tps)
        at = {TopicPartition(one.topic, one.partition): one.offset for one in found}
        return {tp: at[tp] if at.get(tp, -1) >= 0 else ends[tp] for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """The next record polled is the first at or after ``offset``."""
        self._members.check_owned([tp])
        self._members.next_offset[tp] = offset
        if not self._rebalancing:  # else the assignment will start there
            self._seek(tp, offset)

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Polls bring nothing from these."""
        self._members.check_owned(tps)
        self._paused.update(tps)
        if not self._rebalancing:
            self._client.pause([KafkaTopicPartition(*tp) for tp in tps])

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Undo :meth:`pause`."""
        self._members.check_owned(tps)
        self._paused.difference_update(tps)
        if not self._rebalancing:
            self._client.resume([KafkaTopicPartition(*tp) for tp in tps])

    def lag(self) -> dict[TopicPartition, int]:
        """Records not yet polled; a partition that was never fetched is absent."""
        found: dict[TopicPartition, int] = {}
        for tp, position in self._members.next_offset.items():
            marks = self._client.get_watermark_offsets(KafkaTopicPartition(*tp), cached=True)
            if marks is not None and marks[1] >= 0:
                found[tp] = max(marks[1] - position, 0)
        return found

    def close(self) -> None:
        """Go away. The group keeps our partitions for the session timeout, so that a restart moves nothing."""
        try:
            commit_rest(self._members, self._group, self._clock, self._poll_and_commit)
        finally:
            self._members.closed = True
            self._client.close()

    def _joined(self) -> Client:
        client = Client(self._config, logger=logging.getLogger("kafka.librdkafka"))
        self._subscribe(client)
        self._rebalancing = True  # until it is told what it has
        self._overlooked = Overlooked(self._group, self._clock)
        return client

    def _subscribe(self, client: Client) -> None:
        client.subscribe(
            list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _look_for_overlooked(self) -> None:
        """Once it has joined. Later the client sees by itself when its topics change, and asks for another round."""
        if self._rebalancing or not self._overlooked.due:
            return
        there: dict[str, Collection[int]] | None
        try:
            there = {t: self._client.list_topics(t, timeout=ANSWER_S).topics[t].partitions for t in self._topics}
        except KafkaException:
            there = None  # the broker is away
        if self._overlooked.found(there, lambda: shared_out(self._admin_config, self._group, ANSWER_S)):
            self._subscribe(self._client)

    def _out_of_date(self, error: KafkaError) -> bool:
        """Whether the group forgot us during an outage: the next poll says what is lost, and joins anew."""
        return error.code() in _STALE and self._members.in_outage

    def _join_again(self) -> bool:
        """Go on with a new client, if that may help: whether it was done. All that was ours is lost."""
        if not self._members.in_outage:
            return False
        _log.warning("fenced after an outage: joins anew", group=self._group, member=self._member)
        self._members.lose(list(self._members.owned))
        self._members.committed()  # whoever fences us now is somebody else
        self._client.close()
        self._paused.clear()
        self._client = self._joined()
        return True

    def _poll_and_commit(self) -> None:
        self._messages(NEWS_S, 1)
        self.commit()

    def _messages(self, timeout_s: float, max_records: int) -> list[Message]:
        """What is there at once, else what comes first: the client's own consume waits until it is full."""
        messages = self._client.consume(max_records, 0)
        if not messages:
            first = self._client.poll(max(min(timeout_s, NEWS_S), 0.0))
            if first is not None:
                messages = [first]
                if max_records > 1:
                    messages += self._client.consume(max_records - 1, 0)
        errors = [(m, error) for m in messages if (error := m.error()) is not None]
        if not errors:
            return messages
        for m, error in errors:
            if error.code() in _UNREADABLE:
                raise LogError(
                    f"{m.topic()}-{m.partition()}: the batch at offset {m.offset()} cannot be read, and librdkafka "
                    "stops at it: with `kafka: {client: kafka-python}` it becomes a dead letter, and reading goes on"
                )
            self._judge(error)
        return [m for m in messages if m.error() is None]

    def _judge(self, error: KafkaError) -> None:
        """Raise for an error that ends us; the client mends the others itself."""
        if error.code() in _FENCED:
            if self._join_again():
                return
            raise FencedError(f"another worker of group {self._group!r} has our id {self._member!r}: {error.str()}")
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMissingError(f"one of the topics {', '.join(self._topics)} is gone: {error.str()}")
        if error.code() in _REFUSED:
            raise LogError(f"group {self._group!r}: {error.str()}")

    def _check_topics(self) -> None:
        now = self._clock.monotonic()
        if now - self._checked_at < TOPIC_CHECK_S:
            return
        self._checked_at = now
        for topic in self._topics:
            try:
                found = self._client.list_topics(topic, timeout=TOPIC_CHECK_WAIT_S).topics[topic]
            except KafkaException:
                return  # the broker is away: nothing is known
            if found.error is not None:
                self._judge(found.error)

    def _chunks(self, messages: list[Message]) -> Iterator[Chunk]:
        """Runs of messages of one partition, as the client fetched them."""
        if not messages:
            return
        partitions = [m.partition() for m in messages]
        places: list[object] = [*partitions]
        if self._one_topic is None:
            places = [(m.topic(), p) for m, p in zip(messages, partitions, strict=True)]
        cuts = [0, *(i for i in range(1, len(places)) if places[i] != places[i - 1]), len(places)]
        for low, high in pairwise(cuts):
            tp = TopicPartition(self._one_topic or str(messages[low].topic()), int(partitions[low] or 0))
            yield self._chunk(tp, messages[low:high])

    def _chunk(self, tp: TopicPartition, run: list[Message]) -> Chunk:
        offsets: list[int] = [m.offset() or 0 for m in run]  # None only for errors, which are out by now
        self._members.polled(tp, offsets)
        chunk = Chunk(tp, offsets, [m.value() for m in run])
        if not self._values_only:
            chunk.keys = [m.key() for m in run]
            chunk.headers = [_headers(m) for m in run]
            chunk.timestamps_ms = [m.timestamp()[1] if m.timestamp()[0] else -1 for m in run]
        return chunk

    def _on_assign(self, client: Client, theirs: list[KafkaTopicPartition]) -> None:
        """Called inside a poll. What we kept goes on where it was; what is new starts paused, at what is committed.

        librdkafka does not tell the group's generation. Should somebody else have had a kept partition in between, then
        we send again what it sent, which readers recognise.
        """
        tps = [TopicPartition(at.topic, at.partition) for at in theirs]
        self._paused.update(self._members.assigned(tps, unbroken=True))
        self._paused.intersection_update(tps)
        for at, tp in zip(theirs, tps, strict=True):
            if tp in self._members.next_offset:
                at.offset = self._members.next_offset[tp]
        client.assign(theirs)
        if self._paused:
            client.pause([KafkaTopicPartition(*tp) for tp in self._paused])
        self._rebalancing = False

    def _on_revoke(self, client: Client, theirs: list[KafkaTopicPartition]) -> None:
        """Called inside a poll: the group rebalances, so what is done is said now."""
        marks = self._members.revoking([TopicPartition(at.topic, at.partition) for at in theirs])
        if marks:
            client.commit(offsets=_offsets(marks, self._topic_ids), asynchronous=True)
        self._rebalancing = True

    def _on_lost(self, _client: Client, theirs: list[KafkaTopicPartition]) -> None:
        """Called inside a poll: the group went on without us."""
        self._members.lose([TopicPartition(at.topic, at.partition) for at in theirs])
        self._rebalancing = True

    def _answers(self) -> bool:
        """Whether there is a broker."""
        try:
            self._client.list_topics(self._topics[0], timeout=ANSWER_S)
        except KafkaException:
            return False
        return True

    def _commit(self, marks: dict[TopicPartition, int]) -> KafkaError | None:
        """Commit and wait; returns what was wrong."""
        try:
            done = self._client.commit(offsets=_offsets(marks, self._topic_ids), asynchronous=False)
        except KafkaException as caught:
            error: KafkaError = caught.args[0]
            return error
        return next((at.error for at in done if at.error is not None), None)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        deadline = self._clock.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.seek(KafkaTopicPartition(*tp, offset))
            except KafkaException as error:
                if error.args[0].code() != _NOT_ACTIVE or self._clock.monotonic() > deadline:
                    raise LogError(f"{tp.topic}-{tp.partition}: cannot seek: {error.args[0].str()}") from error
                time.sleep(SEEK_RETRY_S)
            else:
                return

    def _edges(self, tp: TopicPartition) -> tuple[int, int]:
        try:
            marks = self._client.get_watermark_offsets(KafkaTopicPartition(*tp), timeout=PATIENCE_S)
        except KafkaException as error:
            raise LogError(f"{tp.topic}-{tp.partition}: offsets cannot be read: {error.args[0].str()}") from error
        if marks is None:
            raise LogError(f"{tp.topic}-{tp.partition}: offsets cannot be read: no answer in {PATIENCE_S:.0f} s")
        return marks


def _offsets(marks: dict[TopicPartition, int], topic_ids: Mapping[str, str]) -> list[KafkaTopicPartition]:
    return [KafkaTopicPartition(*tp, offset, topic_ids[tp.topic]) for tp, offset in marks.items()]


def _headers(message: Message) -> Headers:
    headers = message.headers() or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, content.encode() if isinstance(content, str) else content or b"") for name, content in pairs)
