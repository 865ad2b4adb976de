"""NGINX's JSON access log, ``log_format ... escape=json``: short keys as docs/formats.md has them, or NGINX's own."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.headers import SECRET_HEADERS, credential_of
from gatewatch.events.formats.targets import path_of, request_line
from gatewatch.events.formats.typed import TypedFormat, said
from gatewatch.events.formats.values import epoch_s, first_of, number, status, times

Number = float | str | None  # NGINX quotes numbers, or not, and writes one for each upstream that was tried: "0.005, -"


class _Entry(Struct, gc=False):
    """Our short keys, and NGINX's own names of the same."""

    ts: Any = None
    msec: Any = None
    time_iso8601: Any = None
    at: Any = field(default=None, name="@timestamp")
    time_local: Any = None
    timestamp: Any = None
    time: Any = None
    st: Number = None
    status: Number = None
    user: str | None = None
    remote_user: str | None = None
    request: str | None = None
    rid: str | None = None
    request_id: str | None = None
    m: str | None = None
    method: str | None = None
    request_method: str | None = None
    uri: str | None = None
    request_uri: str | None = None
    path: str | None = None
    endpoint: str | None = None
    route: str | None = None
    rt: Number = None
    request_time: Number = None
    uht: Number = None
    upstream_header_time: Number = None
    principal: str | None = None
    consumer: str | None = None
    credential: str | None = None
    account: str | None = None
    project: str | None = None
    xff: str | None = None
    http_x_forwarded_for: str | None = None
    ip: str | None = None
    remote_addr: str | None = None
    client_ip: str | None = None
    country: str | None = None
    ua: str | None = None
    http_user_agent: str | None = None
    user_agent: str | None = None
    ja4: str | None = None
    model: str | None = None
    bytes_in: Number = field(default=None, name="in")
    request_length: Number = None
    out: Number = None
    bytes_sent: Number = None
    body_bytes_sent: Number = None
    http_authorization: str | None = None
    http_x_api_key: str | None = None
    http_apikey: str | None = None
    http_api_key: str | None = None
    http_x_goog_api_key: str | None = None
    http_proxy_authorization: str | None = None
    http_cookie: str | None = None


_UNAUTHORIZED = 401
_SECRETS = tuple((f"http_{name.replace('-', '_')}", name) for name in SECRET_HEADERS)


class Nginx(TypedFormat):
    """``$msec`` is the end of the request. A bare variable that was empty (``"urt":,``) is mended to null."""

    name = "nginx"
    entry = _Entry
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "account", "project", "ip", "country", "user_agent", "ja4", "model", "bytes_in", "bytes_out",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        super().__init__()
        self._hops = trusted_hops

    def event(self, entry: _Entry) -> AccessEvent:
        """One line."""
        end = first_of(
            entry.ts, entry.msec, entry.time_iso8601, entry.at, entry.time_local, entry.timestamp, entry.time
        )
        if end is None:
            raise DecodeError(BadReason.MISSING, 'no time: log "ts":$msec')
        code = status(first_of(entry.st, entry.status))
        user = said(entry.user) or said(entry.remote_user)
        asked_method, asked_path = request_line(said(entry.request)) if entry.request else (None, None)
        failed = code == _UNAUTHORIZED
        return AccessEvent(
            ts=epoch_s(end),
            request_id=said(entry.rid) or said(entry.request_id),
            method=said(entry.m) or said(entry.method) or said(entry.request_method) or asked_method,
            path=path_of(said(entry.uri) or said(entry.request_uri) or said(entry.path)) or asked_path,
            endpoint=said(entry.endpoint) or said(entry.route),
            status=code,
            latency_ms=times(number(first_of(entry.rt, entry.request_time)), 1000.0),
            ttft_ms=times(number(first_of(entry.uht, entry.upstream_header_time)), 1000.0),
            principal=said(entry.principal) or said(entry.consumer) or (None if failed else user),
            credential=_credential(entry),
            account=said(entry.account) or (user if failed else None),
            project=said(entry.project),
            ip=self._address(entry),
            country=said(entry.country),
            user_agent=said(entry.ua) or said(entry.http_user_agent) or said(entry.user_agent),
            ja4=said(entry.ja4),
            model=said(entry.model),
            bytes_in=number(first_of(entry.bytes_in, entry.request_length)),
            bytes_out=number(first_of(entry.out, entry.bytes_sent, entry.body_bytes_sent)),
        )

    def _address(self, entry: _Entry) -> str | None:
        """The peer; or with ``trusted_hops`` the entry of X-Forwarded-For that our own proxies vouch for."""
        chain = (said(entry.xff) or said(entry.http_x_forwarded_for)) if self._hops else None
        if chain is not None:
            return client_of(chain, self._hops - 1)  # the peer, our last proxy, is not in the chain
        return client_of(said(entry.ip) or said(entry.remote_addr) or said(entry.client_ip) or "")


def _credential(entry: _Entry) -> str | None:
    """An id under ``credential``, or headers that are logged; hashed always."""
    headers = {name: value for attribute, name in _SECRETS if (value := getattr(entry, attribute)) is not None}
    if entry.credential is not None:
        headers["credential"] = entry.credential
    return credential_of(headers) if headers else None
