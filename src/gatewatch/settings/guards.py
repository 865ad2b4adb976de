"""What keeps a decision from stopping the wrong people."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Self

from pydantic import Field, model_validator

from gatewatch.records import Scope
from gatewatch.settings.base import Network, Section


class AllowEntry(Section):
    """Somebody who is not blocked, for a reason, until a day. Exactly one scope."""

    ip: Network | None = None
    network: Network | None = None
    principal: str | None = None
    credential: str | None = None
    account: str | None = None
    owner: str
    reason: str
    until: date | datetime

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        given = [s for s in ("ip", "network", "principal", "credential", "account") if getattr(self, s) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of ip, network, principal, credential, account")
        return self

    @property
    def scope(self) -> Scope:
        """The scope that is named."""
        return next(s for s in Scope if getattr(self, s.value, None) is not None)

    @property
    def value(self) -> str:
        """The key that is named."""
        return str(getattr(self, self.scope.value))

    @property
    def until_ts(self) -> float:
        """Epoch seconds; a bare date lasts to its end, UTC."""
        if isinstance(self.until, datetime):
            return (self.until if self.until.tzinfo else self.until.replace(tzinfo=UTC)).timestamp()
        return datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC).timestamp() + 86400.0


# Addresses that can never be an attacker's own: RFC 1918, 6598 (carrier NAT), 3927, 4193, 4291, loopback.
PROTECTED_NETWORKS = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
    "0.0.0.0/32", "::1/128", "::/128", "fc00::/7", "fe80::/10",
)  # fmt: skip


class Guards(Section):
    """What keeps a decision from stopping the wrong people. All on by default."""

    blocks_per_minute: int = Field(30, ge=1)
    share_of_traffic: float = Field(0.02, gt=0, le=1)
    shares_together: float = Field(0.1, gt=0, le=1)  # five of the largest keys that one may block alone
    healthy_principals: int = Field(5, ge=1)  # an address with so many is an office or a carrier
    allow: tuple[AllowEntry, ...] = ()
    protected_networks: tuple[Network, ...] = PROTECTED_NETWORKS
    protected_principals: tuple[str, ...] = ()
