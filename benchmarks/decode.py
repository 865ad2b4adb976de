"""Decode cost of each format, one event a value. Samples are small and plain: what a gateway writes for one call."""

from __future__ import annotations

import json
from functools import partial

from common import Figure, Results, events, repeat

from gatewatch.events.formats import get

N = 20_000
SAMPLES: dict[str, object] = {
    "apisix": {
        "start_time": 1795491465550, "client_ip": "198.51.100.23", "latency": 411.0, "route_id": "chat",
        "consumer": {"username": "acme"}, "request": {"method": "POST", "uri": "/v1/chat/completions", "size": 900,
        "headers": {"user-agent": "openai/1.99"}}, "response": {"status": 200, "size": 4096},
    },
    "nginx": {
        "ts": 1795492233.99, "ip": "203.0.113.9", "m": "POST", "uri": "/v1/completions", "st": 401, "rt": 0.004,
        "in": 512, "out": 180, "ua": "curl/8", "rid": "5f2d9b0c7a1e4c3f8b6d0a9e7c5b3a1f", "user": "",
    },
    "litellm": {
        "litellm_call_id": "22b8710d-0000-4000-8000-000000000001", "status": "success", "model": "openai/gpt-4o-mini",
        "startTime": 1795491545.647, "endTime": 1795491546.439, "prompt_tokens": 10, "completion_tokens": 20,
        "response_cost": 0.0000135, "requester_ip_address": "203.0.113.9", "user_agent": "openai-python/1.99",
        "metadata": {"user_api_key_hash": "250fde4203a9f7eeb9d7ebc4953dcb64d9ad7bd2a18775b38ef6e037aed22a09"},
    },
    "kong": {
        "started_at": 1795491465548, "client_ip": "203.0.113.9", "latencies": {"proxy": 1500, "request": 1526},
        "request": {"id": "9f0c4e6b2d1a48f7a3b5c7d9e1f20314", "method": "POST", "uri": "/v1/chat/completions",
        "size": 812, "headers": {"user-agent": "curl/8"}}, "response": {"status": 200, "size": 4096},
        "consumer": {"username": "acme"}, "route": {"name": "chat"}, "service": {"name": "llm"},
    },
    "envoy": {
        "start_time": "2026-11-24T03:37:45.548Z", "method": "POST", "x-envoy-origin-path": "/v1/chat/completions",
        "response_code": 200, "duration": 1526, "response_duration": 210, "bytes_received": 105, "bytes_sent": 432,
        "downstream_remote_address": "203.0.113.9:64484", "x-request-id": "83b6c0de-0001-4a11-8000-000000000001",
        "user-agent": "curl/8", "route_name": "chat", "principal": "acme",
    },
    "otlp": {
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "chat gpt-x", "kind": 2,
        "startTimeUnixNano": "1795491465548000000", "endTimeUnixNano": "1795491467074000000",
        "attributes": [
            {"key": "client.address", "value": {"stringValue": "203.0.113.9"}},
            {"key": "http.request.method", "value": {"stringValue": "POST"}},
            {"key": "url.path", "value": {"stringValue": "/v1/chat/completions"}},
            {"key": "http.response.status_code", "value": {"intValue": "200"}},
            {"key": "user.id", "value": {"stringValue": "acme"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-x"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "812"}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "96"}},
        ],
    },
    "ocsf": {
        "class_uid": 6003, "activity_id": 1, "time": 1795491465548, "duration": 1526, "status_id": 1,
        "metadata": {"version": "1.8.0", "uid": "req-7f3a"}, "actor": {"user": {"uid": "u-17", "name": "acme"}},
        "src_endpoint": {"ip": "203.0.113.9"}, "api": {"operation": "chat.completions", "response": {"code": 200}},
        "http_request": {"http_method": "POST", "url": {"path": "/v1/chat/completions"}, "length": 1812},
        "http_response": {"code": 200, "length": 4096}, "ai_model": {"ai_provider": "openai", "name": "gpt-x"},
    },
    "cloudevents": {
        "specversion": "1.0", "id": "req-7f3a", "source": "/gateways/eu-1", "type": "example.gateway.access.v1",
        "time": "2026-11-24T03:37:45.548Z", "datacontenttype": "application/json",
        "data": {"ip": "203.0.113.9", "status": 401, "latency_ms": 4, "account": "ada", "path": "/v1/models"},
    },
}  # fmt: skip
COMBINED = b'203.0.113.9 - acme [17/May/2015:10:05:03 +0000] "GET /v1/models HTTP/1.1" 200 2030 "-" "curl/8"'


def run(results: Results) -> None:
    """Add this module's figures."""
    values: dict[str, list[bytes]] = {
        "native": events(N),
        "combined": [COMBINED] * N,
        **{name: [json.dumps(sample).encode()] * N for name, sample in SAMPLES.items()},
    }
    for name, some in values.items():
        rate, spread = repeat(partial(_decode, name, some), 3)
        results.add(Figure(f"decode, {name}", rate, "events/s", spread, note=f"{1e6 / rate:.1f} us an event"))


def _decode(name: str, values: list[bytes]) -> int:
    return len(get(name).decode(values).events)
