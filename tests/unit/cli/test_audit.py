"""``gatewatch audit``: who was told, and whether the record is whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatewatch import log as log_room
from gatewatch.cli import app
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.notify.record import Action, Recorder

ACTIONS = TopicPartition("gatewatch.actions", 0)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """A log with three records of notify and one of a guard."""
    made = MemoryLog()
    made.admin().create([TopicSpec(ACTIONS.topic, 1)])
    producer = made.producer()
    recorder = Recorder(producer, ACTIONS.topic, "notify-a-0@1", None)
    for revision, result in ((1, "delivered"), (2, "unchanged"), (3, "never")):
        recorder.write(
            Action(
                receiver="slack",
                alert_id="[bold]a1[/bold]",
                revision=revision,
                status="open",
                result=result,
                ts=1_800_000_000.0,
            )
        )
    producer.send(ACTIONS.topic, b'{"kind":"refusal"}', partition=0)
    monkeypatch.setattr(made, "close", lambda: None)
    monkeypatch.setattr(log_room, "open_log", lambda _settings: made)
    return made


def run(*words: str) -> Result:
    """The command."""
    return CliRunner().invoke(app, ["audit", *words], env={"COLUMNS": "200"})


def as_json(*words: str) -> Any:
    """What it prints with --json."""
    return json.loads(run(*words, "--json").stdout)


def test_a_whole_record_is_called_whole(log: MemoryLog) -> None:
    """If this fails, nobody can say whether the record is to be trusted."""
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "3 records of 1 writers" in result.stdout
    assert as_json("verify")["unchained"] == 1


def test_a_changed_record_is_named_and_ends_with_1(log: MemoryLog) -> None:
    """If this fails, a script that verifies every night goes on saying that all is well."""
    values = log.partition(ACTIONS).values
    value = values[1]
    assert value is not None
    values[1] = value.replace(b"unchanged", b"delivered")
    result = run("verify")
    assert result.exit_code == 1
    assert "changed: offset 1: number 1 of notify-a-0@1" in result.stdout
    assert [(p["fault"], p["offset"]) for p in as_json("verify")["problems"]] == [("changed", 1)]


def test_a_head_that_is_gone_is_told(log: MemoryLog) -> None:
    """If this fails, the newest records can be cut off unseen."""
    head = as_json("verify")["head"]
    assert run("verify", "--head", head).exit_code == 0
    del log.partition(ACTIONS).values[2:]
    assert run("verify").exit_code == 0
    result = run("verify", "--head", head)
    assert result.exit_code == 1
    assert "the head that you gave is not there" in result.stdout


def test_list_says_what_was_told_to_whom(log: MemoryLog) -> None:
    """If this fails, nobody can say whether the owner was told."""
    assert [row["result"] for row in as_json("list", "--receiver", "slack")] == ["delivered", "unchanged", "never"]
    assert "[bold]a1[/bold]" in run("list").stdout
    assert run("list", "--receiver", "pagerduty").exit_code == 1
