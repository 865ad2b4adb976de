"""LiteLLM hook: refuses keys, principals and addresses that Gatewatch has blocked. Needs only what LiteLLM brings.

Beside LiteLLM's config.yaml, with ``callbacks: ["generic_api", "gatewatch_hook.gatewatch"]`` in it. A thread pulls the
decision stream once a second; a call costs three look-ups. Environment: GATEWATCH_URL, GATEWATCH_KEY (of a bouncer),
GATEWATCH_FAIL (``open`` or ``closed``: whether calls pass while the stream cannot be read).
"""

from __future__ import annotations

import os
import re
import threading
import time
from ipaddress import ip_address, ip_network
from typing import Any

import httpx
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

PULL_S = 1.0
STALE_S = 60.0
PARAMS = {"scopes": "ip,range,principal,credential"}
_UNITS_S = {"h": 3600, "m": 60, "s": 1}
_IDENTITY = ("ip", "principal", "credential")


class Decisions:
    """What holds now, by scope and value: until when, on the monotonic clock. Only blocks: LiteLLM throttles itself."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], float] = {}
        self.pulled_at = float("-inf")
        self._client = httpx.Client(
            base_url=os.environ.get("GATEWATCH_URL", "http://127.0.0.1:8081"),
            headers={"X-Api-Key": os.environ["GATEWATCH_KEY"], "User-Agent": "gatewatch-litellm/1"},
            timeout=5.0,
        )

    def pull(self) -> None:
        """Take over what changed; everything the first time."""
        first = self.pulled_at == float("-inf")
        answer = self._client.get("/v1/decisions/stream", params={**PARAMS, "startup": str(first).lower()})
        rows = answer.raise_for_status().json()
        now = time.monotonic()
        for row in rows["deleted"] or ():
            if row["type"] == "ban":
                self._ends.pop((row["scope"].lower(), row["value"]), None)
        for row in rows["new"] or ():
            if row["type"] == "ban":
                self._ends[row["scope"].lower(), row["value"]] = now + seconds(row["duration"])
        self._ends = {key: end for key, end in self._ends.items() if end > now}
        self.pulled_at = now

    def blocks(self, caller: dict[str, str]) -> bool:
        """Whether anything about a caller is blocked."""
        now = time.monotonic()
        if any(self._ends.get((scope, caller[scope]), 0.0) > now for scope in _IDENTITY if scope in caller):
            return True
        ranges = [value for (scope, value), end in self._ends.items() if scope == "range" and end > now]
        return "ip" in caller and any(ip_address(caller["ip"]) in ip_network(value) for value in ranges)


class GatewatchHook(CustomLogger):
    """Asked by LiteLLM before each call to a model."""

    def __init__(self) -> None:
        super().__init__()
        self._decisions = Decisions()
        self._open = os.environ.get("GATEWATCH_FAIL", "open") == "open"
        threading.Thread(target=self._follow, name="gatewatch", daemon=True).start()

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Refuse a caller who is blocked.

        Raises:
            HTTPException: 403 for a caller who is blocked; 503 while nothing is known and the policy is closed.
        """
        del cache, call_type
        if self._decisions.blocks(caller_of(user_api_key_dict, data)):
            raise HTTPException(403, {"error": "access_denied"})
        if not self._open and time.monotonic() - self._decisions.pulled_at > STALE_S:
            raise HTTPException(503, {"error": "unavailable"})

    def _follow(self) -> None:
        while True:
            try:
                self._decisions.pull()
            except Exception as error:  # noqa: BLE001 - whatever something in between answers, the next pull must come
                print(f"gatewatch: decisions could not be pulled: {error!r}", flush=True)
            time.sleep(PULL_S)


def caller_of(key: Any, data: dict[str, Any]) -> dict[str, str]:
    """Who calls, as Gatewatch's format litellm names them: the key's alias and hash, the last address of the chain."""
    metadata = data.get("metadata") or data.get("litellm_metadata") or {}
    chain = str(metadata.get("requester_ip_address") or "").rpartition(",")[2].strip()
    caller = {"principal": getattr(key, "key_alias", None), "ip": _address(chain)}
    hashed = getattr(key, "api_key", None)
    if hashed and re.fullmatch("[0-9a-f]{64}", hashed):
        caller["credential"] = f"sha256:{hashed}"
        caller["principal"] = caller["principal"] or caller["credential"]
    return {scope: value for scope, value in caller.items() if value}


def seconds(duration: str) -> float:
    """Seconds of a Go duration in whole units: ``3h59m58s``."""
    return sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def _address(text: str) -> str | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)  # a proxy that listens on IPv6 sees ::ffff:192.0.2.1


gatewatch = GatewatchHook()
