"""Who holds connections and says nothing takes them from nobody, and a gateway has as many as it opens."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gatewatch.observe import connection
from gatewatch.observe.http import GATEWAYS, PROBES, Server

SOON_S = 1.0  # a whole request on a busy machine takes less


async def _yes(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("yes")


async def _read(request: Request) -> Response:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("ended early", 400)


ROUTES = [Route("/", _yes), Route("/body", _read, methods=["POST"])]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose callers must be quick."""
    monkeypatch.setattr(connection, "HEAD_S", SOON_S)
    monkeypatch.setattr(connection, "BODY_S", SOON_S)
    made = Server(Starlette(routes=ROUTES), "127.0.0.1", 0, "test")
    yield made
    made.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",  # answered before its body: 405
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "half of the second", "a body nobody reads"],
)
def test_a_request_that_does_not_come_whole_ends_its_connection(hurried: Server, begun: bytes) -> None:
    """If this fails, some hundred callers who send nothing (slowloris) shut out gateways, and those let all pass."""
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=30.0) as caller:
        caller.sendall(begun)
        said = b""
        try:
            while piece := caller.recv(65536):
                said += piece
        except ConnectionResetError:
            pass
        assert said.count(b"HTTP/1.1 200") == (1 if begun.count(b"GET") == 2 else 0)


def test_a_connection_between_requests_is_kept(hurried: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, gateways open a connection for each question, and a scrape now and then ends in an error."""
    url = f"http://127.0.0.1:{hurried.port}/"
    with httpx.Client(timeout=30.0) as client, httpx.Client(timeout=30.0) as other:
        first = client.get(url).extensions["network_stream"].get_extra_info("client_addr")
        with socket.create_connection(("127.0.0.1", hurried.port), timeout=30.0) as late:
            assert late.recv(1) == b""  # so long it took that a request begun with the first would be over
        monkeypatch.setattr(connection, "HEAD_S", 30.0)
        assert client.get(url).extensions["network_stream"].get_extra_info("client_addr") == first
        assert other.get(url).text == "yes"


def test_a_gateways_idle_connections_leave_it_room() -> None:
    """If this fails, an nginx of some worker processes gets 503 for every question, and lets everybody pass."""
    with ExitStack() as stack:
        server = Server(Starlette(routes=ROUTES), "127.0.0.1", 0, "test", connections=GATEWAYS)
        stack.callback(server.close)
        for _ in range(3 * PROBES):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert httpx.get(f"http://127.0.0.1:{server.port}/", timeout=30.0).text == "yes"


def test_there_are_never_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a flood of connections takes the files that the broker's own connections need."""
    limits = [1024, 2048]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, both: limits.__setitem__(slice(None), both))
    assert (connection.room_for(64), limits) == (64, [1024, 2048])
    assert (connection.room_for(GATEWAYS), limits) == (2048 - connection.OWN_FILES, [2048, 2048])
