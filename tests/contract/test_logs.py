"""What every log must do: in memory, on Kafka by kafka-python, and on Kafka with the consumer of librdkafka.

What a replay shows on the memory log must hold in production, so there is one suite.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress

import pytest

from gatewatch.errors import FencedError, LogError, RecordTooLargeError, SendError, TopicMissingError
from gatewatch.log.base import Chunk, Consumer, Headers, Producer, TopicPartition, TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.librdkafka import LibrdkafkaConsumer
from gatewatch.settings import KafkaSettings
from gatewatch.testing.logs import WAIT_S, KafkaRig, MemoryRig, Rig, numbered, until

SESSION_S = 6.0  # the shortest that a broker allows by default


class LibrdkafkaLog(KafkaLog):
    """Every consumer is librdkafka's, also those that want keys and headers."""

    def consumer(
        self, topics: Sequence[str], *, group: str, member: str, values_only: bool = False, passes_over: bool = False
    ) -> Consumer:
        """Join a group."""
        del passes_over
        ids = {topic: self._describe(topic).id for topic in topics}
        return self._keep(LibrdkafkaConsumer(self._settings, ids, group=group, member=member, values_only=values_only))


@pytest.fixture(
    params=[
        "memory",
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("librdkafka", marks=pytest.mark.kafka),
    ]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One log of each kind."""
    if request.param == "memory":
        made: Rig = MemoryRig()
    else:
        bootstrap = request.getfixturevalue("kafka")
        settings = KafkaSettings(bootstrap=(bootstrap,), session_timeout=SESSION_S)
        made = KafkaRig(KafkaLog(settings) if request.param == "kafka-python" else LibrdkafkaLog(settings))
    yield made
    made.log.close()


def test_records_come_in_order_with_their_offsets(rig: Rig) -> None:
    """Counters would run over events in a wrong order, or commits would skip some."""
    topic = rig.topic(2)
    rig.write(topic, numbered(300), partition=0)
    rig.write(topic, numbered(200, start=1000), partition=1)
    with closing(rig.join(topic)) as reader:
        until(lambda: len(reader.records) == 500, reader)
    for partition, values in ((0, numbered(300)), (1, numbered(200, start=1000))):
        mine = [(offset, value) for tp, offset, value in reader.records if tp.partition == partition]
        assert mine == list(enumerate(values))


def test_several_topics_keep_apart(rig: Rig) -> None:
    """Events of one gateway would be decoded as another's."""
    first, second = rig.topic(), rig.topic()
    rig.write(first, [b"a"] * 5)
    rig.write(second, [b"b"] * 5)
    with closing(rig.join(first, second, values_only=True)) as reader:
        until(lambda: len(reader.records) == 10, reader)
    assert {(tp.topic, value) for tp, _, value in reader.records} == {(first, b"a"), (second, b"b")}


def test_keys_headers_and_tombstones_arrive(rig: Rig) -> None:
    """A removed decision would come back to life, a batch would lose its schema."""
    topic = rig.topic(configs={"cleanup.policy": "compact"})
    headers: Headers = (("gw-kind", b"batch"), ("gw-kind", b""), ("x", b"\x00\xff"))
    producer = rig.log.producer()
    producer.send(topic, b"v", key=b"k", headers=headers)
    producer.send(topic, None, key=b"k")
    producer.send(topic, b"", key=b"\xff")
    producer.flush(WAIT_S)
    producer.close()
    with closing(rig.join(topic)) as reader:
        chunks: list[Chunk] = []
        while sum(len(c.values) for c in chunks) < 3:
            chunks += reader.poll().chunks
    assert [v for c in chunks for v in c.values] == [b"v", None, b""]
    assert [k for c in chunks for k in c.keys] == [b"k", b"k", b"\xff"]
    assert [h for c in chunks for h in c.headers] == [headers, (), ()]
    assert len([t for c in chunks for t in c.timestamps_ms]) == 3


def test_values_only_leaves_the_rest_out(rig: Rig) -> None:
    """Ingest would pay for columns that it does not read."""
    topic = rig.topic()
    rig.write(topic, [b"v"])
    with closing(rig.join(topic, values_only=True)) as reader:
        chunks: list[Chunk] = []
        while not chunks:
            chunks += reader.poll().chunks
    assert (chunks[0].values, chunks[0].keys, chunks[0].headers, chunks[0].timestamps_ms) == ([b"v"], [], [], [])


def test_assigned_partitions_start_paused(rig: Rig) -> None:
    """A task would get rows before its state was restored."""
    topic = rig.topic()
    rig.write(topic, numbered(3))
    with closing(rig.join(topic)) as reader:
        reader.resume = False
        until(lambda: bool(reader.owned), reader)
        for _ in range(5):
            assert not reader.poll(0.1).chunks
        reader.consumer.resume(reader.owned)
        until(lambda: len(reader.records) == 3, reader)


def test_poll_waits_for_records_and_no_longer_than_it_was_told(rig: Rig) -> None:
    """Alerts would be late by a poll, or the loop would spin."""
    topic = rig.topic()
    with closing(rig.join(topic)) as reader:
        until(lambda: bool(reader.owned), reader)
        began = time.monotonic()
        assert not reader.poll(0.3)
        assert 0.25 < time.monotonic() - began < 10.0
        writer = threading.Timer(0.3, rig.write, (topic, [b"late"]))
        writer.start()
        began = time.monotonic()
        polled = reader.poll(30.0)
        writer.join()
        assert [c.values for c in polled.chunks] == [[b"late"]]
        assert time.monotonic() - began < 20.0


def test_a_poll_brings_no_more_than_was_asked_for(rig: Rig) -> None:
    """A worker's memory would depend on how far it is behind."""
    topic = rig.topic(2)
    rig.write(topic, numbered(50), partition=0)
    rig.write(topic, numbered(50), partition=1)
    with closing(rig.join(topic)) as reader:
        while len(reader.records) < 100:
            assert sum(len(c.values) for c in reader.poll(0.1, max_records=7).chunks) <= 7


def test_seek_pause_and_resume(rig: Rig) -> None:
    """A restored task would miss rows or see them twice; a source that is ahead could not be held."""
    topic = rig.topic(2)
    held, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    rig.write(topic, numbered(20), partition=0)
    with closing(rig.join(topic)) as reader:
        reader.resume = False
        until(lambda: len(reader.owned) == 2, reader)
        reader.consumer.seek(held, 15)
        reader.consumer.resume([held, other])
        until(lambda: len(reader.records) == 5, reader)
        assert reader.offsets == [15, 16, 17, 18, 19]
        reader.consumer.pause([held])
        rig.write(topic, numbered(5, start=20), partition=0)
        rig.write(topic, [b"other"], partition=1)
        until(lambda: len(reader.records) == 6, reader)
        reader.poll(0.3)
        assert reader.values[5:] == [b"other"]
        reader.consumer.seek(held, 18)
        reader.consumer.resume([held])
        until(lambda: len(reader.records) == 13, reader)
        assert [offset for tp, offset, _ in reader.records[6:]] == [18, 19, 20, 21, 22, 23, 24]


def test_two_members_share_and_one_takes_over(rig: Rig) -> None:
    """A second worker would do nothing, or partitions of a dead one would stay unread."""
    topic = rig.topic(4)
    everything = {TopicPartition(topic, p) for p in range(4)}
    first = rig.join(topic, member="a")
    until(lambda: first.owned == everything, first)
    second = rig.join(topic, member="b")
    until(lambda: len(first.owned) == len(second.owned) == 2, first, second)  # one may be told a poll before the other
    assert first.owned | second.owned == everything
    kept = set(first.owned)
    first.news.clear()
    for p in range(4):
        rig.write(topic, [b"%d" % p], partition=p)
    until(lambda: len(first.records) + len(second.records) == 4, first, second)
    assert {tp for tp, _, _ in first.records} == kept
    second.close()
    until(lambda: first.owned == everything, first)
    assert not kept & {tp for news in first.news for tp in (*news.assigned, *news.revoked, *news.lost)}
    first.close()


def test_what_a_member_kept_in_a_rebalance_goes_on_where_it_was(rig: Rig) -> None:
    """Every join would make all others read again what they have not committed, or resume what they hold back."""
    topic = rig.topic(2)
    mine, theirs = TopicPartition(topic, 0), TopicPartition(topic, 1)
    rig.write(topic, numbered(5), partition=0)
    rig.write(topic, numbered(5), partition=1)
    first = rig.join(topic, member="a")
    until(lambda: len(first.records) == 10, first)
    first.consumer.pause([mine])
    second = rig.join(topic, member="b")
    until(lambda: first.owned == {mine} and second.owned == {theirs}, first, second)
    rig.write(topic, [b"new"], partition=0)
    for _ in range(5):
        first.poll(0.1)
    assert len(first.records) == 10
    first.consumer.resume([mine])
    until(lambda: len(first.records) > 10, first, second)
    assert first.records[10:] == [(mine, 5, b"new")]
    first.close()
    second.close()


def test_a_restart_goes_on_from_what_was_committed(rig: Rig) -> None:
    """Events would be lost or scored twice at every restart."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(10))
    first = rig.join(topic)
    until(lambda: len(first.records) == 10, first)
    assert first.consumer.committed([tp]) == {}
    first.consumer.mark(tp, 5)
    first.consumer.mark(tp, 7)
    first.consumer.commit()
    assert first.consumer.committed([tp]) == {tp: 7}
    first.consumer.mark(tp, 9)  # never committed
    first.close()
    second = rig.join(topic)
    until(lambda: len(second.records) == 3, second)
    assert second.offsets == [7, 8, 9]
    second.close()


def test_marks_of_what_is_revoked_are_committed(rig: Rig) -> None:
    """Whoever takes a partition over would do again up to a second of work."""
    topic = rig.topic(2)
    tps = [TopicPartition(topic, p) for p in range(2)]
    for tp in tps:
        rig.write(topic, numbered(4), partition=tp.partition)
    first = rig.join(topic, member="a")
    until(lambda: len(first.records) == 8, first)
    for tp in tps:
        first.consumer.mark(tp, 3)
    second = rig.join(topic, member="b")
    until(lambda: len(second.records) == 1 and first.owned == {tps[0]}, first, second)
    assert second.records == [(tps[1], 3, b"3")]
    first.consumer.mark(tps[1], 4)  # an acknowledgement that came late: it is not ours any more
    first.consumer.commit()
    assert second.consumer.committed(tps)[tps[1]] == 3
    first.close()
    second.close()


def test_a_restart_under_the_same_id_moves_nothing(rig: Rig) -> None:
    """A rolling restart would stop every worker for a rebalance each time."""
    topic = rig.topic(2)
    first, second = (rig.join(topic, member=m) for m in "ab")
    until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    first.news.clear()
    second.close()
    again = rig.join(topic, member="b")
    until(lambda: again.owned == second.owned, again, first)
    assert first.news == []
    first.close()
    again.close()


def test_an_older_member_with_the_same_id_is_fenced(rig: Rig) -> None:
    """Two workers started under one name would both write the same partitions."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(2))
    older = rig.join(topic)
    until(lambda: len(older.records) == 2, older)
    newer = rig.join(topic)
    until(lambda: newer.owned == {tp}, newer)
    older.consumer.mark(tp, 2)
    with pytest.raises(FencedError, match=topic):
        older.consumer.commit()
    assert newer.consumer.committed([tp]) == {}
    with pytest.raises(FencedError, match=topic):
        until(lambda: False, older)
    older.close()
    newer.close()


def test_a_member_that_was_taken_for_dead_may_not_commit(rig: Rig) -> None:
    """A worker that hung would move offsets that another one owns by now."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(2))
    reader = rig.join(topic)
    until(lambda: len(reader.records) == 2, reader)
    rig.expel(topic, "m")
    reader.consumer.mark(tp, 2)
    with pytest.raises(FencedError, match=topic):
        reader.consumer.commit()
    reader.close()


def test_retention_shows_as_a_hole(rig: Rig) -> None:
    """Events that were deleted before they were read would be missed in silence."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(10))
    rig.drop_before(tp, 6)
    reader = rig.join(topic)
    reader.resume = False
    until(lambda: reader.owned == {tp}, reader)
    reader.consumer.seek(tp, 2)
    assert reader.consumer.beginning_offsets([tp]) == {tp: 6}
    assert reader.consumer.end_offsets([tp]) == {tp: 10}
    reader.consumer.resume([tp])
    until(lambda: len(reader.records) == 4, reader)
    assert reader.offsets == [6, 7, 8, 9]
    reader.close()


def test_offsets_are_found_by_time(rig: Rig) -> None:
    """A new installation would warm up from the wrong week, or from nothing."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(5))
    stamps = [t / 1000.0 for chunk in rig.log.read(topic) for t in chunk.timestamps_ms]
    with closing(rig.join(topic)) as reader:
        until(lambda: reader.owned == {tp}, reader)
        ask = reader.consumer.offsets_at
        assert ask([tp], 1.0) == {tp: 0}
        assert ask([tp], stamps[3]) == {tp: stamps.index(stamps[3])}
        assert ask([tp], stamps[4] + 3600.0) == {tp: 5}


def test_lag_is_what_was_not_polled(rig: Rig) -> None:
    """A worker would call itself caught up, or never."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(10))
    reader = rig.join(topic)
    reader.resume = False
    until(lambda: reader.owned == {tp}, reader)
    reader.consumer.seek(tp, 0)
    assert reader.consumer.lag().get(tp, 10) == 10
    reader.consumer.resume([tp])
    while not reader.records:
        reader.poll(0.1, max_records=4)
    assert 0 < len(reader.records) <= 4  # a poll may bring less than there is
    assert reader.consumer.lag() == {tp: 10 - len(reader.records)}
    until(lambda: len(reader.records) == 10, reader)
    assert reader.consumer.lag() == {tp: 0}
    reader.close()


def test_a_partition_that_is_not_ours_cannot_be_moved(rig: Rig) -> None:
    """A mistake in a worker would pass unseen."""
    topic = rig.topic()
    reader = rig.join(topic)
    until(lambda: bool(reader.owned), reader)
    stranger = TopicPartition(topic, 7)
    with pytest.raises(LogError, match="not assigned"):
        reader.consumer.seek(stranger, 0)
    with pytest.raises(LogError, match="not assigned"):
        reader.consumer.pause([stranger])
    with pytest.raises(LogError, match="not assigned"):
        reader.consumer.resume([stranger])
    reader.close()


def test_a_record_that_is_too_large_is_refused_and_nothing_else(rig: Rig) -> None:
    """One huge event would end the worker, again and again."""
    limit = 20_000
    topic = rig.topic(configs={"max.message.bytes": str(limit)})
    producer = rig.log.producer()
    with pytest.raises(RecordTooLargeError, match=topic):
        producer.send(topic, bytes(limit + 1))
    producer.send(topic, bytes(limit - 100))
    for value in numbered(500):  # together larger than the limit: they must not become one batch that is refused
        producer.send(topic, value * 50)
    producer.flush(WAIT_S)
    producer.check()
    producer.close()
    assert sum(len(c.values) for c in rig.log.read(topic)) == 501


def test_a_record_that_the_topic_does_not_take_is_refused_and_nothing_else(rig: Rig) -> None:
    """A mistake in one writer would end all that the worker writes."""
    topic = rig.topic(configs={"cleanup.policy": "compact"})
    producer = rig.log.producer()
    with pytest.raises(LogError, match="key"):
        producer.send(topic, b"v")
    with pytest.raises(LogError, match=r"no number 5"):
        producer.send(topic, b"v", key=b"k", partition=5)
    with pytest.raises(TopicMissingError, match="does not exist"):
        producer.send("no-such-topic", b"v")
    producer.send(topic, b"v", key=b"k")
    producer.flush(WAIT_S)
    producer.close()
    assert [c.values for c in rig.log.read(topic)] == [[b"v"]]


def test_acknowledgements_say_the_offset_in_order(rig: Rig) -> None:
    """An input offset would be committed before its output is safe."""
    topic = rig.topic()
    acked: list[int] = []
    producer = rig.log.producer()
    for value in numbered(200):
        producer.send(topic, value, on_ack=acked.append)
    producer.flush(WAIT_S)
    assert acked == list(range(200))
    producer.close()
    with pytest.raises(SendError, match="closed"):
        producer.send(topic, b"late")


def _send_and_flush(producer: Producer, topic: str, on_ack: Callable[[int], None]) -> None:
    producer.send(topic, b"v", on_ack=on_ack)
    producer.flush(WAIT_S)


def test_an_error_in_an_acknowledgement_fails_the_producer(rig: Rig) -> None:
    """A bug there would be logged by the client and forgotten, and nothing ever committed."""
    topic = rig.topic()

    def broken(_offset: int) -> None:
        raise ValueError("bug")

    producer = rig.log.producer()
    with pytest.raises(SendError, match="bug"):
        _send_and_flush(producer, topic, broken)
    with pytest.raises(SendError, match="bug"):
        producer.check()
    producer.close(flush=False)


def test_keys_decide_the_partition(rig: Rig) -> None:
    """Records of one key would get out of order."""
    topic = rig.topic(4)
    producer = rig.log.producer()
    for i in range(400):
        producer.send(topic, b"%d" % i, key=b"key-%d" % (i % 40))
    producer.flush(WAIT_S)
    producer.close()
    places: dict[bytes | None, set[int]] = {}
    for chunk in rig.log.read(topic):
        for key in chunk.keys:
            places.setdefault(key, set()).add(chunk.tp.partition)
    assert len(places) == 40
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len({p for partitions in places.values() for p in partitions}) > 1


def test_read_gives_all_up_to_now(rig: Rig) -> None:
    """A map of active blocks would be built from half of them, or never be finished."""
    topic = rig.topic(3)
    rig.write(topic, numbered(10), partition=0)
    rig.write(topic, numbered(20), partition=2)
    reading = rig.log.read(topic, start={0: 4})
    first = next(reading)
    rig.write(topic, [b"too late"], partition=0)
    chunks = [first, *reading]
    found = {p: [v for c in chunks if c.tp.partition == p for v in c.values] for p in range(3)}
    assert found == {0: numbered(6, start=4), 1: [], 2: numbered(20)}
    assert list(rig.log.read(rig.topic())) == []


def test_a_missing_topic_is_named_with_the_fix(rig: Rig) -> None:
    """A typing error in `sources:` would show as a worker that reads nothing."""
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        rig.log.consumer(["no-such-topic"], group="g", member="m")
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        next(rig.log.read("no-such-topic"))


def test_admin_creates_describes_and_alters(rig: Rig) -> None:
    """`gatewatch topics` would lie."""
    old = rig.topic(2, {"retention.ms": "3600000"})
    new = f"{old}-new"
    with closing(rig.log.admin()) as admin:
        assert admin.create([TopicSpec(old, 5), TopicSpec(new, 3)]) == [new]
        found = admin.describe([old, new, "no-such-topic"])
        assert set(found) == {old, new}
        assert (found[old].partitions, found[new].partitions, found[new].replication) == (2, 3, 1)
        assert found[old].configs["retention.ms"] == "3600000"
        admin.alter(old, {"retention.ms": "7200000", "cleanup.policy": "compact"})
        altered = admin.describe([old])[old].configs
        assert (altered["retention.ms"], altered["cleanup.policy"]) == ("7200000", "compact")


def test_group_lag_is_end_minus_committed(rig: Rig) -> None:
    """An operator would not see that a role is behind."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(10))
    reader = rig.join(topic)
    until(lambda: len(reader.records) == 10, reader)
    reader.consumer.mark(tp, 4)
    reader.consumer.commit()
    with closing(rig.log.admin()) as admin:
        assert admin.group_lag(topic) == {tp: 6}
    reader.close()


def _make_again(rig: Rig, topic: str) -> None:
    """Delete a topic, and make another one under its name."""
    rig.delete(topic)
    deadline = time.monotonic() + WAIT_S
    with closing(rig.log.admin()) as admin:
        while not admin.create([TopicSpec(topic, 1)]):  # Kafka deletes in the background
            assert time.monotonic() < deadline


def test_a_topic_made_again_has_another_id(rig: Rig) -> None:
    """Offsets of a deleted topic would be taken for those of its successor."""
    topic = rig.topic()
    with closing(rig.log.admin()) as admin:
        before = admin.describe([topic])[topic].id
        _make_again(rig, topic)
        assert admin.describe([topic])[topic].id != before


def test_a_commit_of_a_topic_that_was_made_again_does_not_count(rig: Rig) -> None:
    """A worker would begin a topic that was made again where it stood in the old one, and lose what is before that."""
    topic = rig.topic()
    tp = TopicPartition(topic, 0)
    rig.write(topic, numbered(5))
    late = rig.join(topic)
    until(lambda: len(late.records) == 5, late)
    late.consumer.mark(tp, 5)
    late.consumer.commit()
    assert late.consumer.committed([tp]) == {tp: 5}
    _make_again(rig, topic)
    late.consumer.mark(tp, 5)
    with suppress(LogError):  # it may have noticed: then there is nothing to tell apart
        late.consumer.commit()
    late.close()
    successor = rig.join(topic)
    until(lambda: successor.owned == {tp}, successor)
    assert successor.consumer.committed([tp]) == {}
    successor.close()


def test_a_topic_that_is_deleted_ends_its_readers(rig: Rig) -> None:
    """A worker would wait for ever for a source that is gone, and look healthy."""
    topic = rig.topic()
    rig.write(topic, numbered(3))
    reader = rig.join(topic)
    until(lambda: len(reader.records) == 3, reader)
    rig.delete(topic)
    with pytest.raises(TopicMissingError, match=topic):
        until(lambda: False, reader)
    reader.close()
