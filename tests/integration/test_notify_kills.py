"""kill -9 of notify in the middle of a send: nothing is missing, and only what is documented is doubled."""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from gatewatch.clock import SystemClock
from gatewatch.log import open_log
from gatewatch.log.base import Log, TopicSpec
from gatewatch.notify.chain import verify
from gatewatch.notify.record import read
from gatewatch.records import Alert, Status
from gatewatch.settings import KafkaSettings
from gatewatch.testing import notify_process
from gatewatch.testing.alerts import alert
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn, StandIn
from gatewatch.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
KILLS = 50
# Imports are most of a start: each life is forked from a process that has made them, and knows nothing of the test's.
NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(["gatewatch.testing.notify_process", "kafka"])
ALERTS_A_LIFE = 3
PATIENCE_S = 120.0  # a process start and a join on a busy machine
CLOCK = SystemClock()


class Site:
    """The log, the three other sides, and the process that is killed."""

    def __init__(self, bootstrap: str, folder: Path, opened: ExitStack) -> None:
        self.slack, self.pager, self.manager = SlackStandIn(), PagerDutyStandIn(), StandIn()
        for sink in (self.slack, self.pager, self.manager):
            opened.callback(sink.close)
        self.prefix = f"t{uuid4().hex[:8]}"
        token = folder / "token"
        token.write_text("t0k3n", encoding="utf-8")
        document = {
            "kafka": {"bootstrap": [bootstrap], "prefix": self.prefix},
            "notify": {
                "slack": {
                    "channel": "C77",
                    "token_file": str(token),
                    "url": f"{self.slack.url}/api/",
                    "per_minute": 60,
                },
                "pagerduty": {"routing_key_file": str(token), "url": self.pager.url, "per_minute": 100},
                "alertmanager": {"url": self.manager.url},
            },
        }
        self.config = folder / "gatewatch.yaml"
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.log: Log = open_log(KafkaSettings(bootstrap=(bootstrap,), prefix=self.prefix))
        opened.callback(self.log.close)
        topics = ("alerts", "incidents", "verdicts", "actions")
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(f"{self.prefix}.{name}", 1) for name in topics])
        self._producer = self.log.producer()
        opened.callback(self._producer.close)
        self.process: BaseProcess | None = None
        opened.callback(self.kill)

    def start(self) -> None:
        """One more life."""
        self.process = NURSERY.Process(target=notify_process.main, args=(str(self.config),), daemon=True)
        self.process.start()

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.join(PATIENCE_S)

    def write(self, *alerts: Alert) -> None:
        """As decide does."""
        for told in alerts:
            value = told.model_dump_json().encode()
            self._producer.send(f"{self.prefix}.alerts", value, partition=0, key=told.id.encode())
        self._producer.flush(PATIENCE_S)

    def kill_at(self, n: int) -> threading.Event:
        """Kill at the n-th request from now on, after it was understood and before it is answered."""
        seen, lock, killed = [0], threading.Lock(), threading.Event()

        def count(_path: str) -> None:
            with lock:
                seen[0] += 1
                if seen[0] == n and self.process is not None:
                    self.process.kill()
                    killed.set()

        for sink in (self.slack, self.pager, self.manager):
            sink.before_answer = count
        return killed

    def values(self) -> list[tuple[int, bytes]]:
        """What stands in `actions`."""
        chunks = list(self.log.read(f"{self.prefix}.actions"))
        return [(o, v) for c in chunks for o, v in zip(c.offsets, c.values, strict=True) if v is not None]


@pytest.fixture
def site(kafka: str, tmp_path: Path) -> Iterator[Site]:
    """An installation on the shared broker."""
    with ExitStack() as opened:
        yield Site(kafka, tmp_path, opened)


def _alerts(life: int, revision: int, status: Status) -> list[Alert]:
    now = CLOCK.now()
    return [
        alert(
            id=f"life{life:02d}-{i}",
            key=f"198.51.{life}.{i}",
            revision=revision,
            status=status,
            first_ts=now - 60.0,
            last_ts=now,
            valid_until=now + 600.0,
        )
        for i in range(ALERTS_A_LIFE)
    ]


@pytest.mark.timeout(1800)
def test_kills_in_the_middle_of_a_send(site: Site) -> None:
    """If this fails, a deployment or a crash loses alerts, or pages people twice for one attack."""
    rng = random.Random(7)
    for life in range(KILLS):
        before = _alerts(life - 1, 1000 + life, Status.RESOLVED) if life else []
        site.write(*_alerts(life, life, Status.OPEN), *before)
        killed = site.kill_at(rng.randint(1, 6))
        site.start()
        assert killed.wait(PATIENCE_S)
        site.kill()
    site.kill_at(-1)
    site.write(*_alerts(KILLS - 1, 2000, Status.RESOLVED))
    site.start()
    ids = {f"life{life:02d}-{i}" for life in range(KILLS) for i in range(ALERTS_A_LIFE)}
    last = {f"life{KILLS - 1:02d}-{i}" for i in range(ALERTS_A_LIFE)}
    wait_until(lambda: _settled(site, last))
    site.kill()
    _check_pager(site, ids)
    _check_manager(site, ids)
    _check_slack(site, ids)
    assert verify(site.values()).problems == []


def _settled(site: Site, ids: set[str]) -> bool:
    """Whether the end of each alert is on record at each receiver."""
    actions = [a for _, value in site.values() if (a := read(value)) is not None and a.revision == 2000]
    done = {(a.receiver, a.alert_id) for a in actions}
    return done >= {(name, i) for name in ("slack", "pagerduty", "alertmanager") for i in ids}


def _check_pager(site: Site, ids: set[str]) -> None:
    assert set(site.pager.pages.values()) == {1}, "nobody is paged twice for one attack"
    assert site.pager.open == set(), "nothing stays open"
    resolved = {e["dedup_key"] for e in site.pager.events if e["event_action"] == "resolve"}
    assert resolved == {f"gatewatch/{i}" for i in ids}


def _check_manager(site: Site, ids: set[str]) -> None:
    """An alert is its labels: one set of them for each, and its end was told."""
    # A kill may cut a request off in the middle of its body: that one never arrived.
    sent = [part for _, _, body in site.manager.seen if _is_whole(body) for part in json.loads(body)]
    labels = {json.dumps(part["labels"], sort_keys=True) for part in sent}
    assert Counter(json.loads(text)["episode"] for text in labels) == dict.fromkeys(ids, 1)


def _is_whole(body: bytes | str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _check_slack(site: Site, ids: set[str]) -> None:
    """Each alert is told; at most the one message that was on its way at a kill is there twice."""
    keys = {f"198.51.{int(i[4:6])}.{i[-1]}" for i in ids}
    texts = [json.dumps(m) for m in site.slack.messages.values()]
    shown = Counter(key for key in keys for text in texts if f"ip {key} " in text or f'ip {key}"' in text)
    listed = {a.alert_id for _, value in site.values() if (a := read(value)) is not None and a.line}
    assert {k for k in keys if k not in shown} <= {f"198.51.{int(i[4:6])}.{i[-1]}" for i in listed}
    assert sum(shown.values()) <= len(keys) + KILLS
    assert site.slack.refused == []
