"""Middleware for FastAPI and Starlette model servers: refuses what is blocked, without a call a request.

::

    app.add_middleware(GatewatchMiddleware, url="http://127.0.0.1:8081", api_key=os.environ["GATEWATCH_KEY"])

A thread pulls the decision stream; a request costs a few dictionary look-ups. A block that is known holds to its end.
While nothing has been pulled yet, or the last pull is older than ``stale_s``, ``fail`` says whether all others pass.
"""

from __future__ import annotations

import threading
from typing import Literal

import httpx
import msgspec
import structlog
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gatewatch.clock import Clock, SystemClock
from gatewatch.enforce.authz import Authz
from gatewatch.enforce.bouncers import ORIGIN, SCOPES, TYPES
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import STOPPABLE, Ledger
from gatewatch.enforce.throttle import Throttle
from gatewatch.records import Decision, Mode
from gatewatch.settings import Identify

_ACTIONS = {name: action for action, name in TYPES.items()}
_SCOPES = {SCOPES.get(scope, scope.value): scope for scope in STOPPABLE}
WS_POLICY = 1008  # RFC 6455 7.4.1: a message that violates a policy
_UNITS_S = {"h": 3600, "m": 60, "s": 1}
_log = structlog.get_logger("gatewatch.asgi")


class _Row(msgspec.Struct):
    """A row of the stream."""

    type: str
    scope: str
    value: str
    duration: str
    scenario: str = ""


class _Rows(msgspec.Struct):
    """An answer of the stream: absent and null are the same."""

    new: list[_Row] | None = None
    deleted: list[_Row] | None = None


_ROWS = msgspec.json.Decoder(_Rows)


class GatewatchMiddleware:
    """ASGI middleware around any application.

    Args:
        app: the application.
        url: of the enforce role.
        api_key: of this server, as a bouncer.
        identify: where the client's address and identity stand; by default the header ``x-real-ip``.
        fail: ``open`` lets requests pass while decisions are unknown or stale, ``closed`` refuses them.
        every_s: time between pulls.
        stale_s: after so long without a pull there may be decisions that we do not know.
        throttle_per_minute: requests that a throttled key still gets here.
        clock: injected time; the machine's by default.
        transport: httpx's own, for mTLS or a proxy.
    """

    def __init__(
        self,
        app: ASGIApp,
        url: str,
        api_key: str,
        *,
        identify: Identify | None = None,
        fail: Literal["open", "closed"] = "open",
        every_s: float = 1.0,
        stale_s: float = 60.0,
        throttle_per_minute: float = 30.0,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._app = app
        self._clock = clock or SystemClock()
        self._ledger, self._identity = Ledger(), Identity(identify or Identify())
        self._authz = Authz(
            self._ledger,
            self._identity,
            self._clock,
            whole=lambda: True,
            fresh=self._fresh,
            fail_open=fail == "open",
            throttle=Throttle(throttle_per_minute),
        )
        self._fail_open = fail == "open"
        self._stale_s, self._every_s = stale_s, every_s
        self._pulled_at = float("-inf")
        self._first = True
        self._rows = 0
        headers = {"X-Api-Key": api_key, "User-Agent": "gatewatch-asgi/1"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=5.0, transport=transport)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="gatewatch-decisions", daemon=True)
        self._thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a blocked request or WebSocket, pass on the others."""
        refusal = self._refusal(HTTPConnection(scope)) if scope["type"] in {"http", "websocket"} else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:  # a server that can only close: it says 403 to a client that it has not accepted
            await WebSocket(scope, receive, send).close(WS_POLICY)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        refusal = self._authz.refusal(request, self._identity)
        if refusal is None and not self._fail_open and not self._fresh():
            return JSONResponse({"error": "unavailable"}, 503, {"Retry-After": "1"})
        return refusal

    def close(self) -> None:
        """Stop pulling."""
        self._stop.set()
        self._thread.join(10.0)
        self._client.close()

    def pull(self) -> None:
        """Fetch what changed once.

        Raises:
            httpx.HTTPError: no answer, or a refusal.
            ValueError: the answer is none of this API's.
        """
        params = {"scopes": ",".join(sorted(_SCOPES)), "startup": "true" if self._first else "false"}
        answer = self._client.get("/v1/decisions/stream", params=params).raise_for_status()
        rows = _ROWS.decode(answer.content)
        now = self._clock.now()
        for row in rows.deleted or ():
            self._take(row, now, removed=True)
        for row in rows.new or ():
            self._take(row, now, removed=False)
        self._first = False
        self._pulled_at = now

    def _take(self, row: _Row, now: float, *, removed: bool) -> None:
        """One row holds for what it names, whichever decision it comes from: the API tells of the last one's end."""
        if row.type not in _ACTIONS or row.scope not in _SCOPES:
            return
        self._rows += 1
        decision = Decision(
            id=f"{row.scope}/{row.type}/{row.value}",
            action=_ACTIONS[row.type],
            scope=_SCOPES[row.scope],
            value=row.value,
            reason=row.scenario,
            detector=row.scenario.removeprefix(f"{ORIGIN}/"),
            start=now,
            until=now if removed else now + _seconds(row.duration),
            mode=Mode.BLOCK,
            removed=now if removed else None,
        )
        self._ledger.apply(decision, self._rows, now)

    def _fresh(self) -> bool:
        return self._clock.now() - self._pulled_at < self._stale_s

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.pull()
            except (httpx.HTTPError, ValueError) as error:  # msgspec's and pydantic's errors are among the latter
                _log.warning("decisions could not be pulled", error=str(error), fail_open=self._fail_open)
            self._stop.wait(self._every_s)


def _seconds(duration: str) -> float:
    """Seconds of a Go duration in whole units.

    >>> _seconds("1h0m5s"), _seconds("-3s")
    (3605.0, -3.0)
    """
    sign, text = (-1.0, duration[1:]) if duration.startswith("-") else (1.0, duration)
    total, number = 0.0, ""
    for char in text:
        if char in _UNITS_S:
            total += float(number) * _UNITS_S[char]
            number = ""
        else:
            number += char
    return sign * total
