"""Commands on our own topics: alerts, decisions, dead letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from gatewatch.cli import app
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.records import Action, Alert, ContributionModel, DeadLetter, Decision, Mode, Scope, Severity, Status

T0 = 1_700_000_000.0


def an_alert(alert_id: str = "aa11", revision: int = 0, **fields: Any) -> Alert:
    """An alert on one address, unless told otherwise."""
    values: dict[str, Any] = {
        "id": alert_id,
        "revision": revision,
        "status": Status.OPEN,
        "severity": Severity.MEDIUM,
        "mode": Mode.ALERT,
        "detector": "door_knocker",
        "detector_version": 1,
        "scope": Scope.IP,
        "key": "203.0.113.9",
        "reason": "cracking",
        "title": "Password cracking",
        "summary": "Password cracking by ip 203.0.113.9: 286 failed logins over 12 min, expected 0.4",
        "project": "shop",
        "first_ts": T0,
        "last_ts": T0 + 60.0,
        "valid_until": T0 + 1000.0,
        "count": 1,
        "nats": 14.0,
        "p": 1e-6,
        "observed": 286.0,
        "expected": 0.4,
        "unit": "failed logins",
        "window_s": 720.0,
        "threshold_nats": 12.0,
        "baseline": "usually 0-2 failed logins, 7 days",
        "counterfactual": "would not have fired below 9 failed logins",
        "contributions": (
            ContributionModel(name="failures", nats=16.0, text="286 failed logins"),
            ContributionModel(name="successes", nats=-2.0, text="1 success"),
        ),
        "samples": ("access-0-1-0",),
        "context": {"account": "[bold]root[/bold]"},
        "playbook": "door_knocker/PLAYBOOK.md",
        "config_hash": "12345678",
    }
    return Alert(**(values | fields))


def a_decision(decision_id: str = "dd11", **fields: Any) -> Decision:
    """A detector's block on one address."""
    values: dict[str, Any] = {
        "id": decision_id,
        "action": Action.BLOCK,
        "scope": Scope.IP,
        "value": "203.0.113.9",
        "reason": "Password cracking",
        "detector": "door_knocker",
        "alert_id": "aa11",
        "start": T0,
        "until": T0 + 600.0,
        "mode": Mode.BLOCK,
        "findings_offset": 7,
    }
    return Decision(**(values | fields))


def a_letter(offset: int = 4, raw: bytes | None = b'{"ts": "yesterday"}', **fields: Any) -> DeadLetter:
    """An element of an array that has no time."""
    values: dict[str, Any] = {
        "reason": "time",
        "detail": "ts: 'yesterday' is no time",
        "topic": "access",
        "partition": 0,
        "offset": offset,
        "index": 2,
        "format": "native",
        "size": 19,
        "sha256": "ab" * 32,
        "raw": raw,
    }
    return DeadLetter(**(values | fields))


class Shell:
    """The command, on a memory log."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        names = ["access", *(f"gatewatch.{n}" for n in ("alerts", "decisions", "dead-letters"))]
        self.log.admin().create([TopicSpec(name, 1) for name in names])
        self._producer = self.log.producer()

    def put(self, *records: Alert | Decision | DeadLetter) -> None:
        """What workers write."""
        for record in records:
            if isinstance(record, DeadLetter):
                self._producer.send("gatewatch.dead-letters", msgspec.json.encode(record), partition=0)
            else:
                topic = "gatewatch.alerts" if isinstance(record, Alert) else "gatewatch.decisions"
                self._producer.send(topic, records_io.write(record), partition=0, key=record.id.encode())

    def values(self, topic: str) -> list[bytes]:
        """All that is in a topic."""
        return [v for chunk in self.log.read(topic) for v in chunk.values if v is not None]

    def decisions(self) -> list[Decision]:
        """All that is in `decisions`."""
        return [records_io.read_decision(v, "") for v in self.values("gatewatch.decisions")]

    def __call__(self, *args: str) -> Result:
        """Run `gatewatch ARGS`."""
        return CliRunner().invoke(app, args)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A command whose settings lead to a memory log, at a time that stands still."""
    made = Shell()
    monkeypatch.setattr("gatewatch.log.open_log", lambda _settings: made.log)
    monkeypatch.setattr(made.log, "close", lambda: None)  # several commands use it
    monkeypatch.setattr("gatewatch.cli.decisions._clock", ManualClock(T0 + 100.0))
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("COLUMNS", "240")
    return made


