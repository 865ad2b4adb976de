"""Who may send, what is said to them, and that nothing is acknowledged before the log has it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import httpx
import pytest
from starlette.testclient import TestClient

from gatewatch.errors import BrokerError, ConfigError, SendError
from gatewatch.log.base import Log, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.receive.app import Receiver
from gatewatch.receive.writer import Writer
from gatewatch.settings import ReceiveSettings

SETTINGS = {"sources": {"litellm": {"topic": "llm", "token_env": "T1"}, "kong": {"topic": "kong", "token_env": "T2"}}}
LLM = {"Authorization": "Bearer secret-one"}


@pytest.fixture
def log() -> MemoryLog:
    """A log with both topics."""
    log = MemoryLog()
    with closing(log.admin()) as admin:
        admin.create([TopicSpec("llm", 1), TopicSpec("kong", 1)])
    return log


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T1", "secret-one")
    monkeypatch.setenv("T2", "secret-two")


@pytest.fixture
def metrics() -> Metrics:
    """Of the receiver."""
    return Metrics()


@pytest.fixture
def client(log: MemoryLog, metrics: Metrics) -> Iterator[TestClient]:
    """A sender without a token."""
    writer = Writer(log, 5.0)
    with TestClient(Receiver(ReceiveSettings.model_validate(SETTINGS), writer, metrics).app()) as client:
        yield client
    writer.close()


def _values(log: MemoryLog, topic: str) -> list[bytes | None]:
    return [value for chunk in log.read(topic) for value in chunk.values]


def test_a_body_is_in_the_topic_of_its_token_when_200_is_said(
    log: MemoryLog, client: TestClient, metrics: Metrics
) -> None:
    """If this fails, what a gateway believes delivered is lost, or lands in another gateway's topic."""
    body = b'[{"id":1},{"id":2}]'
    assert client.post("/v1/logs", content=body, headers=LLM).status_code == 200
    packed = {"Authorization": "Bearer secret-two", "Content-Encoding": "gzip"}
    assert client.post("/v1/logs/kong/any", content=gzip.compress(b'{"started_at":1}'), headers=packed).json()["ok"]
    assert _values(log, "llm") == [body]
    assert _values(log, "kong") == [b'{"started_at":1}']
    assert metrics.registry.get_sample_value("gatewatch_received_bytes_total") == len(body) + 16


def test_otlp_gets_the_answer_that_its_exporters_expect(log: MemoryLog, client: TestClient) -> None:
    """If this fails, an OTLP exporter logs an error for each batch that was taken."""
    answer = client.post("/v1/traces", json={"resourceSpans": []}, headers=LLM)
    assert (answer.status_code, answer.json()) == (200, {"partialSuccess": {}})
    assert len(_values(log, "llm")) == 1


def test_otlp_protobuf_is_refused_with_the_fix(log: MemoryLog, client: TestClient) -> None:
    """If this fails, the exporters' default encoding fills the dead letters, and nobody says what to set."""
    headers = {**LLM, "Content-Type": "application/x-protobuf"}
    answer = client.post("/v1/traces", content=b"\x0a\x00", headers=headers)
    assert answer.status_code == 415
    assert "encoding: json" in answer.json()["error"]
    assert _values(log, "llm") == []


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer secret", "secret-one", "Bearer secret-oné"])
def test_without_the_token_nothing_is_taken(log: MemoryLog, client: TestClient, given: str | None) -> None:
    """If this fails, anybody who reaches the port can write events that never happened."""
    headers = [(b"authorization", given.encode())] if given else []
    answer = client.post("/v1/logs", content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert _values(log, "llm") == []


def test_a_body_that_is_too_large_is_refused_before_it_is_read(log: MemoryLog, metrics: Metrics) -> None:
    """If this fails, a sender can fill the memory."""
    writer = Writer(log, 5.0)
    settings = ReceiveSettings.model_validate({**SETTINGS, "body_bytes": 2000, "elements": 2})
    with TestClient(Receiver(settings, writer, metrics).app(), headers=LLM) as client:
        assert client.post("/v1/logs", content=b"x" * 2001).status_code == 413
        assert client.post("/v1/logs", content=b"[1,2,3]").status_code == 413
        assert client.post("/v1/logs", content=b"[1,2]").status_code == 200
    assert metrics.registry.get_sample_value("gatewatch_received_total", {"result": "refused"}) == 2.0
    writer.close()


def test_a_token_that_is_not_set_stops_the_start(monkeypatch: pytest.MonkeyPatch, log: MemoryLog) -> None:
    """If this fails, a typo in a deployment opens the port, or shuts a gateway out in silence."""
    monkeypatch.delenv("T2")
    with pytest.raises(ConfigError, match=r"receive\.sources\.kong\.token_env: environment variable T2"):
        Receiver(ReceiveSettings.model_validate(SETTINGS), Writer(log, 5.0), Metrics())


class _Stuck:
    """A log and its producer in one: takes records and acknowledges none, or fails."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.made = 0
        self.sent = threading.Event()

    def producer(self) -> _Stuck:
        if self.failure == "no broker":
            raise BrokerError("no broker")
        self.made += 1
        return self

    def send(self, topic: str, value: bytes, *, on_ack: object) -> None:
        if self.failure == "no room":
            raise SendError("no room")
        self.sent.set()

    def check(self) -> None:
        if self.failure == "not acknowledged":
            raise SendError("not acknowledged")

    def close(self, *, flush: bool = True) -> None:
        """Nothing to end."""


@pytest.mark.parametrize("failure", ["no broker", "no room", "not acknowledged", "silence"])
def test_a_broker_that_fails_is_503_and_is_asked_again(failure: str, metrics: Metrics) -> None:
    """If this fails, a lost body is acknowledged, or one failure of Kafka ends the receiver for good."""
    log = _Stuck()
    log.failure = failure
    writer = Writer(cast("Log", log), 0.3)
    with TestClient(Receiver(ReceiveSettings.model_validate(SETTINGS), writer, metrics).app(), headers=LLM) as client:
        for _ in range(2):
            answer = client.post("/v1/logs", content=b"{}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "secret" not in answer.text
    assert log.made == {"no broker": 0, "silence": 1}.get(failure, 2)
    assert metrics.registry.get_sample_value("gatewatch_received_total", {"result": "failed"}) == 2.0


def test_above_the_bound_in_flight_senders_are_told_to_wait(metrics: Metrics) -> None:
    """If this fails, a Kafka that is slow for a minute costs the receiver its memory."""
    settings = ReceiveSettings.model_validate({**SETTINGS, "body_bytes": 1 << 20, "in_flight_bytes": 1 << 20})
    log = _Stuck()
    receiver = Receiver(settings, Writer(cast("Log", log), 3.0), metrics)

    async def both() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(receiver.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver", headers=LLM) as client:
            first = asyncio.create_task(client.post("/v1/logs", content=b"x" * 900_000))
            assert await asyncio.to_thread(log.sent.wait, 30.0)
            second = await client.post("/v1/logs", content=b"x" * 200_000)
            return await first, second, await client.post("/v1/logs", content=b"x" * 900_000)

    stuck, second, after = asyncio.run(both())
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    assert stuck.status_code == after.status_code == 503  # its own ack timeout: what was held is given back
