"""What people say: who may, what must be said, and what readers make of it."""

from __future__ import annotations

from typing import Any

import pytest

from gatewatch import verdicts
from gatewatch.errors import ConfigError, StateError, VerdictError
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.records import Matchers, Scope, Severity, Verdict, VerdictKind
from gatewatch.settings import Settings, VerdictSettings, parse
from gatewatch.testing.alerts import NOW, alert

DAY = 86400.0
WHO = VerdictSettings.model_validate({"actors": ["ana", {"name": "ben", "slack": "U7", "approve": False}]})


def said(kind: str = "false_alarm", about: Any = None, **fields: Any) -> Verdict:
    """A verdict of ana's on an alert, unless told otherwise."""
    values: dict[str, Any] = {"actor": "ana", "reason": "load test", "now": NOW, "settings": WHO}
    if kind in ("expected", "snooze"):
        values["until"] = NOW + DAY
    return verdicts.verdict_on(about or alert(), VerdictKind(kind), **(values | fields))


@pytest.mark.parametrize(
    ("kind", "fields", "fix"),
    [
        ("true", {"actor": "eve"}, "add the name to verdicts.actors"),
        ("true", {"actor": ""}, "add the name to verdicts.actors"),
        ("true", {"reason": " \n"}, "--reason"),
        ("true", {"until": NOW + 1}, "leave out --until"),
        ("expected", {"until": None}, "say until when"),
        ("snooze", {"until": NOW}, "say until when"),
        ("snooze", {"until": float("inf")}, "say until when"),
        ("snooze", {"until": NOW + 8 * DAY}, "verdicts.max_snooze (7 days)"),
        ("expected", {"until": NOW + 91 * DAY}, "verdicts.max_expected (90 days)"),
        ("approve", {"actor": "ben"}, "approve: true"),
    ],
)
def test_a_verdict_that_lacks_something_is_refused_with_the_fix(kind: str, fields: dict[str, Any], fix: str) -> None:
    """If this fails, anybody hides an attack, for ever, and nobody knows why."""
    with pytest.raises(VerdictError) as error:
        said(kind, **fields)
    assert fix in str(error.value)


def test_nobody_may_judge_unless_the_settings_name_them() -> None:
    """If this fails, whoever has a shell or a Slack account may switch alerts off."""
    with pytest.raises(VerdictError, match=r"verdicts\.actors"):
        said(settings=VerdictSettings())


def test_a_verdict_copies_what_it_is_about_and_comes_once() -> None:
    """If this fails, a button that is delivered twice counts twice, or a verdict dies with its alert."""
    one, again = said(), said()
    assert one == again
    about = (one.alert_id, one.detector, one.scope, one.key, one.project, one.severity)
    a = alert()
    assert about == (a.id, a.detector, a.scope, a.key, a.project, a.severity)
    assert said(now=NOW + 1).id != one.id


def test_people_are_found_by_name_and_by_slack_id() -> None:
    """If this fails, a button is pressed by nobody, or by somebody else."""
    ben = WHO.on_slack("U7")
    assert ben is not None
    assert ben.name == "ben"
    assert WHO.on_slack("ana") is None
    assert WHO.named("U7") is None
    with pytest.raises(ConfigError, match="twice"):
        parse({"actors": ["ana", {"name": "ana"}]}, VerdictSettings)


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ({"detector": "credential_stuffing"}, True),
        ({"detector": "rate_spike"}, False),
        ({"scope": "ip"}, True),
        ({"scope": "ip", "key": "203.0.113.9"}, True),
        ({"scope": "ip", "key": "203.0.113.8"}, False),
        ({"scope": "principal", "key": "203.0.113.9"}, False),
        ({"scope": "network", "key": "203.0.113.0/24"}, True),
        ({"scope": "network", "key": "203.0.113.0/30"}, False),
        ({"scope": "network", "key": "203.0.113.9/32"}, True),
        ({"scope": "network", "key": "2001:db8::/32"}, False),
        ({"scope": "network", "key": "not a network"}, False),
        ({"project": "billing", "severity": "high"}, True),
        ({"project": "billing", "severity": "medium"}, False),
        ({"project": "search"}, False),
    ],
)
def test_a_silence_holds_back_what_it_names_and_nothing_else(matchers: dict[str, Any], *, holds: bool) -> None:
    """If this fails, a silence for a load test hides somebody else's attack."""
    assert verdicts.matches(Matchers.model_validate(matchers), alert()) is holds


