"""A notify worker on a log in memory, with receivers that do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gatewatch.clock import ManualClock, stopwatch
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.notify.base import Attempt, Receiver, Result, Traits
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.record import Action, read
from gatewatch.notify.worker import NotifyWorker
from gatewatch.records import Alert, Incident, Silence, Verdict
from gatewatch.settings import Settings, parse
from gatewatch.testing.alerts import NOW
from gatewatch.verdicts import write

WAIT_S = 60.0  # for what other threads do; it takes milliseconds
PEOPLE = Traits(people=True, per_minute=15, updates_per_minute=20)
PROGRAM = Traits(people=False, every_revision=True)


class Sink:
    """A receiver that keeps what it was told. While ``open`` is cleared it hangs."""

    def __init__(self, name: str = "slack", *answers: Attempt, traits: Traits = PEOPLE) -> None:
        self.name, self.traits = name, traits
        self.answers = list(answers)
        self.told: list[Notice] = []
        self.bulletins: list[Bulletin] = []
        self.open = threading.Event()
        self.open.set()

    def wants(self, _notice: Notice) -> bool:
        """Everything."""
        return True

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Answer as the test says, else that it is delivered."""
        self.open.wait(WAIT_S)
        self.told.append(notice)
        return self.answers.pop(0) if self.answers else Attempt(Result.DELIVERED, handle=handle or f"h-{notice.key}")

    def announce(self, bulletin: Bulletin) -> Attempt:
        """Keep it."""
        self.open.wait(WAIT_S)
        self.bulletins.append(bulletin)
        return Attempt(Result.DELIVERED)

    def close(self) -> None:
        """It has no connection."""


class Room:
    """A notify role in a test: its log, its clock, and the worker.

    Args:
        settings: the ``notify`` section; receivers need not stand in it.
        sinks: the receivers.
    """

    def __init__(self, settings: Mapping[str, Any], *sinks: Receiver, log: MemoryLog | None = None) -> None:
        self.clock = ManualClock(NOW)
        self.sinks: Sequence[Receiver] = sinks
        self.settings = parse({"notify": {**_section(sink.name for sink in sinks), **settings}}, Settings)
        self.log = log if log is not None else MemoryLog()
        topics = ("alerts", "incidents", "verdicts", "actions")
        self.log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in topics])
        self.metrics = Metrics()
        self.worker = self.start()

    def start(self) -> NotifyWorker:
        """A worker; also a successor of one that was killed."""
        self.worker = NotifyWorker(
            self.log, self.settings, {}, self.sinks, member="m", clock=self.clock, metrics=self.metrics
        )
        return self.worker

    def write(self, *records: Alert | Incident | Verdict | Silence) -> None:
        """Put records where decide and people put them."""
        producer = self.log.producer()
        for record in records:
            topic = {Alert: "alerts", Incident: "incidents"}.get(type(record), "verdicts")
            value = write(record) if isinstance(record, (Verdict, Silence)) else record.model_dump_json().encode()
            producer.send(f"gatewatch.{topic}", value, partition=0, key=record.id.encode())

    def settle(self, seconds: float = 0.0) -> None:
        """Let so much time pass, a second at a time, and all that is due be done."""
        for _ in range(int(seconds)):
            self._turn()
            self.clock.advance(1.0)
        self._turn()

    def until(self, what: Callable[[], bool]) -> None:
        """Go on until something holds."""
        deadline = stopwatch() + WAIT_S
        while not what():
            assert stopwatch() < deadline
            self.worker.step(0.005)

    def actions(self, receiver: str | None = None) -> list[Action]:
        """What was recorded."""
        values = [v for chunk in self.log.read("gatewatch.actions") for v in chunk.values if v is not None]
        return [a for v in values if (a := read(v)) is not None and receiver in (None, a.receiver)]

    def _turn(self) -> None:
        """Until nothing more happens without time passing: nothing to read, and every thread is idle."""
        for _ in range(3):
            while self.worker.step(0.0):
                pass
            deadline = stopwatch() + WAIT_S
            while self._busy():
                assert stopwatch() < deadline
                self.worker.step(0.001)

    def _busy(self) -> bool:
        teller = self.worker.teller
        return teller is not None and any(lane.sending for lane in teller.lanes)


def _section(names: Iterable[str]) -> dict[str, Any]:
    """A section in which these receivers stand, so that routes may name them."""
    kinds: dict[str, Any] = {
        "slack": {"channel": "#x"},
        "pagerduty": {},
        "alertmanager": {"url": "http://x.test"},
        "webhook": {"url": "http://x.test"},
        "email": {"host": "x.test", "sender": "a@x.test", "to": ["b@x.test"]},
    }
    known = list(names)
    others = {name: {"webhook": kinds["webhook"]} for name in known if name not in kinds}
    return {**{name: kinds[name] for name in known if name in kinds}, "receivers": others}
