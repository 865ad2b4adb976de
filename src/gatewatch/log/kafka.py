"""The log in production: a Kafka cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from importlib.util import find_spec
from typing import Any, TypeVar

import structlog
from kafka import KafkaConsumer as Client
from kafka import TopicPartition as KafkaTopicPartition
from kafka.errors import KafkaError

from gatewatch.errors import GatewatchError, LogError
from gatewatch.log.base import Chunk, Consumer, TopicInfo, TopicPartition
from gatewatch.log.guarded import Found, guard, take_found
from gatewatch.log.kafka_admin import KafkaAdmin
from gatewatch.log.kafka_config import PATIENCE_S, client_config
from gatewatch.log.kafka_connect import connect
from gatewatch.log.kafka_consumer import KafkaConsumer, missing
from gatewatch.log.kafka_producer import KafkaProducer
from gatewatch.settings import KafkaSettings

T = TypeVar("T", bound="KafkaProducer | Consumer")

_READ_POLL_S = 0.5
_READ_RECORDS = 5000
_NAMED = 5  # topics in one line of the log
_log = structlog.get_logger("gatewatch.log")


class KafkaLog:
    """See :class:`gatewatch.log.base.Log`. Connects only when something is asked for. Thread-safe."""

    def __init__(self, settings: KafkaSettings, *, stopping: Callable[[], bool] = lambda: False) -> None:
        self._settings, self._stopping = settings, stopping
        self._lock = threading.Lock()
        self._opened: list[KafkaProducer | Consumer] = []

    def consumer(
        self, topics: Sequence[str], *, group: str, member: str, values_only: bool = False, passes_over: bool = False
    ) -> Consumer:
        """Join a group. With ``values_only`` it may be the faster client (``kafka.client``)."""
        consumer: Consumer
        with closing(self.admin()) as admin:
            infos = _all_of(admin, topics)
            _leave_with_other_topics(admin, group, member, topics)
        ids = {topic: info.id for topic, info in infos.items()}
        if values_only and wants_librdkafka(self._settings, infos.values()):
            from gatewatch.log.librdkafka import LibrdkafkaConsumer  # noqa: PLC0415 - an optional extra

            consumer = LibrdkafkaConsumer(self._settings, ids, group=group, member=member, values_only=True)
        else:
            reading = {"values_only": values_only, "passes_over": passes_over or values_only}
            consumer = KafkaConsumer(self._settings, ids, group=group, member=member, **reading)
        return self._keep(consumer)

    def producer(self, *, linger_ms: int = 5) -> KafkaProducer:
        """A producer of its own."""
        return self._keep(KafkaProducer(self._settings, self._describe, linger_ms=linger_ms, stopping=self._stopping))

    def admin(self) -> KafkaAdmin:
        """For topics and groups."""
        return KafkaAdmin(self._settings)

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
    ) -> Iterator[Chunk]:
        """All records of all partitions up to what is the end now, in no group."""
        there = range(self._describe(topic).partitions)
        tps = [KafkaTopicPartition(topic, p) for p in there if partitions is None or p in partitions]
        with closing(self._reader()) as client:
            found = guard(client, values_only=False)
            try:
                ends = client.end_offsets(tps, timeout_ms=int(PATIENCE_S * 1000))
                starts = client.beginning_offsets(tps, timeout_ms=int(PATIENCE_S * 1000))
                at = {tp: max((start or {}).get(tp.partition, 0), starts[tp]) for tp in tps}
                left = {tp for tp in tps if at[tp] < ends[tp]}
                client.assign(sorted(left))
                for tp in left:
                    client.seek(tp, at[tp])
                while left:
                    yield from _read_some(client, ends, found)
                    left = {tp for tp in left if client.position(tp) < ends[tp]}
            except KafkaError as error:
                raise LogError(f"topic {topic!r} cannot be read: {error}") from error

    def close(self) -> None:
        """Close what was opened and is still open; nothing is flushed."""
        with self._lock:
            opened, self._opened = self._opened, []
        for one in opened:
            with suppress(GatewatchError):
                one.close(flush=False) if isinstance(one, KafkaProducer) else one.close()

    def _keep(self, one: T) -> T:
        with self._lock:
            self._opened.append(one)
        return one

    def _describe(self, topic: str) -> TopicInfo:
        with closing(self.admin()) as admin:
            return _all_of(admin, [topic])[topic]

    def _reader(self) -> Any:
        config = client_config(self._settings, "gatewatch-reader")
        config |= {"enable_auto_commit": False, "auto_offset_reset": "earliest", "allow_auto_create_topics": False}
        return connect(Client, self._settings, config)


def _all_of(admin: KafkaAdmin, topics: Sequence[str]) -> dict[str, TopicInfo]:
    found = admin.describe(topics)
    for topic in topics:
        if topic not in found:
            raise missing(topic)
    return found


def _leave_with_other_topics(admin: KafkaAdmin, group: str, member: str, topics: Sequence[str]) -> None:
    """End a member's last life, where that had other topics.

    Within its session it would be given what it had then: nothing of a source that is new in the settings, and
    partitions of one that is no longer there. A member that was gone is given its share, by a rebalance.
    """
    before = admin.subscribed(group, member)
    if before is not None and before != set(topics):
        _log.info("has other topics than before: joins its group anew", group=group, member=member)
        admin.remove_member(group, member)


def wants_librdkafka(settings: KafkaSettings, sources: Iterable[TopicInfo]) -> bool:
    """Whether ``kafka.client`` says librdkafka, or ``auto``, its package is there, and the broker bounds what is read.

    It unpacks what it reads without a limit. Where a topic says ``compression.type=uncompressed`` the broker unpacks a
    batch when it is written, and refuses it where it is then larger than ``max.message.bytes``.
    """
    unbounded = sorted(topic.name for topic in sources if topic.configs.get("compression.type") != "uncompressed")
    if settings.client == "auto":
        return find_spec("confluent_kafka") is not None and not unbounded
    if settings.client == "librdkafka" and unbounded:
        _log.warning(
            "librdkafka unpacks compressed batches of these topics without a limit",
            topics=unbounded[:_NAMED],
            mend="set compression.type=uncompressed on them, or kafka.client: kafka-python, or trust who writes",
        )
    return settings.client == "librdkafka"


def _read_some(client: Any, ends: Mapping[Any, int], found: Found) -> Iterator[Chunk]:
    """One poll's records, without those that came after the end was looked up."""
    polled = client.poll(timeout_ms=int(_READ_POLL_S * 1000), max_records=_READ_RECORDS)
    for tp, batch in polled.items():
        records = [r for r in batch if r.offset < ends[tp]]
        if records:
            chunk = Chunk(
                TopicPartition(*tp),
                [r.offset for r in records],
                [r.value for r in records],
                [r.key for r in records],
                [tuple(r.headers) for r in records],
                [r.timestamp for r in records],
            )
            take_found(found, chunk, passes_over=False)
            yield chunk
