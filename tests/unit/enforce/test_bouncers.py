"""The bouncer API answers as CrowdSec's does, because programs of other people parse it."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gatewatch.clock import ManualClock
from gatewatch.enforce.bouncers import Bouncers, types_of
from gatewatch.enforce.ledger import Ledger
from gatewatch.records import Action, Scope
from gatewatch.settings import Bouncer
from gatewatch.testing.decisions import NOW, decision, ledger, put

KEY = {"X-Api-Key": "k-1"}


def _client(book: Ledger, clock: ManualClock, *, ready: bool = True) -> TestClient:
    bouncers = Bouncers(book, {"nginx": SecretStr("k-1"), "fw": SecretStr("k-2")}, clock, lambda: ready)
    return TestClient(Starlette(routes=bouncers.routes()))


def test_a_wrong_or_missing_key_is_forbidden() -> None:
    """If this fails, anybody reads whom we block, or bouncers do not notice a wrong key."""
    client = _client(ledger(), ManualClock(NOW))
    for headers in ({}, {"X-Api-Key": "nope"}):
        answer = client.get("/v1/decisions/stream", headers=headers)
        assert (answer.status_code, answer.json()) == (403, {"message": "access forbidden"})
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("key", ["k-1", "schl\u00fcssel-\u20ac", "a: b, c"])
def test_the_right_key_is_taken_in_whatever_letters_it_is(key: str) -> None:
    """If this fails, a key that somebody made of words locks its bouncer out, and nothing says why."""
    bouncers = Bouncers(ledger(), {"nginx": SecretStr(key)}, ManualClock(NOW), lambda: True)
    client = TestClient(Starlette(routes=bouncers.routes()))
    assert client.get("/v1/decisions", headers={b"X-Api-Key": key.encode()}).status_code == 200
    assert client.get("/v1/decisions", headers={b"X-Api-Key": key.encode()[:-1]}).status_code == 403


def test_startup_gives_everything_and_then_only_changes() -> None:
    """If this fails, bouncers miss blocks or load the whole list every ten seconds."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9"), clock=clock)
    client = _client(book, clock)
    first = client.get("/v1/decisions/stream?startup=true", headers=KEY).json()
    assert [d["value"] for d in first["new"]] == ["203.0.113.9"]
    assert first["deleted"] == []
    row = first["new"][0]
    assert (row["type"], row["scope"], row["origin"]) == ("ban", "Ip", "gatewatch")
    assert (row["duration"], row["scenario"]) == ("10m0s", "gatewatch/credential_stuffing")
    clock.advance(10)
    assert client.get("/v1/decisions/stream?", headers=KEY).json() == {"new": [], "deleted": []}
    clock.advance(10)
    put(book, decision("198.51.100.0/24", Scope.NETWORK), clock)
    clock.advance(1)
    delta = client.get("/v1/decisions/stream?startup=false", headers=KEY).json()
    assert [(d["scope"], d["value"]) for d in delta["new"]] == [("Range", "198.51.100.0/24")]


def test_expiry_and_removal_come_as_deleted_with_a_negative_duration() -> None:
    """If this fails, an address stays blocked at the gateway after we let it go."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", ttl_s=30), decision("203.0.113.8", id_="x"), clock=clock)
    client = _client(book, clock)
    client.get("/v1/decisions/stream?startup=true", headers=KEY)
    clock.advance(40)
    put(book, decision("203.0.113.8", id_="x", removed=NOW + 35), clock)
    deleted = client.get("/v1/decisions/stream", headers=KEY).json()["deleted"]
    assert {(d["value"], d["duration"]) for d in deleted} == {("203.0.113.9", "-10s"), ("203.0.113.8", "-5s")}


def test_a_value_that_something_else_still_covers_is_not_deleted() -> None:
    """If this fails, the end of a short block lifts a longer one on the same address."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", id_="a", ttl_s=10), decision("203.0.113.9", id_="b", ttl_s=900), clock=clock)
    client = _client(book, clock)
    first = client.get("/v1/decisions/stream?startup=true", headers=KEY).json()
    assert [d["duration"] for d in first["new"]] == ["15m0s"]
    clock.advance(20)
    assert client.get("/v1/decisions/stream", headers=KEY).json()["deleted"] == []


