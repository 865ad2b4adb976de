"""Which guard refuses, and which mode holds: the real code against the tables that the documentation has.

The model here is written from docs/decide.md and knows nothing of how the code does it: addresses are ranges of
integers, times and shares are added up anew for each question, and the order is read from the page itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewatch.decide.candidate import Candidate
from gatewatch.decide.decider import Decider
from gatewatch.decide.guards import GUARDS, Breaker, Known, check
from gatewatch.events.address import parse_network
from gatewatch.records import Action, Decision, Finding, FindingBatch, Mode, Scope
from gatewatch.settings import AllowEntry, Guards

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]

T0 = 1_700_000_000.0
PAGE = Path(__file__).resolve().parents[3] / "docs" / "decide.md"
MODES = ("off", "shadow", "alert", "block")
# Small pools, so that draws meet each other
ADDRESSES = ("203.0.113.7", "203.0.113.8", "10.1.2.3", "::ffff:203.0.113.7", "2001:db8::1", "not an address", "")
NETWORKS = ("203.0.113.0/24", "203.0.112.0/20", "8.0.0.0/8", "2001:db8::/48", "2001::/16", "10.1.0.0/16", "0.0.0.0/0")
NAMES = ("alice", "bob", "billing-job", "k1", " ")
IDS = ("d1", "d2")


def page_order() -> list[str]:
    """The guards in the order of the table of docs/decide.md."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Guards\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def span_of(text: str) -> tuple[int, int] | None:
    """The addresses of a text as a range of integers; those of IPv4 where IPv6 maps them."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    shift = 0xFFFF << 32 if network.version == 4 else 0
    return int(network.network_address) + shift, int(network.broadcast_address) + shift


def meet(a: str, b: str) -> bool:
    """Whether two texts have an address in common."""
    one, other = span_of(a), span_of(b)
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


@dataclass(frozen=True)
class World:
    """Everything that guards may look at, as plain data."""

    candidate: Candidate
    allow: tuple[dict[str, str], ...]
    expected: tuple[dict[str, str], ...]
    protected_networks: tuple[str, ...]
    protected_principals: tuple[str, ...]
    limits: Mapping[str, float]
    removed: tuple[str, ...]
    standing: tuple[tuple[Scope, str, float], ...]  # key and end
    blocks: tuple[tuple[float, float], ...]  # time and share
    held_back: tuple[float, ...] = field(default=())

    @property
    def has_address(self) -> bool:
        """Whether it is about addresses."""
        return self.candidate.scope in {Scope.IP, Scope.NETWORK}


def is_named(world: World, scope: Scope, name: str) -> bool:
    """The candidate is that principal or credential, or the other half of its row's pair."""
    one = world.candidate
    if one.scope is scope:
        return one.value == name
    return one.scope in {Scope.PRINCIPAL, Scope.CREDENTIAL} and one.context.get(scope.value) == name


def lets_through(world: World, entry: Mapping[str, str]) -> bool:
    """Whether an entry that has not ended covers the candidate."""
    (scope,) = (name for name in entry if name not in {"owner", "reason", "until"})
    one, name = world.candidate, entry[scope]
    if datetime.fromisoformat(entry["until"]).replace(tzinfo=UTC).timestamp() <= one.at:
        return False
    if scope in {"ip", "network"}:
        readable = world.has_address and span_of(one.value) is not None
        return meet(name, one.value if readable else one.context.get("ip", ""))
    if scope == "account":
        return one.scope is Scope.ACCOUNT and one.value == name
    return is_named(world, Scope(scope), name)


def is_wide(text: str) -> bool:
    """Wider than /16, or /32 of IPv6."""
    span = span_of(text)
    if span is None:
        return False
    v4 = span[0] >> 32 == 0xFFFF and span[1] >> 32 == 0xFFFF
    return span[1] - span[0] + 1 > (2**16 if v4 else 2**96)


def is_open(world: World) -> bool:
    """Whether the breaker holds new blocks back."""
    at = world.candidate.at
    many = len([ts for ts, _share in world.blocks if abs(ts - at) < 60.0]) >= world.limits["blocks_per_minute"]
    return many or any(at < held + 600.0 for held in world.held_back)


def together(world: World) -> float:
    """What was blocked within ten minutes carried."""
    return sum(share for ts, share in world.blocks if abs(ts - world.candidate.at) < 600.0)


