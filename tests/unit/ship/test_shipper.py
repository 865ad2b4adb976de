"""Lines reach the topic, and the place is never ahead of what the log has."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gatewatch.clock import SystemClock
from gatewatch.errors import SendError, TopicMissingError
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.ship.place import PlaceFile
from gatewatch.ship.shipper import Shipper
from gatewatch.testing.waiting import wait_until

TOPIC = "lines"
PATIENCE_S = 60.0


@pytest.fixture
def log() -> MemoryLog:
    """A log with the topic."""
    log = MemoryLog()
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(TOPIC, 1, 1, {"max.message.bytes": "1000"})])
    return log


def _lines(log: MemoryLog) -> list[bytes | None]:
    return [value for chunk in log.read(TOPIC) for value in chunk.values]


@contextmanager
def _running(shipper: Shipper) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop.is_set,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def _shipper(log: MemoryLog, folder: Path, *, from_end: bool = False) -> Shipper:
    place = PlaceFile(folder / "place")
    return Shipper(log, TOPIC, folder / "access.log", place, SystemClock(), from_end=from_end)


def test_a_stopped_shipper_goes_on_where_it_was(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, a restart sends the day's log again, or leaves a gap."""
    path = tmp_path / "access.log"
    path.write_bytes(b"one\n\ntwo\n")
    with _running(_shipper(log, tmp_path)):
        wait_until(lambda: len(_lines(log)) == 2)
    with path.open("ab") as file:
        file.write(b"three\n")
    with _running(_shipper(log, tmp_path)):
        wait_until(lambda: len(_lines(log)) >= 3)
    assert _lines(log) == [b"one", b"two", b"three"]


def test_a_line_that_the_topic_refuses_is_counted_and_its_siblings_are_sent(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, one huge line stops the log for ever, or vanishes without a word."""
    (tmp_path / "access.log").write_bytes(b"one\n" + b"x" * 2000 + b"\ntwo\n")
    shipper = _shipper(log, tmp_path)
    with _running(shipper):
        wait_until(lambda: len(_lines(log)) == 2)
    assert (shipper.sent, shipper.refused) == (2, 1)


def test_a_broker_that_fails_costs_no_line(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a restart of Kafka ends the shipper, or loses what was on its way."""
    producer, failures = log.producer, iter([True, True, False])

    class Failing:
        """Fails at the second line."""

        def __init__(self) -> None:
            self._inner, self._sends, self._fails = producer(), 0, next(failures, False)

        def send(self, topic: str, value: bytes) -> None:
            self._sends += 1
            if self._fails and self._sends == 2:
                raise SendError("the broker is gone")
            self._inner.send(topic, value)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    monkeypatch.setattr(log, "producer", Failing)
    (tmp_path / "access.log").write_bytes(b"one\ntwo\nthree\n")
    shipper = _shipper(log, tmp_path)
    shipper._retry_s = 0.01
    with _running(shipper):
        wait_until(lambda: b"three" in _lines(log))
    assert _lines(log) == [b"one", b"one", b"one", b"two", b"three"]


def test_a_topic_that_is_not_there_is_named_at_the_start(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, a typo in --to is retried for ever in silence."""
    shipper = Shipper(log, "absent", tmp_path / "access.log", PlaceFile(tmp_path / "place"), SystemClock())
    with pytest.raises(TopicMissingError, match="'absent' does not exist"):
        shipper.run(lambda: False)


def test_from_the_end_only_what_is_new_is_sent(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, the first start on a machine replays a year of logs into the detectors."""
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n")
    shipper = _shipper(log, tmp_path, from_end=True)
    with path.open("ab") as file:
        file.write(b"new\n")
    with _running(shipper):
        wait_until(lambda: bool(_lines(log)))
    assert _lines(log) == [b"new"]
