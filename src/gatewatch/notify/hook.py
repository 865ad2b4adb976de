"""Verdicts by webhook: a program (a ticket system, another chat) says what a person said, signed in their name.

``POST /verdicts`` with ``{"about": ID, "actor": NAME, "kind": ..., "reason": ..., "until": EPOCH_S}`` and the signature
that our own webhooks have, ``X-Gatewatch-Signature: t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">``. Each person has a
secret of their own, so nobody can speak as somebody else, and a second person is one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import msgspec
import structlog
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewatch.clock import Clock
from gatewatch.errors import GatewatchError, VerdictError
from gatewatch.notify.judge import Judge, Posted
from gatewatch.notify.receivers.webhook import SIGNATURE, sign
from gatewatch.notify.signed import Seen, whole_body
from gatewatch.observe.http import Server

WINDOW_S = 300.0  # in which a signature holds, as Slack's does
_log = structlog.get_logger("gatewatch.notify")


class VerdictHook:
    """Where signed verdicts arrive.

    Args:
        secrets: of each person who may, by the name on ``verdicts.actors``.
        address: host and port.
        clock: a signature holds for five minutes around its time.
    """

    def __init__(self, secrets: Mapping[str, SecretStr], address: tuple[str, int], clock: Clock) -> None:
        self._secrets, self._address, self._clock = secrets, address, clock
        self._seen = Seen()
        self._judge: Judge | None = None
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 where it does not."""
        return self._server.port if self._server is not None else 0

    def open(self, judge: Judge) -> None:
        """Listen."""
        self._judge = judge
        if self._server is None:
            app = Starlette(routes=[Route("/verdicts", self._on_request, methods=["POST"])])
            self._server = Server(app, *self._address, "verdicts.listen")

    def close(self) -> None:
        """Stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _on_request(self, request: Request) -> Response:
        body, judge = await whole_body(request), self._judge
        if body is None or judge is None:
            return JSONResponse({"error": "too large"}, 413)
        try:
            post = msgspec.json.decode(body, type=Posted)
        except (msgspec.DecodeError, RecursionError):
            return JSONResponse({"error": "needs about, actor, kind, reason; until for expected and snooze"}, 400)
        signature = request.headers.get(SIGNATURE, "")
        at = self._signed_at(body, post.actor, signature)
        if at is None:
            return JSONResponse({"error": "not signed by that actor within five minutes"}, 401)
        if self._seen.again(signature):
            return JSONResponse({"error": "seen before"}, 409)
        return await run_in_threadpool(_say, judge, post, float(at))

    def _signed_at(self, body: bytes, actor: str, signature: str) -> int | None:
        """When that person signed the body, or ``None`` where they did not, or not lately."""
        secret, digits = self._secrets.get(actor), signature.partition(",")[0].removeprefix("t=")
        if secret is None or not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
            return None
        at = int(digits)
        genuine = hmac.compare_digest(signature.encode(), sign(body, secret, at).encode())
        return at if genuine and abs(self._clock.now() - at) <= WINDOW_S else None


def _say(judge: Judge, post: Posted, at: float) -> Response:
    """Write it, and answer."""
    try:
        return JSONResponse({"id": judge.posted(post, at).id})
    except VerdictError as error:
        return JSONResponse({"error": str(error)}, 403)
    except GatewatchError as error:
        _log.error("a verdict was not written", error=str(error))
        return JSONResponse({"error": "it could not be written: sign and send it again"}, 503)
