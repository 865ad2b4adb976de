"""Apache APISIX kafka-logger, default entry (contracts.md 2). A value is an array of up to 1,000 by default."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.values import number, status, text, truth
from gatewatch.events.shape import add_output, shape_of

_ORIGIN = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ")


class Apisix(Format):
    """Event time is ``start_time`` + ``latency``; the principal is the consumer; who failed has none."""

    name = "apisix"
    fields = frozenset({
        "ts", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "ip", "user_agent", "auth", "model", "features", "bytes_in", "bytes_out", "tokens_in", "tokens_out", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def element(self, raw: bytes) -> AccessEvent:
        """One entry."""
        if raw.lstrip().startswith(_ORIGIN):
            raise DecodeError(
                BadReason.UNSUPPORTED, "meta_format origin holds no time, address or response: use meta_format default"
            )
        row = msgspec.json.decode(raw)
        if not isinstance(row, dict):
            raise DecodeError(BadReason.TYPE, "not a JSON object")
        start_ms = number(row.get("start_time"))
        if start_ms is None:
            raise DecodeError(BadReason.MISSING, "no start_time: a custom log_format needs format native with a map")
        latency_ms = number(row.get("latency")) or 0.0
        request, response = _object(row, "request"), _object(row, "response")
        headers = lowered(request.get("headers"))
        llm = _object(row, "llm_summary")
        consumer = _object(row, "consumer")
        return AccessEvent(
            ts=(start_ms + latency_ms) / 1000.0,
            method=text(request.get("method")),
            path=_path(text(request.get("uri"))),
            endpoint=text(row.get("route_id")),
            status=status(response.get("status")),
            latency_ms=latency_ms,
            ttft_ms=number(llm.get("duration")) if truth(llm.get("stream")) else None,
            principal=text(consumer.get("username")),
            credential=credential_of(headers),
            ip=client_of(text(row.get("client_ip")) or "", self._hops),
            user_agent=text(headers.get("user-agent")),
            model=text(llm.get("request_model")) or text(llm.get("model")),
            features=["tools"] if truth(llm.get("has_tool_calls")) else None,
            bytes_in=number(request.get("size")),
            bytes_out=number(response.get("size")),
            tokens_in=number(llm.get("prompt_tokens")),
            tokens_out=number(llm.get("completion_tokens")),
            shape=_shape(request.get("body"), response.get("body")),
        )


def _object(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = row.get(name)
    return found if isinstance(found, dict) else {}


def _path(uri: str | None) -> str | None:
    return uri.partition("?")[0].partition("#")[0] if uri is not None else None


def _shape(request_body: Any, response_body: Any) -> Shape | None:
    shape = shape_of(request_body) if request_body not in (None, "") else None
    return add_output(shape, response_body) if response_body not in (None, "") else shape
