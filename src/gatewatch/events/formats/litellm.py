"""LiteLLM proxy's StandardLoggingPayload (contracts.md 5), as its ``generic_api`` callback sends it."""

from __future__ import annotations

import re
from typing import Any

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import forwarded_client
from gatewatch.events.event import AccessEvent, Auth
from gatewatch.events.formats.base import JsonFormat
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import epoch_s, first, maybe_epoch_s, number, status, text, truth, within
from gatewatch.events.secrets import hashed_id

# Asked-for options that say something about intent
_FEATURES = ("logprobs", "top_logprobs", "logit_bias", "tools", "functions", "response_format", "n", "seed")
_USUAL: tuple[object, ...] = (None, 0, 1, "", [], {})  # what stands there when nobody asked: "n" is 1
_MASTER = "litellm_proxy_master_key"
# What a caller who is known by more than the key that was shown has
_IDENTITY = tuple(f"user_api_key_{part}" for part in ("alias", "user_id", "team_id", "team_alias", "org_id"))
_AUTH_WORDS = re.compile(r"authenticat|api[ _]?key|virtual key|invalid .{0,40}token", re.IGNORECASE)
_TEXT_READ = 512  # characters of an error's text that are searched
_NO_SUCH_MODEL = "ProxyModelNotFoundError"  # answered with 400 (contracts.md 5, tried)
_NOT_FOUND = 404
_REDACTED = "redacted-by-litellm"  # what `turn_off_message_logging` leaves of each message


class LiteLLM(JsonFormat):
    """The key's hash is the credential, its alias the principal; a wrong key is a failure with that key's own hash.

    ``requester_ip_address`` is the whole X-Forwarded-For where the proxy uses it: with ``trusted_hops`` the entry is
    taken that our own proxies vouch for, without it the last one.
    """

    name = "litellm"
    fields = frozenset({
        "ts", "request_id", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential", "project",
        "session", "ip", "user_agent", "auth", "denied", "error", "model", "model_version", "provider", "features",
        "tokens_in", "tokens_out", "cost_usd", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def event(self, row: dict[str, Any]) -> AccessEvent:
        """One payload."""
        end = first(row, "endTime")
        if end is None:
            raise DecodeError(BadReason.MISSING, "no endTime")
        ts = epoch_s(end)
        meta = within(row, "metadata")
        start, began = maybe_epoch_s(row.get("startTime")), maybe_epoch_s(row.get("completionStartTime"))
        code, auth, denied = _outcome(row, meta)
        key = _key(text(meta.get("user_api_key_hash")))
        route = path_of(text(meta.get("user_api_key_request_route")))
        address = text(row.get("requester_ip_address")) or text(meta.get("requester_ip_address")) or ""
        return AccessEvent(
            ts=ts,
            request_id=text(row.get("litellm_call_id")),
            path=route if route is not None and route.startswith("/") else None,
            endpoint=route or text(row.get("call_type")),
            status=code,
            latency_ms=_span_ms(start, ts),
            ttft_ms=_span_ms(start, began) if truth(row.get("stream")) else None,
            principal=None if auth == "failure" else text(meta.get("user_api_key_alias")) or key,
            credential=key,
            project=text(meta.get("user_api_key_team_alias")) or text(meta.get("user_api_key_team_id")),
            session=text(row.get("session_id")),
            ip=forwarded_client(address, self._hops),
            user_agent=text(row.get("user_agent")) or text(meta.get("user_agent")),
            auth=auth,
            denied=denied,
            error=text(within(row, "error_information").get("error_class")),  # its message may quote the request
            model=text(row.get("model_group")) or text(row.get("model")),
            model_version=text(row.get("model")),
            provider=text(row.get("custom_llm_provider")),
            features=_features(row.get("model_parameters")),
            tokens_in=number(row.get("prompt_tokens")),
            tokens_out=number(row.get("completion_tokens")),
            cost_usd=number(row.get("response_cost")),
            shape=shape_from(None if _is_redacted(row.get("messages")) else row.get("messages"), row.get("response")),
        )


def _outcome(row: dict[str, Any], meta: dict[str, Any]) -> tuple[int | None, Auth | None, bool | None]:
    """HTTP status as far as the payload tells it, how authentication ended, and whether policy refused.

    Without a database LiteLLM answers a wrong key with 400 and a missing one with 500 (contracts.md 5, tried), so
    words of the error count where nobody is known by more than the key that was shown and nothing was spent. A model
    that there is not is "not found", as with every other gateway, though LiteLLM says 400.
    """
    if text(row.get("status")) == "success":
        return 200, "success", None
    error = within(row, "error_information")
    code = status(error.get("error_code"))
    words = f"{text(error.get('error_class')) or ''} {(text(row.get('error_str')) or '')[:_TEXT_READ]}"
    known = any(text(meta.get(name)) is not None for name in _IDENTITY)
    spent = number(row.get("response_cost")) or number(row.get("total_tokens"))
    if not known and (code == 401 or (not spent and _AUTH_WORDS.search(words) is not None)):
        return code or 401, "failure", None
    if error.get("error_class") == _NO_SUCH_MODEL:
        code = _NOT_FOUND
    guardrail = text(within(row, "status_fields").get("guardrail_status"))
    return code, "success" if known else None, True if guardrail == "guardrail_intervened" else None


def _is_redacted(messages: Any) -> bool:
    """Whether a placeholder stands for the messages: its shape is no caller's, and the same for all."""
    last = messages[-1] if isinstance(messages, list) and messages else messages
    content = last.get("content") if isinstance(last, dict) else last
    return isinstance(content, str) and content == _REDACTED


def _key(hashed: str | None) -> str | None:
    return hashed if hashed is None or hashed == _MASTER else hashed_id(hashed)


def _span_ms(start_s: float | None, end_s: float | None) -> float | None:
    return max(0.0, (end_s - start_s) * 1000.0) if start_s is not None and end_s is not None else None


def _features(parameters: Any) -> list[str] | None:
    if not isinstance(parameters, dict):
        return None
    return [name for name in _FEATURES if _asked_for(parameters.get(name))] or None


def _asked_for(value: Any) -> bool:
    """Whether an option was set to something; ``True`` equals 1, but is."""
    return value is True or value not in _USUAL
