"""``/authz``: a gateway asks about every request. For smaller sites; bouncers that pull scale further.

| path | caller | allow | deny |
|---|---|---|---|
| /authz/nginx | nginx auth_request | 200 | 403 (nginx makes 500 of anything else) |
| /authz/forward | Traefik ForwardAuth, APISIX forward-auth | 200 | 403, 429 above a throttle's rate |
| /authz/envoy/... | Envoy ext_authz (HTTP), path_prefix | 200 | 403, 429 above a throttle's rate |

Each is there again below ``/authz/at/<gateway>``, with that gateway's own ``identify``. No gateway can show a challenge
by this way, so one is a throttle: the milder of what is left.

The address comes only from the header that the gateway is configured to set, never from the peer or from a chain that a
client may have begun (``settings.Identify``). Secrets are hashed at once and never kept.
"""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable, Mapping

from pydantic import SecretStr
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewatch.clock import Clock
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.throttle import Throttle
from gatewatch.records import Action, Decision

# What may stand in a header of an answer: other text would make a 500 of it, which most gateways let pass
_HEADER = re.compile(r"[\w.:-]{1,64}", re.ASCII)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Authz:
    """Routes that answer allow or deny from the ledger.

    Args:
        ledger: what is active.
        identity: whose a request is.
        whole: whether the ledger was read whole once; until then it may hold what was removed, and is not asked.
        fresh: whether it is whole and was heard of lately.
        fail_open: what to answer to whom no decision is known about, while it is not fresh.
        throttle: how much a throttled key still gets.
        gateways: the same, by name, for gateways that say it elsewhere.
        token: what callers must send as ``x-gatewatch-token``; without it anybody who reaches the port may ask.
    """

    def __init__(
        self,
        ledger: Ledger,
        identity: Identity,
        clock: Clock,
        *,
        whole: Callable[[], bool],
        fresh: Callable[[], bool],
        fail_open: bool,
        throttle: Throttle,
        gateways: Mapping[str, Identity] | None = None,
        token: SecretStr | None = None,
    ) -> None:
        self._ledger, self._identity, self._clock = ledger, identity, clock
        self._whole, self._fresh, self._fail_open = whole, fresh, fail_open
        self._throttle, self._gateways = throttle, dict(gateways or {})
        self._token = token.get_secret_value().encode() if token is not None else None

    def routes(self) -> list[Route]:
        """For a Starlette app."""
        found = []
        for prefix in ("/authz", "/authz/at/{gateway}"):
            found += [
                Route(f"{prefix}/nginx", self._nginx, methods=METHODS),
                Route(f"{prefix}/forward", self._other, methods=METHODS),
                Route(f"{prefix}/envoy/{{path:path}}", self._other, methods=METHODS),
            ]
        return found

    async def _nginx(self, request: Request) -> Response:
        return self._answer(request, throttle_status=403)

    async def _other(self, request: Request) -> Response:
        return self._answer(request, throttle_status=429)

    def _answer(self, request: Request, throttle_status: int) -> Response:
        if self._token is not None and not hmac.compare_digest(
            request.headers.get("x-gatewatch-token", "").encode("latin-1"), self._token
        ):
            return JSONResponse({"error": "wrong or missing x-gatewatch-token"}, 403)
        name = request.path_params.get("gateway")
        identity = self._identity if name is None else self._gateways.get(name)
        if identity is None:
            return JSONResponse({"error": "no such gateway under enforce.gateways"}, 403)
        refusal = self.refusal(request, identity, throttle_status) if self._whole() else None
        if refusal is not None:  # a block that is known holds to its end, whatever has happened to the log since
            return refusal
        return Response(status_code=200 if self._fail_open or self._fresh() else 403)

    def refusal(self, request: HTTPConnection, identity: Identity, throttle_status: int = 429) -> Response | None:
        """The answer to a request that a decision stops, or ``None``."""
        now = self._clock.now()
        decision = self._ledger.match(identity.keys(request.headers.raw), now)
        if decision is None:
            return None
        if decision.action is Action.BLOCK:
            return refuse(decision, 403, decision.until - now)
        wait_s = self._throttle.wait_s(decision.id, now)
        return refuse(decision, throttle_status, wait_s) if wait_s else None


def refuse(decision: Decision, status: int, wait_s: float) -> Response:
    """The answer to a request that is stopped. It does not say what was seen: only that it is refused, until when."""
    reason = decision.detector or "manual"
    headers = {
        "Retry-After": str(max(1, math.ceil(wait_s))),
        "X-Block-Reason": reason if _HEADER.fullmatch(reason) else "other",
    }
    return JSONResponse({"error": "access_denied"}, status, headers)
