"""The line in each message that makes its alert again."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner, Result

from gatewatch.cli import app
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.flow import Flow
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.notify.notice import Notice
from gatewatch.notify.words import words_of
from gatewatch.records import Alert
from gatewatch.settings import Settings, Source, parse
from gatewatch.state.layout import check_layout, ensure_layout

T0 = 1_790_000_000.0
TOPIC = "access-logs"
SETTINGS = {
    "kafka": {"partitions": 2},
    "sources": [{"topic": TOPIC, "format": "native"}],
    "detectors": {"credential_stuffing": {"mode": "alert"}},
}


def _event(ts: float, ip: str, user: str, status: int) -> bytes:
    row = {"ts": ts, "ip": ip, "account": user, "status": status, "auth": "failure" if status == 401 else "success"}
    return json.dumps(row).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> MemoryLog:
    """A log with an attack from one address, spread over both partitions of a topic; the command leads there."""
    clock = ManualClock(T0)
    log = MemoryLog(clock=clock)
    log.admin().create([TopicSpec(TOPIC, 2), TopicSpec("gatewatch.state", 2), TopicSpec("gatewatch.alerts", 1)])
    ensure_layout(log, parse(SETTINGS, Settings))
    for i in range(240):
        at = T0 + 10.0 * i
        clock.advance(10.0)
        log.extend(TopicPartition(TOPIC, i % 2), [_event(at, f"198.51.100.{i % 7}", f"user{i % 7}", 200)])
        if i >= 200:
            failed = [_event(at + j / 4, "203.0.113.9", f"name{i}-{j}", 401) for j in range(8)]
            log.extend(TopicPartition(TOPIC, (i + 1) % 2), failed)
    path = tmp_path_factory.mktemp("site") / "gatewatch.yaml"
    path.write_text(json.dumps(SETTINGS))
    monkeypatch.setattr("gatewatch.log.open_log", lambda _settings: log)
    monkeypatch.setattr(log, "close", lambda: None)
    monkeypatch.setenv("GATEWATCH_CONFIG", str(path))
    monkeypatch.setenv("COLUMNS", "240")
    return log


def _alert(log: MemoryLog) -> Alert:
    """What decide said of the attack; the rows of its findings as ingest would have named them."""
    settings = parse(SETTINGS, Settings)
    flow = Flow(settings, Source(topic=TOPIC, format="native"), seed=check_layout(log, settings))
    both = [
        (c.timestamps_ms[i], c.tp.partition, o, c.values[i]) for c in log.read(TOPIC) for i, o in enumerate(c.offsets)
    ]
    both.sort(key=lambda row: row[:3])
    alerts = flow.feed([value for _ms, _p, _o, value in both if value is not None]).alerts
    alert = next(a for a in alerts if a.key == "203.0.113.9" and a.detector == "credential_stuffing")
    places = [both[int(sample.split("-")[-2])] for sample in alert.samples]
    return alert.model_copy(update={"samples": tuple(f"{TOPIC}-{p}-{o}-0" for _ms, p, o, _v in places)})


def _run(line: str, *more: str) -> Result:
    """A line of a message, in a shell."""
    words = shlex.split(line)
    assert words[0] == "gatewatch"
    return CliRunner().invoke(app, [*words[1:], *more])


def test_the_line_in_a_message_makes_the_alert_again(site: MemoryLog) -> None:
    """If this fails, who doubts an alert at night can check nothing."""
    alert = _alert(site)
    site.producer().send("gatewatch.alerts", records_io.write(alert), partition=0, key=alert.id.encode())
    explain, replay = words_of(Notice(alert.id, alert.id, 1, alert)).command.split("; ")
    assert _run(explain).exit_code == 0
    again = _run(replay)
    assert again.exit_code == 0, again.output
    assert "again: " in again.output
    assert "203.0.113.9" in again.output
    printed = json.loads(_run(replay, "--json").stdout)
    (found,) = printed["found"]
    assert (found["first_ts"], found["observed"]) == (alert.first_ts, alert.observed)
    assert printed["missing"] is None


def test_what_does_not_come_again_says_why(site: MemoryLog) -> None:
    """If this fails, the reader takes an alert for wrong whose rows are only gone."""
    alert = _alert(site).model_copy(update={"key": "192.0.2.77", "config_hash": "other"})
    site.producer().send("gatewatch.alerts", records_io.write(alert), partition=0, key=alert.id.encode())
    answer = _run(f"gatewatch alerts replay {alert.id}")
    assert answer.exit_code == 1
    assert "the settings were other then" in answer.output
    gone = alert.model_copy(update={"id": "ffff", "samples": ("elsewhere-0-1-0",)})
    site.producer().send("gatewatch.alerts", records_io.write(gone), partition=0, key=b"ffff")
    assert "elsewhere" in str(_run("gatewatch alerts replay ffff").output)