def test_list_shows_each_alert_as_it_stands_now(shell: Shell) -> None:
    """If this fails, an on-call engineer sees old news, or the same alert ten times."""
    shell.put(an_alert(revision=1), an_alert(revision=5, status=Status.RESOLVED, count=9), an_alert("bb22", 3))
    listed = json.loads(shell("alerts", "list", "--json").stdout)
    assert [(a["id"], a["status"], a["count"]) for a in listed] == [("aa11", "resolved", 9), ("bb22", "open", 1)]
    table = shell("alerts", "list").stdout
    assert "ip 203.0.113.9" in table
    assert "286 failed logins over 12 min" in table


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--severity", "high"], ["bb22"]),
        (["--detector", "rate_spike"], ["bb22"]),
        (["--project", "shop"], ["aa11"]),
        (["--open"], ["aa11"]),
        (["--shadow"], ["aa11", "cc33", "bb22"]),
        ([], ["aa11", "bb22"]),
    ],
)
def test_list_filters(shell: Shell, options: list[str], ids: list[str]) -> None:
    """If this fails, an engineer who asks for one project's alerts reads another's."""
    other: dict[str, Any] = {
        "severity": Severity.CRITICAL,
        "detector": "rate_spike",
        "project": None,
        "status": Status.RESOLVED,
    }
    shell.put(an_alert(), an_alert("bb22", last_ts=T0 + 90.0, **other), an_alert("cc33", mode=Mode.SHADOW))
    assert [a["id"] for a in json.loads(shell("alerts", "list", "--json", *options).stdout)] == ids


def test_a_replays_folder_is_read_in_the_time_of_its_data(shell: Shell, tmp_path: Path) -> None:
    """If this fails, alerts of a replayed log of last year cannot be listed by --since, or shadow is shown as sent."""
    lines = [an_alert(), an_alert("bb22", last_ts=T0 + 9000.0)]
    (tmp_path / "alerts.jsonl").write_bytes(b"\n".join(records_io.write(a) for a in lines))
    shadow = {"kind": "alert", **an_alert("cc33", last_ts=T0 + 9000.0, mode=Mode.SHADOW).model_dump(mode="json")}
    unsent = {"kind": "decision", **a_decision("dd22", mode=Mode.SHADOW).model_dump(mode="json")}
    (tmp_path / "shadow.jsonl").write_text(json.dumps(shadow) + "\n" + json.dumps(unsent) + "\n")
    folder = ("--from", str(tmp_path), "--json")
    assert [a["id"] for a in json.loads(shell("alerts", "list", "--since", "1h", *folder).stdout)] == ["bb22"]
    assert len(json.loads(shell("alerts", "list", "--shadow", *folder).stdout)) == 3
    (tmp_path / "decisions.jsonl").write_bytes(records_io.write(a_decision()))
    assert [d["id"] for d in json.loads(shell("decisions", "list", *folder).stdout)] == ["dd11"]
    assert len(json.loads(shell("decisions", "list", "--all", *folder).stdout)) == 2
    missing = shell("dead-letters", "list", "--from", str(tmp_path))
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr


def test_nothing_found_is_exit_code_1(shell: Shell) -> None:
    """If this fails, a script that watches for alerts cannot tell none from some."""
    assert shell("alerts", "list").exit_code == 1
    assert shell("alerts", "show", "aa").exit_code == 1
    assert shell("decisions", "list").exit_code == 1
    assert shell("dead-letters", "list").exit_code == 1


def test_explain_says_why_what_is_normal_and_what_to_do(shell: Shell) -> None:
    """If this fails, the person who is paged at night has a number and no idea."""
    shell.put(an_alert(escalation="#shop", owner="team-shop"))
    text = shell("alerts", "explain", "aa").stdout
    for part in (
        "286 failed logins where 0.4 was expected: 14.0 nats of surprise, the threshold is 12.0",
        "+16.0",
        "-2.0",
        "━" * 30,
        "usually 0-2 failed logins, 7 days",
        "would not have fired below 9",
        "team-shop, escalate to #shop",
        "access-0-1-0",
        "the detector door_knocker is not installed here",
    ):
        assert part in text
    assert "━" * 31 not in text


