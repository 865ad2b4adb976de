"""From HTTP handlers to one producer and back: a handler goes on when the log has what it gave.

A producer that fails is dead (gatewatch.log.base), so it is replaced at the next request; those that waited for it get
the error, and their senders try again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from gatewatch.errors import SendError
from gatewatch.log.base import Log, Producer

_LOOK_S = 0.2  # between looks whether the producer has failed while an acknowledgement is waited for


class Writer:
    """Writes values and waits for their acknowledgement, for any number of handlers at once.

    Args:
        log: where to.
        ack_timeout_s: after so long a handler gets an error; the record may arrive all the same.
    """

    def __init__(self, log: Log, ack_timeout_s: float) -> None:
        self._log, self._ack_timeout_s = log, ack_timeout_s
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    async def write(self, topic: str, values: Sequence[bytes]) -> None:
        """Send, and wait until every in-sync replica has all of them.

        Raises:
            LogError: they are not known to be there; the sender must try again.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        left = len(values)

        def acked() -> None:
            nonlocal left
            left -= 1
            if left == 0 and not done.done():
                done.set_result(None)

        def on_ack(_offset: int) -> None:
            with suppress(RuntimeError):  # the server has ended, and nobody waits any more
                loop.call_soon_threadsafe(acked)

        # A send may wait (for metadata, for room), so it has a thread of its own.
        producer = await asyncio.to_thread(self._send, topic, values, on_ack)
        deadline = loop.time() + self._ack_timeout_s
        while not done.done():
            await asyncio.wait({done}, timeout=_LOOK_S)
            if not done.done():
                self._check(producer)
                if loop.time() >= deadline:
                    raise SendError(f"no acknowledgement within {self._ack_timeout_s:g} s")

    def close(self) -> None:
        """End; what was not acknowledged was not promised to anybody."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(flush=False)

    def _send(self, topic: str, values: Sequence[bytes], on_ack: Callable[[int], None]) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = self._log.producer()
            producer = self._producer
        try:
            for value in values:
                producer.send(topic, value, on_ack=on_ack)
        except SendError:
            self._replace(producer)
            raise
        return producer

    def _check(self, producer: Producer) -> None:
        try:
            producer.check()
        except SendError:
            self._replace(producer)
            raise

    def _replace(self, producer: Producer) -> None:
        """The first of those who waited for it ends it; the next request makes another."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        threading.Thread(target=producer.close, kwargs={"flush": False}, name="producer-end", daemon=True).start()