SAYS: dict[str, Callable[[World], bool]] = {
    "cleared": lambda w: w.candidate.id in w.removed,
    "standing": lambda w: any(
        (scope, value) == (w.candidate.scope, w.candidate.value) and end > w.candidate.at
        for scope, value, end in w.standing
    ),
    "allow_list": lambda w: any(lets_through(w, entry) for entry in (*w.allow, *w.expected)),
    "protected_network": lambda w: w.has_address and any(meet(w.candidate.value, n) for n in w.protected_networks),
    "protected_principal": lambda w: any(is_named(w, Scope.PRINCIPAL, name) for name in w.protected_principals),
    "malformed": lambda w: not w.candidate.value.strip() or (w.has_address and span_of(w.candidate.value) is None),
    "too_broad": lambda w: (
        w.candidate.scope in {Scope.ENDPOINT, Scope.PROJECT, Scope.ALL}
        or (w.has_address and is_wide(w.candidate.value))
    ),
    "shared_address": lambda w: (
        w.has_address
        and w.candidate.action is Action.BLOCK
        and w.candidate.healthy is not None
        and w.candidate.healthy >= w.limits["healthy_principals"]
    ),
    "blocks_per_minute": is_open,
    "share_of_traffic": lambda w: w.candidate.share is not None and w.candidate.share > w.limits["share_of_traffic"],
    "shares_together": lambda w: (
        w.candidate.share is not None
        and together(w) + w.candidate.share > max(w.limits["shares_together"], w.limits["share_of_traffic"])
    ),
}


def first_of(world: World) -> str | None:
    """The guard that must be named."""
    return next((name for name in page_order() if SAYS[name](world)), None)


def code_says(world: World) -> str | None:
    """The guard that the code names."""
    sections = {
        "allow": world.allow, "protected_networks": world.protected_networks,
        "protected_principals": world.protected_principals, **world.limits,
    }  # fmt: skip
    guards = Guards.model_validate(sections)
    networks = tuple(n for text in guards.protected_networks if (n := parse_network(text)) is not None)
    known = Known(guards, networks, Breaker(guards.blocks_per_minute))
    known.cleared = lambda id_: "ana" if id_ in world.removed else None
    known.expected = lambda: [AllowEntry.model_validate(entry) for entry in world.expected]
    known.standing = lambda candidate: _standing(world, candidate)
    for at, share in world.blocks:
        known.breaker.add(at, share)
    for at in world.held_back:
        known.breaker.hold(at)
    found = check(world.candidate, known)
    return None if found is None else found[0]


def _standing(world: World, candidate: Candidate) -> Decision | None:
    for scope, value, end in world.standing:
        if (scope, value) == (candidate.scope, candidate.value) and end > candidate.at:
            return Decision(
                id="by-hand", action=Action.BLOCK, scope=scope, value=value, reason="abuse", start=T0 - 1.0,
                until=end, mode=Mode.BLOCK, actor="ana",
            )  # fmt: skip
    return None


