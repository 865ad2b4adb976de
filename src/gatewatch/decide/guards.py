"""What keeps a decision from stopping the wrong people.

Each guard is a pure function of a candidate and of what is known; it gives the reason for a refusal, or ``None``.
:data:`GUARDS` is their order: the first that refuses is the one that is named. No setting switches one off, and only a
person (``gatewatch decisions add --force --reason``) passes them by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network

from gatewatch.decide.candidate import ADDRESSES, Candidate, overlap
from gatewatch.decide.episodes import COOL_DOWN_S
from gatewatch.decide.text import clean
from gatewatch.events.address import Network, parse_network
from gatewatch.records import Action, Decision, Scope
from gatewatch.settings import AllowEntry, Guards, Settings
from gatewatch.state.plans import UNSAVED

# The largest network that may be one opponent: a provider's usual allocation. Wider ones are whole companies.
WIDEST_V4 = 16
WIDEST_V6 = 32
MINUTE_S = 60.0

# Scopes that name everybody: an order on one of them is an outage
_EVERYBODY = (Scope.ENDPOINT, Scope.PROJECT, Scope.ALL)
_WHO = (Scope.PRINCIPAL, Scope.CREDENTIAL)


# A pause this long ends the breaker's own alert too: what comes later is another flood, and another page.
HOLD_S = COOL_DOWN_S
# Starts kept for each block allowed a minute: tasks may be this many minutes of blocks apart before the count forgets
_KEPT_MINUTES = 20


@dataclass(slots=True)
class Breaker:
    """When the latest blocks started, so that no minute of event time ever holds more than ``limit`` of them.

    At the first block too many it opens, and nobody new is stopped until :data:`HOLD_S` have passed in which nobody new
    was held back, or a person closes its alert. One that let the next minute's blocks through would stop and spare in
    turn for as long as a flood lasts, and whom it stops would be chance.
    """

    limit: int = field(metadata=UNSAVED)
    starts: deque[float] = field(default_factory=deque)
    shares: deque[float] = field(default_factory=deque)  # of live traffic, of the same blocks; 0 where not known
    open_until: float = float("-inf")

    def holds(self, at: float) -> bool:
        """Whether a new block at ``at`` must be held back."""
        return at < self.open_until or self.count(at) >= self.limit

    def hold(self, at: float) -> None:
        """A block on somebody new was held back: it is open, from now on for as long again."""
        self.open_until = max(self.open_until, at + HOLD_S)

    def close(self) -> None:
        """A person has looked: blocks are let through again, from an empty minute."""
        self.open_until = float("-inf")
        self.starts.clear()
        self.shares.clear()

    def count(self, at: float) -> int:
        """Blocks within a minute of ``at``, before or after: tasks do not tell their findings in order of time."""
        return sum(1 for start in self.starts if abs(start - at) < MINUTE_S)

    def share(self, at: float) -> float:
        """What the keys blocked within :data:`HOLD_S` of ``at`` carried of live traffic when they were blocked."""
        return sum(share for start, share in zip(self.starts, self.shares, strict=True) if abs(start - at) < HOLD_S)

    def add(self, at: float, share: float | None = None) -> None:
        """One more block has been ordered, on a key with that share of live traffic."""
        self.starts.append(at)
        self.shares.append(share or 0.0)
        if len(self.starts) > _KEPT_MINUTES * self.limit:
            self.starts.popleft()
            self.shares.popleft()


@dataclass(slots=True)
class Known:
    """What guards look at. ``cleared`` and ``standing`` are kept up by whoever hears people's orders."""

    guards: Guards
    protected: tuple[Network, ...]
    breaker: Breaker
    cleared: Callable[[str], str | None] = lambda _id: None  # who removed the decision with this id
    expected: Callable[[], Sequence[AllowEntry]] = tuple  # what people said is expected, beside the settings' list
    standing: Callable[[Candidate], Decision | None] = lambda _candidate: None  # a person's own block on that key

    @classmethod
    def of(cls, settings: Settings) -> Known:
        """As the settings say, with nothing ordered yet."""
        networks = tuple(n for text in settings.guards.protected_networks if (n := parse_network(text)) is not None)
        return cls(settings.guards, networks, Breaker(settings.guards.blocks_per_minute))


Guard = Callable[[Candidate, Known], str | None]


def cleared(candidate: Candidate, known: Known) -> str | None:
    """A person removed this decision: it is not made again for the same episode."""
    who = known.cleared(candidate.id)
    return None if who is None else f"removed by {clean(who)}; not made again in this episode"


def standing(candidate: Candidate, known: Known) -> str | None:
    """A person blocks the key already: their order, with their expiry, stays the only one."""
    order = known.standing(candidate)
    if order is None:
        return None
    return f"{clean(order.actor or 'somebody')} blocks it already, until {utc(order.until)}"


def allow_list(candidate: Candidate, known: Known) -> str | None:
    """An entry of ``guards.allow``, or a verdict "expected", that has not expired covers it."""
    for entry in (*known.guards.allow, *known.expected()):
        if candidate.at < entry.until_ts and _covers(entry, candidate):
            what = f"{entry.scope.value} {clean(entry.value)}"
            return f"{what} is allowed by {clean(entry.owner)} until {utc(entry.until_ts)}: {clean(entry.reason)}"
    return None


