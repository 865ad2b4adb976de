"""Verdicts by webhook: a program (a ticket system, another chat) says what a person said, signed in their name.

``POST /verdicts`` with ``{"about": ID, "actor": NAME, "kind": ..., "reason": ..., "until": EPOCH_S}`` and the signature
that our own webhooks have, ``X-Gatewatch-Signature: t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">``. Each person has a
secret of their own, so nobody can speak as somebody else, and a second person is one.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

import msgspec
import structlog
from pydantic import SecretStr
from starlette.responses import JSONResponse, Response

from gatewatch.clock import Clock
from gatewatch.errors import GatewatchError, VerdictError
from gatewatch.notify.judge import Judge, Posted
from gatewatch.notify.receivers.webhook import SIGNATURE, sign
from gatewatch.notify.surface import Refused, SignedSurface

WINDOW_S = 300.0  # in which a signature holds, as Slack's does
_log = structlog.get_logger("gatewatch.notify")


class VerdictHook(SignedSurface):
    """Where signed verdicts arrive.

    Args:
        secrets: of each person who may, by the name on ``verdicts.actors``.
        address: host and port.
        clock: a signature holds for five minutes around its time.
    """

    def __init__(self, secrets: Mapping[str, SecretStr], address: tuple[str, int], clock: Clock) -> None:
        super().__init__("/verdicts", SIGNATURE, address, "verdicts.listen")
        self._secrets, self._clock = secrets, clock

    def read(self, body: bytes, headers: Mapping[str, str]) -> Callable[[Judge], Response]:
        """See :class:`SignedSurface`."""
        try:
            post = msgspec.json.decode(body, type=Posted)
        except (msgspec.DecodeError, RecursionError):
            raise Refused(400, "needs about, actor, kind, reason; until for expected and snooze") from None
        at = self._signed_at(body, post.actor, headers.get(SIGNATURE, ""))
        if at is None:
            raise Refused(401, "not signed by that actor within five minutes")
        return lambda judge: _say(judge, post, float(at))

    def _signed_at(self, body: bytes, actor: str, signature: str) -> int | None:
        """When that person signed the body, or ``None`` where they did not, or not lately."""
        secret, digits = self._secrets.get(actor), signature.partition(",")[0].removeprefix("t=")
        if secret is None or not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
            return None
        at = int(digits)
        genuine = hmac.compare_digest(signature.encode(), sign(body, secret, at).encode())
        return at if genuine and abs(self._clock.now() - at) <= WINDOW_S else None


def _say(judge: Judge, post: Posted, at: float) -> Response:
    """Write it, and answer.

    Raises:
        Refused: the person may not, or it was not written.
    """
    try:
        return JSONResponse({"id": judge.posted(post, at).id})
    except VerdictError as error:
        raise Refused(403, str(error)) from error
    except GatewatchError as error:
        _log.error("a verdict was not written", error=str(error))
        raise Refused(503, "it could not be written: sign and send it again") from error
