"""Credentials in request headers: only their hash leaves this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gatewatch.events.formats.values import text
from gatewatch.events.secrets import hash_secret

# In the order in which a gateway would look; cookies last, because they change
SECRET_HEADERS = (
    "authorization", "x-api-key", "apikey", "api-key", "x-goog-api-key", "proxy-authorization", "cookie",
)  # fmt: skip
_REDACTED = re.compile(r"(?:\w+ )?(?:\[?redacted\]?|\*+|<masked>)", re.IGNORECASE)


def credential_of(headers: Mapping[str, Any]) -> str | None:
    """``sha256:<hex>`` of the first credential among the headers, whose names are in lower case.

    ``credential`` is not a header but a key of ours, for gateways that know an id; it is hashed like the others, since
    nobody can tell an id from a secret for certain, and the hash tells two of them apart as well.
    """
    for name in ("credential", *SECRET_HEADERS):
        value = text(headers[name]) if name in headers else None
        if value is not None and not _REDACTED.fullmatch(value):
            return hash_secret(value)
    return None


def lowered(headers: Any) -> dict[str, Any]:
    """Headers with names in lower case; anything that is not an object is no headers."""
    return {str(name).lower(): value for name, value in headers.items()} if isinstance(headers, dict) else {}
