"""Joins that hang: the client waits for ever and says nothing, unless somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka.errors import RebalanceInProgressError
from kafka.structs import MemberState

from gatewatch.errors import LogError
from gatewatch.log.base import TopicPartition
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.kafka_consumer import KafkaConsumer
from gatewatch.settings import KafkaSettings
from gatewatch.testing.logs import KafkaRig, Reader, numbered, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def rig(kafka: str) -> Iterator[KafkaRig]:
    """A log of kafka-python consumers."""
    with closing(KafkaLog(KafkaSettings(bootstrap=(kafka,), session_timeout=6.0))) as log:
        yield KafkaRig(log)


@pytest.fixture
def reader(rig: KafkaRig) -> Iterator[Reader]:
    """A member that has joined and read three records."""
    topic = rig.topic()
    rig.write(topic, numbered(3))
    with closing(rig.join(topic)) as made:
        until(lambda: len(made.records) == 3, made)
        yield made


def _lose_the_join(reader: Reader) -> KafkaConsumer:
    """What the race in the client leaves behind: it waits for a join that nobody makes."""
    consumer = reader.consumer
    assert isinstance(consumer, KafkaConsumer)
    consumer._client._coordinator.state = MemberState.REBALANCING
    consumer._join_limit_s = 0.5
    return consumer


def test_short_polls_do_not_lose_a_join(rig: KafkaRig) -> None:
    """19 of 20 joins hung where polls were 3 ms, as those of a busy ingest are."""
    topic = rig.topic(2)
    for i in range(5):
        with closing(rig.join(topic, group=f"{topic}-{i}")) as reader:
            for _ in range(200):
                reader.poll(0.003)
                if reader.owned:
                    break
            assert len(reader.owned) == 2


def test_a_join_that_was_lost_is_made_again(reader: Reader) -> None:
    """A worker would stand still for ever, without an error."""
    _lose_the_join(reader)
    reader.news.clear()
    until(lambda: len(reader.news) >= 2 or bool(reader.news and reader.news[0].assigned), reader)
    tp = next(iter(reader.owned))
    assert tp in reader.news[0].lost
    until(lambda: len(reader.records) == 6, reader)  # nothing was committed: it begins again
    assert reader.offsets[3:] == [0, 1, 2]


def test_a_join_that_cannot_be_made_ends_the_worker(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that can never join would look alive."""
    consumer = _lose_the_join(reader)
    client: Any = consumer._client
    monkeypatch.setattr(client, "unsubscribe", lambda: None)
    monkeypatch.setattr(client, "subscribe", lambda *_args, **_named: None)
    with pytest.raises(LogError, match="could not join group"):
        until(lambda: False, reader)
    assert isinstance(next(iter(reader.news[-1].lost)), TopicPartition)


def test_a_join_that_is_over_between_two_polls_counts(rig: KafkaRig) -> None:
    """The leader joined anew in its place, and had all others do so: for ever, where they were done while it worked."""
    topic = rig.topic(2)
    with closing(rig.join(topic, member="a")) as leader, closing(rig.join(topic, member="b")) as other:
        until(lambda: bool(leader.owned), leader)
        assert isinstance(leader.consumer, KafkaConsumer)
        client: Any = leader.consumer._client
        # One of them may hear a poll before the other that the round is over.
        until(lambda: bool(other.owned) and client.group_metadata().state is MemberState.STABLE, leader, other)
        assert len(leader.owned) == 1
        round_before = client.group_metadata().generation_id
        client._coordinator.request_rejoin()
        # By turns: others are done while it does not poll.
        until(lambda: client.group_metadata().state is MemberState.REBALANCING, leader)
        until(lambda: client.group_metadata().state is MemberState.STABLE, leader, other)
        assert client.group_metadata().generation_id == round_before + 1


def test_a_commit_that_met_a_rebalance_is_made_before_leaving(
    reader: Reader, rig: KafkaRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped while others join would leave a second of work to be done again."""
    consumer, (tp,) = reader.consumer, reader.owned
    assert isinstance(consumer, KafkaConsumer)
    commit, asked = consumer._client.commit, list[int]()

    def refused_at_first(*args: Any, **options: Any) -> None:
        asked.append(1)
        if len(asked) < 3:
            raise RebalanceInProgressError
        commit(*args, **options)

    monkeypatch.setattr(consumer._client, "commit", refused_at_first)
    consumer.mark(tp, 2)
    consumer.commit()
    assert consumer.committed([tp]) == {}
    reader.close()

    with closing(rig.join(tp.topic)) as successor:
        until(lambda: bool(successor.records), successor)
        assert successor.offsets == [2]