def test_markup_of_a_stranger_is_text(shell: Shell) -> None:
    """If this fails, a login name that holds [/] or an escape code breaks or forges what people read."""
    nasty = {"account": "[red]root[/nothing]", "user_agent": "\x1b[2J"}
    shell.put(an_alert(key="[/]\x1b[2J", context=nasty, summary="by [/] [link=x]y"))
    for command in ("list", "show", "explain"):
        result = shell("alerts", command, *([] if command == "list" else ["aa11"]))
        assert result.exit_code == 0, result.output
        assert "\x1b[2J" not in result.stdout
        assert "[/]" in result.stdout


def test_a_record_that_cannot_be_read_does_not_hide_the_others(shell: Shell) -> None:
    """If this fails, one alert of a newer version makes the list of all others fail."""
    shell.log.producer().send("gatewatch.alerts", b'{"id": 7}', partition=0)
    shell.put(an_alert())
    result = shell("alerts", "list", "--json")
    assert [a["id"] for a in json.loads(result.stdout)] == ["aa11"]
    assert "gatewatch.alerts-0 offset 0" in result.stderr


def test_list_shows_who_is_stopped_now(shell: Shell) -> None:
    """If this fails, an engineer looks for a customer's block among thousands that are over."""
    shell.put(
        a_decision(),
        a_decision("dd22", until=T0 + 50.0),
        a_decision("dd33", mode=Mode.SHADOW),
        a_decision("dd44", removed=T0 + 9.0, removed_by="bob"),
        a_decision("dd44", until=T0 + 900.0),  # a renewal that crossed the removal
    )
    assert [d["id"] for d in json.loads(shell("decisions", "list", "--json").stdout)] == ["dd11"]
    everything = shell("decisions", "list", "--all").stdout
    for part in ("dd22", "ended", "shadow", "removed by bob"):
        assert part in everything


def test_add_stops_somebody_until_a_time_in_ones_own_name(shell: Shell) -> None:
    """If this fails, an order by hand has no end, or nobody knows whose it was."""
    result = shell("decisions", "add", "--scope", "ip", "--value", "203.0.113.9", "--reason", "abuse", "--ttl", "10m")
    assert result.exit_code == 0, result.output
    (decision,) = shell.decisions()
    assert decision.until == T0 + 700.0
    assert (decision.actor, decision.detector, decision.findings_offset) == ("alice", None, -1)
    assert "2023-11-14 22:25:00 UTC" in result.stdout


@pytest.mark.parametrize(("scope", "value"), [("ip", "10.0.0.1"), ("network", "0.0.0.0/0"), ("all", "a")])
def test_add_passes_the_same_guards_unless_forced(shell: Shell, scope: str, value: str) -> None:
    """If this fails, a typing error at night takes the site down."""
    order = ("decisions", "add", "--scope", scope, "--value", value, "--reason", "abuse", "--ttl", "10m")
    refused = shell(*order)
    assert refused.exit_code == 1
    assert "refused by" in refused.stderr
    assert shell.decisions() == []
    assert shell(*order, "--force").exit_code == 0
    assert "forced past" in shell.decisions()[0].reason


@pytest.mark.parametrize(
    ("scope", "value", "stored"),
    [
        ("network", "203.0.113.5/24", "203.0.113.0/24"),
        ("ip", "2001:DB8::0:1", "2001:db8::1"),
        ("principal", "A/24", "A/24"),
    ],
)
def test_add_writes_addresses_as_gateways_compare_them(shell: Shell, scope: str, value: str, stored: str) -> None:
    """If this fails, an order is written down and no gateway ever finds a request that it fits."""
    assert shell("decisions", "add", "--scope", scope, "--value", value, "--reason", "r", "--ttl", "1h").exit_code == 0
    assert shell.decisions()[0].value == stored
    assert (
        shell("decisions", "add", "--scope", "ip", "--value", "8.8.0.0/16", "--reason", "r", "--ttl", "1h").exit_code
        == 2
    )


@pytest.mark.parametrize("value", ["notanip", "  "])
def test_nothing_forces_an_order_on_nobody(shell: Shell, value: str) -> None:
    """If this fails, a typo with --force says that somebody is stopped, and no gateway can obey it."""
    more = ("--reason", "r", "--ttl", "1h", "--force")
    assert shell("decisions", "add", "--scope", "ip", "--value", value, *more).exit_code == 2
    assert shell.decisions() == []


