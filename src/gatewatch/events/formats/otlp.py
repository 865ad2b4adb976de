"""OpenTelemetry spans as OTLP/JSON (contracts.md 6): HTTP server attributes and ``gen_ai.*``, old names and new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.elements import json_elements
from gatewatch.events.formats.headers import credential_of
from gatewatch.events.formats.mend import mended
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import epoch_s, first, json_object, maybe_epoch_s, number, status, text, times

_NS = 1e-9
_SERVER = frozenset({2, "2", "SPAN_KIND_SERVER"})
_NO_KIND = frozenset({None, 0, "0", "SPAN_KIND_UNSPECIFIED"})
_PROTOBUF = b"\n"  # field 1 of an export request, as bytes with a length
_EXPORTED = b'"resourceSpans"'
_HEADER = "http.request.header."
_REQUEST = ("http.request.method", "http.method", "http.response.status_code", "http.status_code", "client.address")
_MODEL = ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")


class _Scope(msgspec.Struct):
    spans: list[msgspec.Raw] = []


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] = []


class _Export(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource]


_EXPORT = msgspec.json.Decoder(_Export)


class Otlp(Format):
    """Each span that is a request becomes an event; the element index counts the spans of a value.

    A request is a server span, one of no kind with HTTP or model attributes, or a model call that is nobody's child.
    Others (database calls, the client's half of a call) are passed over, or one call would count twice.
    """

    name = "otlp"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "session", "ip", "user_agent", "error", "model", "model_version", "provider", "bytes_in", "bytes_out",
        "tokens_in", "tokens_out", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def elements(self, value: bytes) -> Iterator[bytes]:
        """The spans of every export request in a value; what is none comes whole, to be refused."""
        if value[:1] == _PROTOBUF and not value.lstrip().startswith((b"{", b"[")):
            yield value
            return
        for part in json_elements(value):
            spans = _spans(part)
            yield from spans if spans is not None else (part,)

    def element(self, raw: bytes) -> AccessEvent | None:
        """One span, or nothing where it is no request."""
        if raw[:1] == _PROTOBUF and not raw.lstrip().startswith((b"{", b"[")):
            raise DecodeError(BadReason.UNSUPPORTED, "OTLP protobuf: set encoding otlp_json in the Kafka exporter")
        span = json_object(raw)
        if "resourceLogs" in span or "resourceMetrics" in span:
            raise DecodeError(BadReason.UNSUPPORTED, "logs or metrics: only spans are read")
        end = first(span, "endTimeUnixNano")
        if end is None:
            raise DecodeError(BadReason.MISSING, "no endTimeUnixNano: neither a span nor an export request of spans")
        found = _attributes(span.get("attributes"))
        return self._event(span, found, epoch_s(end, _NS)) if _is_request(span, found) else None

    def _event(self, span: dict[str, Any], found: dict[str, Any], end_s: float) -> AccessEvent:
        start_s = maybe_epoch_s(span.get("startTimeUnixNano"))
        code = status(first(found, "http.response.status_code", "http.status_code"))
        reason = text(found.get("gen_ai.response.finish_reasons"))
        return AccessEvent(
            ts=end_s,
            request_id=_identity(span),
            method=text(first(found, "http.request.method", "http.method")),
            path=path_of(text(first(found, "url.path", "http.target", "http.url"))),
            endpoint=text(first(found, "http.route", "gen_ai.operation.name")),
            status=code,
            latency_ms=max(0.0, (end_s - start_s * _NS) * 1000.0) if start_s is not None else None,
            ttft_ms=times(number(first(found, "gen_ai.response.time_to_first_chunk", _VLLM_TTFT)), 1000.0),
            principal=text(first(found, "user.id", "enduser.id")),
            credential=credential_of({k.removeprefix(_HEADER): v for k, v in found.items() if k.startswith(_HEADER)}),
            session=text(first(found, "gen_ai.conversation.id", "session.id")),
            ip=client_of(text(first(found, *_ADDRESSES)) or "", self._hops),
            user_agent=text(first(found, "user_agent.original", "http.user_agent")),
            error=text(found.get("error.type")),
            model=text(first(found, "gen_ai.request.model", "gen_ai.response.model")),
            model_version=text(found.get("gen_ai.response.model")),
            provider=text(first(found, "gen_ai.provider.name", "gen_ai.system")),
            bytes_in=number(first(found, "http.request.body.size", "http.request.size")),
            bytes_out=number(first(found, "http.response.body.size", "http.response.size")),
            tokens_in=number(first(found, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
            tokens_out=number(first(found, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
            shape=Shape(finish_reason=reason) if reason is not None and reason.isidentifier() else None,
        )


_VLLM_TTFT = "gen_ai.latency.time_to_first_token"
_ADDRESSES = ("client.address", "http.client_ip", "network.peer.address", "net.peer.ip")


def _spans(part: bytes) -> Iterator[bytes] | None:
    """The spans of one export request, or ``None`` where it is none."""
    if _EXPORTED not in part:
        return None
    try:
        export = _EXPORT.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            export = _EXPORT.decode(mended(part))
        except (msgspec.DecodeError, RecursionError):
            return None
    return (bytes(span) for resource in export.resource_spans for scope in resource.scope_spans for span in scope.spans)


def _is_request(span: dict[str, Any], found: dict[str, Any]) -> bool:
    kind = span.get("kind")
    kind = kind if isinstance(kind, (int, str)) else None
    of_model = any(name in found for name in _MODEL)
    if kind in _SERVER:
        return True
    if kind in _NO_KIND:
        return of_model or any(name in found for name in _REQUEST)
    return of_model and text(span.get("parentSpanId")) is None


def _identity(span: dict[str, Any]) -> str | None:
    """Trace and span: a trace id alone is the client's to choose, and shared by retries.

    Two words to who looks for secrets: what a client puts instead of a trace id is hidden by ingest.
    """
    trace, own = text(span.get("traceId")), text(span.get("spanId"))
    return f"{trace}:{own}" if trace is not None and own is not None else None


def _attributes(listed: Any) -> dict[str, Any]:
    """A list of key and typed value as a dict of plain values; a list of values as a list."""
    pairs = listed if isinstance(listed, list) else []
    return {pair["key"]: _plain(pair.get("value")) for pair in pairs if isinstance(pair, dict) and _named(pair)}


def _named(pair: dict[str, Any]) -> bool:
    return isinstance(pair.get("key"), str)


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    array = value.get("arrayValue")
    if isinstance(array, dict):
        values = array.get("values")
        return [first(v, *_SCALARS) for v in values if isinstance(v, dict)] if isinstance(values, list) else None
    return first(value, *_SCALARS)


_SCALARS = ("stringValue", "intValue", "doubleValue", "boolValue")
