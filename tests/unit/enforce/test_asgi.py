"""The middleware refuses what is blocked, from what it has pulled, and keeps to its policy when it knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import anyio
import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message
from starlette.websockets import WebSocket

from gatewatch.clock import ManualClock
from gatewatch.enforce.asgi import GatewatchMiddleware
from gatewatch.enforce.bouncers import Bouncers
from gatewatch.enforce.ledger import Ledger
from gatewatch.records import Scope
from gatewatch.testing.decisions import NOW, decision, ledger, put
from gatewatch.testing.waiting import wait_until


async def _model(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("42")


async def _live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("42")
    await socket.close()


@contextmanager
def _server(
    book: Ledger, clock: ManualClock, *, fail: Literal["open", "closed"] = "open", up: bool = True
) -> Iterator[tuple[TestClient, GatewatchMiddleware]]:
    """A model server behind the middleware, whose pulls go straight to the bouncer API."""
    api = TestClient(
        Starlette(routes=Bouncers(book, {"model": SecretStr("k")}, clock, lambda: True).routes()),
        headers={"X-Api-Key": "k"},
    )

    def answer(request: httpx.Request) -> httpx.Response:
        if not up:
            raise httpx.ConnectError("down")
        got = api.get(f"{request.url.path}?{request.url.query.decode()}")
        return httpx.Response(got.status_code, content=got.content, request=request)

    middleware = GatewatchMiddleware(
        Starlette(routes=[Route("/", _model), WebSocketRoute("/live", _live)]),
        "http://gatewatch.test",
        "k",
        fail=fail,
        every_s=3600.0,
        clock=clock,
        transport=httpx.MockTransport(answer),
    )
    try:
        while up and middleware._pulled_at != clock.now():  # its thread pulls once, and then not for an hour
            middleware._stop.wait(0.01)
        yield TestClient(middleware), middleware
    finally:
        middleware.close()


def test_a_blocked_address_is_refused_and_the_others_served() -> None:
    """If this fails, the model server answers attackers, or refuses customers."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9"), clock=clock)
    with _server(book, clock) as (client, _):
        assert client.get("/", headers={"x-real-ip": "203.0.113.9"}).status_code == 403
        assert client.get("/", headers={"x-real-ip": "203.0.113.8"}).text == "42"


def test_a_blocked_address_gets_no_websocket_either() -> None:
    """If this fails, who is blocked goes on using the models over their realtime API."""
    clock = ManualClock(NOW)
    with _server(ledger(decision("203.0.113.9"), clock=clock), clock) as (client, middleware):
        with client.websocket_connect("/live", headers={"x-real-ip": "203.0.113.8"}) as socket:
            assert socket.receive_text() == "42"
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect("/live", headers={"x-real-ip": "203.0.113.9"}),
        ):
            pytest.fail("it was accepted")
        assert denied.value.status_code == 403
        assert _old_server(middleware) == [{"type": "websocket.close", "code": 1008, "reason": ""}]


def _old_server(middleware: GatewatchMiddleware) -> list[Message]:
    """What the blocked address is sent where the server has no answers for sockets that were not accepted."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/live", "headers": [(b"x-real-ip", b"203.0.113.9")]}
    anyio.run(middleware, scope, receive, send)
    return sent


def test_changes_are_followed_in_both_directions() -> None:
    """If this fails, a new block or an unblock never reaches the model server."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", id_="a"), clock=clock)
    with _server(book, clock) as (client, middleware):
        clock.advance(5)
        put(book, decision("203.0.113.9", id_="a", removed=NOW + 4), clock)
        put(book, decision("198.51.100.0/24", Scope.NETWORK), clock)
        clock.advance(1)
        middleware.pull()
        assert client.get("/", headers={"x-real-ip": "203.0.113.9"}).status_code == 200
        assert client.get("/", headers={"x-real-ip": "198.51.100.9"}).status_code == 403


def test_who_is_let_go_by_two_orders_in_a_row_is_let_go() -> None:
    """If this fails, somebody who was blocked twice stays out to the end of the first block, whatever people do."""
    clock = ManualClock(NOW)
    book = ledger(decision("203.0.113.9", id_="day", ttl_s=86400), decision("203.0.113.9", id_="minutes"), clock=clock)
    with _server(book, clock) as (client, middleware):
        for id_, status in (("day", 403), ("minutes", 200)):
            clock.advance(5)
            put(book, decision("203.0.113.9", id_=id_, removed=clock.now()), clock)
            clock.advance(5)
            middleware.pull()
            assert client.get("/", headers={"x-real-ip": "203.0.113.9"}).status_code == status


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"new":[{}]}', b'{"new":[{"type":7}]}'])
def test_an_answer_of_something_else_does_not_end_the_pulls(answer: bytes) -> None:
    """If this fails, one answer of a proxy in between and no later block ever reaches the model server, in silence."""
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, content=answer, request=request)

    middleware = GatewatchMiddleware(
        Starlette(), "http://gatewatch.test", "k", every_s=0.01, transport=httpx.MockTransport(answers)
    )
    wait_until(lambda: len(asked) > 2, "another pull")
    middleware.close()


@pytest.mark.parametrize(("fail", "status"), [("open", 200), ("closed", 503)])
def test_while_nothing_is_known_the_policy_decides(fail: Literal["open", "closed"], status: int) -> None:
    """If this fails, losing Gatewatch is an outage of the models, or a hole, against the operator's choice."""
    clock = ManualClock(NOW)
    with _server(ledger(), clock, fail=fail, up=False) as (client, _):
        assert client.get("/").status_code == status


@pytest.mark.parametrize(("fail", "status"), [("open", 200), ("closed", 503)])
def test_when_pulls_stop_known_blocks_hold_and_the_policy_decides_on_the_rest(
    fail: Literal["open", "closed"], status: int
) -> None:
    """If this fails, who takes Gatewatch down walks in, or every customer is refused against the operator's choice."""
    clock = ManualClock(NOW)
    with _server(ledger(decision("203.0.113.9", ttl_s=120), clock=clock), clock, fail=fail) as (client, _):
        clock.advance(61)
        assert client.get("/", headers={"x-real-ip": "203.0.113.9"}).status_code == 403
        assert client.get("/", headers={"x-real-ip": "203.0.113.8"}).status_code == status
        clock.advance(60)
        assert client.get("/", headers={"x-real-ip": "203.0.113.9"}).status_code == status
