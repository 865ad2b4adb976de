"""A replay that learns from history first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gatewatch.detectors
from gatewatch import registry
from gatewatch.settings import Settings, Source
from gatewatch.tune.replay import Replayed, replay, write

CASES = Path(__file__).resolve().parents[3] / "examples" / "detectors"
SOURCE = Source(topic="replay", format="native")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The night owl alone: it knows nobody before it has seen five days of them."""
    monkeypatch.setattr(gatewatch.detectors, "__path__", [str(CASES), *gatewatch.detectors.__path__])
    off = {name: {"mode": "off"} for name in registry.names() if name != "night_owl"}
    return Settings.model_validate({"detectors": off, "kafka": {"partitions": 2}})


@pytest.fixture
def days(tmp_path: Path) -> tuple[Path, Path]:
    """Five days of office hours with a first night in them, and a second night."""
    lines = (CASES / "night_owl" / "cases" / "attack-at-three.jsonl").read_text().splitlines()
    night = json.loads(lines[-1])
    history, now = tmp_path / "history.jsonl", tmp_path / "now.jsonl"
    history.write_text("\n".join(lines))
    now.write_text(json.dumps({**night, "ts": night["ts"] + 86400.0}))
    return history, now


def told(done: Replayed) -> set[float]:
    """When each alert began."""
    return {alert.first_ts for alert in done.alerts}


def test_history_teaches_and_is_not_told_of(settings: Settings, days: tuple[Path, Path], tmp_path: Path) -> None:
    """Otherwise a trial on today's log begins blind, or reports last week's incidents as today's."""
    history, now = days
    assert told(replay([now], SOURCE, settings)) == set()
    done = replay([now], SOURCE, settings, warm=[history])
    second_night = json.loads(now.read_text())["ts"]
    assert told(done) == {second_night}
    assert {finding.ts for finding in done.findings} == {second_night}
    summary = write(done, tmp_path / "out", settings)
    assert summary["events"] == 1
    assert summary["history_events"] == len(history.read_text().splitlines())
    assert summary["history_findings"] == 3


def test_without_history_everything_is_told(settings: Settings, days: tuple[Path, Path]) -> None:
    """Otherwise silence has become the default."""
    history, now = days
    both = replay([history, now], SOURCE, settings)
    assert len(told(both)) == 2
    assert both.history_events == both.history_findings == 0
