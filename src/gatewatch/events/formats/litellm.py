"""LiteLLM proxy's StandardLoggingPayload (contracts.md 5), as its ``generic_api`` callback sends it."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, field

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import forwarded_client
from gatewatch.events.event import AccessEvent, Auth
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.typed import TypedFormat, amount, code, said
from gatewatch.events.formats.values import epoch_s, first_of, maybe_epoch_s, number
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


class _Metadata(Struct, gc=False):
    user_api_key_hash: str | None = None
    user_api_key_alias: str | None = None
    user_api_key_user_id: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_team_alias: str | None = None
    user_api_key_org_id: str | None = None
    user_api_key_request_route: str | None = None
    requester_ip_address: str | None = None
    user_agent: str | None = None


class _Error(Struct, gc=False):
    error_code: float | str | None = None
    error_class: str | None = None


class _Status(Struct, gc=False):
    guardrail_status: str | None = None


class _Payload(Struct, gc=False):
    end: Any = field(default=None, name="endTime")
    start: Any = field(default=None, name="startTime")
    began: Any = field(default=None, name="completionStartTime")
    litellm_call_id: str | None = None
    call_type: str | None = None
    status: str | None = None
    stream: bool | None = None
    session_id: str | None = None
    requester_ip_address: str | None = None
    user_agent: str | None = None
    model_group: str | None = None
    model: str | None = None
    custom_llm_provider: str | None = None
    model_parameters: Any = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    response_cost: float | None = None
    error_str: str | None = None
    messages: Any = None
    response: Any = None
    metadata: _Metadata | None = None
    error_information: _Error | None = None
    status_fields: _Status | None = None


_NO_METADATA, _NO_ERROR, _NO_STATUS = _Metadata(), _Error(), _Status()


class LiteLLM(TypedFormat):
    """The key's hash is the credential, its alias the principal; a wrong key is a failure with that key's own hash.

    ``requester_ip_address`` is the whole X-Forwarded-For where the proxy uses it: with ``trusted_hops`` the entry is
    taken that our own proxies vouch for, without it the last one.
    """

    name = "litellm"
    entry = _Payload
    fields = frozenset({
        "ts", "request_id", "path", "endpoint", "status", "latency_ms", "ttft_ms", "principal", "credential", "project",
        "session", "ip", "user_agent", "auth", "denied", "error", "model", "model_version", "provider", "features",
        "tokens_in", "tokens_out", "cost_usd", "shape",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        super().__init__()
        self._hops = trusted_hops

    def event(self, entry: _Payload) -> AccessEvent:
        """One payload."""
        end = first_of(entry.end)
        if end is None:
            raise DecodeError(BadReason.MISSING, "no endTime")
        ts = epoch_s(end)
        meta, error = entry.metadata or _NO_METADATA, entry.error_information or _NO_ERROR
        start = maybe_epoch_s(entry.start)
        status, auth, denied = _outcome(entry, meta, error)
        key = _key(said(meta.user_api_key_hash))
        route = path_of(said(meta.user_api_key_request_route))
        address = said(entry.requester_ip_address) or said(meta.requester_ip_address) or ""
        return AccessEvent(
            ts=ts,
            request_id=said(entry.litellm_call_id),
            path=route if route is not None and route.startswith("/") else None,
            endpoint=route or said(entry.call_type),
            status=status,
            latency_ms=_span_ms(start, ts),
            ttft_ms=_span_ms(start, maybe_epoch_s(entry.began)) if entry.stream else None,
            principal=None if auth == "failure" else said(meta.user_api_key_alias) or key,
            credential=key,
            project=said(meta.user_api_key_team_alias) or said(meta.user_api_key_team_id),
            session=said(entry.session_id),
            ip=forwarded_client(address, self._hops),
            user_agent=said(entry.user_agent) or said(meta.user_agent),
            auth=auth,
            denied=denied,
            error=said(error.error_class),  # its message may quote the request
            model=said(entry.model_group) or said(entry.model),
            model_version=said(entry.model),
            provider=said(entry.custom_llm_provider),
            features=_features(entry.model_parameters),
            tokens_in=amount(entry.prompt_tokens),
            tokens_out=amount(entry.completion_tokens),
            cost_usd=amount(entry.response_cost),
            shape=shape_from(None if _is_redacted(entry.messages) else entry.messages, entry.response),
        )


def _outcome(entry: _Payload, meta: _Metadata, error: _Error) -> tuple[int | None, Auth | None, bool | None]:
    """HTTP status as far as the payload tells it, how authentication ended, and whether policy refused.

    Without a database LiteLLM answers a wrong key with 400 and a missing one with 500 (contracts.md 5, tried), so
    words of the error count where nobody is known by more than the key that was shown and nothing was spent. A model
    that there is not is "not found", as with every other gateway, though LiteLLM says 400.
    """
    if entry.status == "success":
        return 200, "success", None
    status = code(number(error.error_code))
    words = f"{said(error.error_class) or ''} {(said(entry.error_str) or '')[:_TEXT_READ]}"
    known = any(said(getattr(meta, name)) is not None for name in _IDENTITY)
    spent = amount(entry.response_cost) or amount(entry.total_tokens)
    if not known and (status == 401 or (not spent and _AUTH_WORDS.search(words) is not None)):
        return status or 401, "failure", None
    if error.error_class == _NO_SUCH_MODEL:
        status = _NOT_FOUND
    guardrail = (entry.status_fields or _NO_STATUS).guardrail_status
    return status, "success" if known else None, True if guardrail == "guardrail_intervened" else None


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