@pytest.mark.parametrize(
    ("matchers", "fields", "fix"),
    [
        ({}, {}, "name at least one"),
        ({"severity": "low"}, {}, "name at least one"),
        ({"key": "root"}, {}, "needs its scope"),
        ({"project": "billing"}, {"owner": "eve"}, "verdicts.actors"),
        ({"project": "billing"}, {"reason": ""}, "--reason"),
        ({"project": "billing"}, {"until": NOW + 31 * DAY}, "verdicts.max_silence (30 days)"),
        ({"project": "billing"}, {"until": NOW - 1}, "a time to come"),
    ],
)
def test_a_silence_that_lacks_something_is_refused_with_the_fix(
    matchers: dict[str, Any], fields: dict[str, Any], fix: str
) -> None:
    """If this fails, one command silences everything, or for ever."""
    values: dict[str, Any] = {"owner": "ana", "reason": "move", "until": NOW + DAY, "now": NOW, "settings": WHO}
    with pytest.raises(VerdictError) as error:
        verdicts.silence(Matchers.model_validate(matchers), **(values | fields))
    assert fix in str(error.value)


def test_a_book_says_who_holds_back_what_and_for_how_long() -> None:
    """If this fails, a snooze never ends, or hides that the thing it was about got worse."""
    book = verdicts.Book()
    snooze = said("snooze", alert(severity=Severity.MEDIUM))
    book.apply(snooze)
    same, worse = alert(severity=Severity.MEDIUM), alert(severity=Severity.HIGH)
    assert book.snoozed(same, NOW + 1) == snooze
    assert book.snoozed(worse, NOW + 1) is None
    assert book.snoozed(same, NOW + DAY) is None
    assert book.snoozed(alert(id="other"), NOW + 1) is None
    assert book.acknowledged(same) is None
    seen = said("acknowledge", now=NOW + 2)
    book.apply(seen)
    assert book.acknowledged(same) == seen
    assert book.snoozed(alert(id="other", incident_id=snooze.alert_id, severity=Severity.LOW), NOW + 1) == snooze


def test_a_silence_that_was_removed_stays_removed() -> None:
    """If this fails, a reader that sees records twice goes on hiding alerts after somebody ended that."""
    made = verdicts.silence(
        Matchers(scope=Scope.IP), owner="ana", reason="move", until=NOW + DAY, now=NOW, settings=WHO
    )
    book = verdicts.Book()
    book.apply(made)
    assert book.silenced(alert(), NOW) == made
    ended = verdicts.lifted(made, actor="ben", now=NOW + 5, settings=WHO)
    book.apply(ended)
    book.apply(made)
    assert book.silenced(alert(), NOW + 6) is None
    assert book.silences(NOW + 6) == []
    with pytest.raises(VerdictError, match="over already"):
        verdicts.lifted(ended, actor="ben", now=NOW + 7, settings=WHO)


def test_a_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a script that judges every alert fills the memory of decide and notify."""
    monkeypatch.setattr(verdicts, "VERDICTS_MAX", 3)
    monkeypatch.setattr(verdicts, "SILENCES_MAX", 2)
    book = verdicts.Book()
    for i in range(9):
        book.apply(said("true", alert(id=f"a{i}"), now=NOW + i))
        matchers = Matchers(project=f"p{i}")
        book.apply(verdicts.silence(matchers, owner="ana", reason="r", until=NOW + DAY, now=NOW + i, settings=WHO))
    assert [v.alert_id for v in book.verdicts()] == ["a6", "a7", "a8"]
    assert [s.matchers.project for s in book.silences()] == ["p7", "p8"]
    assert book.about("a0") == []


def test_what_is_written_is_read_again_and_the_unreadable_is_counted() -> None:
    """If this fails, one bad record takes all verdicts away."""
    log, settings = MemoryLog(), Settings()
    log.admin().create([TopicSpec("gatewatch.verdicts", 1)])
    made = verdicts.silence(
        Matchers(scope=Scope.IP), owner="ana", reason="move", until=NOW + DAY, now=NOW, settings=WHO
    )
    verdicts.send(log, settings, [said(), made])
    log.producer().send("gatewatch.verdicts", b'{"record": "verdict"}', partition=0, key=b"x")
    book, bad = verdicts.Book.load(log, settings)
    assert (book.verdicts(), book.silences(), bad) == ([said()], [made], 1)
    with pytest.raises(StateError, match="verdicts-0 offset 7"):
        verdicts.read(b"no json", "verdicts-0 offset 7")


def test_only_expected_releases_a_baseline() -> None:
    """If this fails, a false alarm teaches the baseline what an attack looks like."""
    assert verdicts.release_of(said("expected")) == (Scope.IP, "203.0.113.9", NOW + DAY)
    assert [verdicts.release_of(said(kind)) for kind in ("true", "snooze", "false_alarm")] == [None] * 3
