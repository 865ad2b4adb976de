"""Alerts reach each receiver once, in order, and a receiver that is down holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gatewatch.clock import ManualClock, stopwatch
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.notify.base import Attempt, Result, Traits
from gatewatch.notify.dedup import OLD_S, Sent, Why, why_not
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.record import Action, read
from gatewatch.notify.worker import NotifyWorker
from gatewatch.records import Alert, Mode, Severity, Status
from gatewatch.settings import Settings
from gatewatch.testing.alerts import NOW, alert, notice
from gatewatch.testing.notifying import WAIT_S

SETTINGS = Settings()
ALERTS = TopicPartition("gatewatch.alerts", 0)


class Sink:
    """A receiver that does what the test says and keeps what it was told."""

    def __init__(self, name: str = "slack", *answers: Attempt) -> None:
        self.name = name
        self.answers = list(answers)
        self.told: list[tuple[str, int, str | None]] = []
        self.open = threading.Event()
        self.open.set()
        self.wanted = True
        self.traits = Traits(people=True, every_revision=True)
        self.bulletins: list[Bulletin] = []

    def wants(self, _notice: Notice) -> bool:
        """As the test says."""
        return self.wanted

    def send(self, told: Notice, handle: str | None) -> Attempt:
        """Wait until the test lets it, then answer."""
        self.open.wait(WAIT_S)
        self.told.append((told.about, told.revision, handle))
        return self.answers.pop(0) if self.answers else Attempt(Result.DELIVERED, handle=f"h-{told.key}")

    def announce(self, bulletin: Bulletin) -> Attempt:
        """Keep it."""
        self.bulletins.append(bulletin)
        return Attempt(Result.DELIVERED)

    def close(self) -> None:
        """It has no connection."""


def _log() -> MemoryLog:
    log = MemoryLog()
    log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in ("alerts", "incidents", "verdicts", "actions")])
    return log


def _worker(log: MemoryLog, *sinks: Sink, clock: ManualClock | None = None) -> NotifyWorker:
    return NotifyWorker(log, SETTINGS, {}, sinks, member="m", clock=clock or ManualClock(NOW), metrics=Metrics())


def _write(log: MemoryLog, *alerts: Alert) -> None:
    producer = log.producer()
    for a in alerts:
        producer.send(ALERTS.topic, a.model_dump_json().encode(), partition=0)


def _turn(worker: NotifyWorker, until: Callable[[], bool]) -> None:
    deadline = stopwatch() + WAIT_S
    while not until():
        assert stopwatch() < deadline
        worker.step(0.01)


def _actions(log: MemoryLog) -> list[Action]:
    return [a for c in log.read("gatewatch.actions") for v in c.values if v and (a := read(v)) is not None]


def _committed(log: MemoryLog) -> int:
    lag = log.admin().group_lag("gatewatch.notify").get(ALERTS, 99)
    return sum(len(c.offsets) for c in log.read(ALERTS.topic)) - lag


def test_each_revision_is_told_once_with_the_handle_of_the_first() -> None:
    """If this fails, one attack is many messages, or its later course is never told."""
    log, sink = _log(), Sink()
    worker = _worker(log, sink)
    _write(log, alert())
    _turn(worker, lambda: len(_actions(log)) == 1)
    _write(log, alert(revision=9, status=Status.UPDATED))
    _turn(worker, lambda: len(_actions(log)) == 2)
    worker.close()
    assert sink.told == [(alert().id, 7, None), (alert().id, 9, f"h-{alert().id}")]


def test_a_restart_repeats_nothing_that_was_recorded() -> None:
    """If this fails, every deploy sends the day's alerts again."""
    log, sink = _log(), Sink()
    worker = _worker(log, sink)
    _write(log, alert())
    _turn(worker, lambda: len(_actions(log)) == 1)
    worker.close(flush=False)  # killed before it could commit
    again = _worker(log, sink)
    _write(log, alert(revision=9))
    _turn(again, lambda: len(sink.told) == 2)
    again.close()
    assert [t[1] for t in sink.told] == [7, 9]


