"""Who must never be stopped, is not."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.decide import guards
from gatewatch.decide.candidate import Candidate, overlap
from gatewatch.decide.decider import Decider
from gatewatch.decide.guards import HOLD_S, Breaker, Known, check
from gatewatch.events.address import parse_network
from gatewatch.records import Alert, Finding, FindingBatch, Mode, Scope, Severity, Status, Verdict, VerdictKind
from gatewatch.settings import PROTECTED_NETWORKS, Settings

NOW = 1_700_000_000.0
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PREFIXES = st.integers(8, 32)


def known(**guard_settings: object) -> Known:
    """What guards know under these settings."""
    return Known.of(Settings.model_validate({"guards": guard_settings}))


def refused_by(candidate: Candidate, state: Known) -> str | None:
    """The guard that refuses, if one does."""
    found = check(candidate, state)
    return None if found is None else found[0]


def allow(**scope: str) -> dict[str, object]:
    """An entry of the allow-list."""
    return {**scope, "owner": "sre", "reason": "load test", "until": "2027-01-31"}


@given(ADDRESSES, st.integers(0, 128), st.booleans(), st.text(max_size=20))
def test_nothing_that_touches_an_allowed_address_is_ever_stopped(
    address: str, prefix: int, as_network: bool, other: str
) -> None:
    """If this fails, a load test, an office or a health check is cut off by its own security tool."""
    state = known(allow=[allow(ip=address)], protected_networks=())
    network = ip_network(f"{address}/{min(prefix, ip_network(address).max_prefixlen)}", strict=False)
    value = str(network) if as_network else address
    scope = Scope.NETWORK if as_network else Scope.IP
    candidate = Candidate("d", scope, value, NOW, {"principal": other, "account": other}, share=None)
    assert refused_by(candidate, state) == "allow_list"
    person = Candidate("d", Scope.PRINCIPAL, other or "x", NOW, {"ip": address})
    assert refused_by(person, state) == "allow_list"


@given(ADDRESSES, PREFIXES)
def test_an_address_in_an_allowed_network_is_never_stopped(address: str, prefix: int) -> None:
    """If this fails, an allow-list entry for an office network covers nobody in it."""
    network = ip_network(f"{address}/{prefix}", strict=False)
    state = known(allow=[allow(network=str(network))], protected_networks=())
    assert refused_by(Candidate("d", Scope.IP, address, NOW), state) == "allow_list"


@given(st.sampled_from(PROTECTED_NETWORKS), st.data())
def test_protected_networks_are_never_stopped(protected: str, data: st.DataObject) -> None:
    """If this fails, a gateway blocks its own health checks or the load balancer in front of it."""
    network = ip_network(protected)
    address = data.draw(st.ip_addresses(v=network.version, network=network)).exploded
    assert refused_by(Candidate("d", Scope.IP, address, NOW), known()) == "protected_network"
    assert refused_by(Candidate("d", Scope.NETWORK, str(network), NOW), known()) == "protected_network"


def test_an_ipv4_address_in_ipv6_clothes_is_the_same_address() -> None:
    """If this fails, ::ffff:10.0.0.1 walks round the protection of 10.0.0.0/8."""
    assert parse_network("::ffff:10.0.0.1") == ip_network("10.0.0.1/32")
    assert refused_by(Candidate("d", Scope.IP, "::ffff:10.0.0.1", NOW), known()) == "protected_network"


@pytest.mark.parametrize(
    ("scope", "value", "guard"),
    [
        (Scope.NETWORK, "0.0.0.0/0", "protected_network"),
        (Scope.NETWORK, "8.0.0.0/8", "too_broad"),
        (Scope.NETWORK, "2001:db8::/31", "too_broad"),
        (Scope.NETWORK, "203.0.0.0/16", None),
        (Scope.NETWORK, "2001:db8::/32", None),
        (Scope.IP, "not an address", "malformed"),
        (Scope.IP, "", "malformed"),
        (Scope.PRINCIPAL, "  ", "malformed"),
        (Scope.PRINCIPAL, "alice", None),
        (Scope.ENDPOINT, "/v1/chat", "too_broad"),
        (Scope.PROJECT, "billing", "too_broad"),
        (Scope.ALL, "all", "too_broad"),
    ],
)
def test_what_names_nobody_or_everybody_is_refused(scope: Scope, value: str, guard: str | None) -> None:
    """If this fails, one odd key shuts everybody out."""
    assert refused_by(Candidate("d", scope, value, NOW), known()) == guard


def test_an_allowed_principal_and_its_credential_go_together() -> None:
    """If this fails, an allow-listed service is stopped by its key, or a tried account is a shield."""
    state = known(allow=[allow(principal="svc"), allow(account="root"), allow(credential="k9")])
    assert refused_by(Candidate("d", Scope.PRINCIPAL, "svc", NOW), state) == "allow_list"
    assert refused_by(Candidate("d", Scope.CREDENTIAL, "k1", NOW, {"principal": "svc"}), state) == "allow_list"
    assert refused_by(Candidate("d", Scope.PRINCIPAL, "bob", NOW, {"credential": "k9"}), state) == "allow_list"
    assert refused_by(Candidate("d", Scope.ACCOUNT, "root", NOW), state) == "allow_list"
    attacker = Candidate("d", Scope.IP, "203.0.113.9", NOW, {"account": "root", "principal": "svc"})
    assert refused_by(attacker, state) is None


def test_an_entry_ends_on_its_day() -> None:
    """If this fails, a load test's exemption lasts for ever, or ends a day early."""
    state = known(allow=[{**allow(ip="203.0.113.7"), "until": "2023-11-14"}])
    last_second, next_day = 1_700_006_399.0, 1_700_006_400.0
    assert refused_by(Candidate("d", Scope.IP, "203.0.113.7", last_second), state) == "allow_list"
    assert refused_by(Candidate("d", Scope.IP, "203.0.113.7", next_day), state) is None


