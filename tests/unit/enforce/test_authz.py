"""Gateways that ask about every request get the status codes that each of them understands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gatewatch.clock import ManualClock
from gatewatch.enforce.authz import Authz
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.nginx import MapFiles, render
from gatewatch.enforce.throttle import Throttle
from gatewatch.events.secrets import hash_secret
from gatewatch.records import Action, Scope
from gatewatch.settings import Identify
from gatewatch.testing.decisions import NOW, decision, ledger


def _authz(
    book: Ledger,
    identify: Identify,
    clock: ManualClock,
    *,
    ready: bool = True,
    fail_open: bool = True,
    token: SecretStr | None = None,
) -> Authz:
    return Authz(
        book,
        Identity(identify),
        clock,
        whole=lambda: ready,
        fresh=lambda: ready,
        fail_open=fail_open,
        throttle=Throttle(12.0),
        token=token,
    )


def _client(
    book: Ledger, identify: Identify | None = None, *, ready: bool = True, fail_open: bool = True
) -> TestClient:
    clock = ManualClock(NOW)
    authz = _authz(book, identify or Identify(), clock, ready=ready, fail_open=fail_open)
    return TestClient(Starlette(routes=authz.routes()))


@pytest.mark.parametrize("path", ["/authz/nginx", "/authz/forward", "/authz/envoy/v1/chat/completions"])
def test_allow_is_200_and_deny_is_403_for_everybody(path: str) -> None:
    """If this fails, nginx answers 500 to good customers, or Envoy lets a blocked one through."""
    client = _client(ledger(decision("203.0.113.9")))
    assert client.get(path, headers={"x-real-ip": "198.51.100.1"}).status_code == 200
    denied = client.post(path, headers={"x-real-ip": "203.0.113.9"})
    assert denied.status_code == 403
    assert denied.headers["retry-after"] == "600"
    assert denied.json() == {"error": "access_denied"}


@pytest.mark.parametrize("action", [Action.THROTTLE, Action.CHALLENGE])
@pytest.mark.parametrize(("path", "status"), [("/authz/nginx", 403), ("/authz/forward", 429)])
def test_a_throttled_key_gets_its_rate_and_no_more(action: Action, path: str, status: int) -> None:
    """If this fails, a throttle is a block or nothing, or nginx makes a 500 of it."""
    clock = ManualClock(NOW)
    authz = _authz(ledger(decision("203.0.113.9", action=action)), Identify(), clock)
    client = TestClient(Starlette(routes=authz.routes()), headers={"x-real-ip": "203.0.113.9"})
    assert [client.get(path).status_code for _ in range(4)] == [200, 200, status, status]
    assert client.get(path).headers["retry-after"] == "5"
    clock.advance(5)
    assert [client.get(path).status_code for _ in range(2)] == [200, status]


def test_the_address_comes_from_the_trusted_hop_only() -> None:
    """If this fails, an attacker forges X-Forwarded-For and walks in, or gets somebody else blocked."""
    identify = Identify(ip_header="x-forwarded-for", trusted_hops=1)
    client = _client(ledger(decision("203.0.113.9")), identify)
    forged = {"x-forwarded-for": "198.51.100.1, 203.0.113.9, 192.0.2.10"}
    assert client.get("/authz/forward", headers=forged).status_code == 403
    framed = {"x-forwarded-for": "203.0.113.9, 198.51.100.1, 192.0.2.10"}
    assert client.get("/authz/forward", headers=framed).status_code == 200


def test_a_blocked_key_is_stopped_from_any_address() -> None:
    """If this fails, a leaked key goes on working from the next address."""
    client = _client(ledger(decision(hash_secret("Bearer sk-abc"), Scope.CREDENTIAL)))
    assert client.get("/authz/forward", headers={"authorization": "Bearer sk-abc"}).status_code == 403
    assert client.get("/authz/forward", headers={"authorization": "Bearer sk-xyz"}).status_code == 200


@pytest.mark.parametrize(("fail_open", "status"), [(True, 200), (False, 403)])
def test_until_the_ledger_is_whole_the_policy_decides(fail_open: bool, status: int) -> None:
    """If this fails, a restart of the enforcer is an outage, or a hole, against the operator's choice."""
    client = _client(ledger(decision("203.0.113.9")), ready=False, fail_open=fail_open)
    assert client.get("/authz/forward").status_code == status
    read_half = client.get("/authz/forward", headers={"x-real-ip": "203.0.113.9"})
    assert read_half.status_code == status, "the removal of that order may not have been read yet"


def test_a_token_keeps_strangers_from_asking() -> None:
    """If this fails, whoever reaches the port can find out who is blocked."""
    authz = _authz(ledger(), Identify(), ManualClock(NOW), token=SecretStr("t"))
    client = TestClient(Starlette(routes=authz.routes()))
    assert client.get("/authz/forward").status_code == 403
    assert client.get("/authz/forward", headers={"x-gatewatch-token": "t"}).status_code == 200


@pytest.mark.parametrize("detector", ["erkennung-ü", "a\r\nSet-Cookie: x", "x" * 300])
def test_a_detectors_name_never_makes_an_error_of_a_refusal(detector: str) -> None:
    """If this fails, the answer is a 500, and a gateway that fails open serves whom it should refuse."""
    order = decision("203.0.113.9").model_copy(update={"detector": detector})
    denied = _client(ledger(order)).get("/authz/forward", headers={"x-real-ip": "203.0.113.9"})
    assert (denied.status_code, denied.headers["x-block-reason"]) == (403, "other")


def test_map_files_hold_only_what_nginx_reads_safely() -> None:
    """If this fails, a principal's name can close the map block and write nginx configuration."""
    entries = ledger(
        decision("203.0.113.9"),
        decision("198.51.100.0/24", Scope.NETWORK),
        decision("acme", Scope.PRINCIPAL),
        decision('x" 1; } evil {', Scope.PRINCIPAL),
        decision("192.0.2.1", action=Action.THROTTLE),
    ).live(NOW)
    files = render(entries)
    assert files["ip.conf"] == "198.51.100.0/24 1;\n203.0.113.9 1;\n"
    assert files["principal.conf"] == '"~^acme$" 1;\n'
    assert files["throttle.conf"] == "192.0.2.1 1;\n"


def test_nginx_is_reloaded_only_after_a_change(tmp_path: Path) -> None:
    """If this fails, nginx reloads every second, or never."""
    folder = tmp_path
    files = MapFiles(folder, ["sh", "-c", f"echo reloaded >> {folder}/log"])
    entries = ledger(decision("203.0.113.9")).live(NOW)
    assert files.update(entries)
    assert not files.update(entries)
    assert (folder / "ip.conf").read_text() == "203.0.113.9 1;\n"
    assert files.update([])
    assert (folder / "log").read_text() == "reloaded\nreloaded\n"
