"""``gatewatch replay`` says what it could not read."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gatewatch.cli import app

T0 = 1_790_000_000


def _replay(folder: Path, lines: list[str], *more: str) -> tuple[int, str, str]:
    path = folder / "events.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    done = CliRunner().invoke(app, ["replay", str(path), "--format", "native", "--out", str(folder / "out"), *more])
    return done.exit_code, done.stdout, done.stderr


def _event(ts: float) -> str:
    return json.dumps({"ts": ts, "ip": "203.0.113.9", "status": 200})


def test_what_was_not_read_is_told_with_its_place_and_why(tmp_path: Path) -> None:
    """Else half a log in milliseconds is scored as half the traffic, and nobody learns what to change."""
    code, out, err = _replay(tmp_path, [_event(T0), _event(1e3 * T0), _event(1e3 * T0 + 5), "{"])
    assert code == 0
    assert "1 events, 3 unreadable" in out
    assert f"not read: 2 (time), first in {tmp_path / 'events.jsonl'} line 2: ts is not in epoch seconds" in err
    assert "unit: ms" in err  # the mend
    assert f"not read: 1 (json), first in {tmp_path / 'events.jsonl'} line 4" in err
    assert len((tmp_path / "out" / "dead-letters.jsonl").read_text().splitlines()) == 3


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    """Else a script takes a log that was never read for one without attacks."""
    code, _out, err = _replay(tmp_path, ['203.0.113.9 - - [10/Oct/2025:13:55:36 +0000] "GET / HTTP/1.1" 200 5'])
    assert code == 1
    assert "nothing could be read as `native`" in err


def test_json_stays_json(tmp_path: Path) -> None:
    """Else a machine that reads what is printed finds words between it."""
    code, out, err = _replay(tmp_path, [_event(T0), "{"], "--json")
    assert code == 0
    assert json.loads(out)["dead_letters_by_reason"] == {"json": 1}
    assert not err


def test_alerts_carry_the_hash_that_check_prints(tmp_path: Path) -> None:
    """Else nobody can tell whether an alert of a replay was made under the settings at hand."""
    config = tmp_path / "gatewatch.yaml"
    config.write_text("detectors: {rate_spike: {limits: {requests_per_minute: 30}}}\n")
    lines = [json.dumps({"ts": T0 + i / 10, "principal": "p", "auth": "success", "status": 200}) for i in range(300)]
    code, out, _err = _replay(tmp_path, lines, "--config", str(config), "--json")
    assert code == 0
    alerts = [json.loads(line) for line in (tmp_path / "out" / "alerts.jsonl").read_text().splitlines()]
    assert {alert["config_hash"] for alert in alerts} == {json.loads(out)["config_hash"]}
    checked = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert f"config hash {json.loads(out)['config_hash']}" in checked.stdout


def test_it_says_what_to_run_next(tmp_path: Path) -> None:
    """Else a newcomer has a folder of JSON lines and looks for what reads it."""
    lines = [json.dumps({"ts": T0 + i / 10, "principal": "p", "auth": "success", "status": 200}) for i in range(300)]
    config = tmp_path / "gatewatch.yaml"
    config.write_text("detectors: {rate_spike: {limits: {requests_per_minute: 30}}}\n")
    _code, out, _err = _replay(tmp_path, lines, "--config", str(config))
    assert f"gatewatch incidents list --from {tmp_path / 'out'}" in " ".join(out.split())


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """Else a day of logs is replayed for an hour, and its alerts are lost at the last line."""
    (tmp_path / "out").write_text("a file stands there")
    code, out, err = _replay(tmp_path, ["{"] * 3)
    assert code == 2
    assert f"--out: {tmp_path / 'out'} cannot be written" in err
    assert "unreadable" not in out, "nothing was read"