def test_a_sink_that_is_down_delays_only_its_own_alerts() -> None:
    """If this fails, Slack's outage silences the pager."""
    log, slow, quick = _log(), Sink("slack"), Sink("pagerduty")
    slow.open.clear()
    worker = _worker(log, slow, quick)
    _write(log, alert(id="a"), alert(id="b"))
    _turn(worker, lambda: len(quick.told) == 2)
    assert slow.told == []
    slow.open.set()
    _turn(worker, lambda: len(slow.told) == 2)
    worker.close()


def test_nothing_is_committed_before_every_sink_is_done_and_it_is_recorded() -> None:
    """If this fails, a kill loses alerts that one sink had not got yet."""
    log, clock = _log(), ManualClock(NOW)
    slow, quick = Sink("slack"), Sink("pagerduty")
    slow.open.clear()
    worker = _worker(log, slow, quick, clock=clock)
    _write(log, alert(id="a"), alert(id="b"))
    _turn(worker, lambda: len(quick.told) == 2)
    clock.advance(5.0)
    worker.step(0.01)
    assert _committed(log) == 0
    slow.open.set()

    def committed() -> bool:
        clock.advance(5.0)
        return _committed(log) == 2

    _turn(worker, committed)
    worker.close()


def test_of_revisions_that_wait_only_the_newest_is_told() -> None:
    """If this fails, a sink that comes back is flooded with what is long superseded."""
    log, sink = _log(), Sink()
    sink.open.clear()
    worker = _worker(log, sink)
    _write(log, alert(id="first"), *(alert(id="x", revision=r) for r in (1, 2, 3)))
    _turn(worker, lambda: sum(a.result == "superseded" for a in _actions(log)) == 2)
    sink.open.set()
    _turn(worker, lambda: len(sink.told) == 2)
    worker.close()
    assert [(t[0], t[1]) for t in sink.told] == [("first", 7), ("x", 3)]


def test_a_refusal_is_recorded_and_does_not_stop_the_next() -> None:
    """If this fails, one alert that Slack refuses blocks all later ones."""
    log = _log()
    sink = Sink("slack", Attempt(Result.NEVER, "invalid_blocks"))
    worker = _worker(log, sink)
    _write(log, alert(id="a"), alert(id="b"))
    _turn(worker, lambda: len(_actions(log)) == 2)
    worker.close()
    assert [(a.alert_id, a.result, a.detail) for a in _actions(log)] == [
        ("a", "never", "invalid_blocks"),
        ("b", "delivered", ""),
    ]


def test_a_busy_sink_is_tried_again_when_it_says() -> None:
    """If this fails, a rate limit loses alerts."""
    log = _log()
    sink = Sink("slack", Attempt(Result.AGAIN, "ratelimited", retry_after_s=0.01))
    worker = _worker(log, sink)
    _write(log, alert())
    _turn(worker, lambda: len(sink.told) == 2)
    worker.close()


PEOPLE = Traits(people=True, every_revision=True)


@pytest.mark.parametrize(
    ("changes", "wanted", "why"),
    [
        ({}, True, None),
        ({"mode": Mode.SHADOW}, True, Why.SHADOW),
        ({"severity": Severity.INFO}, False, Why.UNWANTED),
        ({"last_ts": NOW - OLD_S - 1}, True, Why.LATE),
        ({"status": Status.RESOLVED}, True, Why.LATE),
    ],
)
def test_why_something_is_not_told(changes: dict[str, Any], wanted: bool, why: Why | None) -> None:
    """If this fails, people are woken by what is over or only being tried, or not at all."""
    told = why_not(Sent(), "slack", PEOPLE, notice(**changes), NOW, routed=True, wanted=wanted, held=False)
    assert told is why


def test_what_was_opened_is_closed_even_when_it_is_old() -> None:
    """If this fails, incidents stay open at the pager for ever."""
    sent = Sent()
    sent.note(Action(receiver="pagerduty", alert_id=alert().id, revision=7, status="open", result="delivered", ts=NOW))
    late = notice(revision=9, status=Status.RESOLVED, last_ts=NOW - 9 * OLD_S)
    assert why_not(sent, "pagerduty", PEOPLE, late, NOW, routed=False, wanted=False, held=True) is None
    again = why_not(sent, "pagerduty", PEOPLE, notice(), NOW, routed=True, wanted=True, held=False)
    assert again is Why.REPEATED
