"""A decision before the guards have seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from gatewatch.events.address import Network, parse_network
from gatewatch.records import Action, Scope

ADDRESSES = (Scope.IP, Scope.NETWORK)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whom to stop, and what else is known of the row that caused it.

    ``at`` is the event time at which the decision would start; ``context`` holds other keys of that row, ``share``
    the key's share of live traffic and ``healthy`` the principals that use the address in good health, where they are
    known.
    """

    id: str
    scope: Scope
    value: str
    at: float
    context: Mapping[str, str] = field(default_factory=dict)
    share: float | None = None
    healthy: int | None = None
    action: Action = Action.BLOCK

    @property
    def network(self) -> Network | None:
        """The addresses it would stop; ``None`` where it names none, or names them wrongly."""
        return parse_network(self.value) if self.scope in ADDRESSES else None


def overlap(a: Network | None, b: Network | None) -> bool:
    """Whether one address is in both; an IPv4 address is in an IPv6 network as ``::ffff:a.b.c.d``."""
    if a is None or b is None:
        return False
    if isinstance(a, IPv4Network) and isinstance(b, IPv4Network):
        return a.overlaps(b)
    return _as_v6(a).overlaps(_as_v6(b))


def _as_v6(network: Network) -> IPv6Network:
    if isinstance(network, IPv6Network):
        return network
    return IPv6Network((int(network.network_address) | 0xFFFF << 32, network.prefixlen + 96))
