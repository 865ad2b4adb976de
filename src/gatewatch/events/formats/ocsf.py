"""OCSF (contracts.md 7.1): API Activity 6003, HTTP Activity 4002 and Authentication 3002."""

from __future__ import annotations

from typing import Any

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent, Auth
from gatewatch.events.formats.base import JsonFormat
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import first, number, status, text, within
from gatewatch.events.secrets import hashed_id

_API, _HTTP, _AUTHENTICATION = 6003, 4002, 3002
_LOGOFF = 2  # activity_id of Authentication: nobody tries to come in
_OUTCOMES: dict[float | None, Auth] = {1.0: "success", 2.0: "failure"}  # status_id
_DENIED = 2  # action_id of the security_control profile
_UNAUTHORIZED = 401


class Ocsf(JsonFormat):
    """Event time is ``end_time``, else ``time``, in ms. ``status_id`` tells how a login ended, and only that.

    A failed API call need not be a failed login, so for the other classes authentication follows from the HTTP status.
    """

    name = "ocsf"
    fields = frozenset({
        "ts", "request_id", "method", "path", "endpoint", "status", "latency_ms", "principal", "credential", "account",
        "project", "session", "ip", "asn", "country", "user_agent", "auth", "denied", "error", "model", "provider",
        "bytes_in", "bytes_out", "tokens_in", "tokens_out",
    })  # fmt: skip

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops

    def event(self, row: dict[str, Any]) -> AccessEvent | None:
        """One activity, or nothing for a logoff."""
        kind = number(row.get("class_uid"))
        if kind not in (_API, _HTTP, _AUTHENTICATION):
            raise DecodeError(BadReason.UNSUPPORTED, "class_uid is none of 6003, 4002, 3002")
        if kind == _AUTHENTICATION and number(row.get("activity_id")) == _LOGOFF:
            return None
        end_ms = number(first(row, "end_time", "time"))
        if end_ms is None:
            raise DecodeError(BadReason.MISSING, "no time in milliseconds")
        auth = _OUTCOMES.get(number(row.get("status_id"))) if kind == _AUTHENTICATION else None
        code = status(within(row, "http_response").get("code") or within(row, "api", "response").get("code"))
        if code is None and kind == _AUTHENTICATION:
            code = status(row.get("status_code"))
        user = within(row, "user") or within(row, "actor", "user")
        who, credential = _identity(user)
        unknown = auth == "failure" or (auth is None and code == _UNAUTHORIZED)
        request, source = within(row, "http_request"), within(row, "src_endpoint")
        used = within(row, "message_context")
        return AccessEvent(
            ts=end_ms / 1000.0,
            request_id=text(within(row, "metadata").get("uid")),
            method=text(request.get("http_method")),
            path=path_of(text(within(request, "url").get("path"))),
            endpoint=text(within(row, "api").get("operation")),
            status=code,
            latency_ms=number(row.get("duration")),
            principal=None if unknown else who,
            credential=credential,
            account=who if unknown or kind == _AUTHENTICATION else None,
            project=text(within(row, "cloud").get("project_uid")),
            session=text(first(within(row, "session"), "uid") or within(row, "actor", "session").get("uid")),
            ip=client_of(text(source.get("ip")) or "", self._hops),
            asn=_whole(within(source, "autonomous_system").get("number")),
            country=text(within(source, "location").get("country")),
            user_agent=text(request.get("user_agent")),
            auth=auth,
            denied=True if number(row.get("action_id")) == _DENIED and not unknown else None,
            error=text(within(row, "api", "response").get("error")),
            model=text(within(row, "ai_model").get("name")),
            provider=text(within(row, "ai_model").get("ai_provider")),
            bytes_in=number(request.get("length")),
            bytes_out=number(within(row, "http_response").get("length")),
            tokens_in=number(used.get("prompt_tokens")),
            tokens_out=number(used.get("completion_tokens")),
        )


def _identity(user: dict[str, Any]) -> tuple[str | None, str | None]:
    """Who, and with which credential: some gateways write the hash of a key as the user's id."""
    given = text(user.get("credential_uid"))
    uid = text(user.get("uid"))
    if uid is not None and uid.startswith("sha256:"):
        return text(user.get("name")), hashed_id(given) if given is not None else uid
    return text(first(user, "name", "uid")), hashed_id(given) if given is not None else None


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None else None
