"""`gatewatch evaluate` and `gatewatch suggest` on a short simulated file, from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gatewatch.cli import app
from gatewatch.simulate import labels
from gatewatch.simulate.scenario import Simulation


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Events and labels of an hour with one stuffing attack."""
    folder = tmp_path_factory.mktemp("simulated")
    events, truth = folder / "events.jsonl", folder / "labels.jsonl"
    simulation = Simulation("stuffing", rate=2.0, duration_s=3600.0, start=1_772_517_600.0, seed=1)
    with events.open("wb") as file, truth.open("wb") as side:
        labels.write(side, [simulation.header, *simulation.episodes])
        for window in simulation.windows():
            file.writelines(value + b"\n" for value in window.values)
            found = simulation.labels(window)
            if found:
                labels.write(side, found)
    return str(events), str(truth)


def _run(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def test_evaluate_finds_the_attack(simulated: tuple[str, str], tmp_path: Path) -> None:
    """If this fails, a labelled file gives no answer, or JSON that no program can read."""
    events, truth = simulated
    result = _run("evaluate", events, "-f", "native", "--labels", truth, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    found = next(d for d in report["detectors"] if d["detector"] == "credential_stuffing")
    kind = next(k for k in found["kinds"] if k["kind"] == "stuffing")
    assert (kind["attacks"], kind["caught"]) == (1, 1)
    assert 0 < kind["after_events"]["value"] <= 20
    assert kind["tpr"] > 0.9
    assert report["hostile_events"] == kind["hostile_events"]
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == report
    assert (tmp_path / "out" / "tpr-fpr.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "delay.png").is_file()


def test_evaluate_says_when_an_attack_was_missed(simulated: tuple[str, str], tmp_path: Path) -> None:
    """If this fails, a pipeline that checks detection goes on although an attack was missed."""
    events, _ = simulated
    principal = next(
        row["principal"] for row in map(json.loads, Path(events).read_text().splitlines()) if row.get("principal")
    )
    truth = tmp_path / "labels.jsonl"
    line = {"attack": "insider", "scope": "principal", "key": principal}
    truth.write_text(json.dumps({**line, "start": "2026-03-03T06:00:00Z", "end": "2026-03-03T07:00:00Z"}))
    result = _run("evaluate", events, "-f", "native", "--labels", str(truth))
    assert result.exit_code == 1
    assert "missed" in result.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [({"--labels": "nowhere.jsonl"}, "nowhere.jsonl"), ({"-f": "natve"}, "did you mean 'native'")],
)
def test_evaluate_says_what_is_wrong(change: dict[str, str], said: str, simulated: tuple[str, str]) -> None:
    """If this fails, a wrong path or format ends in a traceback."""
    events, truth = simulated
    options = {"-f": "native", "--labels": truth, **change}
    result = _run("evaluate", events, *(part for pair in options.items() for part in pair))
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_evaluate_works_without_matplotlib(
    simulated: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, who has not installed the extra gets a traceback instead of the figures."""
    monkeypatch.setattr("gatewatch.tune.evaluate_report.importlib.util.find_spec", lambda _name: None)
    events, truth = simulated
    result = _run("evaluate", events, "-f", "native", "--labels", truth, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "gatewatch[plots]" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_suggest_prices_budgets_and_limits(simulated: tuple[str, str], tmp_path: Path) -> None:
    """If this fails, people choose limits without knowing whom they would hit, or a diff that is no setting."""
    events, truth = simulated
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump({"detectors": {"rate_spike": {"limits": {"requests_per_minute": 300}}}}))
    result = _run("suggest", events, "-f", "native", "--labels", truth, "--config", str(config), "--json")
    assert result.exit_code == 0, result.output
    advice = json.loads(result.stdout)
    limit = next(p for p in advice["limits"] if p["option"] == "requests_per_minute")
    assert [price["value"] for price in limit["steps"]] == [9.0, 30.0, 90.0, 300.0, 900.0]
    keys = [price["keys"] for price in limit["steps"]]
    assert keys == sorted(keys, reverse=True)
    assert keys[0] > 0
    assert keys[-1] == 0
    assert [price["value"] for price in advice["budgets"]] == [0.1, 0.3, 1.0, 3.0, 10.0]
    assert advice["changes"] == {}  # an hour of data is no reason to change anything


def test_suggest_refuses_what_it_cannot_read_twice() -> None:
    """If this fails, a pipe is read once and the other four prices are those of an empty file."""
    result = _run("suggest", "-", "-f", "native")
    assert result.exit_code == 2
    assert "stdin" in result.output
