"""How gateways are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gatewatch.settings.base import Listen, Section


class Identify(Section):
    """Where a gateway says who asks. Headers that the gateway itself sets, or overwrites."""

    ip_header: str = "x-real-ip"
    trusted_hops: int = Field(0, ge=0, le=16)  # of an X-Forwarded-For: how many entries from the right are proxies
    principal_header: str | None = None
    secret_header: str = "authorization"  # noqa: S105 - the name of a header, not a secret


class Bouncer(Section):
    """One program that pulls decisions; its API key is never in this file."""

    key_env: str | None = None
    key_file: Path | None = None


class MapFileSettings(Section):
    """An nginx include folder kept equal to what is blocked, and the command that makes nginx read it."""

    folder: Path
    reload: tuple[str, ...] = ()


class EnforceSettings(Section):
    """How the enforce role answers gateways."""

    listen: Listen = "127.0.0.1:8081"
    fail: Literal["open", "closed"] = "open"
    identify: Identify = Identify()
    bouncers: dict[str, Bouncer] = Field(default_factory=dict)
    authz_token_env: str | None = None  # what callers of /authz must send as x-gatewatch-token
    nginx: MapFileSettings | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)
