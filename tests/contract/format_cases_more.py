"""Entries of Kong, Envoy, OpenTelemetry, OCSF and CloudEvents, for the same suite."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.format_cases import BODY_TEXT, CREDENTIAL, PLANTED, Case, Json

from gatewatch.events import formats

_BAD_ENDS: tuple[Any, ...] = (1e300, -1, float("nan"), "yesterday", True, {}, [])
_BODY: Json = {"model": "gpt-x", "messages": [{"role": "user", "content": BODY_TEXT}], "user": PLANTED}
_ANSWER: Json = {"choices": [{"finish_reason": "stop", "message": {"content": BODY_TEXT, "refusal": None}}]}
_HEADERS: Json = {"authorization": f"Bearer {PLANTED}", "x-api-key": PLANTED, "cookie": f"s={PLANTED}"}

_KONG: Json = {
    "started_at": 1795491465548, "client_ip": "203.0.113.9", "source": "upstream", "upstream_status": "502, 200",
    "request": {
        "id": "9f0c4e6b2d1a48f7a3b5c7d9e1f20314", "method": "POST", "uri": "/v1/chat/completions", "size": 812,
        "querystring": {}, "headers": {"user-agent": "python-httpx/0.28", "authorization": "REDACTED"},
    },
    "response": {"status": 200, "size": 4096, "headers": {"content-type": "application/json"}},
    "latencies": {"kong": 3, "proxy": 1500, "request": 1526, "receive": 20}, "workspace_name": "billing",
    "consumer": {"id": "c-1", "username": "acme-prod"}, "authenticated_entity": {"id": "k-1", "consumer_id": "c-1"},
    "route": {"id": "r-1", "name": "chat"}, "service": {"id": "s-1", "name": "llm"},
    "ai": {"proxy": {
        "meta": {"provider_name": "openai", "request_model": "gpt-x", "response_model": "gpt-x-0601"},
        "usage": {"prompt_tokens": 812, "completion_tokens": 96, "cost": 0.002, "time_to_first_token": 210},
    }},
}  # fmt: skip
KONG = Case(
    name="kong",
    make=lambda: formats.get("kong"),
    entry=_KONG,
    expected={
        "ts": 1795491467.074, "request_id": "9f0c4e6b2d1a48f7a3b5c7d9e1f20314", "method": "POST",
        "path": "/v1/chat/completions", "endpoint": "chat", "status": 200, "latency_ms": 1526.0, "ttft_ms": 210.0,
        "principal": "acme-prod", "credential": "k-1", "project": "billing", "ip": "203.0.113.9",
        "user_agent": "python-httpx/0.28", "model": "gpt-x", "model_version": "gpt-x-0601", "provider": "openai",
        "bytes_in": 812.0, "bytes_out": 4096.0, "tokens_in": 812.0, "tokens_out": 96.0, "cost_usd": 0.002,
    },
    secret={
        **_KONG, "authenticated_entity": None,
        "request": {**_KONG["request"], "uri": f"/v1/x?key={PLANTED}", "url": f"https://u:{PLANTED}@a.test/x",
                    "querystring": {"key": PLANTED}, "headers": {**_HEADERS, "apikey": PLANTED}},
        "ai": {"proxy": {**_KONG["ai"]["proxy"], "payload": {"request": json.dumps(_BODY), "response": _ANSWER}}},
    },
    credential=CREDENTIAL,
    time=("started_at",),
    bad_times=_BAD_ENDS,
    optional={("request", "headers", "user-agent"): "user_agent", ("workspace_name",): "project", ("client_ip",): "ip"},
    numbers={("request", "size"): "bytes_in", ("response", "size"): "bytes_out"},
)  # fmt: skip

_ENVOY: Json = {
    "start_time": "2026-11-24T03:37:45.548Z", "method": "POST", "x-envoy-origin-path": "/v1/chat/completions",
    "response_code": 200, "response_flags": "-", "duration": 1526, "response_duration": 210, "bytes_received": 105,
    "bytes_sent": 432, "downstream_remote_address": "203.0.113.9:64484", "x-forwarded-for": "198.51.100.1",
    "x-request-id": "83b6c0de-0001-4a11-8000-000000000001", "user-agent": "curl/8", "route_name": "chat",
    "principal": "acme", "gen_ai.request.model": "gpt-x", "gen_ai.usage.input_tokens": 15,
    "gen_ai.usage.output_tokens": 7, "gen_ai.response.model": None, "gen_ai.provider.name": "openai",
}  # fmt: skip
ENVOY = Case(
    name="envoy",
    make=lambda: formats.get("envoy"),
    entry=_ENVOY,
    expected={
        "ts": 1795491467.074, "request_id": "83b6c0de-0001-4a11-8000-000000000001", "method": "POST",
        "path": "/v1/chat/completions", "endpoint": "chat", "status": 200, "latency_ms": 1526.0, "ttft_ms": 210.0,
        "principal": "acme", "ip": "203.0.113.9", "user_agent": "curl/8", "model": "gpt-x", "provider": "openai",
        "bytes_in": 105.0, "bytes_out": 432.0, "tokens_in": 15.0, "tokens_out": 7.0,
    },
    secret={**_ENVOY, **_HEADERS, "x-envoy-origin-path": f"/v1/x?key={PLANTED}", "request_body": BODY_TEXT},
    credential=CREDENTIAL,
    time=("start_time",),
    bad_times=(1795491546439, 1e300, -10, float("nan"), "yesterday", True, {}, []),
    optional={("user-agent",): "user_agent", ("principal",): "principal", ("route_name",): "endpoint"},
    numbers={("bytes_sent",): "bytes_out", ("gen_ai.usage.input_tokens",): "tokens_in"},
)  # fmt: skip


def _attributes(**values: Any) -> list[Json]:
    kinds = {int: "intValue", float: "doubleValue", bool: "boolValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(v)]: str(v) if isinstance(v, int) else v}} for key, v in values.items()]


_OTLP: Json = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "chat gpt-x", "kind": 2,
    "startTimeUnixNano": "1795491465548000000", "endTimeUnixNano": "1795491467074000000",
    "attributes": _attributes(**{
        "client.address": "203.0.113.9", "http.request.method": "POST", "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions", "http.response.status_code": 200, "user.id": "acme",
        "user_agent.original": "openai/1.99", "gen_ai.request.model": "gpt-x", "gen_ai.response.model": "gpt-x-0601",
        "gen_ai.system": "openai", "gen_ai.usage.input_tokens": 812, "gen_ai.usage.completion_tokens": 96,
        "gen_ai.response.time_to_first_chunk": 0.21, "http.request.body.size": 900, "http.response.body.size": 4096,
    }),
}  # fmt: skip
OTLP = Case(
    name="otlp",
    make=lambda: formats.get("otlp"),
    entry=_OTLP,
    expected={
        "ts": 1795491467.074, "request_id": "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7", "method": "POST",
        "path": "/v1/chat/completions", "endpoint": "/v1/chat/completions", "status": 200, "latency_ms": 1526.0,
        "ttft_ms": 210.0, "principal": "acme", "ip": "203.0.113.9", "user_agent": "openai/1.99", "model": "gpt-x",
        "model_version": "gpt-x-0601", "provider": "openai", "bytes_in": 900.0, "bytes_out": 4096.0,
        "tokens_in": 812.0, "tokens_out": 96.0,
    },
    secret={**_OTLP, "attributes": [
        *_OTLP["attributes"][4:],
        *_attributes(**{"url.query": f"key={PLANTED}", "http.url": f"https://u:{PLANTED}@a.test/v1/x?key={PLANTED}",
                        "gen_ai.input.messages": BODY_TEXT, "gen_ai.prompt": BODY_TEXT}),
        {"key": "http.request.header.authorization",
         "value": {"arrayValue": {"values": [{"stringValue": f"Bearer {PLANTED}"}]}}},
    ]},
    credential=CREDENTIAL,
    time=("endTimeUnixNano",),
    bad_times=_BAD_ENDS,
    optional={("attributes", 6, "value", "stringValue"): "user_agent", ("spanId",): "request_id"},
    numbers={("attributes", 13, "value", "intValue"): "bytes_in"},
)  # fmt: skip

_OCSF: Json = {
    "class_uid": 6003, "category_uid": 6, "activity_id": 1, "type_uid": 600301, "time": 1795491465548, "duration": 1526,
    "severity_id": 1, "status_id": 1, "metadata": {"version": "1.8.0", "uid": "req-7f3a"},
    "actor": {"user": {"uid": "u-17", "name": "acme-batch", "type_id": 1}, "session": {"uid": "s-1"}},
    "src_endpoint": {"ip": "203.0.113.9", "port": 64484, "location": {"country": "DE"},
                     "autonomous_system": {"number": 64500}},
    "api": {"operation": "chat.completions", "service": {"name": "llm-gw"}, "response": {"code": 200}},
    "http_request": {"http_method": "POST", "url": {"path": "/v1/chat/completions"}, "length": 1812,
                     "user_agent": "openai-python/1.99"},
    "http_response": {"code": 200, "length": 4096}, "ai_model": {"ai_provider": "openai", "name": "gpt-x"},
    "message_context": {"ai_role_id": 1, "prompt_tokens": 812, "completion_tokens": 120},
    "cloud": {"project_uid": "billing"},
}  # fmt: skip
OCSF = Case(
    name="ocsf",
    make=lambda: formats.get("ocsf"),
    entry=_OCSF,
    expected={
        "ts": 1795491465.548, "request_id": "req-7f3a", "method": "POST", "path": "/v1/chat/completions",
        "endpoint": "chat.completions", "status": 200, "latency_ms": 1526.0, "principal": "acme-batch",
        "project": "billing", "session": "s-1", "ip": "203.0.113.9", "asn": 64500, "country": "DE",
        "user_agent": "openai-python/1.99", "model": "gpt-x", "provider": "openai", "bytes_in": 1812.0,
        "bytes_out": 4096.0, "tokens_in": 812.0, "tokens_out": 120.0,
    },
    secret={
        **_OCSF, "unmapped": {"body": BODY_TEXT},
        "actor": {"user": {"name": "acme-batch", "credential_uid": PLANTED}},
        "http_request": {**_OCSF["http_request"], "url": {"path": f"/v1/x?key={PLANTED}", "query_string": PLANTED},
                         "http_headers": [{"name": "authorization", "value": PLANTED}]},
    },
    credential=CREDENTIAL,
    time=("time",),
    bad_times=_BAD_ENDS,
    optional={("metadata", "uid"): "request_id", ("ai_model", "name"): "model", ("src_endpoint", "ip"): "ip"},
    numbers={("http_request", "length"): "bytes_in", ("message_context", "prompt_tokens"): "tokens_in"},
)  # fmt: skip

_CLOUDEVENT: Json = {
    "specversion": "1.0", "id": "req-7f3a", "source": "/gateways/eu-1", "type": "example.gateway.access.v1",
    "subject": "/v1/chat/completions", "time": "2026-11-24T03:37:45.548Z", "datacontenttype": "application/json",
    "data": {"ip": "203.0.113.9", "status": 401, "latency_ms": 4, "account": "ada", "path": "/v1/models",
             "user_agent": "curl/8"},
}  # fmt: skip
CLOUDEVENTS = Case(
    name="cloudevents",
    make=lambda: formats.get("cloudevents"),
    entry=_CLOUDEVENT,
    expected={
        "ts": 1795491465.548, "request_id": "req-7f3a", "path": "/v1/models", "ip": "203.0.113.9", "status": 401,
        "latency_ms": 4.0, "account": "ada", "user_agent": "curl/8",
    },
    secret={**_CLOUDEVENT, "data": {"path": f"/v1/x?k={PLANTED}", "credential": PLANTED, "body": _BODY,
                                   "response_body": _ANSWER, "status": 200}},
    credential=CREDENTIAL,
    time=("time",),
    bad_times=(1795491546439, *_BAD_ENDS),
    optional={("data", "user_agent"): "user_agent"},
    numbers={("data", "latency_ms"): "latency_ms"},
)  # fmt: skip

MORE_CASES = (KONG, ENVOY, OTLP, OCSF, CLOUDEVENTS)
