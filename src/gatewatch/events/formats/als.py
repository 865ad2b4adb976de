"""An entry of Envoy's access log service (contracts.md 3.2) as bridges print it: protobuf's own JSON."""

from __future__ import annotations

from typing import Any

from gatewatch.events.formats.values import first, number, text, times, within

_AI_GATEWAY = "io.envoy.ai_gateway"
_TOKENS = {
    "gen_ai.usage.input_tokens": "llm_input_token",
    "gen_ai.usage.output_tokens": "llm_output_token",
    "gen_ai.request.model": "model_name_override",
}  # as Envoy AI Gateway's documentation names the metadata


def flattened(row: dict[str, Any]) -> dict[str, Any]:
    """The same entry with the keys of a JSON access log."""
    common, request, response = within(row, "commonProperties"), within(row, "request"), within(row, "response")
    source = within(common, "downstreamRemoteAddress", "socketAddress")
    took = first(common, "duration", "timeToLastDownstreamTxByte")
    metadata = within(common, "metadata", "filterMetadata", _AI_GATEWAY)
    return {
        **within(request, "requestHeaders"),
        **{name: metadata.get(key) for name, key in _TOKENS.items()},
        "access_log_type": common.get("accessLogType"),
        "start_time": common.get("startTime"),
        "duration": _milliseconds(took),
        "response_duration": _milliseconds(common.get("timeToFirstUpstreamRxByte")),
        "downstream_remote_address": source.get("address"),
        "x-forwarded-for": request.get("forwardedFor"),
        "method": request.get("requestMethod"),
        "path": first(request, "originalPath", "path"),
        "user_agent": request.get("userAgent"),
        "request_id": request.get("requestId"),
        "bytes_received": request.get("requestBodyBytes"),
        "bytes_sent": response.get("responseBodyBytes"),
        "response_code": response.get("responseCode"),
        "response_flags": next(iter(within(common, "responseFlags")), None),
        "route_name": common.get("routeName"),
    }


def _milliseconds(duration: Any) -> float | None:
    """A protobuf Duration: ``"1.526s"``."""
    return times(number((text(duration) or "").removesuffix("s")), 1000.0)
