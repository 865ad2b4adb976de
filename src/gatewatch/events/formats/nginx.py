"""NGINX's JSON access log, ``log_format ... escape=json``: short keys as docs/formats.md has them, or NGINX's own."""

from __future__ import annotations

from typing import Any

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.headers import credential_of
from gatewatch.events.formats.targets import path_of, request_line
from gatewatch.events.formats.values import epoch_s, first, json_object, number, status, text, times


class Nginx(Format):
    """``$msec`` is the end of the request. A bare variable that was empty (``"urt":,``) is mended to null."""

    name = "nginx"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "account", "project", "ip", "country", "user_agent", "ja4", "model", "bytes_in", "bytes_out",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def element(self, raw: bytes) -> AccessEvent:
        """One line."""
        row = json_object(raw)
        end = first(row, "ts", "msec", "time_iso8601", "@timestamp", "time_local", "timestamp", "time")
        if end is None:
            raise DecodeError(BadReason.MISSING, 'no time: log "ts":$msec')
        code = status(first(row, "st", "status"))
        user = text(first(row, "user", "remote_user"))
        asked_method, asked_path = request_line(text(row.get("request")))
        failed = code == 401
        return AccessEvent(
            ts=epoch_s(end),
            request_id=text(first(row, "rid", "request_id")),
            method=text(first(row, "m", "method", "request_method")) or asked_method,
            path=path_of(text(first(row, "uri", "request_uri", "path"))) or asked_path,
            endpoint=text(first(row, "endpoint", "route")),
            status=code,
            latency_ms=times(number(first(row, "rt", "request_time")), 1000.0),
            ttft_ms=times(number(first(row, "uht", "upstream_header_time")), 1000.0),
            principal=text(first(row, "principal", "consumer")) or (None if failed else user),
            credential=_credential(row),
            account=text(row.get("account")) or (user if failed else None),
            project=text(row.get("project")),
            ip=self._address(row),
            country=text(row.get("country")),
            user_agent=text(first(row, "ua", "http_user_agent", "user_agent")),
            ja4=text(row.get("ja4")),
            model=text(row.get("model")),
            bytes_in=number(first(row, "in", "request_length")),
            bytes_out=number(first(row, "out", "bytes_sent", "body_bytes_sent")),
        )

    def _address(self, row: dict[str, Any]) -> str | None:
        """The peer; or with ``trusted_hops`` the entry of X-Forwarded-For that our own proxies vouch for."""
        chain = text(first(row, "xff", "http_x_forwarded_for"))
        if self._hops and chain is not None:
            return client_of(chain, self._hops - 1)  # the peer, our last proxy, is not in the chain
        return client_of(text(first(row, "ip", "remote_addr", "client_ip")) or "")


def _credential(row: dict[str, Any]) -> str | None:
    """An id under ``credential``, hashed if it is a secret; else headers that are logged, hashed always."""
    headers = {
        name.removeprefix("http_").replace("_", "-"): value for name, value in row.items() if name.startswith("http_")
    }
    return credential_of({**headers, "credential": row.get("credential")})
