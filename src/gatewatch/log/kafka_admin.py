"""Topics and groups of a Kafka cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import stamina
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from gatewatch.errors import BrokerError, LogError, TopicMissingError
from gatewatch.log.base import TopicInfo, TopicPartition, TopicSpec
from gatewatch.log.kafka_config import PATIENCE_S, client_config
from gatewatch.log.kafka_connect import connect
from gatewatch.settings import KafkaSettings

T = TypeVar("T")


class _NotYetError(KafkaError):  # type: ignore[misc]  # the library has no types
    retriable = True


class KafkaAdmin:
    """See :class:`gatewatch.log.base.Admin`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._client: Any = connect(KafkaAdminClient, settings, client_config(settings, "gatewatch-admin"))

    def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create those that do not exist; returns the names that were made.

        Raises:
            LogError: the cluster refuses one; the text says which and why.
        """
        wanted = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": spec.replication,
                "configs": dict(spec.configs),
            }
            for spec in specs
        }
        answer = self._ask(lambda: self._client.create_topics(wanted, raise_errors=False) if wanted else {"topics": []})
        made: dict[str, Any] = {}
        for topic in answer["topics"]:
            if topic["error_code"] == 0:
                made[topic["name"]] = topic.get("topic_id")
            elif topic["error_code"] != TopicAlreadyExistsError.errno:
                why = topic["error_message"] or for_code(topic["error_code"]).__name__
                raise LogError(f"topic {topic['name']!r} cannot be created: {why}")
        if made:  # who is told that a topic exists may use it at once: this one, and none that had its name before
            self._ask(lambda: self._client.wait_for_topics(list(made)))
            self._ask(lambda: self._expect_ids(made))
        return list(made)

    def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        """Those that exist; ``configs`` holds all that are in effect, defaults too."""
        if not names:
            return {}
        found = [t for t in self._ask(lambda: self._client.describe_topics(list(names))) if _exists(t)]
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic["name"]) for topic in found]
        if not resources:
            return {}
        configs = self._ask(lambda: self._client.describe_configs(resources, config_filter="all"))["topic"]
        return {
            topic["name"]: TopicInfo(
                name=topic["name"],
                id=str(topic["topic_id"]),
                partitions=len(topic["partitions"]),
                replication=min(len(p["replica_nodes"]) for p in topic["partitions"]),
                configs={key: str(entry["value"]) for key, entry in configs[topic["name"]].items()},
            )
            for topic in found
        }

    def alter(self, name: str, configs: Mapping[str, str]) -> None:
        """Set configs of a topic that exists; they are in effect when this returns."""
        resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(configs))
        self._ask(lambda: self._client.alter_configs([resource]))
        self._ask(lambda: self._expect_configs(name, configs))

    def delete(self, name: str) -> None:
        """Delete a topic and all that is in it.

        Raises:
            TopicMissingError: there is none.
        """
        answer = self._ask(lambda: self._client.delete_topics([name], raise_errors=False))
        if answer["topics"][0]["error_code"]:
            raise TopicMissingError(f"topic {name!r}: {for_code(answer['topics'][0]['error_code']).__name__}")

    def delete_records(self, tp: TopicPartition, before: int) -> None:
        """Remove the head of a partition, as retention does."""
        self._ask(lambda: self._client.delete_records({KafkaTopicPartition(*tp): before}))

    def group_lag(self, group: str) -> dict[TopicPartition, int]:
        """End offset minus committed offset, for each partition the group has committed."""
        committed = self._ask(lambda: self._client.list_group_offsets(group))[group]
        if not committed:
            return {}
        ends = self._ask(lambda: self._client.list_partition_offsets(dict.fromkeys(committed, OffsetSpec.LATEST)))
        return {TopicPartition(*tp): ends[tp].offset - at.offset for tp, at in committed.items()}

    def subscribed(self, group: str, member: str) -> set[str] | None:
        """The topics with which a member joined; ``None`` where it is in no group that is at rest."""
        found = self._ask(lambda: self._client.describe_groups([group]))[group]
        for one in found["members"]:
            if one["group_instance_id"] == member and isinstance(one["member_metadata"], dict):
                return set(one["member_metadata"]["topics"])
        return None

    def remove_member(self, group: str, member: str) -> None:
        """Have a group go on without a member that will not come back: its partitions move at once."""
        self._ask(lambda: self._client.remove_group_members(group, [MemberToRemove(group_instance_id=member)]))

    def close(self) -> None:
        """End."""
        self._client.close()

    def _expect_ids(self, ids: Mapping[str, Any]) -> None:
        """Brokers hear of what the controller has done a moment later. Those before Kafka 2.8 tell no ids.

        Raises:
            _NotYetError: one of these topics is still another.
        """
        known = {topic["name"]: topic.get("topic_id") for topic in self._client.describe_topics(list(ids))}
        if any(_is_id(id_) and _is_id(known.get(name)) and known[name] != id_ for name, id_ in ids.items()):
            raise _NotYetError(f"of topics {', '.join(ids)} not all are known yet")

    def _expect_configs(self, name: str, configs: Mapping[str, str]) -> None:
        """As above, of configs.

        Raises:
            _NotYetError: others are in effect.
        """
        known = self.describe([name])[name].configs
        if any(known.get(key) != value for key, value in configs.items()):
            raise _NotYetError(f"configs of topic {name} are not in effect yet")

    def _ask(self, request: Callable[[], T]) -> T:
        """Ask the cluster; an answer such as "not yet" (a coordinator that loads) is asked again."""
        try:
            for attempt in stamina.retry_context(on=_retriable, timeout=PATIENCE_S, attempts=None, wait_max=1.0):
                with attempt:
                    return request()
        except KafkaError as error:
            if _retriable(error):
                raise BrokerError(
                    f"the broker took our connection and then did not answer ({error}): are the addresses that it "
                    "advertises (advertised.listeners) reachable from here?"
                ) from error
            raise LogError(f"Kafka refuses: {error}") from error
        raise AssertionError  # the loop above returns or raises


def _retriable(error: Exception) -> bool:
    return isinstance(error, KafkaError) and bool(error.retriable)


def _is_id(topic_id: Any) -> bool:
    return topic_id is not None and topic_id != UUID(int=0)


def _exists(topic: dict[str, Any]) -> bool:
    return topic["error_code"] == 0 and bool(topic["partitions"])
