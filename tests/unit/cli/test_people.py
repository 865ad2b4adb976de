"""Commands by which people judge and silence alerts, and read incidents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from gatewatch.cli import app
from gatewatch.clock import ManualClock
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.records import (
    Explanation,
    Finding,
    FindingBatch,
    Incident,
    IncidentMember,
    Mode,
    Scope,
    Severity,
    Status,
)
from gatewatch.testing.alerts import NOW, alert


def incident(**changes: Any) -> Incident:
    """An incident with one member, of ``alert``."""
    a = alert()
    member = IncidentMember(
        scope=a.scope, key=a.key, detectors=(a.detector,), severity=a.severity, alert_id=a.id, count=3
    )
    fields: dict[str, Any] = {
        "id": "1111bb22cc33dd44", "revision": 7, "status": Status.OPEN, "severity": a.severity, "mode": Mode.ALERT,
        "title": "Credential stuffing from ip 203.0.113.9", "story": "Credential stuffing [b]from[/b] one address",
        "scope": a.scope, "key": a.key, "detector": a.detector, "detectors": (a.detector,), "project": a.project,
        "projects": ("billing",), "members": (member,), "members_total": 1, "alert_ids": (a.id,), "alerts_total": 1,
        "first_ts": NOW - 90, "last_ts": NOW - 60, "valid_until": NOW, "count": 3, "config_hash": "01234567",
    }  # fmt: skip
    return Incident(**{**fields, **changes})


class Shell:
    """The command on a memory log, with a settings file that knows ana."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog()
        names = ("alerts", "incidents", "verdicts", "findings", "actions")
        self.log.admin().create([TopicSpec(f"gatewatch.{n}", 1) for n in names])
        self._producer = self.log.producer()
        self.config = folder / "gatewatch.yaml"
        self.config.write_text("verdicts: {actors: [ana]}\n")

    def put(self, topic: str, record: BaseModel) -> None:
        """What workers write."""
        self._producer.send(f"gatewatch.{topic}", record.model_dump_json().encode(), partition=0, key=b"k")

    def __call__(self, *args: str) -> Result:
        """Run `gatewatch ARGS -c CONFIG`."""
        return CliRunner().invoke(app, [*args, "-c", str(self.config)])

    def json(self, *args: str) -> Any:
        """The same, with --json."""
        result = self(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """At a time that stands still."""
    made = Shell(tmp_path)
    monkeypatch.setattr("gatewatch.log.open_log", lambda _settings: made.log)
    monkeypatch.setattr(made.log, "close", lambda: None)  # several commands use it
    for name in ("verdicts", "silences"):
        monkeypatch.setattr(f"gatewatch.cli.{name}._clock", ManualClock(NOW))
    monkeypatch.setenv("USER", "ana")
    monkeypatch.setenv("COLUMNS", "240")
    return made


def test_a_verdict_is_given_by_the_beginning_of_an_id_and_listed(shell: Shell) -> None:
    """If this fails, who wants to say "expected" at three in the morning cannot."""
    shell.put("alerts", alert())
    shell.put("incidents", incident())
    made = shell.json("verdicts", "add", "00aa", "--kind", "expected", "--until", "7d", "--reason", "load test")
    assert (made["alert_id"], made["until"], made["actor"]) == (alert().id, NOW + 7 * 86400, "ana")
    on_incident = shell.json("verdicts", "add", "1111", "--kind", "acknowledge", "--reason", "on it")
    assert (on_incident["alert_id"], on_incident["incident_id"]) == (None, incident().id)
    assert [v["kind"] for v in shell.json("verdicts", "list")] == ["acknowledge", "expected"]
    assert "load test" in shell("verdicts", "list").stdout
    assert shell("verdicts", "list", "--kind", "true").exit_code == 1


@pytest.mark.parametrize(
    ("args", "code", "fix"),
    [
        (["zz", "--kind", "true", "--reason", "r"], 1, "gatewatch alerts list"),
        (["", "--kind", "true", "--reason", "r"], 1, "beginning of 2 ids"),
        (["00aa", "--kind", "expected", "--reason", "r"], 2, "--until 8h"),
        (["00aa", "--kind", "true", "--reason", " "], 2, "--reason"),
        (["00aa", "--kind", "snooze", "--until", "8d", "--reason", "r"], 2, "verdicts.max_snooze"),
    ],
)
def test_a_wrong_verdict_is_refused_with_the_fix(shell: Shell, args: list[str], code: int, fix: str) -> None:
    """If this fails, the command says that it was done, or nothing that helps."""
    shell.put("alerts", alert())
    shell.put("incidents", incident())
    result = shell("verdicts", "add", *args)
    assert (result.exit_code, fix in result.stderr) == (code, True)
    assert shell("verdicts", "list").exit_code == 1


def test_who_is_not_on_the_list_may_not(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, everybody with a shell may silence alerts."""
    shell.put("alerts", alert())
    monkeypatch.setenv("USER", "eve")
    for args in (
        ("verdicts", "add", "00aa", "--kind", "true", "--reason", "r"),
        ("silences", "add", "--project", "billing", "--until", "8h", "--reason", "r"),
    ):
        result = shell(*args)
        assert (result.exit_code, "verdicts.actors" in result.stderr) == (2, True)


def test_a_silence_is_made_listed_and_ended(shell: Shell) -> None:
    """If this fails, a silence outlives its reason."""
    made = shell.json("silences", "add", "--scope", "ip", "--key", "203.0.113.9", "--until", "8h", "--reason", "move")
    assert [s["id"] for s in shell.json("silences", "list")] == [made["id"]]
    assert "key 203.0.113.9" in shell("silences", "list").stdout
    for group in ("a", "b", "a"):
        held = {"receiver": "slack", "alert_id": group, "revision": 1, "status": "open", "result": "silenced",
                "ts": NOW, "detail": f"silenced by ana ({made['id']})", "group": group}  # fmt: skip
        shell.log.producer().send("gatewatch.actions", json.dumps(held).encode(), partition=0)
    (listed,) = shell.json("silences", "list")
    assert (listed["held_back_this_week"], listed["held_back_last_week"]) == (2, 0)
    assert "2 this week, 0 last" in shell("silences", "list").stdout
    assert shell("silences", "remove", made["id"][:5]).exit_code == 0
    assert shell("silences", "list").exit_code == 1
    assert [s["removed_by"] for s in shell.json("silences", "list", "--all")] == ["ana"]
    assert shell("silences", "remove", "zz").exit_code == 1
    assert shell("silences", "remove", made["id"]).exit_code == 2


def test_incidents_are_listed_filtered_and_shown(shell: Shell, tmp_path: Path) -> None:
    """If this fails, the on-call engineer sees parts of an incident, or shadow as if it were sent."""
    shell.put("incidents", incident())
    shell.put("incidents", incident(revision=9, count=12, severity=Severity.CRITICAL))
    shell.put("incidents", incident(id="22", merged_into="1111bb22cc33dd44", status=Status.RESOLVED))
    shell.put("incidents", incident(id="33", mode=Mode.SHADOW, projects=("search",)))
    assert [(i["id"][:2], i["count"]) for i in shell.json("incidents", "list")] == [("11", 12)]
    assert [i["id"][:2] for i in shell.json("incidents", "list", "--shadow", "--project", "search")] == ["33"]
    assert "[b]from[/b]" in shell("incidents", "list").stdout
    assert shell.json("incidents", "show", "22")["merged_into"] == "1111bb22cc33dd44"
    shown = shell("incidents", "show", "11").stdout
    assert "ip 203.0.113.9" in shown
    assert "1 members" in shown
    assert shell("incidents", "show", "zz").exit_code == 1
    (tmp_path / "incidents.jsonl").write_text(incident().model_dump_json() + "\n")
    listed = shell.json("incidents", "list", "--from", str(tmp_path), "--since", "1h", "--open", "--severity", "high")
    assert len(listed) == 1


def test_verdicts_become_a_diff_with_its_cost(shell: Shell, tmp_path: Path) -> None:
    """If this fails, what people said changes nothing, or changes it unseen."""
    shell.put("alerts", alert())
    assert shell("verdicts", "propose").exit_code == 1
    shell("verdicts", "add", "00aa", "--kind", "expected", "--until", "7d", "--reason", "load test")
    finding = Finding(
        id="f", detector="credential_stuffing", version=1, scope=Scope.IP, key="203.0.113.9", reason="stuffing",
        title="t", ts=NOW, since=NOW, nats=20.0, threshold_nats=10.0, observed=1.0, expected=0.0, unit="u",
        window_s=60.0, learned=False, warm=True, sample="s", explanation=Explanation((), "", ""),
    )  # fmt: skip
    others = (finding, msgspec.structs.replace(finding, id="g", key="203.0.113.8"))
    batch = FindingBatch(task=0, routed_offset=0, watermark=NOW, findings=others)
    shell.log.producer().send("gatewatch.findings", msgspec.json.encode(batch), partition=0)
    told = shell("verdicts", "propose").stdout
    assert "nobody would have been stopped for 1 of 2 findings, among them 0 marked true" in told
    assert "+guards:" in told
    assert "+    owner: ana" in told
    assert shell.config.read_text() == "verdicts: {actors: [ana]}\n"
    path = tmp_path / "findings.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(f) for f in others))
    (proposal,) = shell.json("verdicts", "propose", "--findings", str(path))["proposals"]
    assert (proposal["path"], proposal["hit"], proposal["of"]) == ("guards.allow", 1, 2)