def test_protected_principals_and_their_credentials_are_never_stopped() -> None:
    """If this fails, the billing job or the gateway's own client is cut off."""
    state = known(protected_principals=("billing-job",))
    assert refused_by(Candidate("d", Scope.PRINCIPAL, "billing-job", NOW), state) == "protected_principal"
    key = Candidate("d", Scope.CREDENTIAL, "k1", NOW, {"principal": "billing-job"})
    assert refused_by(key, state) == "protected_principal"


def test_a_key_with_much_of_the_traffic_is_left_to_a_person() -> None:
    """If this fails, one block stops a tenth of all customers (a company behind one address)."""
    state = known(share_of_traffic=0.02)
    assert refused_by(Candidate("d", Scope.IP, "203.0.113.9", NOW, share=0.10), state) == "share_of_traffic"
    assert refused_by(Candidate("d", Scope.IP, "203.0.113.9", NOW, share=0.02), state) is None


@given(st.lists(st.tuples(st.floats(0, 3000), st.floats(0, 0.02)), max_size=80), st.floats(0.02, 0.3))
def test_ten_minutes_of_blocks_never_stop_more_of_the_traffic_than_is_allowed(
    orders: list[tuple[float, float]], limit: float
) -> None:
    """If this fails, a detector gone wrong stops a third of all customers, each of whom carries little."""
    state = known(shares_together=limit, blocks_per_minute=1000)
    passed: list[tuple[float, float]] = []
    for at, share in orders:  # in any order: partitions are not in step
        if refused_by(Candidate("d", Scope.IP, "203.0.113.9", at, share=share), state) is None:
            state.breaker.add(at, share)
            passed.append((at, share))
    most = max((sum(s for b, s in passed if 0 <= b - a < HOLD_S) for a, _ in passed), default=0.0)
    assert most <= limit + 1e-9
    assert len(passed) == len(orders) or sum(share for _, share in orders) > limit


