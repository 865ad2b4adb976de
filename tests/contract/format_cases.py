"""One entry for each format, written from its contract, with what it means and where a secret may hide in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatewatch.events import formats
from gatewatch.events.formats.base import Format
from gatewatch.settings import Source

PLANTED = "sk-live-Zx81kLmQ9vT2rB7nYc4dW6eH"
BODY_TEXT = "my-mothers-maiden-name-is-Skłodowska"
KEY_HASH = hashlib.sha256(PLANTED.encode()).hexdigest()
CREDENTIAL = f"sha256:{KEY_HASH}"

Json = dict[str, Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """One format under test.

    Attributes:
        make: a new format.
        entry: a good entry; of text formats the line.
        expected: every field that the entry's event has; nothing else may be set.
        secret: the entry with ``PLANTED`` where clients put keys, and ``BODY_TEXT`` in bodies.
        credential: what the planted key becomes, where the format has one.
        time: path of the time, and times that are none.
        optional: paths of texts that may be absent, with the field each one fills.
        numbers: the same for numbers.
    """

    name: str
    make: Callable[[], Format]
    entry: Json
    expected: Json
    secret: Json
    credential: str | None
    time: Path
    bad_times: tuple[Any, ...]
    absent: tuple[Any, ...] = (None, "", "-")
    optional: dict[Path, str] = field(default_factory=dict)
    numbers: dict[Path, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        """The good entry as it stands in Kafka."""
        return encoded(self.entry)

    def with_value(self, path: Path, value: Any) -> Json:
        """The good entry with another value at one place."""
        copy: Json = json.loads(json.dumps(self.entry))
        at: Any = copy
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        return copy

    def without(self, path: Path) -> Json:
        """The good entry without one key."""
        copy = self.with_value(path, None)
        at: Any = copy
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]
        return copy


def encoded(entry: Any) -> bytes:
    """As Python programs write JSON: NaN and lone surrogates included."""
    return json.dumps(entry, separators=(",", ":")).encode()


def _merged(entry: Json, **changes: Any) -> Json:
    copy: Json = json.loads(json.dumps(entry))
    for name, value in changes.items():
        copy[name] = {**copy[name], **value} if isinstance(copy.get(name), dict) else value
    return copy


_NATIVE: Json = {
    "ts": 1795491546.439, "request_id": "22b8710d", "method": "POST", "path": "/v1/chat/completions",
    "endpoint": "/v1/chat/completions", "status": 200, "latency_ms": 792.0, "ttft_ms": 268.0, "principal": "acme-batch",
    "credential": "key-7", "account": "ada", "account_known": True, "project": "billing", "session": "s-1",
    "ip": "203.0.113.9", "asn": 64500, "country": "SE", "user_agent": "openai-python/1.99", "ja4": "t13d1516h2",
    "auth": "success", "denied": False, "blocked_by_us": False, "error": "none", "model": "gpt-mock",
    "model_version": "gpt-mock-0601", "provider": "openai", "features": ["logprobs"], "bytes_in": 900.0,
    "bytes_out": 4096.0, "tokens_in": 812.0, "tokens_out": 96.0, "cost_usd": 0.002,
}  # fmt: skip
_BODY: Json = {"model": "gpt-mock", "messages": [{"role": "user", "content": BODY_TEXT}], "user": PLANTED}
_ANSWER: Json = {"choices": [{"finish_reason": "stop", "message": {"content": BODY_TEXT, "refusal": None}}]}

NATIVE = Case(
    name="native",
    make=lambda: formats.get("native"),
    entry=_NATIVE,
    expected=_NATIVE,
    secret={
        **_NATIVE, "path": f"/v1/x?key={PLANTED}#{PLANTED}", "credential": PLANTED, "principal": f"Bearer {PLANTED}",
        "body": _BODY, "response_body": json.dumps(_ANSWER), "headers": {"authorization": PLANTED},
    },
    credential=CREDENTIAL,
    time=("ts",),
    bad_times=(1795491546439, -1, float("nan"), 1e300, "yesterday", True, {}, []),
    absent=(None,),  # producers of the native format write nothing for nothing
    optional={(name,): name for name in ("principal", "ip", "path", "user_agent", "model", "session")},
    numbers={(name,): name for name in ("latency_ms", "bytes_in", "tokens_out", "cost_usd")},
)  # fmt: skip

_CUSTOM: Json = {
    "@timestamp": "2026-11-24T03:39:06.439Z", "took": {"total": "1.5"}, "client": [{"addr": "10.9.9.9"},
    {"addr": "203.0.113.9, 198.51.100.7, 10.0.0.1"}], "http.request": {"target": "/v1/models", "code": "200"},
    "who": "acme-batch", "ok": True, "size": 512, "headers": {"X-Api-Key": None}, "wants": "logprobs",
}  # fmt: skip
MAP: Json = {
    "ts": {"path": "$.@timestamp", "unit": "iso8601"}, "latency_ms": {"path": "$.took.total", "unit": "s"},
    "ip": "$.client[1].addr", "path": "$['http.request'].target", "status": '$["http.request"].code',
    "principal": "$.who", "auth": "$.ok", "bytes_in": "$.size", "credential": "$.headers.X-Api-Key",
    "body": "$.request", "response_body": "$.answer", "features": "$.wants", "project": {"value": "billing"},
}  # fmt: skip
MAPPED = Case(
    name="native with a map",
    make=lambda: formats.get("native", source=Source(topic="t", format="native", map=MAP, trusted_hops=1)),
    entry=_CUSTOM,
    expected={
        "ts": 1795491546.439, "latency_ms": 1500.0, "ip": "198.51.100.7", "path": "/v1/models", "status": 200,
        "principal": "acme-batch", "auth": "success", "bytes_in": 512.0, "features": ["logprobs"], "project": "billing",
    },
    secret=_merged(
        _CUSTOM, **{"http.request": {"target": f"/v1/x?key={PLANTED}"}, "headers": {"X-Api-Key": [PLANTED]}},
        request=_BODY, answer=_ANSWER, who=PLANTED,
    ),
    credential=CREDENTIAL,
    time=("@timestamp",),
    bad_times=(1e300, -1, float("nan"), "yesterday", True, {}, []),
    optional={("who",): "principal", ("http.request", "target"): "path", ("wants",): "features"},
    numbers={("size",): "bytes_in", ("took", "total"): "latency_ms", ("http.request", "code"): "status"},
)  # fmt: skip

_APISIX: Json = {
    "start_time": 1795491465550, "client_ip": "198.51.100.23", "latency": 411.0, "upstream_latency": 393,
    "apisix_latency": 18.0, "route_id": "chat", "service_id": "", "upstream": "10.0.0.8:8000",
    "consumer": {"username": "acme-prod"},
    "request": {"method": "POST", "uri": "/v1/chat/completions", "url": "http://api.example.test:9080/v1/chat/completions",
                "querystring": {}, "size": "900", "headers": {"user-agent": "openai/1.99", "host": "api.example.test"}},
    "response": {"status": 200, "size": 4096, "headers": {"content-type": "application/json"}},
    "server": {"hostname": "gw-1", "version": "3.18.0"},
    "llm_summary": {"request_model": "gpt-x", "model": "gpt-x-0601", "duration": "210", "prompt_tokens": 812,
                    "completion_tokens": "96", "total_tokens": 908, "stream": True},
}  # fmt: skip
APISIX = Case(
    name="apisix",
    make=lambda: formats.get("apisix"),
    entry=_APISIX,
    expected={
        "ts": 1795491465.961, "method": "POST", "path": "/v1/chat/completions", "endpoint": "chat", "status": 200,
        "latency_ms": 411.0, "ttft_ms": 210.0, "principal": "acme-prod", "ip": "198.51.100.23",
        "user_agent": "openai/1.99", "model": "gpt-x", "model_version": "gpt-x-0601", "bytes_in": 900.0,
        "bytes_out": 4096.0, "tokens_in": 812.0, "tokens_out": 96.0,
    },
    secret=_merged(
        _APISIX,
        request={
            "uri": f"/v1/chat/completions?api_key={PLANTED}",
            "url": f"http://u:{PLANTED}@api.example.test/v1?k={PLANTED}",
            "querystring": {"api_key": PLANTED}, "body": json.dumps(_BODY),
            "headers": {
                "authorization": f"Bearer {PLANTED}", "x-api-key": [PLANTED, PLANTED], "cookie": f"s={PLANTED}",
            },
        },
        response={"body": json.dumps(_ANSWER), "headers": {"set-cookie": PLANTED}},
    ),
    credential=CREDENTIAL,
    time=("start_time",),
    bad_times=(1e300, -1, float("nan"), "yesterday", True, {}, []),
    optional={
        ("consumer", "username"): "principal", ("route_id",): "endpoint", ("client_ip",): "ip",
        ("request", "headers", "user-agent"): "user_agent", ("llm_summary", "model"): "model_version",
    },
    numbers={
        ("request", "size"): "bytes_in", ("response", "size"): "bytes_out", ("response", "status"): "status",
        ("llm_summary", "prompt_tokens"): "tokens_in", ("llm_summary", "duration"): "ttft_ms",
    },
)  # fmt: skip

_NGINX: Json = {
    "ts": 1795492233.990, "ip": "203.0.113.9", "m": "POST", "uri": "/v1/completions", "st": 401, "rt": 0.004,
    "ust": "502, 401", "urt": "0.001, 0.002", "uht": "0.001, -", "in": 512, "out": 180, "ua": "curl/8", "xff": "",
    "rid": "5f2d9b0c7a1e4c3f8b6d0a9e7c5b3a1f", "user": "ada",
}  # fmt: skip
NGINX = Case(
    name="nginx",
    make=lambda: formats.get("nginx"),
    entry=_NGINX,
    expected={
        "ts": 1795492233.990, "ip": "203.0.113.9", "method": "POST", "path": "/v1/completions", "status": 401,
        "latency_ms": 4.0, "ttft_ms": 1.0, "bytes_in": 512.0, "bytes_out": 180.0, "user_agent": "curl/8",
        "request_id": "5f2d9b0c7a1e4c3f8b6d0a9e7c5b3a1f", "account": "ada",
    },
    secret={
        **_NGINX, "uri": f"/v1/completions?key={PLANTED}", "http_authorization": f"Bearer {PLANTED}",
        "http_cookie": PLANTED, "request": f"GET /x?key={PLANTED} HTTP/1.1", "args": PLANTED, "http_referer": PLANTED,
        "request_body": json.dumps(_BODY),
    },
    credential=CREDENTIAL,
    time=("ts",),
    bad_times=(1795492233990, 1e300, -1, float("nan"), "yesterday", True, {}, []),
    optional={("ip",): "ip", ("ua",): "user_agent", ("rid",): "request_id", ("user",): "account", ("m",): "method"},
    numbers={("in",): "bytes_in", ("out",): "bytes_out", ("rt",): "latency_ms", ("st",): "status", ("uht",): "ttft_ms"},
)  # fmt: skip

_NGINX_NAMES: Json = {
    "time_iso8601": "2026-11-24T04:50:33+01:00", "remote_addr": "10.0.0.1", "request": "GET /v1/models HTTP/2.0",
    "http_x_forwarded_for": "6.6.6.6, 2001:DB8::1", "status": "200", "request_time": "0.250",
    "upstream_header_time": "0.100 : 0.200", "request_length": "300", "bytes_sent": "1000",
    "http_user_agent": "curl/8", "request_id": "abc", "remote_user": "svc-a",
}  # fmt: skip
NGINX_NAMES = Case(
    name="nginx with its own names",
    make=lambda: formats.get("nginx", source=Source(topic="t", format="nginx", trusted_hops=1)),
    entry=_NGINX_NAMES,
    expected={
        "ts": 1795492233.0, "ip": "2001:db8::1", "method": "GET", "path": "/v1/models", "status": 200,
        "latency_ms": 250.0, "ttft_ms": 200.0, "bytes_in": 300.0, "bytes_out": 1000.0, "user_agent": "curl/8",
        "request_id": "abc", "principal": "svc-a",
    },
    secret={
        **_NGINX_NAMES, "request": f"GET https://u:{PLANTED}@api.example.test/v1?k={PLANTED} HTTP/1.1",
        "http_x_api_key": PLANTED, "query_string": PLANTED, "request_uri": f"/v1/models?{PLANTED}",
    },
    credential=CREDENTIAL,
    time=("time_iso8601",),
    bad_times=(1e300, -1, float("nan"), "yesterday", "2026-13-45T00:00:00Z", True, {}, []),
    optional={("http_user_agent",): "user_agent", ("request_id",): "request_id", ("remote_user",): "principal"},
    numbers={("request_length",): "bytes_in", ("bytes_sent",): "bytes_out", ("request_time",): "latency_ms"},
)  # fmt: skip

_LITELLM: Json = {
    "id": "chatcmpl-d26f", "litellm_call_id": "22b8710d-0000-4000-8000-000000000001", "trace_id": "6528a66e",
    "session_id": "", "call_type": "acompletion", "stream": True, "status": "success", "model": "openai/gpt-4o-mini",
    "model_group": "gpt-mock", "custom_llm_provider": "openai", "startTime": 1795491545.647, "endTime": 1795491546.439,
    "completionStartTime": 1795491545.915, "response_time": 0.268, "prompt_tokens": 10, "completion_tokens": 20,
    "total_tokens": 30, "response_cost": 0.0000135, "requester_ip_address": "203.0.113.9, 10.0.0.1",
    "user_agent": "openai-python/1.99", "end_user": "u-17", "error_str": None,
    "metadata": {"user_api_key_hash": KEY_HASH, "user_api_key_alias": "acme-batch", "user_api_key_team_id": "t-1"},
    "model_parameters": {"logprobs": True, "n": 1, "temperature": 0.2},
}  # fmt: skip
LITELLM = Case(
    name="litellm",
    make=lambda: formats.get("litellm", source=Source(topic="t", format="litellm", trusted_hops=2)),
    entry=_LITELLM,
    expected={
        "ts": 1795491546.439, "request_id": "22b8710d-0000-4000-8000-000000000001", "endpoint": "acompletion",
        "status": 200, "latency_ms": 792.0, "ttft_ms": 268.0, "principal": "acme-batch", "credential": CREDENTIAL,
        "project": "t-1", "ip": "203.0.113.9", "user_agent": "openai-python/1.99", "auth": "success",
        "model": "gpt-mock", "model_version": "openai/gpt-4o-mini", "provider": "openai", "features": ["logprobs"],
        "tokens_in": 10.0, "tokens_out": 20.0, "cost_usd": 0.0000135,
    },
    secret=_merged(
        _LITELLM,
        metadata={"user_api_key_hash": PLANTED, "requester_metadata": {"headers": {"x-api-key": PLANTED}},
                  "user_api_key_request_route": f"/v1/x?k={PLANTED}"},
        messages=_BODY["messages"], response=_ANSWER, error_str=f"Invalid key {PLANTED}: {BODY_TEXT}",
    ),
    credential=CREDENTIAL,
    time=("endTime",),
    bad_times=(1795491546439, 1e300, -1, float("nan"), "yesterday", True, {}, []),
    optional={
        ("user_agent",): "user_agent", ("custom_llm_provider",): "provider",
        ("metadata", "user_api_key_team_id"): "project", ("metadata", "user_api_key_hash"): "credential",
    },
    numbers={("prompt_tokens",): "tokens_in", ("completion_tokens",): "tokens_out", ("response_cost",): "cost_usd"},
)  # fmt: skip

JSON_CASES = (NATIVE, MAPPED, APISIX, NGINX, NGINX_NAMES, LITELLM)
