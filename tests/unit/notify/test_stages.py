"""Whom, when, how often: routes, limits, digests, quiet hours, escalation, silences, incidents."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from gatewatch.clock import stopwatch
from gatewatch.notify.base import Attempt, Result, Traits
from gatewatch.notify.cap import Outbox, Waiting
from gatewatch.notify.chain import verify
from gatewatch.notify.lane import Lane
from gatewatch.notify.worker import NotifyWorker
from gatewatch.records import Mode, Scope, Severity, Silence, Status, Verdict, VerdictKind
from gatewatch.testing.alerts import NOW, alert, incident
from gatewatch.testing.notifying import PROGRAM, WAIT_S, Room, Sink

LOW, HIGH, CRITICAL = Severity.LOW, Severity.HIGH, Severity.CRITICAL


def verdict(kind: VerdictKind, alert_id: str = "a", **fields: object) -> Verdict:
    """What ana says."""
    return Verdict.model_validate(
        {
            "id": f"v-{kind}-{alert_id}",
            "kind": kind,
            "alert_id": alert_id,
            "scope": Scope.IP,
            "key": "203.0.113.9",
            "severity": HIGH,
            "actor": "ana",
            "via": "cli",
            "reason": "looking",
            "ts": NOW,
            **fields,
        }
    )


def silence(**matchers: object) -> Silence:
    """Made by ana, for an hour."""
    return Silence.model_validate(
        {
            "id": "s1",
            "matchers": matchers,
            "owner": "ana",
            "reason": "load test",
            "created": NOW - 1,
            "until": NOW + 3600,
        }
    )


# --- routes


def test_routes_send_each_alert_to_whom_it_is_for() -> None:
    """If this fails, one team is woken by another's alerts."""
    billing, rest, night = Sink("billing"), Sink("rest"), Sink("night")
    hour = datetime.fromtimestamp(NOW, UTC).hour
    routes = [
        {"projects": ["billing"], "receivers": ["billing"], "then": "continue"},
        {"severities": ["critical"], "hours": f"{hour:02d}:00-{hour:02d}:59", "receivers": ["night"]},
        {"detectors": ["rate_spike"], "receivers": []},
        {"projects": ["shop"], "receivers": ["rest"]},
    ]
    room = Room({"routes": routes}, billing, rest, night)
    room.write(
        alert(id="a", project="billing"),
        alert(id="b", project="billing", severity=CRITICAL),
        alert(id="c", project="shop"),
        alert(id="d", project="shop", detector="rate_spike"),
        alert(id="e", project="other"),
    )
    room.settle()
    room.worker.close()
    told = {sink.name: sorted(n.about for n in sink.told) for sink in (billing, rest, night)}
    assert told == {"billing": ["a", "b", "e"], "rest": ["c", "e"], "night": ["b", "e"]}


# --- limits


def test_the_gravest_are_told_and_the_rest_in_one_message() -> None:
    """If this fails, a storm fills the channel, or hides the one alert that matters."""
    sink = Sink()
    room = Room({}, sink)
    room.write(*(alert(id=f"a{i:03d}", severity=CRITICAL if i % 10 == 9 else HIGH, last_ts=NOW) for i in range(100)))
    room.settle(200)
    assert [n.severity for n in sink.told[:10]] == [CRITICAL] * 10
    assert len(sink.told) == 2 * 15, "a burst, and what a minute lets through"
    (rest,) = sink.bulletins
    assert rest.title.startswith("70 more alerts")
    assert rest.rows[-1] == "and 50 more"
    results = [a.result for a in room.actions() if a.kind == "notify"]
    assert (results.count("delivered"), results.count("capped")) == (30, 70), "none is lost from the record"
    room.worker.close()


def test_updates_are_limited_too_and_the_newest_is_told() -> None:
    """If this fails, one long attack uses up what Slack lets us say, or its last state is never shown."""
    sink = Sink(traits=Traits(people=True, every_revision=True, per_minute=15, updates_per_minute=5))
    room = Room({}, sink)
    for revision in range(1, 61):
        room.write(alert(id="a", revision=revision, last_ts=room.clock.now()))
        room.settle(1)
    room.settle(30)
    room.worker.close()
    assert len(sink.told) <= 1 + 5 + 8
    assert sink.told[-1].revision == 60