def test_add_heeds_the_breaker(shell: Shell, tmp_path: Path) -> None:
    """If this fails, a script that calls add in a loop blocks everybody."""
    config = tmp_path / "c.yaml"
    config.write_text("guards: {blocks_per_minute: 2}")
    codes = [
        shell(
            "decisions", "add", "--scope", "ip", "--value", f"203.0.113.{i}", "--reason", "r", "--ttl", "1h",
            "--config", str(config),
        ).exit_code
        for i in range(3)
    ]  # fmt: skip
    assert codes == [0, 0, 1]


@pytest.mark.parametrize(("option", "value"), [("--ttl", "soon"), ("--ttl", "-5"), ("--reason", " "), ("--scope", "x")])
def test_add_refuses_what_makes_no_sense_as_a_usage_error(shell: Shell, option: str, value: str) -> None:
    """If this fails, a block without an end or a reason can be ordered."""
    options = {"--scope": "ip", "--value": "203.0.113.9", "--reason": "abuse", "--ttl": "10m", option: value}
    result = shell("decisions", "add", *(part for pair in options.items() for part in pair))
    assert result.exit_code == 2
    assert shell.decisions() == []


def test_remove_writes_who_and_why_and_only_once(shell: Shell) -> None:
    """If this fails, a wrong block cannot be lifted, or nobody can say later who lifted a right one."""
    shell.put(a_decision(), a_decision("dd22"))
    assert shell("decisions", "remove", "dd", "--reason", "office").exit_code == 1  # which of the two?
    assert shell("decisions", "remove", "dd1", "--reason", "office").exit_code == 0
    removed = shell.decisions()[-1]
    assert (removed.id, removed.removed, removed.removed_by) == ("dd11", T0 + 100.0, "alice")
    assert removed.findings_offset == -1
    assert removed.reason == "Password cracking; removed: office"
    assert shell("decisions", "remove", "dd11", "--reason", "office").exit_code == 1
    assert shell("decisions", "remove", "dd22").exit_code == 2


def test_clear_breaks_the_glass_only_when_it_is_meant(shell: Shell) -> None:
    """If this fails, nobody can end an outage that blocks cause, or one word ends all protection."""
    shell.put(a_decision(), a_decision("dd22", value="203.0.113.10"), a_decision("dd33", until=T0 + 1.0))
    assert shell("decisions", "clear", "--reason", "outage").exit_code == 2
    result = shell("decisions", "clear", "--all", "--reason", "outage")
    assert "2 decisions removed" in result.stdout
    assert {d.id for d in shell.decisions() if d.removed is not None} == {"dd11", "dd22"}
    assert shell("decisions", "list").exit_code == 1


def test_dead_letters_are_listed_once_with_their_place(shell: Shell) -> None:
    """If this fails, a broken event cannot be found in its topic."""
    shell.put(a_letter(), a_letter(), a_letter(9, None, reason="json", topic="other"))
    listed = json.loads(shell("dead-letters", "list", "--json").stdout)
    assert [letter["id"] for letter in listed] == ["access-0-4-2", "other-0-9-2"]
    assert [x["id"] for x in json.loads(shell("dead-letters", "list", "--reason", "json", "--json").stdout)] == [
        "other-0-9-2"
    ]
    shown = shell("dead-letters", "show", "access-0-4-2").stdout
    assert '{"ts": "yesterday"}' in shown
    assert "raw_dead_letters: true" in shell("dead-letters", "show", "other-0-9-2").stdout


def test_retry_sends_whole_elements_back_and_says_what_it_cannot(shell: Shell) -> None:
    """If this fails, events of a day with a wrong map are lost, or half an event is sent as a whole one."""
    shell.put(a_letter(1), a_letter(2, None), a_letter(3, b'{"ts"', size=9000))
    result = shell("dead-letters", "retry", "--topic", "access")
    assert result.exit_code == 1
    assert "1 sent back" in result.stdout
    assert "2 cannot be retried" in result.stderr
    assert "raw_dead_letters" in result.stderr
    assert shell.values("access") == [b'{"ts": "yesterday"}']
    assert shell("dead-letters", "retry", "access-0-1-2").exit_code == 0
    assert shell("dead-letters", "retry", "access-0-7-7").exit_code == 1
