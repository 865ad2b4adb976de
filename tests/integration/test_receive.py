"""The receiver as users run it, on a real broker: what it acknowledges is there; a broker that goes costs nothing."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from gatewatch.log import open_log
from gatewatch.log.base import TopicSpec
from gatewatch.settings import KafkaSettings
from gatewatch.testing.kafka import Broker, free_ports
from gatewatch.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))


class Site:
    """A topic, and a receiver in a process of its own."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.topic = f"t{uuid4().hex[:8]}-kong"
        self._kafka = KafkaSettings(bootstrap=(bootstrap,))
        (port,) = free_ports(1)
        self._config = folder / "gatewatch.yaml"
        document = {
            "kafka": {"bootstrap": [bootstrap]},
            "metrics": {"listen": "127.0.0.1:0"},
            "receive": {
                "listen": f"127.0.0.1:{port}",
                "ack_timeout": 2.0,
                "sources": {"kong": {"topic": self.topic, "token_env": "KONG_TOKEN"}},
            },
        }
        self._config.write_text(yaml.safe_dump(document))
        self.url = f"http://127.0.0.1:{port}/v1/logs"
        with closing(open_log(self._kafka)) as log, closing(log.admin()) as admin:
            admin.create([TopicSpec(self.topic, 2)])

    @contextmanager
    def receiver(self) -> Iterator[None]:
        """Runs until the block ends, and must end well."""
        env = {**os.environ, "KONG_TOKEN": "secret"}
        process = subprocess.Popen([GATEWATCH, "receive", "--config", str(self._config)], env=env)
        try:
            wait_until(lambda: self.post(b" ") == 200, "the receiver answers")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0

    def post(self, body: bytes, **headers: str) -> int:
        """The status of one request; 0 where nobody answers."""
        with httpx.Client(headers={"Authorization": "Bearer secret"}, timeout=60.0) as client:
            try:
                return client.post(self.url, content=body, headers=headers).status_code
            except httpx.TransportError:
                return 0

    def values(self) -> set[bytes | None]:
        """Everything in the topic."""
        with closing(open_log(self._kafka)) as log:
            return {value for chunk in log.read(self.topic) for value in chunk.values}


def test_what_is_acknowledged_is_in_the_topic(kafka: str, tmp_path: Path) -> None:
    """If this fails, a gateway throws away what it believes delivered."""
    site = Site(kafka, tmp_path)
    with site.receiver():
        assert site.post(b'{"started_at":1}') == 200
        assert site.post(gzip.compress(b'[{"started_at":2}]'), **{"Content-Encoding": "gzip"}) == 200
        assert (
            httpx.post(site.url, content=b"{}", headers={"Authorization": "Bearer guess"}, timeout=60.0).status_code
            == 401
        )
        assert site.values() == {b'{"started_at":1}', b'[{"started_at":2}]'}


def test_while_the_broker_is_away_senders_are_told_so_and_afterwards_it_goes_on(
    own_broker: Broker, tmp_path: Path
) -> None:
    """If this fails, a restart of Kafka loses events that were acknowledged, or ends the receiver for good."""
    site = Site(own_broker.bootstrap, tmp_path)
    with site.receiver():
        assert site.post(b'{"started_at":1}') == 200
        own_broker.stop()
        try:
            assert site.post(b'{"started_at":2}') == 503
        finally:
            own_broker.restart()
        wait_until(lambda: site.post(b'{"started_at":3}') == 200, "the receiver writes again")
        assert {b'{"started_at":1}', b'{"started_at":3}'} <= site.values()