def test_what_was_capped_is_told_when_it_gets_worse() -> None:
    """If this fails, an attack that a storm hid stays hidden when it becomes critical."""
    sink = Sink()
    room = Room({}, sink)
    room.write(*(alert(id=f"a{i:03d}", last_ts=NOW) for i in range(60)))
    room.settle(150)
    told = {n.about for n in sink.told}
    hidden = next(f"a{i:03d}" for i in range(60) if f"a{i:03d}" not in told)
    room.write(alert(id=hidden, revision=8, last_ts=room.clock.now()))
    room.settle(5)
    assert hidden not in {n.about for n in sink.told}, "it stands in a message already"
    room.write(alert(id=hidden, revision=9, severity=CRITICAL, last_ts=room.clock.now()))
    room.settle(5)
    room.worker.close()
    assert hidden in {n.about for n in sink.told}


def test_programs_get_everything() -> None:
    """If this fails, a SIEM lacks what was too much for people."""
    sink = Sink("webhook", traits=PROGRAM)
    room = Room({"digest": {}, "quiet": {"severity": "critical"}}, sink)
    room.write(*(alert(id=f"a{i:03d}", severity=LOW) for i in range(200)))
    room.settle(2)
    room.worker.close()
    assert len(sink.told) == 200


# --- digests and quiet hours


