"""Which simulated events belong to which attack: the truth, beside the events and never in them.

A labels file is JSON lines: one ``header``, one ``episode`` for each attack (kind, keys by scope, first and last event,
how many), then one ``label`` for each hostile event.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import IO

import msgspec

from gatewatch.records import Scope
from gatewatch.simulate.rows import Rows
from gatewatch.simulate.world import ENDPOINTS, MODELS, World

_COLUMNS = {
    Scope.PRINCIPAL: "principal",
    Scope.CREDENTIAL: "credential",
    Scope.ACCOUNT: "account",
    Scope.IP: "ip",
}


class Episode(msgspec.Struct, frozen=True, tag="episode", tag_field="record"):
    """One attack: what a detector could at best say about it."""

    episode: int
    attack: str
    first_ts: float
    last_ts: float
    events: int
    keys: dict[Scope, list[str]]


class Label(msgspec.Struct, frozen=True, tag="label", tag_field="record"):
    """One hostile event."""

    request_id: str
    attack: str
    episode: int


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="record"):
    """What was simulated."""

    scenario: str
    seed: int
    rate: float
    start: float
    stop: float


Record = Header | Episode | Label


def episode_of(world: World, number: int, attack: str, rows: Rows) -> Episode:
    """The truth about an attack whose events are ``rows`` (at least one)."""
    scopes = (*_COLUMNS, Scope.NETWORK, Scope.ENDPOINT, Scope.PROJECT, Scope.ALL)
    keys = {scope: sorted({key for key in keys_of(world, scope, rows) if key}) for scope in scopes}
    return Episode(
        episode=number,
        attack=attack,
        first_ts=float(rows["ts"].min()),
        last_ts=float(rows["ts"].max()),
        events=len(rows),
        keys={scope: found for scope, found in keys.items() if found},
    )


def network(ip: str) -> str:
    """The network that Gatewatch keys on: /24 for IPv4, /48 for IPv6.

    >>> network("203.0.113.9")
    '203.0.113.0/24'
    """
    return str(ip_network(f"{ip}/{48 if ':' in ip else 24}", strict=False))


def read(path: Path) -> list[Record]:
    """Records of a labels file, in its order.

    Raises:
        msgspec.ValidationError: it is not one.
    """
    return msgspec.json.Decoder(Record).decode_lines(path.read_bytes())


def write(file: IO[bytes], records: Iterable[Record]) -> None:
    """Append records, one a line."""
    file.write(msgspec.json.Encoder().encode_lines(list(records)))


def keys_of(world: World, scope: Scope, rows: Rows) -> list[str | None]:
    """The key of each row in a scope of :class:`Episode`, ``None`` where a row has none."""
    if scope is Scope.NETWORK:
        addresses = keys_of(world, Scope.IP, rows)
        networks = {ip: network(ip) for ip in set(addresses) if ip}
        return [networks.get(ip) if ip else None for ip in addresses]
    if scope is Scope.ALL:  # a part of it, so an alert about the whole may be about this attack
        return ["all"] * len(rows)
    endpoints = rows["endpoint"].tolist()
    if scope is Scope.PROJECT:
        return [ENDPOINTS[at].project for at in endpoints]
    if scope is Scope.ENDPOINT:
        models = [*(model.name for model in MODELS), ""]
        pairs = zip(endpoints, rows["model"].tolist(), strict=True)
        return [f"{ENDPOINTS[at].path} {models[model]}".strip() for at, model in pairs]
    table = [*_pool(world, scope), None]
    return [table[code] for code in rows[_COLUMNS[scope]].tolist()]


def _pool(world: World, scope: Scope) -> list[str]:
    return {
        Scope.PRINCIPAL: world.principals,
        Scope.CREDENTIAL: world.credentials,
        Scope.ACCOUNT: world.accounts,
        Scope.IP: world.addresses.names,
    }[scope]
