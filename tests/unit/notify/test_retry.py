"""What is tried again, for how long, and where the next try begins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import stamina
from pydantic import SecretStr

from gatewatch.notify.base import Attempt, Result
from gatewatch.notify.cap import Bucket, Outbox, Waiting
from gatewatch.notify.dedup import OLD_S
from gatewatch.notify.notice import Bulletin
from gatewatch.notify.receivers.slack import Slack
from gatewatch.notify.retry import RETRY_AFTER_MAX_S, Delivery, Job, _Again, _wait_for
from gatewatch.records import Severity, Status
from gatewatch.testing.alerts import NOW, alert, notice
from gatewatch.testing.notifying import PEOPLE, WAIT_S, Room, Sink
from gatewatch.testing.sinks import SlackStandIn

AGAIN = Attempt(Result.AGAIN, "HTTP 503")


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    """Tries follow one another at once, three of them."""
    stamina.set_testing(True, attempts=3)
    yield
    stamina.set_testing(False)


def waiting(**changes: Any) -> Waiting:
    """A new message."""
    told = notice(**changes)
    return Waiting(told.key, told, ("alerts", 0), first=True, since=0.0)


class Recorded:
    """What a delivery recorded."""

    def __init__(self, n: int = 1) -> None:
        self.done: list[tuple[Job, Attempt]] = []
        self._n, self._event = n, threading.Event()

    def __call__(self, job: Job, attempt: Attempt) -> None:
        """As the lane does."""
        self.done.append((job, attempt))
        if len(self.done) >= self._n:
            self._event.set()

    def wait(self) -> None:
        """Until there are as many as expected."""
        assert self._event.wait(WAIT_S)


def test_a_fault_passes_and_the_message_is_told() -> None:
    """If this fails, one 503 loses an alert."""
    sink, recorded = Sink("slack", AGAIN, AGAIN), Recorded()
    delivery = Delivery(sink, lambda _key: None, recorded)
    delivery.put(Job(waiting()))
    recorded.wait()
    delivery.close(WAIT_S)
    assert len(sink.told) == 3
    assert recorded.done[0][1].result is Result.DELIVERED


def test_what_was_tried_long_enough_comes_back_and_is_not_recorded() -> None:
    """If this fails, a sink that is down swallows its alerts."""
    sink, recorded = Sink("slack", *[AGAIN] * 3), Recorded()
    delivery = Delivery(sink, lambda _key: None, recorded)
    delivery.put(Job(waiting(id="first")))
    delivery.put(Job(waiting(id="second")))
    recorded.wait()
    delivery.close(WAIT_S)
    assert [job.waiting.notice.about for job in delivery.returned() if job.waiting] == ["first"]
    assert [job.waiting.notice.about for job, _ in recorded.done if job.waiting] == ["second"]


def test_a_message_that_stands_without_its_thread_is_on_record_and_tried_again() -> None:
    """If this fails, a message whose first reply failed is posted again and again."""
    half = replace(AGAIN, handle="C77:1.1:-")
    sink, recorded = Sink("slack", half, half, half), Recorded()
    delivery = Delivery(sink, lambda _key: None, recorded)
    delivery.put(Job(waiting()))
    recorded.wait()
    delivery.close(WAIT_S)
    (job, attempt) = recorded.done[0]
    assert (attempt.result, attempt.handle) == (Result.DELIVERED, "C77:1.1:-")
    assert delivery.returned() == [job]


@pytest.mark.parametrize(("asked", "waits"), [(None, True), (0.0, 0.0), (30.0, 30.0), (86_400.0, RETRY_AFTER_MAX_S)])
def test_it_waits_as_long_as_the_other_side_says(asked: float | None, waits: float | bool) -> None:
    """If this fails, a rate limit is answered with more requests."""
    assert _wait_for(_Again(replace(AGAIN, retry_after_s=asked))) == waits
    assert _wait_for(ValueError("a fault of ours")) is False


def test_slack_through_all_its_faults() -> None:
    """If this fails, a bad hour of Slack loses alerts, or shows them twice."""
    server = SlackStandIn()
    ok_false = '{{"ok":false,"error":"{}"}}'
    json = {"Content-Type": "application/json"}
    server.answers += [
        (429, {"Retry-After": "1", **json}, ok_false.format("ratelimited").encode()),
        (503, {}, b"<html>"),
        (0, {}, b""),
        (200, json, ok_false.format("ratelimited").encode()),
        (200, json, ok_false.format("internal_error").encode()),
        (200, json, b"no JSON"),
    ]
    room = Room({}, Slack("C77", SecretStr("xoxb-1"), base_url=f"{server.url}/api/"))
    room.write(*(alert(id=f"a{i}", key=f"203.0.113.{i}") for i in range(3)))
    room.settle(5)
    room.worker.close()
    server.close()
    assert server.answers == []
    assert len(server.messages) == 3
    assert len(server.replies) == 3
    assert server.refused == []
    assert [a.result for a in room.actions() if a.kind == "notify"] == ["delivered"] * 3


def test_what_was_opened_is_closed_however_long_the_sink_was_down() -> None:
    """If this fails, an incident stays open at the pager because it was down when it ended."""
    sink = Sink("pagerduty")
    room = Room({}, sink)
    room.write(alert(id="a"))
    room.settle(1)
    sink.answers += [AGAIN] * 30
    room.write(alert(id="a", revision=9, status=Status.RESOLVED))
    room.settle(2)
    room.clock.advance(4 * OLD_S)
    room.settle(60)
    room.worker.close()
    assert sink.answers == []
    assert [(a.revision, a.result) for a in room.actions() if a.kind == "notify"] == [
        (7, "delivered"),
        (9, "delivered"),
    ]


def test_what_a_sink_could_not_be_told_in_time_goes_into_one_message() -> None:
    """If this fails, a sink that was down for an hour never hears of what it missed."""
    sink = Sink("slack")
    room = Room({}, sink)
    sink.answers += [AGAIN] * 9
    room.write(alert(id="a"), alert(id="b"))
    room.worker.step(0.0)
    room.clock.advance(2 * OLD_S)
    room.settle(120)
    room.worker.close()
    told = {a.alert_id for a in room.actions() if a.result == "delivered" and a.kind == "notify"}
    late = {a.alert_id for a in room.actions() if a.result == "late"}
    assert told | late == {"a", "b"}
    assert len(sink.bulletins) == bool(late)


class Deaf(Sink):
    """Hears a bulletin at the second try."""

    def announce(self, bulletin: Bulletin) -> Attempt:
        """Once not, then yes."""
        super().announce(bulletin)
        return AGAIN if len(self.bulletins) == 1 else Attempt(Result.DELIVERED)


def test_a_bulletin_is_tried_until_it_is_told() -> None:
    """If this fails, "and 41 more" is lost with one fault."""
    sink, recorded = Deaf("slack"), Recorded()
    delivery = Delivery(sink, lambda _key: None, recorded)
    delivery.put(Job(bulletin=Bulletin("b", "b", Severity.LOW)))
    recorded.wait()
    delivery.close(WAIT_S)
    assert len(sink.bulletins) == 2


def test_a_bucket_lets_a_burst_through_and_then_so_many_a_minute() -> None:
    """If this fails, a limit is no limit, or holds for ever."""
    bucket = Bucket(6)
    assert [bucket.take(NOW) for _ in range(8)] == [True] * 6 + [False] * 2
    assert [bucket.take(NOW + 10.0) for _ in range(2)] == [True, False]
    assert sum(bucket.take(NOW + 3600.0) for _ in range(20)) == 6
    assert all(Bucket(None).take(NOW) for _ in range(100))


def test_a_refresh_never_takes_the_place_of_a_revision() -> None:
    """If this fails, an end that waits is lost because the alert was told again meanwhile."""
    outbox, end = Outbox(PEOPLE), replace(waiting(status=Status.RESOLVED), first=False)
    again = replace(end, notice=notice(), place=None, refresh=True)
    assert outbox.put(end) is None
    assert outbox.put(again) is again
    assert outbox.release(0.0, 9)[0] == [end]
