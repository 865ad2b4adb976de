"""How gateways are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gatewatch.records import Scope
from gatewatch.settings.base import Duration, Listen, Section
from gatewatch.settings.tls import Tls

# A map of nginx has addresses and the user of HTTP's own authentication.
NGINX_SCOPES = frozenset({Scope.IP, Scope.NETWORK, Scope.PRINCIPAL})


class Identify(Section):
    """Where a gateway says who asks. Headers that the gateway itself sets, or overwrites."""

    ip_header: str = "x-real-ip"
    trusted_hops: int = Field(0, ge=0, le=16)  # of an X-Forwarded-For: how many entries from the right are proxies
    principal_header: str | None = None
    secret_header: str = "authorization"  # noqa: S105 - the name of a header, not a secret

    @property
    def scopes(self) -> frozenset[Scope]:
        """What can be told from a request, so what can be stopped."""
        always = {Scope.IP, Scope.NETWORK, Scope.CREDENTIAL}
        return frozenset(always | ({Scope.PRINCIPAL} if self.principal_header is not None else set()))


class Gateway(Section):
    """A gateway that asks ``/authz/at/<name>/...``, or one of yours that reads the topic `decisions` itself."""

    identify: Identify = Identify()
    enforces: tuple[Scope, ...] = ()  # default: all that `identify` can tell
    reads_topic: bool = False  # it asks nobody, and `identify` is not used

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.reads_topic:
            if not self.enforces:
                raise ValueError("say what it enforces: enforces: [ip, network, ...]")
            return self
        unknown = [scope.value for scope in self.enforces if scope not in self.identify.scopes]
        if unknown:
            raise ValueError(f"`identify` does not say where {unknown[0]} stands, so it cannot be enforced")
        return self

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it stops."""
        return frozenset(self.enforces) or self.identify.scopes


class Bouncer(Section):
    """One program that pulls decisions; its API key is never in this file."""

    key_env: str | None = None
    key_file: Path | None = None
    # What it is told instead, where it knows no throttle or challenge; most bouncers ignore what they do not know.
    throttle_as: Literal["throttle", "captcha", "ban"] = "throttle"
    challenge_as: Literal["captcha", "ban"] = "captcha"
    enforces: tuple[Scope, ...] = Field((Scope.IP, Scope.NETWORK), min_length=1)  # all that CrowdSec's own know


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
    gateways: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")], Gateway] = Field(default_factory=dict)
    bouncers: dict[str, Bouncer] = Field(default_factory=dict)
    authz_token_env: str | None = None  # what callers of /authz must send as x-gatewatch-token
    nginx: MapFileSettings | None = None

    @property
    def scopes(self) -> dict[Scope, tuple[str, ...]]:
        """What is stopped, and by which of our gateways."""
        stops = {f"gateways.{name}": gateway.scopes for name, gateway in self.gateways.items()}
        stops |= {f"bouncers.{name}": frozenset(bouncer.enforces) for name, bouncer in self.bouncers.items()}
        if self.nginx is not None:
            stops["nginx"] = NGINX_SCOPES
        return {scope: found for scope in Scope if (found := tuple(n for n, has in stops.items() if scope in has))}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)
