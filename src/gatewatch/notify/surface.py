"""Where people answer: what a surface is, and all that those have in common that take signed requests over HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewatch.notify.judge import Judge
from gatewatch.observe.http import Server

BODY_MAX = 64 * 1024  # Slack sends the whole message along: some 15 kB
REPLAYS_MAX = 10_000  # requests remembered within the five minutes in which a signature holds


class Surface(Protocol):
    """A place where verdicts arrive."""

    def open(self, judge: Judge) -> None:
        """Listen from now on.

        Raises:
            ConfigError: the address cannot be had.
        """
        ...

    def close(self) -> None:
        """Stop; may be called when it was never open."""
        ...


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that does not count; the status and the text are the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class SignedSurface(ABC):
    """One path to which requests are posted that somebody signed: each within a limit, and each signature once.

    Args:
        path: of the URL.
        signature: the header that holds it.
        address: host and port.
        setting: where the address stands in the settings, for errors.
    """

    def __init__(self, path: str, signature: str, address: tuple[str, int], setting: str) -> None:
        self._path, self._signature, self._address, self._setting = path, signature, address, setting
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._judge: Judge | None = None
        self._server: Server | None = None

    @abstractmethod
    def read(self, body: bytes, headers: Mapping[str, str]) -> Callable[[Judge], Response]:
        """What a genuine request wants done: on another thread, if it is no repeat, while reading must not wait.

        Raises:
            Refused: it is not genuine, or cannot be read.
        """

    @property
    def port(self) -> int:
        """Where it listens; 0 where it does not."""
        return self._server.port if self._server is not None else 0

    def open(self, judge: Judge) -> None:
        """Listen."""
        self._judge = judge
        if self._server is None:
            app = Starlette(routes=[Route(self._path, self._on_request, methods=["POST"])])
            self._server = Server(app, *self._address, self._setting)

    def close(self) -> None:
        """Stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _on_request(self, request: Request) -> Response:
        judge = self._judge
        assert judge is not None  # nothing listens before there is one
        try:
            do = self.read(await _whole_body(request), request.headers)
            self._once(request.headers[self._signature])
            return await run_in_threadpool(do, judge)
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status)

    def _once(self, signature: str) -> None:
        """Remember a signature; the oldest are forgotten. On the server's thread only."""
        if signature in self._seen:
            raise Refused(409, "seen before")
        self._seen[signature] = None
        while len(self._seen) > REPLAYS_MAX:
            self._seen.popitem(last=False)


async def _whole_body(request: Request) -> bytes:
    """The raw body."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_MAX:
                raise Refused(413, "too large")
            parts.append(part)
    except ClientDisconnect:
        raise Refused(400, "the body ended early") from None
    return b"".join(parts)
