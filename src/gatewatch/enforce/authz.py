"""``/authz``: a gateway asks about every request. For smaller sites; bouncers that pull scale further.

| path | caller | allow | deny |
|---|---|---|---|
| /authz/nginx | nginx auth_request | 200 | 403 (nginx makes 500 of anything else) |
| /authz/forward | Traefik ForwardAuth, APISIX forward-auth | 200 | 403, 429 for a throttle |
| /authz/envoy/... | Envoy ext_authz (HTTP), path_prefix | 200 | 403, 429 for a throttle |

The address comes only from the header that the gateway is configured to set, never from the peer or from a chain that a
client may have begun (``settings.Identify``). Secrets are hashed at once and never kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewatch.clock import Clock
from gatewatch.enforce.ledger import Ledger
from gatewatch.events.address import canonical_ip
from gatewatch.events.secrets import hash_secret
from gatewatch.records import Action, Decision, Scope
from gatewatch.settings import Identify

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Authz:
    """Routes that answer allow or deny from the ledger.

    Args:
        ledger: what is active.
        ready: whether the ledger is whole.
        fail_open: what to answer until it is.
        token: what callers must send as ``x-gatewatch-token``; without it anybody who reaches the port may ask.
    """

    def __init__(
        self,
        ledger: Ledger,
        identify: Identify,
        clock: Clock,
        ready: Callable[[], bool],
        *,
        fail_open: bool,
        token: SecretStr | None = None,
    ) -> None:
        self._ledger, self._identify, self._clock = ledger, identify, clock
        self._ready, self._fail_open = ready, fail_open
        self._token = token.get_secret_value().encode() if token is not None else None

    def routes(self) -> list[Route]:
        """For a Starlette app."""
        return [
            Route("/authz/nginx", self._nginx, methods=METHODS),
            Route("/authz/forward", self._other, methods=METHODS),
            Route("/authz/envoy/{path:path}", self._other, methods=METHODS),
        ]

    async def _nginx(self, request: Request) -> Response:
        return self._answer(request, throttle_status=403)

    async def _other(self, request: Request) -> Response:
        return self._answer(request, throttle_status=429)

    def _answer(self, request: Request, throttle_status: int) -> Response:
        if self._token is not None and not hmac.compare_digest(
            request.headers.get("x-gatewatch-token", "").encode(), self._token
        ):
            return JSONResponse({"error": "wrong or missing x-gatewatch-token"}, 403)
        if not self._ready():
            return Response(status_code=200 if self._fail_open else 403)
        now = self._clock.now()
        decision = self._ledger.match(self.keys(request), now)
        if decision is None:
            return Response(status_code=200)
        return refuse(decision, now, throttle_status)

    def keys(self, request: Request) -> dict[Scope, str]:
        """What the request says of itself, by scope."""
        found: dict[Scope, str] = {}
        chain = [part.strip() for part in request.headers.get(self._identify.ip_header, "").split(",")]
        hop = len(chain) - 1 - self._identify.trusted_hops
        if hop >= 0 and (ip := canonical_ip(chain[hop])) is not None:
            found[Scope.IP] = ip
        name = self._identify.principal_header
        if name is not None and (principal := request.headers.get(name)):
            found[Scope.PRINCIPAL] = principal
        if secret := request.headers.get(self._identify.secret_header):
            found[Scope.CREDENTIAL] = hash_secret(secret)
        return found


def refuse(decision: Decision, now: float, throttle_status: int) -> Response:
    """The answer to a request that is stopped. It does not say what was seen: only that it is refused, until when."""
    status = throttle_status if decision.action is Action.THROTTLE else 403
    headers = {"Retry-After": str(max(1, int(decision.until - now))), "X-Block-Reason": decision.detector or "manual"}
    return JSONResponse({"error": "access_denied"}, status, headers)