def test_small_things_are_told_together() -> None:
    """If this fails, people mute the channel because of what does not matter, and miss what does."""
    sink = Sink()
    room = Room({"digest": {"every": "4h", "severity": "low"}}, sink)
    room.write(*(alert(id=f"a{i}", severity=LOW, last_ts=NOW) for i in range(3)), alert(id="high"))
    room.settle(3)
    assert [n.about for n in sink.told] == ["high"]
    assert sink.bulletins == []
    room.clock.set((NOW // 14400 + 1) * 14400.0)
    room.settle(2)
    room.worker.close()
    assert [b.title for b in sink.bulletins] == ["3 small alerts since the last digest (3 low)"]


def test_a_digest_that_is_heard_in_the_middle_of_a_turn_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a busy machine now and then says the same digest twice, or counts an alert twice."""
    sink = Sink()
    room = Room({"digest": {"every": "4h"}}, sink)
    room.write(alert(id="a", severity=LOW))
    room.settle()
    sink.open.clear()
    room.clock.advance(4 * 3600)
    room.until(lambda: _lane(room).sending)
    release = Outbox.release

    def hear_it_now(outbox: Outbox, now: float, left: int) -> tuple[list[Waiting], list[Waiting]]:
        sink.open.set()
        deadline = stopwatch() + WAIT_S
        while len(_lane(room)):
            assert stopwatch() < deadline
            threading.Event().wait(0.001)
        return release(outbox, now, left)

    monkeypatch.setattr(Outbox, "release", hear_it_now)
    room.settle(2)
    assert len(sink.bulletins) == 1


def _lane(room: Room) -> Lane:
    assert room.worker.teller is not None
    (lane,) = room.worker.teller.lanes
    return lane


def test_a_restart_loses_no_digest_and_tells_none_twice() -> None:
    """If this fails, a deployment swallows the day's small alerts, or tells them again."""
    sink = Sink()
    room = Room({"digest": {"every": "4h"}}, sink)
    room.write(alert(id="a", severity=LOW, last_ts=NOW))
    room.settle(2)
    room.worker.close(flush=False)
    room.start()
    room.write(alert(id="b", severity=LOW, last_ts=NOW))
    room.settle(2)
    room.clock.set((NOW // 14400 + 1) * 14400.0)
    room.settle(2)
    room.worker.close(flush=False)
    room.start()
    room.settle(2)
    room.worker.close()
    assert [b.title for b in sink.bulletins] == ["2 small alerts since the last digest (2 low)"]


def test_quiet_hours_hold_back_little_things_only() -> None:
    """If this fails, somebody is woken for nothing, or not woken for an attack."""
    sink = Sink()
    hour = datetime.fromtimestamp(NOW, UTC).hour
    room = Room({"quiet": {"hours": f"{hour:02d}:00-{(hour + 1) % 24:02d}:00", "severity": "medium"}}, sink)
    room.write(alert(id="little", severity=Severity.MEDIUM), alert(id="great"))
    room.settle(2)
    assert [n.about for n in sink.told] == ["great"]
    room.clock.advance(3600.0)
    room.settle(2)
    room.worker.close()
    assert [b.title for b in sink.bulletins] == ["1 small alerts during quiet hours (1 medium)"]


def test_what_could_not_be_told_in_time_is_told_late_in_one_message() -> None:
    """If this fails, what happened while notify was down is never told, or floods people."""
    sink = Sink()
    room = Room({}, sink)
    room.write(*(alert(id=f"a{i}", last_ts=NOW - 3600, first_ts=NOW - 4000) for i in range(30)))
    room.settle(40)
    room.worker.close()
    assert sink.told == []
    assert [b.title for b in sink.bulletins] == ["30 alerts that could not be told in time (30 high)"]


# --- escalation and verdicts


def test_what_nobody_acknowledges_is_escalated_once() -> None:
    """If this fails, an attack is read by nobody, or everybody is paged for what somebody works on."""
    first, second = Sink("slack"), Sink("boss")
    escalation = {"after": "10m", "severity": "high", "receivers": ["boss"]}
    room = Room({"routes": [{"receivers": ["slack"]}], "escalation": escalation}, first, second)
    room.write(alert(id="a"), alert(id="b"), alert(id="small", severity=LOW))
    room.settle(2)
    room.write(verdict(VerdictKind.ACKNOWLEDGE, "b"))
    room.settle(2)
    assert second.told == []
    room.clock.advance(600.0)
    room.settle(3)
    room.worker.close(flush=False)
    room.start()
    room.settle(3)
    room.worker.close()
    assert [(n.key, n.escalated) for n in second.told] == [("a", True)]
    assert [n.key for n in first.told if n.escalated] == ["a"], "those who were told hear that nobody acknowledged"


def test_who_was_told_hears_who_is_on_it() -> None:
    """If this fails, three people work on one alert and none on the next."""
    sink = Sink()
    room = Room({}, sink)
    room.write(alert(id="a"))
    room.settle(1)
    room.write(verdict(VerdictKind.EXPECTED, until=NOW + 9999.0))
    room.settle(1)
    room.worker.close()
    assert sink.told[-1].acknowledged_by == "ana"
    assert sink.told[-1].verdict == "expected, says ana: looking"


# --- silences


def test_a_silence_holds_back_and_the_end_of_what_was_told_is_told() -> None:
    """If this fails, a silence does nothing, or leaves an incident open at the pager."""
    sink = Sink()
    room = Room({}, sink)
    room.write(alert(id="before"))
    room.settle(1)
    room.write(silence(detector="credential_stuffing"))
    room.settle(1)
    room.write(alert(id="after"), alert(id="before", revision=9, severity=CRITICAL))
    room.write(alert(id="before", revision=10, status=Status.RESOLVED))
    room.settle(1)
    room.worker.close()
    assert [(n.about, n.revision) for n in sink.told] == [("before", 7), ("before", 10)]
    silenced = [a for a in room.actions() if a.result == "silenced"]
    assert {a.alert_id for a in silenced} == {"after", "before"}
    assert "ana" in silenced[0].detail


def test_once_a_week_people_hear_what_a_silence_hid() -> None:
    """If this fails, a silence that was made for a load test hides attacks for a month, and nobody notices."""
    chat, siem = Sink(), Sink("siem", traits=PROGRAM)
    room = Room({}, chat, siem)
    long = silence(project="billing").model_copy(update={"until": NOW + 30 * 86_400})
    room.write(long, alert(id="a"), alert(id="a", revision=8), alert(id="b"), alert(id="c", project="search"))
    room.settle()
    assert chat.bulletins == []
    room.clock.advance(7 * 86_400)  # into the next week
    room.settle(2)
    (told,) = chat.bulletins
    assert told.title == "Silences held back 2 alerts last week"
    assert told.rows[0].startswith("INFO 2 held back by s1 (project billing; ana until ")
    assert siem.bulletins == []
    room.worker.close()
    room.start()
    room.settle(2)
    assert len(chat.bulletins) == 1, "a restart tells it once"
    room.clock.advance(7 * 86_400)
    room.settle(2)
    assert len(chat.bulletins) == 1, "and a week in which nothing was hidden is no news"


def test_a_snooze_ends_when_it_gets_worse() -> None:
    """If this fails, one tap on a phone hides the attack that follows."""
    sink = Sink()
    room = Room({}, sink)
    room.write(alert(id="a"))
    room.settle(1)
    room.write(verdict(VerdictKind.SNOOZE, until=NOW + 3600))
    room.settle(1)
    told = len(sink.told)
    room.write(alert(id="a", revision=8, count=99))
    room.settle(1)
    assert len(sink.told) == told
    room.write(alert(id="a", revision=9, severity=CRITICAL))
    room.settle(1)
    room.worker.close()
    assert sink.told[-1].severity is CRITICAL


# --- incidents


def test_an_incident_is_one_conversation_for_people_and_alerts_for_programs() -> None:
    """If this fails, a botnet of 300 addresses is 300 pages, or a SIEM sees one."""
    pager, siem = Sink("pagerduty"), Sink("webhook", traits=PROGRAM)
    room = Room({}, pager, siem)
    parts = [alert(id=f"a{i}", incident_id="inc1", key=f"203.0.113.{i}", revision=i) for i in range(5)]
    for part in parts:
        room.write(part)
        room.settle()
    room.write(incident(*parts, id="inc1", revision=9, severity=CRITICAL))
    room.settle(1)
    room.write(*(alert(**{**dict(p), "status": Status.RESOLVED, "revision": 20}) for p in parts))
    room.write(incident(*parts, id="inc1", revision=20, severity=CRITICAL, status=Status.RESOLVED))
    room.settle(1)
    room.worker.close()
    assert {n.key for n in pager.told} == {"inc1"}
    assert [n.status for n in pager.told] == [Status.OPEN, Status.OPEN, Status.RESOLVED]
    assert {n.about for n in siem.told} == {p.id for p in parts}
    handles = {a.handle for a in room.actions("pagerduty") if a.handle}
    assert handles == {"h-inc1"}


def test_an_incident_in_shadow_is_told_to_nobody() -> None:
    """If this fails, a detector that is only being tried wakes people."""
    sink = Sink()
    room = Room({}, sink)
    part = alert(id="a", incident_id="inc1", mode=Mode.SHADOW)
    room.write(part, incident(part, id="inc1", mode=Mode.SHADOW))
    room.settle(2)
    room.worker.close()
    assert sink.told == []
    assert {a.result for a in room.actions()} == {"shadow"}


def test_an_alert_that_was_told_alone_goes_on_alone() -> None:
    """If this fails, the first message of an attack stays open for ever once it becomes part of an incident."""
    sink = Sink()
    room = Room({}, sink)
    room.write(alert(id="a"))
    room.settle(1)
    room.write(alert(id="a", revision=8, incident_id="inc1", severity=CRITICAL), alert(id="b", incident_id="inc1"))
    room.settle(1)
    room.worker.close()
    assert [(n.key, n.about) for n in sink.told] == [("a", "a"), ("a", "a"), ("inc1", "b")]


def test_after_a_restart_a_message_still_shows_all_members() -> None:
    """If this fails, a deployment makes a botnet look like one address."""
    sink = Sink()
    room = Room({}, sink)
    room.write(*(alert(id=f"a{i}", incident_id="inc1") for i in range(3)))
    room.settle(1)
    room.worker.close()
    room.start()
    room.write(alert(id="a0", incident_id="inc1", revision=9))
    room.settle(1)
    room.worker.close()
    assert {m.id for m in sink.told[-1].members} == {"a0", "a1", "a2"}


# --- what must be told again


def test_what_is_open_is_told_again_where_it_would_expire_and_no_longer() -> None:
    """If this fails, an attack that goes on is over at Alertmanager, or one that is over goes on."""
    sink = Sink("alertmanager", traits=Traits(people=False, every_revision=True, refresh_s=60.0))
    room = Room({}, sink)
    room.write(alert(id="a"), alert(id="shadow", mode=Mode.SHADOW))
    room.settle(185)
    assert len(sink.told) == 1 + 3
    room.write(alert(id="a", revision=9, status=Status.RESOLVED))
    room.settle(185)
    room.worker.close()
    assert [n.alert.status for n in sink.told[4:]] == [Status.RESOLVED]
    assert len(room.actions()) == 3, "telling again is on nobody's record"


def test_a_pager_hears_the_end_of_what_it_may_have_heard_of() -> None:
    """If this fails, a kill between the pager's answer and our record leaves an incident open there."""
    pager = Sink("pagerduty", traits=Traits(people=True, by_key=True))
    room = Room({}, pager)
    room.write(alert(id="a", status=Status.RESOLVED))
    room.settle(1)
    room.worker.close()
    assert [n.status for n in pager.told] == [Status.RESOLVED]


# --- standing by, and bad records


def test_who_takes_over_tells_nothing_twice() -> None:
    """If this fails, a worker that stood by repeats all that the other one told since it started."""
    sink = Sink()
    room = Room({}, sink)
    second = NotifyWorker(room.log, room.settings, {}, [sink], member="n", clock=room.clock, metrics=room.metrics)
    room.write(alert(id="a"), alert(id="b"))
    for _ in range(20):
        second.step(0.0)
        room.settle()
    assert room.worker.assigned + second.assigned == 1
    room.worker.close(flush=False)
    room.worker = second
    room.settle(2)
    second.close()
    assert sorted(n.about for n in sink.told) == ["a", "b"]


def test_records_that_cannot_be_read_stop_nothing() -> None:
    """If this fails, one bad record silences every alert after it."""
    sink = Sink()
    room = Room({}, sink)
    producer = room.log.producer()
    for topic in ("alerts", "incidents", "verdicts", "actions"):
        for value in (b"no JSON", b"{}", b"[]", b"\xff"):
            producer.send(f"gatewatch.{topic}", value, partition=0)
    room.worker.close()
    room.start()
    room.write(alert(id="a"))
    room.settle(2)
    room.worker.close()
    assert [n.about for n in sink.told] == ["a"]


# --- refusals


def test_a_refusal_is_told_elsewhere_once_and_counted() -> None:
    """If this fails, a wrong token silences a receiver for weeks before anybody notices."""
    broken = Sink("slack", *(Attempt(Result.NEVER, "invalid_auth") for _ in range(5)))
    other = Sink("email")
    room = Room({}, broken, other)
    room.write(*(alert(id=f"a{i}") for i in range(5)))
    room.settle(3)
    room.worker.close()
    assert [b.title for b in other.bulletins] == ["slack refuses alerts: invalid_auth"]
    assert broken.bulletins == []
    value = room.metrics.registry.get_sample_value(
        "gatewatch_notifications_total", {"receiver": "slack", "result": "never"}
    )
    assert value == 5.0


# --- the record


@pytest.mark.parametrize("kills", [1, 3])
def test_the_chain_goes_on_over_restarts(kills: int) -> None:
    """If this fails, every deployment makes the record look forged."""
    sink = Sink()
    room = Room({}, sink)
    for life in range(kills + 1):
        room.write(alert(id=f"a{life}"))
        room.settle(1)
        room.worker.close(flush=False)
        room.start()
    room.worker.close()
    values = [
        (offset, value)
        for chunk in room.log.read("gatewatch.actions")
        for offset, value in zip(chunk.offsets, chunk.values, strict=True)
        if value is not None
    ]
    report = verify(values)
    assert report.problems == []
    assert (report.writers, report.unchained) == (kills + 1, 0)
