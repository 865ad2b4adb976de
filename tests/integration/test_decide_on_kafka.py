"""Decide as a process on a real broker: killed, it goes on from its snapshot and not from the beginning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import yaml

from gatewatch import settings as gatewatch_settings
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.log.base import Log, TopicPartition, TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import Contribution, Explanation, Finding, FindingBatch, Scope
from gatewatch.registry import load_all
from gatewatch.settings import Settings
from gatewatch.state import snapshots

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))
PATIENCE_S = 120.0
T0 = 1_700_000_000.0
SAID = ("alerts", "incidents", "decisions", "actions")


def _record(n: int) -> bytes:
    """One minute of a task of detect: one finding on one of three addresses; pauses end their episodes."""
    at = T0 + 60.0 * n + 2000.0 * (n // 10)
    finding = Finding(
        id=f"f{n}", detector="credential_stuffing", version=1, scope=Scope.IP, key=f"203.0.113.{n % 3}",
        reason="cracking", title="Password cracking", ts=at, since=at - 30.0, nats=20.0, threshold_nats=12.0,
        observed=286.0, expected=0.5, unit="failed logins", window_s=300.0, learned=False, warm=True,
        sample=f"access-0-{n}-0", explanation=Explanation((Contribution("failures", 20.0, "286"),), "0-2", "below 9"),
        context={"account": "root", "user_agent": "curl/8", "asn": "64500"},
    )  # fmt: skip
    return msgspec.json.encode(FindingBatch(task=0, routed_offset=n, watermark=at, findings=(finding,)))


def _alone(settings: Settings, findings: list[bytes]) -> list[list[bytes]]:
    """What is said of these records where nothing happens."""
    log, topic = MemoryLog(), settings.kafka.topic
    log.admin().create([TopicSpec(topic(name), 1) for name in ("findings", "verdicts", *SAID)])
    log.extend(TopicPartition(topic("findings"), 0), findings)
    clock, metrics = ManualClock(T0), Metrics()
    worker = DecideWorker(log, settings, load_all(), Catalog(), member="m", clock=clock, metrics=metrics)
    worker.step(0.0)
    while worker.step(0.0):
        pass
    return [_values(log, topic(name)) for name in SAID]


def test_a_killed_decide_goes_on_from_its_snapshot_in_the_same_bytes(kafka: str, tmp_path: Path) -> None:
    """If this fails, a crash of decide makes it read a week of findings again, or tells people of old alerts anew."""
    prefix, config = f"t{uuid4().hex[:8]}", tmp_path / "gatewatch.yaml"
    document = {
        "kafka": {"bootstrap": [kafka], "prefix": prefix, "partitions": 2},
        "metrics": {"listen": "127.0.0.1:0"},
        "state": {"every": "1s"},
        "detectors": {"credential_stuffing": {"mode": "block"}},
    }
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    subprocess.run([GATEWATCH, "topics", "create", "--config", str(config)], check=True, capture_output=True)
    settings = gatewatch_settings.load(config)
    log = KafkaLog(settings.kafka)
    findings = TopicPartition(settings.kafka.topic("findings"), 0)
    alerts, state = settings.kafka.topic("alerts"), settings.kafka.topic("state")
    with _worker(config) as first:
        _write(log, findings, 0, 30)
        _until(log, state, lambda: _saved(log, settings) >= 30, "a snapshot of all that there is")
        before = len(_values(log, alerts))
        _write(log, findings, 30, 45)
        _until(log, alerts, lambda: len(_values(log, alerts)) > before, "an alert after the snapshot")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(30)
    gone, there = _saved(log, settings), _values(log, findings.topic)
    assert gone >= 30
    with closing(log.admin()) as admin:  # nobody can begin at the beginning any more
        admin.delete_records(findings, gone)
    _write(log, findings, 45, 60)
    with _worker(config):
        _until(log, state, lambda: _saved(log, settings) >= len(there) + 15, "all that there is decided on, and saved")
    expected = _alone(settings, there[:gone] + _values(log, findings.topic))  # with the signs of life of decide itself
    for name, told in zip(SAID, expected, strict=True):
        assert list(dict.fromkeys(_values(log, settings.kafka.topic(name)))) == told
    log.close()


@contextmanager
def _worker(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of decide, under the same member's name each time; ended by SIGTERM, if it was not killed."""
    process = subprocess.Popen([GATEWATCH, "worker", "--role", "decide", "--config", str(config)])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) in {0, -signal.SIGKILL}


def _write(log: Log, tp: TopicPartition, start: int, stop: int) -> None:
    with closing(log.producer()) as producer:
        for n in range(start, stop):
            producer.send(tp.topic, _record(n), partition=tp.partition)
        producer.flush(30.0)


def _values(log: Log, topic: str) -> list[bytes]:
    return [v for chunk in log.read(topic) for v in chunk.values if v is not None]


def _saved(log: Log, settings: Settings) -> int:
    """Up to where decide has saved what it knows."""
    found = [m.offset for _, m in snapshots.manifests(log, settings.kafka.topic("state")) if m.task == "decide"]
    return max(found, default=0)


def _until(log: Log, topic: str, condition: Callable[[], bool], what: str) -> None:
    """Wait for what another process writes: asked again whenever something has come to the topic."""
    with closing(log.consumer([topic], group=f"t{uuid4().hex[:8]}", member="t")) as consumer:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
            polled = consumer.poll(10.0)
            for tp, end in consumer.end_offsets(polled.assigned).items() if polled.assigned else ():
                consumer.seek(tp, end)
            consumer.resume(polled.assigned)
