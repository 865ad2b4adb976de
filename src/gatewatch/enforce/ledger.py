"""What is decided and active now, as this replica knows it from reading `decisions` from its start.

A look-up is a few dictionary probes: one for each scope that the request names, and one for each prefix length of which
there is a decision. Everything ends by itself: a decision past its end is never served.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from gatewatch.events.address import parse_network
from gatewatch.records import LONGEST_S, Action, Decision, Mode, Scope

# A strict order, so that replicas agree: block outranks throttle outranks challenge.
RANK = {Action.CHALLENGE: 0, Action.THROTTLE: 1, Action.BLOCK: 2}
# Ended decisions are remembered this long, for bouncers that ask only now and then (their default is 10 s).
REMEMBER_S = 3600.0
# Wider than any breaker lets through; a bound on memory (some 100 MB) against a flood of manual decisions.
CAPACITY = 200_000

STOPPABLE = frozenset({Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK})
# The largest blocks that registries give to one holder: /8 in IPv4, /19 in IPv6. The guards are much narrower.
WIDEST = {4: 8, 6: 19}
# IPv4 inside IPv6, RFC 4291 2.5.5.2: where a gateway listens on both, each of its IPv4 clients has such an address
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision in the ledger. ``number`` is its offset + 1: the same in every replica, rising with time."""

    decision: Decision
    number: int
    known_at: float  # wall time when this replica learned this version

    @property
    def ends(self) -> float:
        """When it stops being served, epoch seconds. A removal holds at once, however two hosts' clocks differ."""
        removed = self.decision.removed
        return self.decision.until if removed is None else min(removed, self.decision.until, self.known_at)

    @property
    def told_ended(self) -> float:
        """When this replica could say for the first time that it has ended."""
        return max(self.ends, self.known_at)

    def live(self, now: float) -> bool:
        """Whether it is served now."""
        return self.ends > now and self.decision.mode is not Mode.SHADOW


# What an entry is to somebody who is told of it: equal where he cannot tell two apart; None where he is not told
Told = Callable[[Entry], Hashable]


def _as_it_is(entry: Entry) -> Hashable:
    decision = entry.decision
    return decision.scope, decision.value, decision.action


def longest(entries: Iterable[Entry], told: Told = _as_it_is) -> dict[Hashable, Entry]:
    """Of several entries that are one to somebody the one that ends last."""
    best: dict[Hashable, Entry] = {}
    for entry in entries:
        thing = told(entry)
        if thing is not None and (thing not in best or entry.ends > best[thing].ends):
            best[thing] = entry
    return best


def _moved(entry: Entry, since: float, now: float) -> bool:
    """Whether the end that somebody keeps may be another since then: one more, or one that was taken back."""
    if entry.live(now):
        return entry.known_at > since
    return entry.decision.removed is not None and since < entry.told_ended <= now


