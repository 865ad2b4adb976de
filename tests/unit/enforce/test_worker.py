"""The enforce role as a whole, on the memory log: what it knows, when it is ready, and what it does in bad times."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gatewatch.clock import ManualClock
from gatewatch.enforce.worker import EnforceWorker
from gatewatch.errors import ConfigError, LogError
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.records import Decision, Mode, Scope
from gatewatch.settings import Settings
from gatewatch.testing.decisions import NOW, decision

TOPIC = "gatewatch.decisions"
IP = {"x-real-ip": "203.0.113.9"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_KEY", "k")


@pytest.fixture
def log() -> MemoryLog:
    """A log with the topic of decisions."""
    log = MemoryLog()
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(TOPIC, 1, 1, {"cleanup.policy": "compact"})])
    return log


def _order(log: MemoryLog, *decisions: Decision) -> None:
    with closing(log.producer()) as producer:
        for d in decisions:
            producer.send(TOPIC, d.model_dump_json().encode(), partition=0, key=d.id.encode())
        producer.flush(30.0)


def _worker(log: MemoryLog, clock: ManualClock, member: str = "e-0", **enforce: Any) -> EnforceWorker:
    document = {"enforce": {"bouncers": {"edge": {"key_env": "EDGE_KEY"}}, **enforce}}
    return EnforceWorker(log, Settings.model_validate(document), member=member, clock=clock)


def _read(worker: EnforceWorker) -> TestClient:
    """Let it read everything; a client of it."""
    for _ in range(20):
        worker.step(0.0)
        if worker.caught_up:
            return TestClient(worker.app())
    raise AssertionError("not caught up after 20 turns")


def test_it_answers_by_policy_until_it_has_read_everything(log: MemoryLog) -> None:
    """If this fails, a replica that has just started lets attackers in, or stops somebody who was let go."""
    _order(log, decision("203.0.113.9", id_="a"), decision("203.0.113.8", id_="b"))
    _order(log, decision("203.0.113.8", id_="b", removed=NOW - 1))
    for fail, status in (("open", 200), ("closed", 403)):
        worker = _worker(log, ManualClock(NOW), f"e-{fail}", fail=fail)
        client = TestClient(worker.app())
        assert client.get("/authz/forward", headers=IP).status_code == status
        assert client.get("/v1/decisions/stream", headers={"x-api-key": "k"}).status_code == 503
        assert not worker.caught_up
        client = _read(worker)
        assert client.get("/authz/forward", headers=IP).status_code == 403
        assert client.get("/authz/forward", headers={"x-real-ip": "203.0.113.8"}).status_code == 200
        worker.close()


def test_replicas_and_restarts_know_the_same(log: MemoryLog) -> None:
    """If this fails, one of two enforcers, or one that was restarted in the middle of an attack, lets it through."""
    clock = ManualClock(NOW)
    _order(log, decision("203.0.113.9"))
    first, second = _worker(log, clock, "e-0"), _worker(log, clock, "e-1")
    assert [_read(w).get("/authz/forward", headers=IP).status_code for w in (first, second)] == [403, 403]
    first.close()
    again = _worker(log, clock, "e-0")
    assert _read(again).get("/authz/forward", headers=IP).status_code == 403
    again.close()
    second.close()


def test_a_bouncer_learns_what_ended_while_the_enforcer_was_down(log: MemoryLog) -> None:
    """If this fails, an unblock or expiry during a restart never reaches a bouncer, which has no clock of its own."""
    clock = ManualClock(NOW)
    _order(log, decision("203.0.113.9", ttl_s=100), decision("203.0.113.8", id_="b"), decision("203.0.113.7"))
    worker = _worker(log, clock)
    started = _read(worker).get("/v1/decisions/stream?startup=true", headers={"x-api-key": "k"}).json()
    assert len(started["new"]) == 3
    worker.close()
    clock.advance(200)
    _order(log, decision("203.0.113.8", id_="b", removed=NOW + 150))
    worker = _worker(log, clock)
    delta = _read(worker).get("/v1/decisions/stream?", headers={"x-api-key": "k"}).json()
    assert [row["value"] for row in delta["new"]] == ["203.0.113.7"]
    assert sorted(row["value"] for row in delta["deleted"]) == ["203.0.113.8", "203.0.113.9"]
    worker.close()


@pytest.mark.parametrize(("fail", "status"), [("open", 200), ("closed", 403)])
def test_while_kafka_is_down_known_blocks_hold_and_the_policy_decides_on_the_rest(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, fail: str, status: int
) -> None:
    """If this fails, a minute without Kafka lets every attacker in, or stops every customer against the choice made."""
    clock = ManualClock(NOW)
    _order(log, decision("203.0.113.9", ttl_s=600))
    worker = _worker(log, clock, fail=fail)
    client = _read(worker)

    def gone(*_: object) -> None:
        raise LogError("no answer")

    monkeypatch.setattr(worker._consumer, "end_offsets", gone)
    for _ in range(7):
        clock.advance(10)
        worker.step(0.0)
    assert client.get("/authz/forward", headers=IP).status_code == 403
    assert client.get("/authz/forward", headers={"x-real-ip": "203.0.113.8"}).status_code == status
    assert client.get("/v1/decisions/stream", headers={"x-api-key": "k"}).status_code == 200
    monkeypatch.undo()
    clock.advance(15)
    worker.step(0.0)
    assert client.get("/authz/forward", headers={"x-real-ip": "203.0.113.8"}).status_code == 200
    worker.close()


def test_records_that_stop_everybody_or_cannot_be_read_hurt_nobody(log: MemoryLog) -> None:
    """If this fails, one bad record blocks the endpoint, or ends every enforcer at each start."""
    clock = ManualClock(NOW)
    _order(log, decision("0.0.0.0/0", Scope.NETWORK), decision("", Scope.PRINCIPAL), decision("203.0.113.9"))
    with closing(log.producer()) as producer:
        producer.send(TOPIC, b"{not json", partition=0, key=b"x")
        producer.send(TOPIC, None, partition=0, key=b"y")
        producer.flush(30.0)
    _order(log, decision("203.0.113.8", mode=Mode.SHADOW))
    worker = _worker(log, clock)
    client = _read(worker)
    assert client.get("/authz/forward").status_code == 200
    assert client.get("/authz/forward", headers={"x-real-ip": "203.0.113.8"}).status_code == 200
    assert client.get("/authz/forward", headers=IP).status_code == 403
    worker.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-forwarded-for": "203.0.113.9"}, 200),  # not the header that the gateway sets
        ({"x-real-ip": "203.0.113.9, 192.0.2.1"}, 200),  # a client began a chain; the gateway's own entry is the last
        ({"x-real-ip": "127.0.0.1"}, 200),  # the gateway's own address: nothing may ever stop it
        ({"x-real-ip": "203.0.113.9"}, 403),
        ({"x-real-ip": ""}, 200),
        ({}, 200),
    ],
)
def test_only_the_gateways_own_word_counts(log: MemoryLog, headers: dict[str, str], status: int) -> None:
    """If this fails, a client walks in with a forged header, or gets another one refused."""
    _order(log, decision("203.0.113.9"))
    worker = _worker(log, ManualClock(NOW))
    assert _read(worker).get("/authz/forward", headers=headers).status_code == status
    worker.close()


def test_a_folder_or_an_nginx_that_fails_stops_no_other_gateway(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, one broken nginx takes the decisions of all gateways with it, or never gets the map again."""
    clock = ManualClock(NOW)
    _order(log, decision("203.0.113.9"))
    flag = tmp_path / "up"
    worker = _worker(log, clock, nginx={"folder": str(tmp_path), "reload": ["test", "-e", str(flag)]})
    client = _read(worker)
    clock.advance(2)
    worker.step(0.0)
    assert client.get("/authz/forward", headers=IP).status_code == 403
    flag.touch()
    clock.advance(2)
    worker.step(0.0)
    assert worker._files is not None
    assert worker._files._written["ip.conf"] == (tmp_path / "ip.conf").read_text() == "203.0.113.9 1;\n"
    worker.close()


def test_beyond_loopback_it_needs_a_token_or_certificates(log: MemoryLog) -> None:
    """If this fails, the whole network may ask who is blocked."""
    with pytest.raises(ConfigError, match=r"enforce\.authz_token_env: or tls\.client_ca_file is needed"):
        _worker(log, ManualClock(NOW), listen="0.0.0.0:8081")
    tls = {"cert_file": "c.pem", "key_file": "k.pem", "client_ca_file": "ca.pem"}
    _worker(log, ManualClock(NOW), listen="0.0.0.0:8081", tls=tls).close()
