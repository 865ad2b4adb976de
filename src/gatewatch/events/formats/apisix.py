"""Apache APISIX kafka-logger, default entry (contracts.md 2). A value is an array of up to 1,000 by default."""

from __future__ import annotations

from collections.abc import Iterator

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.elements import json_elements
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import json_object, number, status, text, truth, within

_ORIGIN = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ")


class Apisix(Format):
    """Event time is ``start_time`` + ``latency``; the principal is the consumer; who failed has none."""

    name = "apisix"
    fields = frozenset({
        "ts", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "ip", "user_agent", "model", "model_version", "features", "bytes_in", "bytes_out", "tokens_in", "tokens_out",
        "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def elements(self, value: bytes) -> Iterator[bytes]:
        """As in JSON; a raw request (``meta_format: origin``) is one element, however many lines it has."""
        return iter([value]) if _is_raw_request(value) else json_elements(value)

    def element(self, raw: bytes) -> AccessEvent:
        """One entry."""
        if _is_raw_request(raw):
            raise DecodeError(
                BadReason.UNSUPPORTED, "meta_format origin holds no time, address or response: use meta_format default"
            )
        row = json_object(raw)
        start_ms = number(row.get("start_time"))
        if start_ms is None:
            raise DecodeError(BadReason.MISSING, "no start_time: a custom log_format needs format native with a map")
        latency_ms = number(row.get("latency"))
        request, response, llm = within(row, "request"), within(row, "response"), within(row, "llm_summary")
        headers = lowered(request.get("headers"))
        return AccessEvent(
            ts=(start_ms + (latency_ms or 0.0)) / 1000.0,
            method=text(request.get("method")),
            path=path_of(text(request.get("uri"))) or path_of(text(request.get("url"))),
            endpoint=text(row.get("route_id")),
            status=status(response.get("status")),
            latency_ms=latency_ms,
            ttft_ms=number(llm.get("duration")) if truth(llm.get("stream")) else None,
            principal=text(within(row, "consumer").get("username")),
            credential=credential_of(headers),
            ip=client_of(text(row.get("client_ip")) or "", self._hops),
            user_agent=text(headers.get("user-agent")),
            model=text(llm.get("request_model")) or text(llm.get("model")),
            model_version=text(llm.get("model")),
            features=["tools"] if truth(llm.get("has_tool_calls")) else None,
            bytes_in=number(request.get("size")),
            bytes_out=number(response.get("size")),
            tokens_in=number(llm.get("prompt_tokens")),
            tokens_out=number(llm.get("completion_tokens")),
            shape=shape_from(request.get("body"), response.get("body")),
        )


def _is_raw_request(raw: bytes) -> bool:
    """A request as text; in a batch it is a JSON string."""
    return raw.lstrip().removeprefix(b'"').startswith(_ORIGIN)
