"""The whole flow as users deploy it: `gatewatch worker` processes on a real broker, the commands beside them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from gatewatch import registry
from gatewatch.log import open_log
from gatewatch.log.base import Log, TopicSpec
from gatewatch.settings import KafkaSettings, Settings, Source
from gatewatch.simulate.scenario import Simulation
from gatewatch.testing.waiting import wait_until
from gatewatch.tune.replay import replay
from gatewatch.watch.reasons import TASK

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# Longer than each wait may be: where no kernel is compiled yet and others want the cores, a start takes minutes
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))
# A process start, kernels from the disk cache, a join, and a poll or two; CI has two busy cores.
# One detector that needs no warm baseline: the input is short, and kernels that nobody runs are not compiled.
ONLY = "credential_stuffing"
MODES = {"detectors": {name: {"mode": "block" if name == ONLY else "off"} for name in registry.names()}}


class Site:
    """One installation on the broker: its own prefix, source topic and settings file."""

    def __init__(self, bootstrap: str, folder: Path, partitions: int = 2) -> None:
        name = f"t{uuid4().hex[:8]}"
        self.topic = f"{name}-access"
        self.kafka = KafkaSettings(bootstrap=(bootstrap,), prefix=name, partitions=4)
        self.config = folder / "gatewatch.yaml"
        document: dict[str, Any] = {
            "kafka": {"bootstrap": [bootstrap], "prefix": name, "partitions": 4},
            "sources": [{"topic": self.topic, "format": "native"}],
            "metrics": {"listen": "127.0.0.1:0"},
            **MODES,
        }
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.log: Log = open_log(self.kafka)
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(self.topic, partitions)])
        self.run("topics", "create")

    def run(self, *args: str, ok: bool = True) -> str:
        """A command with this site's settings; its standard output."""
        done = subprocess.run(
            [GATEWATCH, *args, "--config", str(self.config)], capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout

    def write(self, values: Sequence[bytes], partition: int = 0) -> None:
        """Produce values to the source."""
        producer = self.log.producer()
        for value in values:
            producer.send(self.topic, value, partition=partition)
        producer.flush(30.0)
        producer.close()

    def read(self, name: str) -> list[dict[str, Any]]:
        """All records of one of our topics."""
        topic = self.kafka.topic(name)
        return [json.loads(v) for chunk in self.log.read(topic) for v in chunk.values if v is not None]

    @contextmanager
    def worker(self, *args: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process; ended by SIGTERM, and it must end well within its ten seconds."""
        process = subprocess.Popen([GATEWATCH, "worker", "--config", str(self.config), *args])
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) in {0, -signal.SIGKILL}


@pytest.fixture
def site(kafka: str, tmp_path: Path) -> Iterator[Site]:
    """A fresh installation."""
    made = Site(kafka, tmp_path)
    yield made
    made.log.close()


def _attack(scenario: str, seed: int = 1) -> list[bytes]:
    """Half an hour of benign traffic with one attack in it, ending now: live times, not history."""
    run = Simulation(scenario, rate=8.0, duration_s=1800.0, start=time.time() - 1830.0, seed=seed)
    return [value for window in run.windows() for value in window.values]


def _identity(alerts: Sequence[Any]) -> set[tuple[str, str, str, float]]:
    """What "the same alerts" means: detector, scope, key, first_ts."""
    rows = [a if isinstance(a, dict) else json.loads(a.model_dump_json()) for a in alerts]
    return {(r["detector"], r["scope"], r["key"], r["first_ts"]) for r in rows}


def _replayed(values: Sequence[bytes], folder: Path) -> set[tuple[str, str, str, float]]:
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(values))
    settings = Settings.model_validate({**MODES, "kafka": {"partitions": 4}})
    return _identity(replay([path], Source(topic="replay", format="native"), settings).alerts)


@pytest.mark.parametrize("size", [1, 100])
def test_the_worker_alerts_as_a_replay_of_the_same_events_does(site: Site, tmp_path: Path, size: int) -> None:
    """If this fails, what users try on a file is not what they get on Kafka."""
    values = _attack("stuffing") + _attack("cracking", seed=2)
    expected = _replayed(values, tmp_path)
    assert expected
    arrays = [b"[" + b",".join(values[i : i + size]) + b"]" for i in range(0, len(values), size)]
    site.write(values if size == 1 else arrays)
    with site.worker():
        wait_until(lambda: _identity(site.read("alerts")) >= expected, "the alerts of the replay")
        wait_until(lambda: bool(site.read("decisions")), "a decision")
    assert _identity(site.read("alerts")) == expected
    listed = json.loads(site.run("alerts", "list", "--json"))
    assert {(a["detector"], a["key"]) for a in listed} == {(d, k) for d, _s, k, _t in expected}


@pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation data is not beside this checkout")
def test_an_old_log_on_kafka_alerts_as_in_a_replay(site: Site, tmp_path: Path) -> None:
    """If this fails, a log of years ago that somebody produces to Kafka is squeezed into one burst, or is not seen."""
    spec = importlib.util.spec_from_file_location("evaluation_data", DATA / "load.py")
    assert spec is not None
    assert spec.loader is not None
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    values = [json.dumps(row).encode() for row in load.sshd()]
    expected = _replayed(values, tmp_path)
    assert {"183.62.140.253", "187.141.143.180"} <= {key for _d, _s, key, _t in expected}
    site.write([b"[" + b",".join(values[i : i + 100]) + b"]" for i in range(0, len(values), 100)])
    with site.worker():
        wait_until(lambda: _identity(site.read("alerts")) >= expected, "the alerts of the replay")
    assert _identity(site.read("alerts")) == expected


def test_two_detect_processes_share_and_one_goes_on_alone(site: Site) -> None:
    """If this fails, a site cannot scale out, or the loss of one process blinds it for a part of the keys."""
    with ExitStack() as running:
        for role in ("ingest", "decide"):
            running.enter_context(site.worker("--role", role))
        first = running.enter_context(site.worker("--role", "detect", "--index", "0"))
        running.enter_context(site.worker("--role", "detect", "--index", "1"))
        site.write(_attack("stuffing"))
        wait_until(lambda: bool(site.read("alerts")), "an alert while both run")
        before = _identity(site.read("alerts"))
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
        site.write(_attack("cracking", seed=3))
        site.write(_attack("spraying", seed=4))
        wait_until(lambda: len({k for _d, _s, k, _t in _identity(site.read("alerts")) - before}) >= 2, "alerts by one")


def test_a_bad_element_is_a_dead_letter_and_its_siblings_are_scored(site: Site) -> None:
    """If this fails, one broken event of a gateway hides the other 99 of its message, or itself."""
    values = _attack("stuffing")
    at = len(values) // 2
    array = [*values[at : at + 50], b'{"ts": "yesterday"}', *values[at + 50 : at + 99]]
    site.write([b"[" + b",".join(array) + b"]"], partition=1)
    site.write(values)
    with site.worker():
        wait_until(lambda: bool(site.read("dead-letters")), "the dead letter")
        wait_until(lambda: bool(site.read("alerts")), "an alert")
    letters = site.read("dead-letters")
    assert [(x["topic"], x["partition"], x["offset"], x["index"]) for x in letters] == [(site.topic, 1, 0, 50)]
    assert "yesterday" not in json.dumps(letters)
    listed = json.loads(site.run("dead-letters", "list", "--json"))
    assert len(listed) == 1


def test_a_restarted_worker_says_nothing_twice(site: Site) -> None:
    """If this fails, every deploy repeats all alerts of the day."""
    site.write(_attack("stuffing"))
    with site.worker():
        wait_until(lambda: bool(site.read("decisions")), "a decision")
    said = (site.read("alerts"), site.read("decisions"), len(site.read("findings")))
    saved = json.loads(site.run("state", "list", "--json"))
    assert {f"detect-{p}" for p in range(4)} <= {s["task"] for s in saved}  # it goes on from these
    site.run("state", "verify")
    with site.worker():
        site.write(_attack("cracking", seed=3))
        wait_until(lambda: len(site.read("alerts")) > len(said[0]), "an alert about the second attack")
    alerts, decisions = site.read("alerts"), site.read("decisions")
    assert alerts[: len(said[0])] == said[0]
    revisions = [(a["id"], a["revision"]) for a in alerts]
    assert len(set(revisions)) == len(revisions)
    assert decisions[: len(said[1])] == said[1]


def test_a_new_installation_learns_from_history_in_silence(site: Site, tmp_path: Path) -> None:
    """If this fails, whoever installs Gatewatch is paged about last week, or it ignores the attack that goes on."""
    history = _attack("stuffing")
    assert _replayed(history, tmp_path), "the history holds nothing to be silent about"
    site.write([b"[" + b",".join(history[i : i + 100]) + b"]" for i in range(0, len(history), 100)])
    began = time.time()
    with site.worker("--warm-from", "7d"):

        def over() -> bool:
            """A task of detect, not a watcher, has seen all that is older."""
            return any(record["watermark"] > began for record in site.read("findings") if record["task"] < TASK)

        wait_until(over, "the end of history")
        live = time.time()
        site.write(
            [
                json.dumps({"ts": live + i / 100, "ip": "203.0.113.77", "account": f"user-{i}", "status": 401}).encode()
                for i in range(100)
            ]
        )
        wait_until(lambda: bool(site.read("alerts")), "an alert on the attack that goes on")
    assert all(alert["first_ts"] >= began for alert in site.read("alerts"))
    assert {alert["key"] for alert in site.read("alerts")} <= {"203.0.113.77", "203.0.113.0/24"}
