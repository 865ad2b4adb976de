"""The native format as a JSON Schema, for whoever writes events: ``docs/event.schema.json`` is :func:`document`."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gatewatch.events.event import NAME_CAP, NAMES_CAP, STRING_CAP, TEXT_CAP, AccessEvent

_EVENT = {
    "ts": "When the request ENDED, in epoch seconds. Milliseconds are refused: give the source a map with unit ms.",
    "request_id": "Made by the gateway, never by the client.",
    "method": "HTTP method.",
    "path": f"Path of the request. A query string or fragment is dropped; cut after {TEXT_CAP} characters.",
    "endpoint": "Route template, such as /v1/models/{model}: few and stable.",
    "status": "HTTP status that the client got; 0 if it left before.",
    "latency_ms": "From the first byte in to the last byte out, in milliseconds.",
    "ttft_ms": "To the first token of the answer, in milliseconds.",
    "principal": "Who called, as the gateway authenticated it. Absent if nobody was. A bare secret is hashed.",
    "credential": 'Which key or token was shown: its id, or "sha256:" and the hash of the secret in hex.',
    "account": "The name that was tried at a login, whether it exists or not.",
    "account_known": "Whether that account exists.",
    "project": "Tenant, team or product that is billed.",
    "session": "Conversation or login session.",
    "ip": "Address of the client, behind your own proxies.",
    "asn": "Autonomous system of the address.",
    "country": "Country of the address, ISO 3166-1 alpha-2.",
    "user_agent": f"User-Agent of the client; cut after {TEXT_CAP} characters.",
    "ja4": "JA4 fingerprint of the TLS client hello.",
    "auth": "How authentication ended. If absent: failure for 401, success for 2xx or 3xx with principal or account.",
    "denied": "Policy refused a caller who was authenticated. If absent: true for 403.",
    "blocked_by_us": "The gateway refused because of a decision of Gatewatch.",
    "error": "Class of the error, never its message.",
    "model": "Model that was asked for.",
    "model_version": "Model that answered.",
    "provider": "Who runs the model.",
    "features": f"What was asked for, such as logprobs, tools, fine-tune; at most {NAMES_CAP}.",
    "bytes_in": "Size of the request, in bytes.",
    "bytes_out": "Size of the response, in bytes.",
    "tokens_in": "Tokens of the prompt, cached ones included.",
    "tokens_out": "Tokens of the answer.",
    "cost_usd": "Cost of the request, in US dollars.",
    "shape": "Structure of the body, where it is worked out before it is sent; otherwise send body.",
}
_SHAPE = {
    "hash": "16 hex digits over the sorted set of paths and types.",
    "fields": f'"path:type", without values; at most {NAMES_CAP}, of {NAME_CAP} characters each.',
    "depth": "Levels of nesting.",
    "keys": "Number of keys in all objects.",
    "longest_array": "Entries of the longest array.",
    "longest_string": "Characters of the longest string.",
    "kinds": "Which kinds of characters, letters and digits aside, its strings hold: a bit each.",
    "body_size": "Size of the body, in bytes.",
    "finish_reason": "Why the answer ended, as the model server says it.",
    "refusal": "Whether the model refused.",
    "label": "Class that a classifier answered.",
    "confidence": "Of that class, 0 to 1.",
    "entropy": "Of the answer, in nats a token.",
}
_BODIES = {
    "body": "Body of the request, as JSON or text. Only its shape is kept; it never leaves ingest.",
    "response_body": "Body of the response. Only why the answer ended, and whether it refused, is kept.",
}


def event_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what a producer may send. Unknown fields are ignored."""
    schema = msgspec.json.schema(AccessEvent)
    parts = schema["$defs"]
    for name, words in (("AccessEvent", _EVENT), ("Shape", _SHAPE)):
        for field, properties in parts[name]["properties"].items():
            properties["description"] = words[field]
    parts["AccessEvent"]["properties"] |= {name: {"description": text} for name, text in _BODIES.items()}
    parts["AccessEvent"]["description"] = "One request to a model endpoint, when it ended."
    parts["Shape"]["description"] = "The structure of a request body, and what is known of the output. Never content."
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gatewatch access event, native format",
        "description": "A Kafka value is one such object, an array of them, or lines of them (NDJSON). "
        f"Absent is null or missing. Identifiers are cut after {STRING_CAP} characters.",
    }
    return head | schema


def document() -> str:
    """The schema as it stands in ``docs/event.schema.json``."""
    return json.dumps(event_schema(), indent=2, ensure_ascii=False) + "\n"
