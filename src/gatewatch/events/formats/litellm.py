"""LiteLLM proxy's StandardLoggingPayload (contracts.md 5), as its ``generic_api`` callback sends it."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.values import epoch_s, number, text, truth
from gatewatch.events.secrets import hash_secret
from gatewatch.events.shape import add_output, shape_of

# Asked-for options that say something about intent
_FEATURES = ("logprobs", "top_logprobs", "logit_bias", "tools", "functions", "response_format", "n", "seed")
_MASTER = "litellm_proxy_master_key"


class LiteLLM(Format):
    """The key's hash is principal and credential; a wrong key is a failure with that key's own hash."""

    name = "litellm"
    fields = frozenset({
        "ts", "request_id", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential", "project",
        "session", "ip", "user_agent", "auth", "denied", "error", "model", "model_version", "provider", "features",
        "tokens_in", "tokens_out", "cost_usd", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def element(self, raw: bytes) -> AccessEvent:
        """One payload."""
        row = msgspec.json.decode(raw)
        if not isinstance(row, dict):
            raise DecodeError(BadReason.TYPE, "not a JSON object")
        end = row.get("endTime")
        if text(end) is None:
            raise DecodeError(BadReason.MISSING, "no endTime")
        ts = epoch_s(end)
        meta = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
        start, first = row.get("startTime"), row.get("completionStartTime")
        code, auth = _outcome(row)
        key = _key(text(meta.get("user_api_key_hash")))
        failed = auth == "failure"
        return AccessEvent(
            ts=ts,
            request_id=text(row.get("litellm_call_id")),
            endpoint=text(meta.get("user_api_key_request_route")) or text(row.get("call_type")),
            status=code,
            latency_ms=_span_ms(start, ts),
            ttft_ms=_span_ms(start, epoch_s(first)) if truth(row.get("stream")) and text(first) is not None else None,
            principal=None if failed else text(meta.get("user_api_key_alias")) or key,
            credential=key,
            project=text(meta.get("user_api_key_team_alias")) or text(meta.get("user_api_key_team_id")),
            session=text(row.get("session_id")),
            ip=client_of(
                text(row.get("requester_ip_address")) or text(meta.get("requester_ip_address")) or "", self._hops
            ),
            user_agent=text(row.get("user_agent")) or text(meta.get("user_agent")),
            auth=auth,
            error=_error(row),
            model=text(row.get("model_group")) or text(row.get("model")),
            model_version=text(row.get("model")),
            provider=text(row.get("custom_llm_provider")),
            features=_features(row.get("model_parameters")),
            tokens_in=number(row.get("prompt_tokens")),
            tokens_out=number(row.get("completion_tokens")),
            cost_usd=number(row.get("response_cost")),
            shape=_shape(row.get("messages"), row.get("response")),
        )


def _outcome(row: dict[str, Any]) -> tuple[int | None, Any]:
    """HTTP status as far as the payload tells it, and how authentication ended."""
    if text(row.get("status")) == "success":
        return 200, "success"
    error = row["error_information"] if isinstance(row.get("error_information"), dict) else {}
    code = number(error.get("error_code"))
    kind = text(error.get("error_class")) or ""
    # Without a database LiteLLM answers a wrong key with 400 and a missing one with 500 (contracts.md 5, tried)
    spent = row.get("response_cost") or row.get("total_tokens")
    auth_words = "auth" in kind.lower() or "key" in (text(row.get("error_str")) or "").lower()
    if code == 401 or (auth_words and not spent):
        return int(code) if code else 401, "failure"
    return (int(code) if code and code <= 999 else None), None


def _error(row: dict[str, Any]) -> str | None:
    """The class of an error; its message may quote the request."""
    error = row.get("error_information")
    return text(error.get("error_class")) if isinstance(error, dict) else None


def _key(hashed: str | None) -> str | None:
    return hashed if hashed is None or hashed == _MASTER else hash_secret(hashed)


def _span_ms(start: Any, end_s: float) -> float | None:
    if text(start) is None:
        return None
    return max(0.0, (end_s - epoch_s(start)) * 1000.0)


def _features(parameters: Any) -> list[str] | None:
    if not isinstance(parameters, dict):
        return None
    return [name for name in _FEATURES if parameters.get(name) not in (None, False, 0, 1, [], {})] or None


def _shape(messages: Any, response: Any) -> Shape | None:
    shape = shape_of(messages) if messages not in (None, "", [], {}) else None
    return add_output(shape, response) if response not in (None, "", {}) else shape
