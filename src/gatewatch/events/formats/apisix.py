"""Apache APISIX kafka-logger, default entry (contracts.md 2). A value is an array of up to 1,000 by default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.elements import json_elements
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.typed import TypedFormat, amount, code, said
from gatewatch.events.formats.values import text

_ORIGIN = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ")


class _Request(Struct, gc=False):
    method: str | None = None
    uri: str | None = None
    url: str | None = None
    size: float | None = None
    headers: Any = None
    body: Any = None


class _Response(Struct, gc=False):
    status: float | None = None
    size: float | None = None
    body: Any = None


class _Consumer(Struct, gc=False):
    username: str | None = None


class _Llm(Struct, gc=False):
    duration: float | None = None
    stream: bool | None = None
    has_tool_calls: bool | None = None
    request_model: str | None = None
    model: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


class _Entry(Struct, gc=False):
    start_time: float | None = None
    latency: float | None = None
    client_ip: str | None = None
    route_id: str | None = None
    consumer: _Consumer | None = None
    request: _Request | None = None
    response: _Response | None = None
    llm_summary: _Llm | None = None


_NO_CONSUMER, _NO_REQUEST, _NO_RESPONSE, _NO_LLM = _Consumer(), _Request(), _Response(), _Llm()


class Apisix(TypedFormat):
    """Event time is ``start_time`` + ``latency``; the principal is the consumer; who failed has none."""

    name = "apisix"
    entry = _Entry
    fields = frozenset({
        "ts", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "ip", "user_agent", "model", "model_version", "features", "bytes_in", "bytes_out", "tokens_in", "tokens_out",
        "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        super().__init__()
        self._hops = trusted_hops

    def elements(self, value: bytes) -> Iterator[bytes]:
        """As in JSON; a raw request (``meta_format: origin``) is one element, however many lines it has."""
        return iter([value]) if _is_raw_request(value) else json_elements(value)

    def element(self, raw: bytes) -> AccessEvent | None:
        """One entry."""
        if _is_raw_request(raw):
            raise DecodeError(
                BadReason.UNSUPPORTED, "meta_format origin holds no time, address or response: use meta_format default"
            )
        return super().element(raw)

    def event(self, entry: _Entry) -> AccessEvent:
        """One entry."""
        start_ms, latency_ms = amount(entry.start_time), amount(entry.latency)
        if start_ms is None:
            raise DecodeError(BadReason.MISSING, "no start_time: a custom log_format needs format native with a map")
        request, response = entry.request or _NO_REQUEST, entry.response or _NO_RESPONSE
        llm = entry.llm_summary or _NO_LLM
        headers = lowered(request.headers)
        return AccessEvent(
            ts=(start_ms + (latency_ms or 0.0)) / 1000.0,
            method=said(request.method),
            path=path_of(said(request.uri)) or path_of(said(request.url)),
            endpoint=said(entry.route_id),
            status=code(response.status),
            latency_ms=latency_ms,
            ttft_ms=amount(llm.duration) if llm.stream else None,
            principal=said((entry.consumer or _NO_CONSUMER).username),
            credential=credential_of(headers),
            ip=client_of(said(entry.client_ip) or "", self._hops),
            user_agent=text(headers.get("user-agent")),
            model=said(llm.request_model) or said(llm.model),
            model_version=said(llm.model),
            features=["tools"] if llm.has_tool_calls else None,
            bytes_in=amount(request.size),
            bytes_out=amount(response.size),
            tokens_in=amount(llm.prompt_tokens),
            tokens_out=amount(llm.completion_tokens),
            shape=shape_from(request.body, response.body),
        )


def _is_raw_request(raw: bytes) -> bool:
    """A request as text; in a batch it is a JSON string."""
    if raw.startswith((b"{", b"[")):
        return False
    return raw.lstrip().removeprefix(b'"').startswith(_ORIGIN)