def protected_network(candidate: Candidate, known: Known) -> str | None:
    """It touches a network that cannot be an attacker's own (private ranges, the gateway)."""
    network = candidate.network
    for protected in known.protected:
        if overlap(network, protected):
            return f"{protected} is protected"
    return None


def protected_principal(candidate: Candidate, known: Known) -> str | None:
    """It is, or is a credential of, a principal that must go on working."""
    for name in known.guards.protected_principals:
        if _is_who(candidate, Scope.PRINCIPAL, name):
            return f"principal {clean(name)} is protected"
    return None


def malformed(candidate: Candidate, known: Known) -> str | None:
    """It names nobody: no key, or an address that is none."""
    del known
    if not candidate.value.strip():
        return "there is no key to stop"
    if candidate.scope in ADDRESSES and candidate.network is None:
        return f"{clean(candidate.value)} is not an address or a network"
    return None


def too_broad(candidate: Candidate, known: Known) -> str | None:
    """It names everybody, or a network wider than one opponent."""
    del known
    if candidate.scope in _EVERYBODY:
        return f"scope {candidate.scope.value} would stop everybody"
    network = candidate.network
    if network is None:
        return None
    widest = WIDEST_V4 if isinstance(network, IPv4Network) else WIDEST_V6
    if network.prefixlen < widest:
        return f"{network} is wider than /{widest}"
    return None


def shared_address(candidate: Candidate, known: Known) -> str | None:
    """Many healthy callers share the address (an office, a carrier): to block it would stop them all."""
    limit = known.guards.healthy_principals
    if candidate.action is not Action.BLOCK or candidate.scope not in ADDRESSES:
        return None
    if candidate.healthy is None or candidate.healthy < limit:
        return None
    return f"{candidate.healthy} principals use it in good health: throttle it, or block whom it is by name"


def blocks_per_minute(candidate: Candidate, known: Known) -> str | None:
    """So many blocks in a minute are a mistake or a diversion: a person must look."""
    if not known.breaker.holds(candidate.at):
        return None
    return f"more than {known.breaker.limit} blocks in a minute: block by hand what must be blocked"


def share_of_traffic(candidate: Candidate, known: Known) -> str | None:
    """It carries too much of the live traffic to be stopped without a person. Silent where the share is not known."""
    limit = known.guards.share_of_traffic
    if candidate.share is None or candidate.share <= limit:
        return None
    return f"it carries {candidate.share:.1%} of live traffic, the limit is {limit:.1%}"


def shares_together(candidate: Candidate, known: Known) -> str | None:
    """With those blocked a moment ago too much of the live traffic would be stopped, though none carries much alone."""
    limit = max(known.guards.shares_together, known.guards.share_of_traffic)  # what one may carry, all may
    if candidate.share is None:
        return None
    together = known.breaker.share(candidate.at) + candidate.share
    if together <= limit:
        return None
    return f"with those blocked within ten minutes it carries {together:.1%} of live traffic, the limit is {limit:.1%}"


GUARDS: tuple[tuple[str, Guard], ...] = (
    ("cleared", cleared),
    ("standing", standing),
    ("allow_list", allow_list),
    ("protected_network", protected_network),
    ("protected_principal", protected_principal),
    ("malformed", malformed),
    ("too_broad", too_broad),
    ("shared_address", shared_address),
    ("blocks_per_minute", blocks_per_minute),
    ("share_of_traffic", share_of_traffic),
    ("shares_together", shares_together),
)
# What runs already surprises nobody: these are about new ones
OF_NEW = frozenset({"blocks_per_minute", "shares_together"})
# These say that a person has to act now, where the others say that nobody has to
PAGING = frozenset({"shared_address", "blocks_per_minute", "share_of_traffic", "shares_together"})


def check(candidate: Candidate, known: Known, guards: Sequence[tuple[str, Guard]] = GUARDS) -> tuple[str, str] | None:
    """Name and reason of the first guard that refuses, or ``None``. Cost: one pass over the allow-list."""
    for name, guard in guards:
        reason = guard(candidate, known)
        if reason is not None:
            return name, reason
    return None


def utc(ts: float) -> str:
    """A time in a sentence. Epoch seconds where the calendar has no such year."""
    try:
        return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ts:.0f}"


def _covers(entry: AllowEntry, candidate: Candidate) -> bool:
    """Whether the order would stop somebody that the entry lets through.

    Addresses by overlap, whichever is wider; and a row that came from an allowed address stops nobody, because an
    address cannot be claimed as a name can. So an allowed account, which anybody may try, covers itself only.
    """
    if entry.scope in ADDRESSES:
        allowed = parse_network(entry.value)
        source = candidate.network or parse_network(candidate.context.get("ip", ""))
        return overlap(allowed, source)
    if entry.scope in _WHO:
        return _is_who(candidate, entry.scope, entry.value)
    return candidate.scope is entry.scope and candidate.value == entry.value


def _is_who(candidate: Candidate, scope: Scope, name: str) -> bool:
    """The candidate is that principal or credential, or the other half of the pair in its row."""
    if candidate.scope is scope:
        return candidate.value == name
    return candidate.scope in _WHO and candidate.context.get(scope.value) == name
