"""The canary says which hop is silent, asks only its own endpoint, and never leaves its block behind."""

from __future__ import annotations

import json
import time
from contextlib import closing

import httpx
import msgspec
import pytest

from gatewatch.canary.run import Canary
from gatewatch.clock import SystemClock
from gatewatch.errors import ConfigError
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.records import FindingBatch
from gatewatch.settings import Settings, parse
from gatewatch.watch.reasons import TASK

URL = "http://gateway.test/v1/models"
FINDINGS = TopicPartition("gatewatch.findings", 0)


class Site:
    """A gateway and roles that do their part, or not: those in ``broken`` do nothing."""

    def __init__(self, *broken: str) -> None:
        self._broken = broken
        self.log = MemoryLog()
        with closing(self.log.admin()) as admin:
            topics = ("access", "gatewatch.findings", "gatewatch.decisions")
            admin.create([TopicSpec(topic, 1) for topic in topics])
        self.asked: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What the gateway says, and what the roles have written by then."""
        self.asked.append(request)
        if "gateway" in self._broken:
            return httpx.Response(502)
        orders = self.orders() if "enforce" not in self._broken else []
        if orders and (orders[-1]["removed"] is None or "release" in self._broken):
            return httpx.Response(403)
        record = json.dumps({"ts": time.time(), "user_agent": request.headers["user-agent"]}).encode()
        told = FindingBatch(task=0, routed_offset=1, watermark=time.time())
        watcher = FindingBatch(task=TASK, routed_offset=0, watermark=time.time() - 50.0)  # neither here nor there
        with closing(self.log.producer()) as producer:
            producer.send(FINDINGS.topic, msgspec.json.encode(watcher), partition=0)
            if "source" not in self._broken:
                producer.send("access", record)
            if "detect" not in self._broken:
                producer.send(FINDINGS.topic, msgspec.json.encode(told), partition=0)
        if "decide" not in self._broken:
            self._decide()
        return httpx.Response(200)

    def orders(self) -> list[dict[str, object]]:
        """Everything in `decisions`."""
        return [json.loads(v) for c in self.log.read("gatewatch.decisions") for v in c.values if v is not None]

    def _decide(self) -> None:
        with closing(self.log.consumer([FINDINGS.topic], group="gatewatch.decide", member="d")) as consumer:
            while not consumer.poll(0.01).assigned:
                pass
            consumer.mark(FINDINGS, consumer.end_offsets([FINDINGS])[FINDINGS])
            consumer.commit()

    def probe(self, *, block: bool = True) -> dict[str, float | None]:
        """Seconds of each hop."""
        patience = 1.5 if self._broken else 60.0
        own = {"url": URL, "authorization_env": "CANARY", "patience": patience}
        document = {
            "kafka": {"partitions": 1},
            "sources": [{"topic": "access", "format": "native"}],
            "canary": own | ({"block": {"scope": "principal", "value": "canary"}} if block else {}),
        }
        settings = Settings.model_validate(document)
        canary = Canary(self.log, settings, SystemClock(), "c", httpx.MockTransport(self.answer))
        with closing(canary):
            return {hop.name: hop.seconds for hop in canary.probe()}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "Bearer canary-key")


def test_every_hop_of_a_good_site_is_measured() -> None:
    """If this fails, a site that works is paged, or a hop is never looked at."""
    site = Site()
    hops = site.probe()
    assert list(hops) == ["gateway", "source", "detect", "decide", "enforce", "release"]
    assert None not in hops.values()
    assert {str(request.url) for request in site.asked} == {URL}
    assert all(request.headers["user-agent"].startswith("gatewatch-canary/1 (") for request in site.asked)
    assert all(request.headers["authorization"] == "Bearer canary-key" for request in site.asked)


@pytest.mark.parametrize("broken", ["gateway", "source", "detect", "decide", "enforce", "release"])
def test_the_first_silent_hop_is_named_and_is_the_last(broken: str) -> None:
    """If this fails, the page names a hop that works, or none."""
    hops = Site(broken).probe()
    assert [name for name, seconds in hops.items() if seconds is None] == [broken]
    assert list(hops)[-1] == broken


@pytest.mark.parametrize("broken", [(), ("enforce",)])
def test_its_own_block_is_always_taken_back(broken: tuple[str, ...]) -> None:
    """If this fails, each probe leaves a block behind, and the next one finds itself refused."""
    site = Site(*broken)
    site.probe()
    order, removal = site.orders()
    assert (order["value"], order["actor"], order["removed"]) == ("canary", "gatewatch-canary", None)
    assert removal["id"] == order["id"]
    assert removal["removed"] is not None


def test_without_a_block_nobody_is_stopped() -> None:
    """If this fails, a site that only wants to watch its events gets orders."""
    site = Site()
    assert list(site.probe(block=False)) == ["gateway", "source", "detect", "decide"]
    assert site.orders() == []


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        ({"url": "gateway"}, "url"),
        ({"url": URL, "block": {"scope": "network", "value": "0.0.0.0/0"}}, "its own"),
        ({"url": URL, "block": {"scope": "principal", "value": ""}}, "value"),
    ],
)
def test_it_cannot_be_told_to_stop_others(canary: dict[str, object], said: str) -> None:
    """If this fails, a slip in the settings lets the canary block a network every five minutes."""
    with pytest.raises(ConfigError, match=said):
        parse({"canary": canary}, Settings)


def test_a_secret_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the probe goes without its key, and its refusal looks like a broken gateway."""
    monkeypatch.delenv("CANARY")
    with pytest.raises(ConfigError, match=r"canary\.authorization_env: environment variable CANARY is not set"):
        Site().probe()
