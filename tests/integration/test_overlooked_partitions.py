"""A group's leader that comes back under its own id is given what was shared out before, not told that it leads."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from gatewatch.errors import TopicMissingError
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.testing.logs import KafkaRig, Reader, numbered, until

pytestmark = pytest.mark.kafka


def join(rig: KafkaRig, topic: str, member: str) -> Reader:
    """A member as ingest is one."""
    return rig.join(topic, member=member, values_only=True)


def leader_and_follower(rig: KafkaRig, topic: str, names: str = "ab") -> tuple[Reader, Reader]:
    """Two members that have joined; the first leads."""
    leader = join(rig, topic, names[0])
    until(lambda: bool(leader.owned), leader)
    alone = leader.owned.copy()
    follower = join(rig, topic, names[1])
    until(lambda: leader.owned != alone and bool(follower.owned), leader, follower)
    return leader, follower


def inside(reader: Reader) -> Any:
    """The consumer, to be asked what only it knows."""
    return reader.consumer


def end_for_its_topic(reader: Reader) -> None:
    """It looks whether its topic is there, and ends."""
    inside(reader)._checked_at = 0.0  # it looks every five seconds
    with pytest.raises(TopicMissingError):
        until(lambda: False, reader)
    reader.close()


def make(rig: KafkaRig, topic: str, partitions: int) -> None:
    """Make a topic under a name that was there."""
    with closing(rig.log.admin()) as admin:
        admin.create([TopicSpec(topic, partitions)])


def add_partitions(rig: KafkaRig, topic: str, total: int) -> None:
    """Have a topic grow."""
    admin: Any
    with closing(rig.log.admin()) as admin:
        admin._client.create_partitions({topic: total})


def everything(topic: str, n: int, *readers: Reader) -> bool:
    """Whether each partition is one reader's."""
    owned = [tp for reader in readers for tp in reader.owned]
    return sorted(owned) == [TopicPartition(topic, p) for p in range(n)]


@pytest.mark.parametrize(
    "rig", ["kafka-python"], indirect=True
)  # librdkafka holds on to a topic for 30 s, we end first
def test_a_leader_that_returns_to_a_topic_made_again_has_it_shared_out(rig: KafkaRig) -> None:
    """If this fails, all workers are there and none reads, until somebody stops them all for a session."""
    topic = rig.topic(2)
    leader, follower = leader_and_follower(rig, topic)
    inside(leader)._checked_at = inside(follower)._checked_at = float("inf")
    rig.delete(topic)
    until(lambda: not leader.owned and not follower.owned, leader, follower)
    end_for_its_topic(leader)
    make(rig, topic, 2)
    with closing(follower), closing(join(rig, topic, "a")) as again:
        until(lambda: everything(topic, 2, again, follower), again, follower)


def test_workers_that_ended_for_their_topic_return_to_one_with_more_partitions(rig: KafkaRig) -> None:
    """If this fails, a source that was made again, larger, is read in part."""
    topic = rig.topic(2)
    leader, follower = leader_and_follower(rig, topic)
    rig.delete(topic)
    end_for_its_topic(leader)
    end_for_its_topic(follower)
    make(rig, topic, 3)
    with closing(join(rig, topic, "b")) as second, closing(join(rig, topic, "a")) as first:
        until(lambda: everything(topic, 3, first, second), first, second)


def test_partitions_that_came_while_the_leader_was_away_are_read(rig: KafkaRig) -> None:
    """If this fails, partitions that a source was given stay unread until a worker comes or goes."""
    topic = rig.topic(2)
    leader, follower = leader_and_follower(rig, topic)
    leader.close()
    add_partitions(rig, topic, 4)
    with closing(follower), closing(join(rig, topic, "a")) as again:
        until(lambda: everything(topic, 4, again, follower), again, follower)


@pytest.mark.parametrize("rig", ["kafka-python"], indirect=True)  # librdkafka's members all watch their topics
def test_partitions_that_come_after_the_leader_returned_are_read(rig: KafkaRig) -> None:
    """As above: it does not know that it leads, so it does not watch its topics by itself."""
    topic = rig.topic(2)
    leader, follower = leader_and_follower(rig, topic)
    leader.close()
    with closing(follower), closing(join(rig, topic, "a")) as again:
        until(lambda: everything(topic, 2, again, follower), again, follower)
        assert not inside(again)._client._coordinator._is_leader
        add_partitions(rig, topic, 4)
        inside(again)._client._coordinator._cluster.request_update()  # it does so every minute
        until(lambda: everything(topic, 4, again, follower), again, follower)
        assert inside(again)._client._coordinator._is_leader


def test_a_standby_that_returns_moves_nothing(rig: KafkaRig) -> None:
    """If this fails, all workers stop for a rebalance at each restart of one that has no partition, and for ever."""
    topic = rig.topic(1)
    standby, active = leader_and_follower(rig, topic, "ba")
    assert standby.owned == set()
    standby.close()
    active.news.clear()
    with closing(active), closing(join(rig, topic, "b")) as again:
        until(lambda: bool(inside(again)._overlooked._seen), again, active)
        rig.write(topic, numbered(3))
        until(lambda: len(active.records) == 3, again, active)
        assert active.news == []
