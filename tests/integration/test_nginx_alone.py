"""The recipes of nginx with an enforcer that is there, away or slow to start, and without Kafka: a second each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gatewatch.clock import ManualClock
from gatewatch.enforce.authz import Authz
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.nginx import MapFiles
from gatewatch.enforce.throttle import Throttle
from gatewatch.observe.http import Server
from gatewatch.records import Action, Decision, Mode, Scope
from gatewatch.settings import Identify
from gatewatch.testing.kafka import free_ports
from gatewatch.testing.nginx import Nginx, recipe, server
from gatewatch.testing.waiting import wait_until

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).resolve().parents[2] / "deploy" / "gateways" / "nginx"
# An answer on a busy machine of CI may take longer than a gateway should wait for it, and passes for none.
PATIENT = {
    "proxy_connect_timeout 100ms": "proxy_connect_timeout 30s",
    "proxy_read_timeout 200ms": "proxy_read_timeout 30s",
}


async def _model(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("42")


@pytest.fixture
def model() -> Iterator[Server]:
    """A model server."""
    made = Server(Starlette(routes=[Route("/", _model)]), "127.0.0.1", 0, "test")
    yield made
    made.close()


def _decision(ip: str, action: Action = Action.BLOCK) -> Decision:
    now = time.time()
    return Decision(
        id=ip, action=action, scope=Scope.IP, value=ip, reason="test", start=now, until=now + 600, mode=Mode.BLOCK
    )


def _ledger() -> Ledger:
    book = Ledger()
    book.apply(_decision("203.0.113.9"), 0, time.time())
    book.apply(_decision("203.0.113.8", Action.THROTTLE), 1, time.time())
    return book


def _get(port: int, ip: str, user: str = "") -> int:
    auth = (user, "secret") if user else None
    url, headers = f"http://127.0.0.1:{port}/", {"X-Forwarded-For": ip}
    return httpx.get(url, headers=headers, auth=auth, timeout=30.0).status_code


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 500)])
def test_nginx_asks_and_without_an_answer_does_as_it_was_told(
    tmp_path: Path, model: Server, *, closed: bool, status: int
) -> None:
    """If this fails, losing Gatewatch is an outage of the models, or a hole, against the operator's choice."""
    enforce, port = free_ports(2)
    asks = recipe(RECIPES / "auth-request.conf", PATIENT)
    if closed:
        asks = "\n".join(line for line in asks.splitlines() if "intercept_errors" not in line and "=200" not in line)
    upstream = recipe(RECIPES / "upstream.conf", {"127.0.0.1:8081": f"127.0.0.1:{enforce}"})
    nginx = Nginx(tmp_path, f"access_log off;\n{upstream}", server(port, model.port, asks))
    known = Authz(
        _ledger(),
        Identity(Identify()),
        ManualClock(time.time()),  # so that two requests are within the throttle's second
        whole=bool,
        fresh=bool,
        fail_open=not closed,
        throttle=Throttle(1.0),
    )
    with nginx.running():
        wait_until(lambda: _answers(port))
        assert _get(port, "203.0.113.7") == status
        known._whole = known._fresh = lambda: True
        api = Server(Starlette(routes=known.routes()), "127.0.0.1", enforce, "test")
        wait_until(lambda: _get(port, "203.0.113.7") == 200)
        assert _get(port, "203.0.113.9") == 403
        assert [_get(port, "203.0.113.8") for _ in range(2)] == [200, 403]
        api.close()
        assert _get(port, "203.0.113.7") == status


def _answers(port: int) -> bool:
    try:
        return _get(port, "203.0.113.1") > 0
    except httpx.TransportError:
        return False


def test_a_map_blocks_and_throttles_and_lets_go(tmp_path: Path, model: Server) -> None:
    """If this fails, nginx refuses our files, blocks whom it should throttle, or never lets anybody go."""
    (port,) = free_ports(1)
    maps = tmp_path / "maps"
    maps.mkdir()
    usual = {"/etc/nginx/gatewatch": str(maps)}
    http = recipe(RECIPES / "map.conf", usual) + recipe(RECIPES / "throttle.conf", usual)
    nginx = Nginx(
        tmp_path, f"access_log off;\n{http}", server(port, model.port, recipe(RECIPES / "map-server.conf", {}))
    )
    files, book = MapFiles(maps, nginx.reload), _ledger()
    for name in ("ip.conf", "principal.conf", "throttle.conf"):
        (maps / name).touch()
    with nginx.running():
        wait_until(lambda: _answers(port))
        assert files.update(book.live(time.time()))
        wait_until(lambda: _get(port, "203.0.113.9") == 403)
        wait_until(lambda: {_get(port, "203.0.113.8") for _ in range(6)} == {200, 429})
        assert {_get(port, "203.0.113.7") for _ in range(6)} == {200}
        assert files.update([])
        wait_until(lambda: _get(port, "203.0.113.9") == 200)
        names = ["default", "include", "hostnames", "volatile", "Ann", "b.c+d@e-1"]
        orders = [_decision(name).model_copy(update={"scope": Scope.PRINCIPAL}) for name in names]
        for offset, order in enumerate(orders, 10):
            book.apply(order, offset, time.time())
        assert files.update(book.live(time.time()))
        # A worker of before the reload may still take a connection or two, after one of the new ones has answered
        refused = dict.fromkeys(names, 403)
        wait_until(lambda: {name: _get(port, "203.0.113.7", name) for name in names} == refused)
        assert {_get(port, "203.0.113.7", name) for name in ("ann", "Anna", "bxc+d@e-1", "acme", "")} == {200}
