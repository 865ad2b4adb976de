"""What librdkafka's member does when a broker was away: it waits, or joins anew; it ends only for another worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import KafkaError

from gatewatch.errors import FencedError, LogError
from gatewatch.log.base import TopicPartition
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.kafka_config import PATIENCE_S
from gatewatch.log.librdkafka import LibrdkafkaConsumer
from gatewatch.settings import KafkaSettings
from gatewatch.testing.logs import KafkaRig, Reader, numbered, until

pytestmark = pytest.mark.kafka

AWAY = KafkaError(KafkaError._WAIT_COORD)


@pytest.fixture
def rig(kafka: str) -> Iterator[KafkaRig]:
    """A log whose sources are read by librdkafka."""
    made = KafkaRig(KafkaLog(KafkaSettings(bootstrap=(kafka,), client="librdkafka", session_timeout=6.0)))
    yield made
    made.log.close()


@pytest.fixture
def reader(rig: KafkaRig) -> Iterator[Reader]:
    """A member that has read ten records."""
    topic = rig.topic()
    rig.write(topic, numbered(10))
    with closing(rig.join(topic, values_only=True)) as made:
        until(lambda: len(made.records) == 10, made)
        yield made


def client_of(reader: Reader) -> LibrdkafkaConsumer:
    """The consumer, as what it is."""
    assert isinstance(reader.consumer, LibrdkafkaConsumer)
    return reader.consumer


def refuse(reader: Reader, error: KafkaError, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit of everything is answered by this."""
    (tp,) = reader.owned
    with monkeypatch.context() as patch:
        patch.setattr(client_of(reader), "_commit", lambda _marks: error)
        reader.consumer.mark(tp, 10)
        reader.consumer.commit()


def test_a_commit_that_finds_no_coordinator_is_made_by_the_next(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, ingest ends, and starts again later than the broker, at each restart of a broker."""
    (tp,) = reader.owned
    refuse(reader, AWAY, monkeypatch)
    assert reader.consumer.committed([tp]) == {}
    reader.consumer.commit()
    assert reader.consumer.committed([tp]) == {tp: 10}


def test_an_outage_that_lasts_ends_the_worker(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a worker that cannot commit any more looks alive for ever."""
    refuse(reader, AWAY, monkeypatch)
    began = client_of(reader)._clock.monotonic()
    monkeypatch.setattr(client_of(reader)._clock, "monotonic", lambda: began + PATIENCE_S)
    with pytest.raises(LogError, match="could not be committed"):
        refuse(reader, AWAY, monkeypatch)


def test_a_refusal_that_waiting_does_not_mend_ends_the_worker(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a worker that may not commit goes on, and everything is read again at its next start."""
    with pytest.raises(LogError, match="could not be committed"):
        refuse(reader, KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE), monkeypatch)


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION])
def test_a_session_that_ran_out_in_an_outage_is_begun_again(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """If this fails, a long restart of the broker ends each worker on top."""
    refuse(reader, AWAY, monkeypatch)
    refuse(reader, KafkaError(code), monkeypatch)  # what poll will say of it, is the client's doing
    reader.consumer.commit()
    with pytest.raises(FencedError):
        refuse(reader, KafkaError(code), monkeypatch)


def test_a_member_that_was_fenced_in_an_outage_joins_anew_once(
    rig: KafkaRig, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a member that its own repeated join has fenced ends; or two workers of one id fence each other."""
    (tp,) = reader.owned
    refuse(reader, AWAY, monkeypatch)
    with closing(rig.join(tp.topic, values_only=True)) as other:  # the same id: the broker fences the older member
        until(lambda: bool(other.owned), other)
        until(lambda: TopicPartition(*tp) in reader.owned and len(reader.news) >= 2, reader)
        assert any(tp in polled.lost for polled in reader.news)
        with pytest.raises(FencedError):
            until(lambda: False, other)  # it saw no outage
    until(lambda: len(reader.records) == 20, reader)  # nothing was committed: it begins again
    reader.consumer.mark(tp, 10)
    reader.consumer.commit()
    assert reader.consumer.committed([tp]) == {tp: 10}
