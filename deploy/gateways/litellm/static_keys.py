"""Keys for trying LiteLLM without its database (``general_settings: {custom_auth: static_keys.user_api_key_auth}``)."""

from __future__ import annotations

import hashlib

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth

KEYS = {"sk-batch-0123456789": "acme-batch", "sk-chat-0123456789": "acme-chat"}  # of this demonstration only


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:  # noqa: ARG001 - LiteLLM's signature
    """The key that was shown, with its alias."""
    if api_key not in KEYS:
        raise ValueError("invalid api key")
    return UserAPIKeyAuth(api_key=hashlib.sha256(api_key.encode()).hexdigest(), key_alias=KEYS[api_key])