def test_a_shorter_block_does_not_shorten_the_one_that_runs() -> None:
    """If this fails, a detector's ten minutes end a block of a day that a person ordered, at every bouncer."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", id_="day", ttl_s=86400), clock=clock)
    client = _client(book, clock)
    client.get("/v1/decisions/stream?startup=true", headers=KEY)
    clock.advance(5)
    put(book, decision("203.0.113.9", id_="minutes"), clock)
    clock.advance(5)
    rows = client.get("/v1/decisions/stream", headers=KEY).json()
    assert [(d["value"], d["duration"]) for d in rows["new"]] == [("203.0.113.9", "23h59m50s")]
    clock.advance(5)
    put(book, decision("203.0.113.9", id_="day", removed=clock.now()), clock)
    clock.advance(5)
    rows = client.get("/v1/decisions/stream", headers=KEY).json()
    assert [(d["value"], d["duration"]) for d in rows["new"]] == [("203.0.113.9", "9m40s")], "what is left is said"
    assert rows["deleted"] == []


def test_the_end_of_a_throttle_that_is_told_as_a_ban_lifts_no_block() -> None:
    """If this fails, a blocked address walks in when its throttle ends: to a bouncer both are one ban."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", action=Action.THROTTLE, ttl_s=30), decision("203.0.113.9"), clock=clock)
    types = {"nginx": types_of(Bouncer(throttle_as="ban"))}
    bouncers = Bouncers(book, {"nginx": SecretStr("k-1")}, clock, lambda: True, types)
    client = TestClient(Starlette(routes=bouncers.routes()))
    first = client.get("/v1/decisions/stream?startup=true", headers=KEY).json()["new"]
    assert [(d["type"], d["duration"]) for d in first] == [("ban", "10m0s")]
    clock.advance(40)
    assert client.get("/v1/decisions/stream", headers=KEY).json() == {"new": [], "deleted": []}


def test_head_does_not_advance_and_each_bouncer_has_its_own_cursor() -> None:
    """If this fails, a health check by HEAD eats the changes, or two bouncers steal each other's."""
    clock = ManualClock(NOW)
    book = ledger(clock=clock)
    client = _client(book, clock)
    for key in ("k-1", "k-2"):
        client.get("/v1/decisions/stream?startup=true", headers={"X-Api-Key": key})
    clock.advance(5)
    put(book, decision("203.0.113.9"), clock)
    clock.advance(5)
    assert client.head("/v1/decisions/stream", headers=KEY).content == b""
    for key in ("k-1", "k-2"):
        new = client.get("/v1/decisions/stream", headers={"X-Api-Key": key}).json()["new"]
        assert [d["value"] for d in new] == ["203.0.113.9"]


def test_a_question_about_one_address() -> None:
    """If this fails, bouncers in live mode let the attacker through: they ask for each address."""
    book = ledger(decision("203.0.113.9"), decision("203.0.113.0/24", Scope.NETWORK, action=Action.CHALLENGE))
    client = _client(book, ManualClock(NOW))
    rows = client.get("/v1/decisions?ip=203.0.113.9", headers=KEY).json()
    assert {(r["scope"], r["type"]) for r in rows} == {("Ip", "ban"), ("Range", "captcha")}
    assert client.get("/v1/decisions?ip=::ffff:203.0.113.9", headers=KEY).json() == rows
    assert client.get("/v1/decisions?ip=198.51.100.1", headers=KEY).content == b"null"
    assert client.get("/v1/decisions?ip=nonsense", headers=KEY).status_code == 500
    assert len(client.get("/v1/decisions?range=203.0.113.0/28&contains=true", headers=KEY).json()) == 1
    assert len(client.get("/v1/decisions?range=203.0.0.0/16&contains=false", headers=KEY).json()) == 2


def test_other_scopes_come_only_when_asked_for() -> None:
    """If this fails, a firewall bouncer gets a customer's name where it expects an address."""
    book = ledger(decision("acme", Scope.PRINCIPAL), decision("203.0.113.9"))
    client = _client(book, ManualClock(NOW))
    default = client.get("/v1/decisions/stream?startup=true", headers=KEY).json()["new"]
    assert [d["scope"] for d in default] == ["Ip"]
    asked = client.get("/v1/decisions/stream?startup=true&scopes=principal", headers=KEY).json()["new"]
    assert [(d["scope"], d["value"]) for d in asked] == [("principal", "acme")]


def test_not_ready_until_the_ledger_is_whole() -> None:
    """If this fails, a restarted enforcer tells every bouncer that nobody is blocked."""
    client = _client(ledger(), ManualClock(NOW), ready=False)
    assert client.get("/v1/decisions/stream?startup=true", headers=KEY).status_code == 503


@pytest.mark.parametrize("body", [b"{}", b"not json"])
def test_usage_metrics_are_accepted(body: bytes) -> None:
    """If this fails, bouncers log an error every half hour."""
    client = _client(ledger(), ManualClock(NOW))
    assert client.post("/v1/usage-metrics", headers=KEY, content=body).status_code == 201