def test_who_may_block_much_at_once_may_block_as_much_in_all() -> None:
    """If this fails, a site that allows blocks of large keys finds them refused by a limit that it never set."""
    state = known(share_of_traffic=0.5)
    assert refused_by(Candidate("d", Scope.IP, "203.0.113.9", NOW, share=0.4), state) is None


@given(st.lists(st.floats(0, 600), max_size=80), st.integers(1, 5))
def test_no_minute_ever_holds_more_blocks_than_the_breaker_lets_through(starts: list[float], limit: int) -> None:
    """If this fails, a detector gone wrong blocks a thousand customers before anybody looks."""
    breaker = Breaker(limit)
    passed = []
    for at in starts:  # in any order: partitions are not in step
        if breaker.count(at) < limit:
            breaker.add(at)
            passed.append(at)
    assert all(sum(1 for b in passed if 0 <= b - a < 60.0) <= limit for a in passed)


def test_the_first_guard_in_the_documented_order_is_the_one_that_is_named() -> None:
    """If this fails, an alert names a lesser reason and its reader fixes the wrong thing."""
    names = ["cleared", "standing", "allow_list", "protected_network", "protected_principal", "malformed", "too_broad",
             "shared_address", "blocks_per_minute", "share_of_traffic", "shares_together"]  # fmt: skip
    assert [name for name, _guard in guards.GUARDS] == names
    state = known(allow=[allow(ip="10.0.0.1")], blocks_per_minute=1)
    state.breaker.add(NOW)
    assert refused_by(Candidate("d", Scope.IP, "10.0.0.1", NOW, share=0.5), state) == "allow_list"
    state.cleared = lambda _id: "alice"
    assert refused_by(Candidate("d", Scope.IP, "10.0.0.1", NOW, share=0.5), state) == "cleared"


def test_a_full_breaker_alerts_louder_and_says_why(
    make_finding: Callable[..., Finding],
    make_batch: Callable[..., FindingBatch],
    make_decider: Callable[..., Decider],
) -> None:
    """If this fails, the 31st attacker of a minute is neither stopped nor shown to anybody."""
    decider = make_decider(guards={"blocks_per_minute": 2})
    findings = [make_finding(float(i), key=f"203.0.113.{i}") for i in range(3)]
    decided = decider.apply(make_batch(0, 5.0, *findings), 0)
    assert [d.value for d in decided.decisions] == ["203.0.113.0", "203.0.113.1"]
    assert [(r.guard, r.value) for r in decided.refusals] == [("blocks_per_minute", "203.0.113.2")]
    held, page, *others = sorted(decided.alerts, key=lambda a: (-a.severity.rank, a.detector))
    assert [a.severity for a in (held, page, *others)] == [Severity.HIGH, Severity.HIGH] + [Severity.MEDIUM] * 2
    assert "more than 2 blocks in a minute" in held.context["refused"]
    assert (page.detector, page.reason, page.mode, page.key) == ("gatewatch", "breaker", Mode.ALERT, "blocks")
    assert "3 blocks a minute over 60 s, expected 2" in page.summary
    soon = decider.apply(make_batch(1, 100.0, make_finding(100.0, key="203.0.113.2", n=1)), 1)
    assert not soon.decisions, "a minute is over, the flood is not"
    later = decider.apply(make_batch(2, 610.0, make_finding(610.0, key="203.0.113.2", n=2)), 2)
    assert [d.value for d in later.decisions] == ["203.0.113.2"]
    assert [("refused" in a.context) for a in later.alerts if a.key == "203.0.113.2"] == [False]
    quiet = decider.apply(make_batch(3, 5000.0), 3)
    assert ("gatewatch", Status.RESOLVED) in {(a.detector, a.status) for a in (*later.alerts, *quiet.alerts)}


