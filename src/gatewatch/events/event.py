"""One access event, as Gatewatch names its parts.

Formats map a gateway's own log entry into :class:`AccessEvent`; nothing after ingest sees one again, only columns
(:mod:`gatewatch.events.batch`). Absent is ``None``, never zero or an empty string.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Auth = Literal["success", "failure", "none"]

# A row or an event never holds a longer string; what is longer is cut (names) or refused (bodies). 256 covers every
# identifier the gateways of contracts.md write (SHA-256 in hex is 64, a W3C trace id 55); paths and agents get more.
STRING_CAP = 256
TEXT_CAP = 512  # path, endpoint, user_agent: long enough to tell two of them apart
NAMES_CAP = 64  # field names of a shape, features asked for: how many of them are kept
NAME_CAP = 64  # length of one of those names


class Shape(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The structure of a request body, and what is known of the output. Never content."""

    hash: str | None = None  # 16 hex digits over the sorted set of (path, type)
    fields: list[str] | None = None  # "path:type", variable parts replaced, at most NAMES_CAP of them
    depth: int | None = None
    keys: int | None = None
    longest_array: int | None = None
    longest_string: int | None = None
    kinds: int | None = None  # which kinds of characters its strings hold: bits of events.kinds.KINDS
    body_size: int | None = None  # bytes
    finish_reason: str | None = None
    refusal: bool | None = None
    label: str | None = None
    confidence: float | None = None  # 0..1
    entropy: float | None = None  # nats a token


class AccessEvent(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One request to a model endpoint, when it ended.

    ``auth`` absent is filled from ``status`` at ingest (401 is a failure, 2xx or 3xx with a principal or an account
    is a success), ``denied`` from 403.
    """

    ts: float  # end of the request, epoch seconds
    request_id: str | None = None  # made by the gateway, never by the client
    method: str | None = None
    path: str | None = None  # without the query string
    endpoint: str | None = None  # route template
    status: int | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None  # time to the first token

    principal: str | None = None
    credential: str | None = None  # an id, or "sha256:" and the hash of a bare secret
    account: str | None = None  # the name tried at a login
    account_known: bool | None = None
    project: str | None = None
    session: str | None = None

    ip: str | None = None
    asn: int | None = None
    country: str | None = None
    user_agent: str | None = None
    ja4: str | None = None

    auth: Auth | None = None
    denied: bool | None = None  # policy refused an authenticated caller
    blocked_by_us: bool | None = None
    error: str | None = None

    model: str | None = None
    model_version: str | None = None
    provider: str | None = None
    features: list[str] | None = None  # asked for: logprobs, tools, fine-tune

    bytes_in: float | None = None
    bytes_out: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost_usd: float | None = None

    shape: Shape | None = None
