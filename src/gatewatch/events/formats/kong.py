"""Kong's log entry (contracts.md 1), the same from kafka-log, http-log, file-log, tcp-log and udp-log."""

from __future__ import annotations

from typing import Any

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import JsonFormat
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import first, number, status, text, within

_OWN_WORKSPACE = "default"  # everybody's, in open-source Kong: it tells no project from another


class Kong(JsonFormat):
    """Event time is ``started_at`` + ``latencies.request``; a wrong key leaves neither consumer nor credential."""

    name = "kong"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "project", "ip", "user_agent", "model", "model_version", "provider", "bytes_in", "bytes_out", "tokens_in",
        "tokens_out", "cost_usd", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def event(self, row: dict[str, Any]) -> AccessEvent:
        """One entry."""
        start_ms = number(row.get("started_at"))
        if start_ms is None:
            raise DecodeError(BadReason.MISSING, "no started_at: custom_fields_by_lua must not remove it")
        latency_ms = number(within(row, "latencies").get("request"))
        request, response = within(row, "request"), within(row, "response")
        headers = lowered(request.get("headers"))
        ai = _ai(row)
        meta, usage = within(ai, "meta"), within(ai, "usage")
        workspace = text(row.get("workspace_name"))
        return AccessEvent(
            ts=(start_ms + (latency_ms or 0.0)) / 1000.0,
            request_id=text(request.get("id")),
            method=text(request.get("method")),
            path=path_of(text(request.get("uri"))),
            endpoint=text(first(within(row, "route"), "name", "id")),
            status=status(response.get("status")),
            latency_ms=latency_ms,
            ttft_ms=number(usage.get("time_to_first_token")),
            principal=_principal(row),
            credential=text(within(row, "authenticated_entity").get("id")) or credential_of(headers),
            project=None if workspace == _OWN_WORKSPACE else workspace,
            ip=client_of(text(row.get("client_ip")) or "", self._hops),
            user_agent=text(headers.get("user-agent")),
            model=text(first(meta, "request_model", "response_model")),
            model_version=text(meta.get("response_model")),
            provider=text(meta.get("provider_name")),
            bytes_in=number(request.get("size")),
            bytes_out=number(response.get("size")),
            tokens_in=number(usage.get("prompt_tokens")),
            tokens_out=number(usage.get("completion_tokens")),
            cost_usd=number(usage.get("cost")),
            shape=shape_from(within(ai, "payload").get("request"), within(ai, "payload").get("response")),
        )


def _principal(row: dict[str, Any]) -> str | None:
    """The consumer; a credential without one (an external identity) speaks for itself."""
    consumer = text(first(within(row, "consumer"), "username", "custom_id", "id"))
    return consumer or text(first(within(row, "authenticated_entity"), "consumer_id", "id"))


def _ai(row: dict[str, Any]) -> dict[str, Any]:
    """What the AI plugins add: under ``proxy``, or in older versions under the plugin's own name.

    Of several plugins the proxy made the call; a transformer or a guard before it calls a model of its own.
    """
    ai = within(row, "ai")
    named = (within(ai, name) for name in ("proxy", "ai-proxy", "ai-proxy-advanced"))
    parts = (part for part in ai.values() if isinstance(part, dict))
    return next((part for part in named if part), None) or next(parts, {})