def keys(scope: Scope) -> tuple[str, ...]:
    """Values of a scope."""
    return {Scope.IP: ADDRESSES, Scope.NETWORK: NETWORKS}.get(scope, NAMES)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, str]:
    """An allow-list entry; some have ended."""
    scope = draw(st.sampled_from(["ip", "network", "principal", "credential", "account"]))
    pool = [key for key in keys(Scope(scope)) if scope not in {"ip", "network"} or span_of(key) is not None]
    until = draw(st.sampled_from(["2023-11-14T22:13:20", "2023-11-14T22:14:20", "2027-01-31T00:00:00"]))
    return {scope: draw(st.sampled_from(pool)), "owner": "sre", "reason": "load test", "until": until}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Often nothing stands in the way, so that the later guards have their say, too."""
    scope = draw(st.sampled_from([Scope.IP, Scope.IP, Scope.NETWORK, *Scope]))
    context = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "ip": st.sampled_from(ADDRESSES), "principal": st.sampled_from(NAMES),
                "credential": st.sampled_from(NAMES), "account": st.sampled_from(NAMES),
            },
        )
    )  # fmt: skip
    near = st.sampled_from([-700.0, -599.0, -59.0, 0.0, 30.0, 60.0, 600.0])
    shares = st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.3])
    some = st.booleans()

    def maybe(strategy: st.SearchStrategy[Any], most: int) -> tuple[Any, ...]:
        return tuple(draw(st.lists(strategy, max_size=most))) if draw(some) else ()

    keyed = st.sampled_from([Scope.IP, Scope.PRINCIPAL]).flatmap(
        lambda s: st.tuples(st.just(s), st.sampled_from(keys(s)), st.sampled_from([T0, T0 + 60.0, T0 + 3600.0]))
    )
    return World(
        candidate=Candidate(
            draw(st.sampled_from(IDS)), scope, draw(st.sampled_from(keys(scope))),
            T0 + draw(st.sampled_from([0.0, 59.0, 60.0])), context, share=draw(st.none() | shares),
            healthy=draw(st.none() | st.integers(0, 8)), action=draw(st.sampled_from(list(Action))),
        ),
        allow=maybe(entries(), 2), expected=maybe(entries(), 2),
        protected_networks=maybe(st.sampled_from([n for n in NETWORKS if n != "0.0.0.0/0"]), 2),
        protected_principals=maybe(st.sampled_from(NAMES), 2),
        limits={
            "blocks_per_minute": draw(st.integers(1, 4)), "share_of_traffic": draw(st.sampled_from([0.02, 0.2])),
            "shares_together": draw(st.sampled_from([0.1, 0.5])), "healthy_principals": draw(st.integers(1, 6)),
        },
        removed=maybe(st.sampled_from(IDS), 1), standing=maybe(keyed, 2),
        blocks=tuple((T0 + at, share) for at, share in maybe(st.tuples(near, shares), 4)),
        held_back=tuple(T0 + at for at in maybe(near, 1)),
    )  # fmt: skip


def test_the_page_names_every_guard_in_the_order_in_which_they_are_asked() -> None:
    """If this fails, an operator reads one order of precedence and gets another."""
    assert page_order() == [name for name, _guard in GUARDS] == list(SAYS)


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_the_first_guard_of_the_page_that_refuses_is_the_one_that_is_named(world: World) -> None:
    """If this fails, somebody is blocked who must not be, or an alert names a reason that is not the one to act on."""
    assert code_says(world) == first_of(world)


@settings(max_examples=120, deadline=None)
@given(
    own=st.none() | st.sampled_from(MODES), project=st.none() | st.sampled_from(MODES), inside=st.booleans(),
    learned=st.booleans(), warm=st.booleans(), key=st.sampled_from(ADDRESSES[:3]), protected=st.booleans(),
    allowed=st.booleans(),
)  # fmt: skip
def test_the_mode_of_the_narrowest_place_holds_and_a_guard_stands_above_each(
    make_decider: New, make_finding: Make, make_batch: Batch, own: str | None, project: str | None, *,
    inside: bool, learned: bool, warm: bool, key: str, protected: bool, allowed: bool,
) -> None:  # fmt: skip
    """If this fails, a detector that a team has set to shadow blocks its customers, or a cold one anybody."""
    guards: dict[str, Any] = {"protected_networks": ["10.0.0.0/8"] if protected else []}
    if allowed:
        guards["allow"] = [{"ip": ADDRESSES[0], "owner": "sre", "reason": "test", "until": "2027-01-31"}]
    block = {"block": {"min_severity": "info"}}
    narrow = {} if project is None else {"projects": {"team": {"detectors": {"door_knocker": {"mode": project}}}}}
    detector = {"door_knocker": block | ({} if own is None else {"mode": own})}
    decider = make_decider(detectors=detector, guards=guards, **narrow)
    finding = make_finding(0.0, key=key, project="team" if inside else None, learned=learned, warm=warm)
    decided = decider.apply(make_batch(0, 0.0, finding), 0)

    said = next(
        mode for mode in (project if inside else None, own, "block") if mode is not None
    )  # the default is block
    holds = min(said, "shadow", key=MODES.index) if learned and not warm else said
    guard = "allow_list" if allowed and key == ADDRESSES[0] else None
    guard = guard or ("protected_network" if protected and key == "10.1.2.3" else None)
    wants_order = said in {"shadow", "block"}
    assert [a.mode.value for a in decided.alerts] == ([] if said == "off" else [holds])
    assert [d.mode.value for d in decided.decisions] == ([holds] if wants_order and guard is None else [])
    assert [r.guard for r in decided.refusals] == ([guard] if holds == "block" and guard is not None else [])
