"""What kafka-python says of a topic, in our words."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaError, RequestTimedOutError, UnknownTopicOrPartitionError

from gatewatch.errors import LogError, TopicMissingError
from gatewatch.log.kafka_consumer import check_topics


class Client:
    """Answers with an error, or with partitions."""

    def __init__(self, answer: KafkaError | set[int] | None) -> None:
        self._answer = answer

    def partitions_for_topic(self, _topic: str) -> set[int] | None:
        """As the client's own."""
        if isinstance(self._answer, KafkaError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("answer", [None, set(), UnknownTopicOrPartitionError("t")])
def test_a_topic_that_is_gone_is_told_so(answer: KafkaError | set[int] | None) -> None:
    """If this fails, a worker whose source was deleted does not say what to do; the client says it in three ways."""
    with pytest.raises(TopicMissingError, match="topics create"):
        check_topics(Client(answer), ["t"])


def test_a_topic_that_cannot_be_looked_up_is_not_called_missing() -> None:
    """If this fails, a broker that is busy has people look for a topic that is there."""
    with pytest.raises(LogError, match="cannot be looked up") as caught:
        check_topics(Client(RequestTimedOutError()), ["t"])
    assert not isinstance(caught.value, TopicMissingError)
    check_topics(Client({0}), ["t"])
