"""Sends what a tail reads, and remembers only what the log has acknowledged.

At least once: after a crash or a broker's failure the lines since the last saved place are sent again, and ingest knows
them by their request id. The file itself is the buffer, so memory is bounded whatever the broker does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from gatewatch.clock import Clock
from gatewatch.errors import BrokerError, RecordTooLargeError, SendError, TopicMissingError
from gatewatch.log.base import Log, Producer
from gatewatch.ship.place import Place, PlaceFile
from gatewatch.ship.tail import LINE_BYTES, Lines, Tail, end_of

LOOK_S = 0.1  # between looks at a file that did not grow: a tenth of the second in which a block should be known
SAVE_S = 1.0  # between places saved: what is sent again after a crash
MAX_IN_FLIGHT = 5000  # lines sent and not acknowledged; above that the file waits. The producer bounds the bytes
STOP_S = 5.0  # how long a stop waits for what is in flight; what is not acknowledged then is sent again next time
RETRY_S = 1.0  # wait after the first failure of the broker; doubled each time
RETRY_MAX_S = 30.0  # as long as a broker may need to move a leader
_ACK_S = 0.005  # between looks at what is in flight; an acknowledgement takes some milliseconds
_log = structlog.get_logger("gatewatch.ship")


class Shipper:
    """One file to one topic.

    Args:
        log: where to.
        topic: each line becomes one value of it.
        path: the file; need not exist yet.
        state: keeps the place.
        from_end: without a saved place begin at the file's end, not at its start.

    Attributes:
        sent: lines given to the log, those sent again included.
        refused: lines that no broker takes.
    """

    def __init__(
        self, log: Log, topic: str, path: Path, state: PlaceFile, clock: Clock, *, from_end: bool = False
    ) -> None:
        self._log, self._topic, self._path, self._state, self._clock = log, topic, path, state, clock
        self._saved = state.load()
        if self._saved is None and from_end:
            self._saved = end_of(path)
        self._retry_s = RETRY_S
        self._pause = threading.Event()  # never set: a wait
        self.sent = self.refused = 0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Follow until ``stopped``. A broker that fails later is tried again for ever: the file is the buffer.

        Raises:
            BrokerError: there is none at the start, or it refuses us.
            TopicMissingError: the topic does not exist.
            ConfigError: the state cannot be written.
        """
        with closing(self._log.admin()) as admin:
            if self._topic not in admin.describe([self._topic]):
                raise TopicMissingError(f"topic {self._topic!r} does not exist: create it, or correct --to")
        while not stopped():
            try:
                self._follow(stopped)
            except (SendError, BrokerError) as error:
                _log.warning("sending failed: going back to the last place", error=str(error), wait_s=self._retry_s)
                self._wait(self._retry_s, stopped)
                self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    def _follow(self, stopped: Callable[[], bool]) -> None:
        tail, producer = Tail(self._path, self._saved), self._log.producer()
        last: Place | None = None
        save_at = self._clock.monotonic() + SAVE_S
        try:
            while not stopped():
                producer.check()
                got = tail.read() if producer.in_flight < MAX_IN_FLIGHT else None
                if got is None:
                    self._pause.wait(LOOK_S)
                else:
                    self._send(producer, got)
                    last = got.place
                if last is not None and self._clock.monotonic() >= save_at and self._acknowledged(producer, stopped):
                    self._save(last)
                    last, save_at = None, self._clock.monotonic() + SAVE_S
            if last is not None:
                self._finish(producer, last)
        finally:
            tail.close()
            producer.close(flush=False)

    def _send(self, producer: Producer, got: Lines) -> None:
        for line in got.lines:
            if not line:
                continue
            try:
                producer.send(self._topic, line)
            except RecordTooLargeError as error:
                self._refuse(1, str(error))
            else:
                self.sent += 1
        if got.too_long:
            self._refuse(got.too_long, f"longer than {LINE_BYTES:,} bytes")

    def _refuse(self, lines: int, why: str) -> None:
        """The only lines that are lost; said, because nobody else will."""
        self.refused += lines
        _log.error("lines were left out", lines=lines, why=why, file=str(self._path))

    def _acknowledged(self, producer: Producer, stopped: Callable[[], bool]) -> bool:
        """Wait until nothing is in flight, or a stop."""
        while producer.in_flight and not stopped():
            producer.check()
            self._pause.wait(_ACK_S)
        producer.check()
        return not producer.in_flight

    def _finish(self, producer: Producer, last: Place) -> None:
        try:
            producer.flush(STOP_S)
        except SendError as error:
            _log.warning("not all lines were acknowledged: the last ones will be sent again", error=str(error))
        else:
            self._save(last)

    def _save(self, place: Place) -> None:
        self._state.save(place)
        self._saved, self._retry_s = place, RETRY_S

    def _wait(self, seconds: float, stopped: Callable[[], bool]) -> None:
        deadline = self._clock.monotonic() + seconds
        while not stopped() and self._clock.monotonic() < deadline:
            self._pause.wait(LOOK_S)