class Ledger:
    """Decisions by id and by what they stop. Thread-safe: the reader writes, HTTP handlers read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._keys: dict[tuple[Scope, str], set[str]] = {}
        self._prefixes: dict[int, dict[int, int]] = {4: {}, 6: {}}  # version -> prefix length -> decisions
        self.late = 0  # decisions that were past their end when they came: counted, not served

    def apply(self, decision: Decision, offset: int, now: float) -> str | None:
        """Take over one record of `decisions`; a later record of the same id replaces it.

        Returns why it is not taken, if it is not: the last line behind the guards, for orders that were written past
        them. What has ended lately is remembered, so that bouncers that still have it are told.
        """
        decision = _in_one_spelling(decision)
        refused = names_everybody(decision) or never_ends(decision, now)
        with self._lock:
            known = self._entries.get(decision.id)
            if known is not None and known.number > offset + 1:
                return None  # the topic is read again from its start: what we know is newer
            self._forget(decision.id)
            if refused is not None:
                return refused
            if decision.until <= now and decision.removed is None:
                self.late += 1
            if min(decision.until, decision.removed or decision.until) < now - REMEMBER_S:
                return None
            if len(self._entries) >= CAPACITY:
                self._sweep(now)
            entry = Entry(decision, offset + 1, now)
            self._entries[decision.id] = entry
            self._keys.setdefault((decision.scope, decision.value), set()).add(decision.id)
            self._count_prefix(decision, 1)
        return None

    def match(self, request: Iterable[tuple[Scope, str]], now: float) -> Decision | None:
        """The strongest live decision on any key of a request; of equals the one that ends last.

        ``request`` holds scopes and keys; an address also matches decisions on networks that contain it.
        Cost: about 2 us.
        """
        with self._lock:
            found = [
                entry.decision
                for key in self._request_keys(request)
                for id_ in self._keys.get(key, ())
                if (entry := self._entries[id_]).live(now)
            ]
        return max(found, key=lambda d: (RANK[d.action], d.until, d.id), default=None)

    def live(self, now: float) -> list[Entry]:
        """Everything that is served now, in order of number."""
        with self._lock:
            return sorted((e for e in self._entries.values() if e.live(now)), key=lambda e: e.number)

    def changes(self, since: float, now: float, told: Told = _as_it_is) -> tuple[list[Entry], list[Entry]]:
        """What to tell somebody who knew everything at ``since``: what holds now, and what has stopped.

        Whoever is told keeps one end for each thing that ``told`` makes of entries (``None``: of that he is not told).
        So of several decisions that are one to him he gets the one that ends last, when another joins it and when the
        last one is removed; and an end only when nothing goes on.
        """
        with self._lock:
            recent = [e for e in self._entries.values() if e.known_at > since or since < e.told_ended <= now]
            keys = {(e.decision.scope, e.decision.value) for e in recent}
            beside = [self._entries[id_] for key in keys for id_ in self._keys[key]]
        holds = longest((e for e in beside if e.live(now)), told)
        touched = {told(e) for e in recent if _moved(e, since, now)}
        ended = [
            e
            for e in recent
            if since < e.told_ended <= now
            and not e.live(now)
            and e.decision.mode is not Mode.SHADOW
            and (thing := told(e)) is not None
            and thing not in holds
        ]
        return (
            sorted((e for thing, e in holds.items() if thing in touched), key=lambda e: e.number),
            sorted(ended, key=lambda e: e.number),
        )

    def ended(self, now: float) -> list[Entry]:
        """Everything remembered that has stopped being served and that nothing else covers, in order of number."""
        return self.changes(float("-inf"), now)[1]

    def sweep(self, now: float) -> None:
        """Forget what ended long ago."""
        with self._lock:
            self._sweep(now)

    def __len__(self) -> int:
        return len(self._entries)

    def _request_keys(self, request: Iterable[tuple[Scope, str]]) -> Iterator[tuple[Scope, str]]:
        for scope, key in request:
            if scope is not Scope.IP:
                yield scope, key
                continue
            address = _address(key)
            if address is None:
                continue
            yield Scope.IP, str(address)
            for length in self._prefixes[address.version]:
                yield Scope.NETWORK, str(ip_network((address, length), strict=False))

    def _sweep(self, now: float) -> None:
        for id_ in [e.decision.id for e in self._entries.values() if e.ends < now - REMEMBER_S]:
            self._forget(id_)

    def _forget(self, id_: str) -> None:
        entry = self._entries.pop(id_, None)
        if entry is None:
            return
        key = (entry.decision.scope, entry.decision.value)
        ids = self._keys[key]
        ids.discard(id_)
        if not ids:
            del self._keys[key]
        self._count_prefix(entry.decision, -1)

    def _count_prefix(self, decision: Decision, by: int) -> None:
        if decision.scope is not Scope.NETWORK or (network := parse_network(decision.value)) is None:
            return
        counts = self._prefixes[network.version]
        counts[network.prefixlen] = counts.get(network.prefixlen, 0) + by
        if not counts[network.prefixlen]:
            del counts[network.prefixlen]


def names_everybody(decision: Decision) -> str | None:
    """Why no gateway may be told of a decision: its key is empty, no address, or so wide that it stops everybody."""
    if decision.scope not in STOPPABLE:
        return f"scope {decision.scope.value} names no caller"
    if not decision.value.strip():
        return "the key is empty"
    if decision.scope is Scope.IP:
        address = _address(decision.value)
        return "the key is no address" if address is None or address.is_unspecified else None
    return _too_wide(decision.value) if decision.scope is Scope.NETWORK else None


def _too_wide(text: str) -> str | None:
    network = parse_network(text)
    if network is None:
        return "the key is no network"
    if network.prefixlen < WIDEST[network.version]:
        return f"a network wider than /{WIDEST[network.version]} is everybody"
    if isinstance(network, IPv6Network) and _MAPPED.subnet_of(network):
        return "all addresses of IPv4 are in this network"
    return None


def never_ends(decision: Decision, now: float) -> str | None:
    """Why a decision's end is none."""
    return None if decision.until - now <= LONGEST_S else f"it ends in more than {LONGEST_S / 86400:.0f} days"


def _in_one_spelling(decision: Decision) -> Decision:
    """The same with its address or network as gateways write it: one of two spellings would break some of them."""
    found: object = None
    if decision.scope is Scope.IP:
        found = _address(decision.value)
    elif decision.scope is Scope.NETWORK:
        found = parse_network(decision.value)
    if found is None or str(found) == decision.value:
        return decision
    return decision.model_copy(update={"value": str(found)})


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # without a zone: no client has one
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
