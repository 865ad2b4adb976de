"""What a finding says about who is behind it: the links by which findings become one incident.

Two kinds. An *identity* is the accused himself: the same key, a principal and its credential, the address that it came
from, a network and the addresses in it. One of them in common is enough. A *trait* is something that strangers may
have in common too (a user agent, a provider, a payload's shape), so it joins nobody by itself: only a wave of it does
(``waves.py``).

Who is attacked (an account, an endpoint) belongs to the incident of his attacker, but joins no two attackers: everybody
tries ``root``.
"""

from __future__ import annotations

from typing import NamedTuple

from gatewatch.records import Finding, Scope
from gatewatch.watch.reasons import NAME

ACTORS = frozenset({Scope.IP, Scope.NETWORK, Scope.PRINCIPAL, Scope.CREDENTIAL})
# So many healthy callers behind an address make it an office or a carrier: what comes from it need not be one person.
SHARED = 5
# A trait alone is common, two together less so: how many new keys with it make a wave.
ONE_TRAIT = 6
TWO_TRAITS = 3
NO_EFFECT = "not_effective"  # reason of our own findings about gateways that do not do as they were told

Token = tuple[str, ...]  # kind, value, and what else must be the same


class Identity(NamedTuple):
    """What to look for, and what to be found by. ``accused`` is false for victims: they bridge nobody."""

    look: tuple[Token, ...]
    put: tuple[Token, ...]
    accused: bool


class Trait(NamedTuple):
    """Something that strangers may share. ``least`` new keys with it in a short time are a wave."""

    token: Token
    least: int


def healthy_principals(finding: Finding) -> int | None:
    """How many callers use the finding's address or network in good health; ``None`` where nobody said."""
    text = finding.context.get("healthy_principals", "")
    return int(text) if text.isascii() and text.isdigit() else None


def identity(finding: Finding) -> Identity:
    """The identities in a finding. Cost: a few small tuples."""
    own: Token = (finding.scope.value, finding.key)
    context = finding.context
    if finding.scope is Scope.IP:
        return _address(finding, own)
    if finding.scope is Scope.NETWORK:
        manner = ("network", finding.key, finding.detector)
        return Identity((own, ("in network", finding.key), manner), (own, manner), accused=True)
    if finding.scope in ACTORS:
        who = [own]
        who += [(name, context[name]) for name in ("principal", "credential") if context.get(name)]
        if context.get("ip") and (healthy_principals(finding) or 0) < SHARED:
            who.append(("ip", context["ip"]))
        tokens = tuple(dict.fromkeys(who))
        return Identity(tokens, tokens, accused=True)
    look = [own]
    if finding.reason == NO_EFFECT and finding.detector == NAME:  # a gateway is one thing to mend, whomever it spares
        gateway = ("gateway", context.get("gateway", ""))
        return Identity((own, gateway), (own, gateway), accused=False)
    if finding.scope is Scope.ACCOUNT:
        look += [(name, context[name]) for name in ("ip", "network") if context.get(name)]
    return Identity(tuple(look), (own,), accused=False)


def _address(finding: Finding, own: Token) -> Identity:
    """An address meets its network where that is accused itself, and its neighbours where they do the same."""
    network = finding.context.get("network")
    if not network:
        return Identity((own,), (own,), accused=True)
    manner = ("network", network, finding.detector)
    return Identity((own, ("network", network), manner), (own, ("in network", network), manner), accused=True)


def traits(finding: Finding) -> tuple[Trait, ...]:
    """What a finding has in common with others whom the same detector accuses; none for victims."""
    if finding.scope not in ACTORS:
        return ()
    context, manner = finding.context, (finding.detector,)
    has = {name: context[name] for name in ("ja4", "user_agent", "shape_hash", "asn") if context.get(name)}
    singles = [
        Trait((name, has[name], *manner), ONE_TRAIT) for name in ("ja4", "user_agent", "shape_hash") if name in has
    ]
    # JA4 and user agent are one thing, the client program; so are not both of a pair
    pairs = (
        ("ja4", "asn"),
        ("user_agent", "asn"),
        ("ja4", "shape_hash"),
        ("user_agent", "shape_hash"),
        ("shape_hash", "asn"),
    )
    doubles = [
        Trait((f"{a} and {b}", f"{has[a]} in {has[b]}", *manner), TWO_TRAITS) for a, b in pairs if a in has and b in has
    ]
    return (*doubles, *singles)


def words(token: Token) -> str:
    """A link for people: "ip 203.0.113.9", "user agent curl/8"."""
    return f"{token[0].replace('_', ' ')} {token[1]}"
