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
