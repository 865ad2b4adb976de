"""What gateways leak of secrets and bodies into their events comes out nowhere: no topic, log, metric or message."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest
from tests.integration.planting import NEEDLES, sources, tattle

from gatewatch import flow
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.memory import kind
from gatewatch.detect.worker import DetectWorker
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.notify.build import receivers
from gatewatch.notify.worker import NotifyWorker
from gatewatch.observe.logs import configure
from gatewatch.registry import load
from gatewatch.settings import LogSettings, Settings, Source
from gatewatch.state import snapshots
from gatewatch.state.layout import check_layout, ensure_layout
from gatewatch.state.saving import Saver
from gatewatch.testing.mail import Mailbox, mail_server
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn, StandIn
from gatewatch.testing.waiting import wait_until
from gatewatch.tune.replay import replay, write

pytestmark = pytest.mark.slow
NOW = 1795492400.0  # a quarter of an hour after the events of the format cases
DETECTORS = ("leaked_key", "payload_drift", "restricted_probe")  # of keys, of shapes, of names; the others are alike
MESSAGES = ("slack", "pagerduty", "alertmanager", "webhook", "mail")
TOPICS = tuple(spec.name.partition(".")[2] for spec in specs(Settings()))
# What a source topic would hold anyway, or nobody reads: verdicts are people's own words, and nobody said any
SILENT = {"verdicts"}


class Site:
    """All roles on a log in memory, with receivers of every kind on loopback, and all that came out of them.

    Attributes:
        out: everything that left, by where it was found.
        rows: events that came through ingest.
    """

    def __init__(self, stack: ExitStack, *, raw: bool) -> None:
        self.out: dict[str, bytes] = {}
        self._clock, self._metrics = ManualClock(NOW), Metrics()
        self._logged = io.StringIO()
        self._ends: dict[str, StandIn] = {
            "slack": SlackStandIn(), "pagerduty": PagerDutyStandIn(), "alertmanager": StandIn(), "webhook": StandIn(),
        }  # fmt: skip
        for end in self._ends.values():
            stack.callback(end.close)
        self._mailbox = Mailbox()
        self._settings = self._configured(stack.enter_context(mail_server(self._mailbox)), raw=raw)
        self._log = MemoryLog()
        with closing(self._log.admin()) as admin:
            topics = [TopicSpec(source.topic, 1) for source in self._settings.sources]
            admin.create([*specs(self._settings), *topics])
        ensure_layout(self._log, self._settings)

    def _configured(self, mail_port: int, *, raw: bool) -> Settings:
        urls = {name: end.url for name, end in self._ends.items()}
        notify = {
            "slack": {"channel": "#abuse", "token_env": "SOME_TOKEN", "url": f"{urls['slack']}/api/"},
            "pagerduty": {"routing_key_env": "SOME_TOKEN", "url": urls["pagerduty"], "severity": "low"},
            "alertmanager": {"url": urls["alertmanager"]},
            "webhook": {"url": urls["webhook"]},
            "email": {
                "host": "127.0.0.1", "port": mail_port, "security": "none", "sender": "a@x.test", "to": ["b@x.test"],
                "severity": "low",
            },
        }  # fmt: skip
        document = {
            "kafka": {"partitions": 2},
            "sources": [source.model_dump() for source, _values in sources()],
            "ingest": {"raw_dead_letters": raw, "dead_letter_share": 1.0},
            "detectors": {"tattle": {"mode": "block"}},
            "notify": notify,
        }
        return Settings.model_validate(document)

    def run(self) -> None:
        """Everything from the source topics to the last message, and a snapshot of every task."""
        configure(LogSettings(level="debug"), stream=self._logged)
        log, settings, clock, metrics = self._log, self._settings, self._clock, self._metrics
        for source, values in sources():
            log.extend(TopicPartition(source.topic, 0), values)
        seed, entries = check_layout(log, settings), {**{name: load(name) for name in DETECTORS}, "tattle": tattle()}
        common: dict[str, Any] = {"member": "m", "clock": clock, "metrics": metrics}
        saver = Saver(kind(settings, "fast"), log, settings, seed, clock=clock, metrics=metrics)
        ingest = IngestWorker(log, settings, seed, **common)
        detect = DetectWorker(log, settings, entries, seed, saver=saver, watch=True, **common)
        decide = DecideWorker(log, settings, entries, Catalog.load(None), watch=True, **common)
        assert settings.notify is not None
        notify = NotifyWorker(log, settings, entries, receivers(settings.notify, clock), **common)
        for _ in range(6):
            while ingest.step(0.0) or not ingest.caught_up:
                ingest.flush()
            ingest.tick()
            for worker in (detect, decide, notify):
                while worker.step(0.0):
                    pass
            clock.advance(70.0)  # past every commit and every batch of notify

        def told() -> bool:
            notify.step(0.0)
            return all(end.seen for end in self._ends.values()) and bool(self._mailbox.messages)

        wait_until(told, "a message to each receiver")  # by threads of their own
        for each in (ingest, detect, decide, notify):
            each.close()
        self._collect()

    def _collect(self) -> None:
        for name in TOPICS:
            topic = self._settings.kafka.topic(name)
            chunks = list(self._log.read(topic))
            self.out[name] = b"\n".join(
                bytes(part) for c in chunks for pair in zip(c.keys, c.values, strict=True) for part in pair if part
            )
            self.out[name] += repr([c.headers for c in chunks]).encode()
        state = self._settings.kafka.topic("state")
        for partition, manifest in list(snapshots.manifests(self._log, state)):
            document, arrays = snapshots.read(self._log, TopicPartition(state, partition), manifest)
            self.out[f"snapshot of {manifest.task}"] = document + b"".join(a.tobytes() for a in arrays.values())
        self.out |= {name: b"\n".join(body for _path, _headers, body in end.seen) for name, end in self._ends.items()}
        self.out["mail"] = "\n".join(_mail(message) for message in self._mailbox.messages).encode()
        self.out["metrics"] = generate_latest(self._metrics.registry)
        self.out["log"] = self._logged.getvalue().encode()


def _mail(message: Any) -> str:
    parts = [str(message["Subject"])]
    return "\n".join(parts + [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"])


def found(out: dict[str, bytes]) -> dict[str, list[str]]:
    """Where which planted text was found, with what stands around it."""
    return {
        where: [
            text[max(match.start() - 200, 0) : match.end() + 40].decode(errors="replace")
            for needle in NEEDLES
            if (match := re.search(re.escape(needle.encode()), text)) is not None
        ]
        for where, text in out.items()
        if any(needle.encode() in text for needle in NEEDLES)
    }


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Logging is as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, _quiet: None) -> Iterator[Callable[..., Site]]:
    """Makes one, runs it whole, and ends its other sides."""
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-ours")

    def make(*, raw: bool) -> Site:
        made = Site(stack, raw=raw)
        made.run()
        return made

    with ExitStack() as stack:
        yield make


def test_what_gateways_leak_of_secrets_and_bodies_is_found_nowhere(site: Callable[..., Site]) -> None:
    """If this fails, a customer's key or words stand in Kafka, in a log, or in Slack for everybody to read."""
    out = site(raw=False).out
    snapshot_names = {name for name in out if name.startswith("snapshot of ")}
    assert {"snapshot of detect-0", "snapshot of detect-1"} <= snapshot_names
    assert not [name for name in {*TOPICS, *MESSAGES, "metrics", "log"} - SILENT if not out[name]]
    assert found(out) == {}
    assert b"sha256:" in out["alerts"]  # who they are is still told apart
    letters = [json.loads(line) for line in re.findall(rb'\{"reason.*?\}\n', out["dead-letters"] + b"\n")]
    assert letters
    assert all(letter["raw"] is None and letter["size"] > 0 and len(letter["sha256"]) == 64 for letter in letters)


def test_dead_letters_hold_content_only_where_the_config_says_so_and_nothing_else_does(
    site: Callable[..., Site],
) -> None:
    """If this fails, the switch that mends a format leaks bodies elsewhere, or cannot be switched off."""
    out = site(raw=True).out
    assert set(found(out)) <= {"dead-letters"}
    assert re.search(rb'"raw":"[^"]+"', out["dead-letters"])


def test_a_replay_writes_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a folder that is mailed around for a post-mortem holds the customers' keys."""
    monkeypatch.setattr(flow, "load_all", lambda: {"tattle": tattle()})
    for source, values in sources():
        if source.map is None and source.format in {"native", "apisix", "otlp", "combined"}:
            events = tmp_path / f"{source.topic}.jsonl"
            events.write_bytes(b"\n".join(values))
            _replayed(events, source, tmp_path / source.topic)


def _replayed(events: Path, source: Source, out: Path) -> None:
    settings = Settings.model_validate({"detectors": {"tattle": {"mode": "block"}}})
    write(replay([events], source, settings), out, settings)
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert files["alerts.jsonl"]
    assert found(files) == {}
