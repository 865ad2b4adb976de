"""A producer that refuses early, holds a bounded amount, and tells of the first failure.

kafka-python's idempotent producer keeps order over a broker's death. But one record that the broker refuses kills it
for every topic, and its memory has no bound. So size and key are checked before a record is queued, and what is in
flight is counted here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer as Client
from kafka.errors import KafkaError, KafkaTimeoutError

from gatewatch.clock import SystemClock
from gatewatch.errors import SendError
from gatewatch.log.base import Headers, TopicInfo
from gatewatch.log.kafka_config import client_config
from gatewatch.log.kafka_connect import connect
from gatewatch.log.limits import MAX_REQUEST_BYTES, checked_size
from gatewatch.settings import KafkaSettings

# A broker that restarts is back within 15 s (measured), one that moves a leader within 30 s.
DELIVERY_TIMEOUT_S = 60.0
# How long send waits for room: below the consumer's poll interval of 60 s, so that a worker ends by this error, which
# names the cause, and not by losing its group.
MAX_BLOCK_S = 45.0
STOPPING_BLOCK_S = 5.0  # and how long once the process is told to stop: it has 10 s, and must still close
_LOOK_S = 0.5  # how often whoever waits looks whether it is
# In flight at most: half a second of the fastest ingest (200 k events/s of 300 B); a batch of 512 KiB counts once, so
# records are bounded for the small ones, of which each costs about 1 kB in the client.
MAX_IN_FLIGHT_BYTES = 32 << 20
MAX_IN_FLIGHT_RECORDS = 20_000
BATCH_BYTES = 128 << 10  # small records (alerts, dead letters) of one partition go together
CLOSE_S = 10.0


class KafkaProducer:
    """See :class:`gatewatch.log.base.Producer`.

    Args:
        settings: of the cluster.
        topic: gives what a topic is, or raises ``TopicMissingError``; asked once for each topic.
        linger_ms: how long a record waits for others.
        stopping: whether the process is told to stop.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: Callable[[str], TopicInfo],
        *,
        linger_ms: int,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._topic, self._stopping = topic, stopping
        self._known: dict[str, TopicInfo] = {}
        self._clock = SystemClock()
        self._changed = threading.Condition()
        self._records = 0
        self._bytes = 0
        self._failure: SendError | None = None
        self._closed = False
        config = client_config(settings, "gatewatch-producer") | {
            "linger_ms": linger_ms,
            "delivery_timeout_ms": int(DELIVERY_TIMEOUT_S * 1000),
            "max_block_ms": 10_000,  # only for metadata, which is there: the topic was described before
            "max_request_size": MAX_REQUEST_BYTES,
            "batch_size": BATCH_BYTES,
            # No compression: lz4 takes a third more CPU for two thirds of the bytes of a batch (measured).
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        self._client: Any = connect(Client, settings, config)

    @property
    def in_flight(self) -> int:
        """Records sent and not yet acknowledged."""
        return self._records

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int | None = None,
        key: bytes | None = None,
        headers: Headers = (),
        on_ack: Callable[[int], None] | None = None,
    ) -> None:
        """Queue one record; waits up to ``MAX_BLOCK_S`` while too much is in flight."""
        self.check()
        info = self._known.get(topic) or self._known.setdefault(topic, self._topic(topic))
        size = checked_size(topic, info.configs, info.partitions, value, partition=partition, key=key, headers=headers)
        self._take_room(topic, size)
        try:
            future = self._client.send(topic, value=value, key=key, headers=list(headers), partition=partition)
        except (KafkaError, ValueError, TypeError) as error:
            self._give_room(size)
            self._fail(topic, error)
            self.check()
        else:
            future.add_callback(self._on_acked, size, on_ack)
            future.add_errback(self._on_failed, size, topic)

    def check(self) -> None:
        """Raise the first failure of an earlier send."""
        if self._closed:
            raise SendError("this producer is closed")
        if self._failure is not None:
            raise SendError(str(self._failure)) from self._failure

    def flush(self, timeout_s: float) -> None:
        """Wait until everything queued is acknowledged, and has told so."""
        self.check()
        deadline = self._clock.monotonic() + timeout_s
        try:
            self._client.flush(timeout_s)
        except KafkaTimeoutError:
            self._fail_flush(timeout_s)
        except KafkaError:
            pass  # a batch that was split is lost to the client's own flush; what counts is our count
        with self._changed:
            while self._records and self._failure is None:
                if not self._changed.wait(max(deadline - self._clock.monotonic(), 0.0)) and self._records:
                    self._fail_flush(timeout_s)
        self.check()

    def close(self, *, flush: bool = True) -> None:
        """End. Without ``flush`` what is queued is dropped."""
        if self._closed:
            return
        try:
            if flush:
                self.flush(CLOSE_S)
        finally:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        """End the client without sending what it holds.

        Its own ``close(0)`` sends everything and then raises if that took time; the sender alone can give up. What is
        queued goes first: a sender in the middle of its turn takes a closing queue for one that is to be sent.
        """
        with suppress(ValueError):  # it was just taken out to be sent
            self._client._accumulator.abort_undrained_batches(SendError("its producer closed"))  # noqa: SLF001 - as below
        self._client._sender.force_close()  # noqa: SLF001 - said above; the version is pinned, a contract test holds it
        self._client._sender.join(CLOSE_S)  # noqa: SLF001 - the same
        self._client.close(CLOSE_S)

    def _take_room(self, topic: str, size: int) -> None:
        began = self._clock.monotonic()
        deadline, hurried = began + MAX_BLOCK_S, False
        with self._changed:
            while self._records >= MAX_IN_FLIGHT_RECORDS or (
                self._records and self._bytes + size > MAX_IN_FLIGHT_BYTES
            ):
                now = self._clock.monotonic()
                if not hurried and self._stopping():
                    deadline, hurried = min(deadline, now + STOPPING_BLOCK_S), True
                self._changed.wait(min(max(deadline - now, 0.0), _LOOK_S))
                self.check()
                if self._clock.monotonic() >= deadline:
                    waited_s = self._clock.monotonic() - began
                    raise SendError(
                        f"topic {topic!r}: no room for a record for {waited_s:.0f} s: {self._records:,} records "
                        f"({self._bytes >> 20} MiB) are not acknowledged; is the broker up?"
                    )
            self._records += 1
            self._bytes += size

    def _give_room(self, size: int) -> None:
        with self._changed:
            self._records -= 1
            self._bytes -= size
            self._changed.notify_all()

    def _on_acked(self, size: int, on_ack: Callable[[int], None] | None, metadata: Any) -> None:
        """On the client's thread."""
        try:
            if on_ack is not None and not self._closed:
                on_ack(metadata.offset)
        except Exception as error:  # noqa: BLE001 - the client would log it and go on: then the ack is lost in silence
            self._fail(metadata.topic, error)
        finally:
            self._give_room(size)

    def _on_failed(self, size: int, topic: str, error: Exception) -> None:
        """On the client's thread."""
        self._fail(topic, error)
        self._give_room(size)

    def _fail(self, topic: str, error: Exception) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = SendError(f"a record for topic {topic!r} was not acknowledged: {_text(error)}")
                self._failure.__cause__ = error
            self._changed.notify_all()

    def _fail_flush(self, timeout_s: float) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = SendError(f"{self._records:,} records were not acknowledged within {timeout_s:g} s")
        self.check()


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