@given(gaps=st.lists(st.floats(0, 400), min_size=1, max_size=60), limit=st.integers(1, 4))
def test_an_open_breaker_stays_open_until_a_pause_and_never_flaps(gaps: list[float], limit: int) -> None:
    """If this fails, a flood is stopped and let through in turn, and somebody is paged each time."""
    breaker, at, last_held = Breaker(limit), 0.0, float("-inf")
    for gap in gaps:
        at += gap
        held = breaker.holds(at)
        assert held or at >= last_held + HOLD_S, "let through in the middle of a flood"
        assert held == (at < last_held + HOLD_S or breaker.count(at) >= limit)
        if held:
            breaker.hold(at)
            last_held = at
        else:
            breaker.add(at)
    breaker.close()
    assert not breaker.holds(at), "a person's word lets blocks through again"


def test_a_flood_is_one_page_and_a_person_who_closes_it_lets_blocks_through(
    make_finding: Callable[..., Finding],
    make_batch: Callable[..., FindingBatch],
    make_decider: Callable[..., Decider],
) -> None:
    """If this fails, the person on call is paged each minute of a flood, or cannot let blocks through after a look."""
    decider = make_decider(guards={"blocks_per_minute": 2})
    pages: list[Alert] = []
    ordered: list[str] = []

    def flood(offset: int, start: float, step: float, keys: range) -> None:
        findings = [make_finding(start + step * n, key=f"203.0.113.{i}", n=i) for n, i in enumerate(keys)]
        decided = decider.apply(make_batch(offset, start + step * len(keys), *findings), offset)
        pages.extend(a for a in decided.alerts if a.detector == "gatewatch")
        ordered.extend(d.value for d in decided.decisions)

    flood(0, 0.0, 1.0, range(3))
    assert len(ordered) == 2
    flood(1, 100.0, 30.0, range(3, 60))  # no more than the limit allows, and yet the same flood
    assert len(ordered) == 2
    assert {(a.id, a.status) for a in pages} <= {(pages[0].id, Status.OPEN), (pages[0].id, Status.UPDATED)}
    said = Verdict(
        id="v", kind=VerdictKind.FALSE_ALARM, actor="ana", via="cli", reason="a new office", ts=NOW,
        severity=Severity.HIGH, alert_id=pages[0].id, detector="gatewatch", scope=pages[0].scope, key=pages[0].key,
    )  # fmt: skip
    decider.hear(said, 2)
    flood(2, 1900.0, 30.0, range(60, 62))
    assert len(ordered) == 4
    assert [a.status for a in pages].count(Status.RESOLVED) == 1
    flood(3, 1960.0, 1.0, range(62, 70))
    assert (pages[-1].status, pages[-1].id != pages[0].id) == (Status.OPEN, True), "another flood is another page"


@given(ADDRESSES, ADDRESSES, PREFIXES, PREFIXES)
def test_overlap_is_symmetric_and_holds_for_what_contains(a: str, b: str, m: int, n: int) -> None:
    """If this fails, whether an address is protected depends on which of two networks is asked."""
    x, y = parse_network(f"{a}/{m}"), parse_network(f"{b}/{n}")
    assert overlap(x, y) == overlap(y, x)
    assert overlap(x, parse_network(a))
    assert not overlap(x, None)


@pytest.mark.parametrize(
    ("healthy", "action", "stopped"),
    [(None, "block", True), ("4", "block", True), ("5", "block", False), ("5", "throttle", True), ("x", "block", True)],
)
def test_an_office_is_throttled_and_not_blocked(
    make_finding: Callable[..., Finding],
    make_batch: Callable[..., FindingBatch],
    make_decider: Callable[..., Decider],
    healthy: str | None,
    action: str,
    *,
    stopped: bool,
) -> None:
    """If this fails, one bad laptop behind an office's address takes the whole office off."""
    decider = make_decider(detectors={"door_knocker": {"block": {"action": action}}})
    context = {} if healthy is None else {"healthy_principals": healthy}
    decided = decider.apply(make_batch(0, 0.0, make_finding(0.0, context=context)), 0)
    assert bool(decided.decisions) is stopped
    if not stopped:
        (alert,) = decided.alerts
        assert alert.severity is Severity.HIGH
        assert "5 principals use it in good health" in alert.context["refused"]
