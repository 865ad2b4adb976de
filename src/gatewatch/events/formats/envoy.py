"""Envoy's JSON access log (contracts.md 3): our recipe's keys, Envoy AI Gateway's, Istio's, and entries of its ALS."""

from __future__ import annotations

from typing import Any

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of, forwarded_client
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.als import flattened
from gatewatch.events.formats.base import JsonFormat
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import epoch_s, first, number, status, text

# A long stream logs several entries; only the last one is the request (contracts.md 3.1)
_UNFINISHED = frozenset({"DownstreamStart", "DownstreamPeriodic", "TcpUpstreamConnected", "UpstreamPoolReady"})
_PATHS = ("path", "x-envoy-origin-path", "x-envoy-original-path", ":path")


class Envoy(JsonFormat):
    """Event time is ``start_time`` + ``duration``; status 0 means that the client went away."""

    name = "envoy"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential",
        "project", "session", "ip", "country", "user_agent", "ja4", "error", "model", "model_version", "provider",
        "bytes_in", "bytes_out", "tokens_in", "tokens_out", "cost_usd",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def event(self, row: dict[str, Any]) -> AccessEvent | None:
        """One entry, or nothing for the start and the middle of a stream."""
        if "commonProperties" in row:
            row = flattened(row)
        if text(row.get("access_log_type")) in _UNFINISHED:
            return None
        start = first(row, "start_time", "START_TIME")
        if start is None:
            raise DecodeError(BadReason.MISSING, 'no start_time: log "start_time": "%START_TIME%"')
        duration_ms = number(row.get("duration"))
        return AccessEvent(
            ts=epoch_s(start) + (duration_ms or 0.0) / 1000.0,
            request_id=text(first(row, "request_id", "x-request-id")),
            method=text(first(row, "method", ":method")),
            path=path_of(text(first(row, *_PATHS))),
            endpoint=text(first(row, "route_name", "endpoint")),
            status=status(first(row, "response_code", "status")),
            latency_ms=duration_ms,
            ttft_ms=number(first(row, "response_duration", "time_to_first_byte")),
            principal=text(first(row, "principal", "x-consumer", "jwt_sub")),
            credential=credential_of(lowered(row)),
            project=text(row.get("project")),
            session=text(first(row, "session", "gen_ai.conversation.id")),
            ip=self._address(row),
            country=text(row.get("country")),
            user_agent=text(first(row, "user_agent", "user-agent")),
            ja4=text(first(row, "ja4", "tls_ja4_fingerprint")),
            error=text(row.get("response_flags")),
            model=text(first(row, "gen_ai.request.model", "x-ai-eg-model", "model")),
            model_version=text(row.get("gen_ai.response.model")),
            provider=text(first(row, "gen_ai.provider.name", "gen_ai.system")),
            bytes_in=number(row.get("bytes_received")),
            bytes_out=number(row.get("bytes_sent")),
            tokens_in=number(first(row, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
            tokens_out=number(first(row, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
            cost_usd=number(row.get("cost_usd")),
        )

    def _address(self, row: dict[str, Any]) -> str | None:
        """Who Envoy says it was; or with ``trusted_hops`` the entry of X-Forwarded-For that our proxies vouch for."""
        chain = text(first(row, "x-forwarded-for", "x_forwarded_for"))
        if self._hops and chain is not None:
            return forwarded_client(chain, self._hops)
        address = first(row, "downstream_remote_address", "downstream_remote_address_without_port")
        return client_of(text(address) or "")
