"""How gateways are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gatewatch.settings.base import Duration, Listen, Section
from gatewatch.settings.tls import Tls


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
    # What it is told instead, where it knows no throttle or challenge; most bouncers ignore what they do not know.
    throttle_as: Literal["throttle", "captcha", "ban"] = "throttle"
    challenge_as: Literal["captcha", "ban"] = "captcha"


class MapFileSettings(Section):
    """An nginx include folder kept equal to what is blocked, and the command that makes nginx read it."""

    folder: Path
    reload: tuple[str, ...] = ()


class EnforceSettings(Section):
    """How the enforce role answers gateways."""

    listen: Listen = "127.0.0.1:8081"
    tls: Tls | None = None
    fail: Literal["open", "closed"] = "open"
    throttle_per_minute: float = Field(30.0, gt=0, allow_inf_nan=False)  # what a throttled key still gets
    stale: Duration = 60.0  # without word from Kafka for so long there may be decisions that we do not know
    identify: Identify = Identify()
    bouncers: dict[str, Bouncer] = Field(default_factory=dict)
    authz_token_env: str | None = None  # what callers of /authz must send as x-gatewatch-token
    nginx: MapFileSettings | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)
