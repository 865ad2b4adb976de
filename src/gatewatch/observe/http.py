"""HTTP in a thread beside a role's loop: /metrics, /healthz, /readyz, and whatever else a role serves.

Listens on loopback unless told otherwise; the settings refuse any other address without a token or an explicit
``allow_anonymous``.
"""

from __future__ import annotations

import hmac
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from gatewatch.errors import ConfigError
from gatewatch.metrics import Metrics
from gatewatch.observe.connection import Connection, room_for
from gatewatch.settings import HttpSettings, Tls, read_secret

STOP_S = 5.0
# Connections at once, idle ones too; more get 503. Some 20 kB each.
PROBES = 64  # two Prometheus, a kubelet, and people who look
# Each worker process of a gateway keeps some, and opens one for each request that it has in the air. A 503 lets a
# request pass where the gateway fails open, so there must be more than a gateway opens.
GATEWAYS = 4096
KEEP_ALIVE_S = 75  # longer than the usual scrape interval of 15-60 s


class Server:
    """A uvicorn server in a thread of its own, for one application.

    Args:
        app: what is served.
        host: address to listen on.
        port: 0 takes any that is free; see :attr:`port`.
        setting: where the address stands in the settings, for errors.
        tls: certificate and key; plain HTTP without.
        connections: at once; who opens more gets 503.

    Raises:
        ConfigError: the address is taken or is none of this machine's; a certificate or key cannot be used.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, setting: str, tls: Tls | None = None, *, connections: int = PROBES
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With its protocol named: asyncio sets TCP_NODELAY on no other, and each answer would wait 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # who connects before the server runs waits, and is not refused
        except OSError as error:
            listener.close()
            raise ConfigError(setting, f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.port: int = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            http=Connection,
            ws="none",
            limit_concurrency=room_for(connections),
            timeout_keep_alive=KEEP_ALIVE_S,
            **_tls_options(tls),
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            listener.close()
            raise ConfigError(f"{setting.rsplit('.', 1)[0]}.tls", f"cannot be used: {error}") from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name=f"http-{self.port}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Finish the requests in hand and end."""
        self._server.should_exit = True
        self._thread.join(STOP_S)


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    client = {"ssl_ca_certs": str(tls.client_ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED} if tls.client_ca_file else {}
    return {"ssl_certfile": str(tls.cert_file), "ssl_keyfile": str(tls.key_file), **client}


def serve(settings: HttpSettings, metrics: Metrics, healthy: Callable[[], bool], ready: Callable[[], bool]) -> Server:
    """Serve metrics and probes.

    Raises:
        ConfigError: the address is taken, or the variable that holds the token is not set.
    """
    token = read_secret("metrics.token", settings.token_env, None) if settings.token_env else None
    host, port = settings.address
    return Server(Starlette(routes=probe_routes(metrics, healthy, ready, token)), host, port, "metrics.listen")


def probe_routes(
    metrics: Metrics, healthy: Callable[[], bool], ready: Callable[[], bool], token: SecretStr | None
) -> Sequence[BaseRoute]:
    """/metrics wants the token, where there is one; probes never do, and say nothing but yes or no."""

    async def on_metrics(request: Request) -> Response:
        if token is not None and not _allowed(request, token):
            return JSONResponse({"error": "wrong or missing bearer token"}, 401, {"WWW-Authenticate": "Bearer"})
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def on_health(_request: Request) -> Response:
        return _yes_or_no(healthy())

    async def on_ready(_request: Request) -> Response:
        return _yes_or_no(ready())

    return [Route("/metrics", on_metrics), Route("/healthz", on_health), Route("/readyz", on_ready)]


def _allowed(request: Request, token: SecretStr) -> bool:
    given = request.headers.get("authorization", "").encode("latin-1")  # the bytes that were sent
    return hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode())


def _yes_or_no(yes: bool) -> Response:
    return JSONResponse({"ok": yes}, 200 if yes else 503)
