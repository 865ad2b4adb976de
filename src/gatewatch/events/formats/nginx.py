"""NGINX's JSON access log, ``log_format ... escape=json``: short keys as docs/formats.md has them, or NGINX's own."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.headers import credential_of
from gatewatch.events.formats.values import epoch_s, number, status, text

# A variable without a value prints nothing under escape=json: {"urt":,"st":204}
_EMPTY = re.compile(rb'(":)\s*(?=[,}])')


class Nginx(Format):
    """``$msec`` is the end of the request. A bare variable that was empty is repaired to null."""

    name = "nginx"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "account", "ip", "user_agent", "auth", "model", "bytes_in", "bytes_out",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def element(self, raw: bytes) -> AccessEvent:
        """One line."""
        row = _repaired(raw)
        code = status(_first(row, "st", "status"))
        user = text(_first(row, "user", "remote_user"))
        seconds = number(_first(row, "rt", "request_time"))
        upstream = number(_first(row, "uht", "upstream_header_time"))
        uri = text(_first(row, "uri", "request_uri", "path")) or _from_request(text(row.get("request")), 1)
        failed = code == 401
        return AccessEvent(
            ts=_end(row),
            request_id=text(_first(row, "rid", "request_id")),
            method=text(_first(row, "m", "method", "request_method")) or _from_request(text(row.get("request")), 0),
            path=uri.partition("?")[0].partition("#")[0] if uri is not None else None,
            endpoint=text(_first(row, "endpoint", "route")),
            status=code,
            latency_ms=seconds * 1000.0 if seconds is not None else None,
            ttft_ms=upstream * 1000.0 if upstream is not None else None,
            principal=text(_first(row, "principal", "consumer")) or (None if failed else user),
            credential=_credential(row),
            account=text(row.get("account")) or (user if failed else None),
            ip=self._address(row),
            user_agent=text(_first(row, "ua", "http_user_agent", "user_agent")),
            model=text(row.get("model")),
            bytes_in=number(_first(row, "in", "request_length")),
            bytes_out=number(_first(row, "out", "bytes_sent", "body_bytes_sent")),
        )

    def _address(self, row: dict[str, Any]) -> str | None:
        """The peer; or with ``trusted_hops`` the entry of X-Forwarded-For that our own proxies vouch for."""
        chain = text(_first(row, "xff", "http_x_forwarded_for"))
        if self._hops and chain is not None:
            return client_of(chain, self._hops - 1)
        return client_of(text(_first(row, "ip", "remote_addr")) or "")


def _repaired(raw: bytes) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        row = msgspec.json.decode(_EMPTY.sub(rb"\1null", raw))
    if not isinstance(row, dict):
        raise DecodeError(BadReason.TYPE, "not a JSON object")
    return row


def _first(row: dict[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if name in row), None)


def _end(row: dict[str, Any]) -> float:
    value = _first(row, "ts", "msec", "time_iso8601", "time", "timestamp")
    if text(value) is None:
        raise DecodeError(BadReason.MISSING, 'no time: log "ts":$msec')
    return epoch_s(value)


def _from_request(request: str | None, part: int) -> str | None:
    parts = (request or "").split(" ")
    return parts[part] if len(parts) > part and parts[part] else None


def _credential(row: dict[str, Any]) -> str | None:
    """Headers that somebody logs although they should not: hashed."""
    headers = {
        name.removeprefix("http_").replace("_", "-"): value for name, value in row.items() if name.startswith("http_")
    }
    return credential_of(headers)
