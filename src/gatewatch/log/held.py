"""A log whose producers' records are held back until they are let go, so that one stage may work ahead of the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from gatewatch.log.base import Admin, Chunk, Consumer, Headers, Log, Producer

Send = Callable[[], None]


class HeldLog:
    """Everything is that of another log, but what is sent: :meth:`take` gives it, and whoever calls it sends it.

    Producers, and :meth:`take`, are for one thread only; what was taken may be sent in another.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._held: list[Send] = []

    def take(self) -> list[Send]:
        """All that was sent since the last time, in order. Acknowledgements come when it is really sent."""
        held, self._held = self._held, []
        return held

    def hold(self, send: Send) -> None:
        """Keep one record back."""
        self._held.append(send)

    def consumer(
        self, topics: Sequence[str], *, group: str, member: str, values_only: bool = False, passes_over: bool = False
    ) -> Consumer:
        """Join a group of the other log."""
        return self._log.consumer(topics, group=group, member=member, values_only=values_only, passes_over=passes_over)

    def producer(self, *, linger_ms: int = 5) -> Producer:
        """A producer whose records wait here."""
        return _HeldProducer(self, self._log.producer(linger_ms=linger_ms))

    def admin(self) -> Admin:
        """That of the other log."""
        return self._log.admin()

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, partitions: Collection[int] | None = None
    ) -> Iterator[Chunk]:
        """Records of the other log."""
        return self._log.read(topic, start=start, partitions=partitions)

    def close(self) -> None:
        """Close the other log."""
        self._log.close()


class _HeldProducer:
    """See :class:`gatewatch.log.base.Producer`. What the log refuses is an error of whoever lets it go."""

    def __init__(self, held: HeldLog, producer: Producer) -> None:
        self._held, self._producer = held, producer

    @property
    def in_flight(self) -> int:
        """Records that really were sent and are not acknowledged."""
        return self._producer.in_flight

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
        """Hold a record back."""
        send = partial(self._producer.send, topic, value, partition=partition, key=key, headers=headers, on_ack=on_ack)
        self._held.hold(send)

    def check(self) -> None:
        """Raise the first failure of what was let go."""
        self._producer.check()

    def flush(self, timeout_s: float) -> None:
        """Let everything go, and wait until it is acknowledged."""
        for send in self._held.take():
            send()
        self._producer.flush(timeout_s)

    def close(self, *, flush: bool = True) -> None:
        """End."""
        self._producer.close(flush=flush)
