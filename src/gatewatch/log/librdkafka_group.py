"""What the members of a group have, asked with librdkafka."""

from __future__ import annotations

import logging

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from gatewatch.log.base import TopicPartition
from gatewatch.log.librdkafka_config import Config


def shared_out(config: Config, group: str, timeout_s: float) -> set[TopicPartition] | None:
    """What all members of a group have together; ``None`` where that is about to change, or no broker answers."""
    client = AdminClient(config, logger=logging.getLogger("kafka.librdkafka"))
    try:
        found = client.describe_consumer_groups([group], request_timeout=timeout_s)[group].result()
    except KafkaException:
        return None
    if found.state is not ConsumerGroupState.STABLE:
        return None
    return {TopicPartition(at.topic, at.partition) for m in found.members for at in m.assignment.topic_partitions}
