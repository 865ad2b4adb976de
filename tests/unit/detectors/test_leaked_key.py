"""leaked_key: whose keys it says are used by somebody else, whose it must not, and how soon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch import registry
from gatewatch.errors import StateError
from gatewatch.records import Opinion, Scope
from gatewatch.sdk import Context, Detector, RawFinding
from gatewatch.settings import DetectorSettings
from gatewatch.state.hashing import hash_text
from gatewatch.testing.batches import SEED, batch_of, batch_of_columns, cut
from gatewatch.testing.detector_runs import findings, lines_of

ENTRY = registry.load("leaked_key")
T = 1_770_000_000.0
HOUR_S, DAY_S = 3600.0, 86_400.0

Event = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """From where, and by what, a key is used."""

    ip: str = "198.51.100.7"
    asn: int | None = 64500
    country: str | None = "DE"
    agent: str | None = "httpx/1"
    model: str = "small"


OFFICE = Place()
ABROAD = Place("203.0.113.66", 65540, "BR", "curl/8")


def detector(*, partitions: int = 12, alarms_per_day: float = 1.0, **options: Any) -> Detector:
    """A fresh one."""
    return ENTRY.build(DetectorSettings.model_validate(options), Context(SEED, partitions, alarms_per_day))


def uses(place: Place, n: int, start: float, length_s: float, *, key: str | None = "k1", **more: Any) -> list[Event]:
    """``n`` uses of a key, evenly."""
    event: Event = {
        "credential": key, "ip": place.ip, "asn": place.asn, "country": place.country, "user_agent": place.agent,
        "model": place.model, "status": 200, "auth": "success", **more,
    }  # fmt: skip
    return [{**event, "ts": start + length_s * i / n} for i in range(n)]


def known(place: Place = OFFICE, *, days: int = 3, **more: Any) -> list[Event]:
    """Days of a key in order, up to T."""
    return uses(place, 96 * days, T - days * DAY_S, days * DAY_S, **more)


def in_order(*parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Events of all parts by time."""
    return sorted((e for part in parts for e in part), key=lambda e: e["ts"])


def found(d: Detector, *parts: Iterable[Mapping[str, Any]]) -> list[RawFinding]:
    """Findings, in order."""
    return [f for _, _, f in findings(d, batch_of(in_order(*parts)))]


def reasons(d: Detector, *parts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the reasons of all findings."""
    return {f.reason.name for f in found(d, *parts)}


def test_another_country_and_client_beside_the_owner() -> None:
    """A leaked key would be used abroad for days."""
    out = found(detector(), known(), uses(OFFICE, 40, T, HOUR_S), uses(ABROAD, 40, T + 30, HOUR_S))
    assert {f.key for f in out} == {"k1"}
    assert out[0].scope is Scope.CREDENTIAL
    assert out[-1].reason.name == "concurrent_use"


def test_a_service_that_moves_is_not_used_in_two_places() -> None:
    """A service that takes a new machine room and a new client on one day would be told of as stolen, severity high."""
    room = Place("203.0.113.66", 65540, "DE", "httpx/2")
    moved = uses(OFFICE, 60, T, 900.0), uses(room, 240, T, 4 * HOUR_S)
    assert reasons(detector(), known(), *moved) == {"new_place"}
    goes_on = uses(OFFICE, 240, T, 4 * HOUR_S), uses(room, 240, T + 20, 4 * HOUR_S)
    assert "concurrent_use" in reasons(detector(), known(), *goes_on)


def test_a_burst_from_there_is_named() -> None:
    """The thief who empties the account at night would look like one who tries the key once."""
    assert "new_place_burst" in reasons(detector(), known(), uses(ABROAD, 300, T, HOUR_S))


def test_the_owner_goes_on_unaccused() -> None:
    """Uses from the office would be reported while the key is used abroad too."""
    events = in_order(known(), uses(OFFICE, 40, T, HOUR_S), uses(ABROAD, 40, T + 30, HOUR_S))
    rows = [row for row, _, _ in findings(detector(), batch_of(events))]
    assert rows
    assert {events[row]["country"] for row in rows} == {"BR"}


def test_principals_stand_in_for_credentials() -> None:
    """A gateway that logs no credential would leave the detector without keys."""
    events = known(key=None, principal="ada"), uses(ABROAD, 300, T, HOUR_S, key=None, principal="ada")
    assert {(f.scope, f.key) for f in found(detector(), *events)} == {(Scope.PRINCIPAL, "ada")}
    both = known(principal="ada"), uses(ABROAD, 300, T, HOUR_S, principal="ada")
    assert {f.scope for f in found(detector(), *both)} == {Scope.CREDENTIAL}


def test_without_operator_and_country_networks_speak() -> None:
    """A gateway without an address database would be blind, though it logs addresses."""
    here, there = replace(OFFICE, asn=None, country=None), replace(ABROAD, asn=None, country=None)
    calm = [e for i in range(6) for e in known(here, days=10, key=f"k{i}")]
    assert reasons(detector(), calm, uses(here, 60, T, HOUR_S), uses(there, 60, T + 20, HOUR_S))


def test_a_trip_with_the_same_client_is_no_leak() -> None:
    """Whoever travels would be locked out on arrival."""
    abroad = replace(OFFICE, ip="203.0.113.8", asn=65541, country="ES")
    assert reasons(detector(), known(), uses(abroad, 60, T + HOUR_S, 5 * HOUR_S)) == set()


def test_a_vpn_turned_on_and_off_is_no_leak() -> None:
    """Each use of a VPN with its exit abroad would be an alert."""
    vpn = replace(OFFICE, ip="203.0.113.9", asn=65542, country="NL")
    parts = [uses(vpn if i % 2 else OFFICE, 10, T + 300 * i, 300) for i in range(8)]
    assert reasons(detector(), known(), *parts) == set()


def test_a_new_client_at_home_is_no_leak() -> None:
    """A new version of a client would be an alert for each key that takes it."""
    assert reasons(detector(), known(), uses(replace(OFFICE, agent="httpx/2"), 90, T, HOUR_S)) == set()


def test_a_release_does_not_speak_against_those_who_move() -> None:
    """On the day of a release everybody who works from elsewhere with it would be accused."""
    new = replace(OFFICE, agent="app/2")
    calm = [e for i in range(5) for e in known(key=f"k{i}")]
    taken = [e for i in range(1, 5) for e in uses(new, 20, T, HOUR_S, key=f"k{i}")]
    trip = uses(replace(new, ip="203.0.113.8", asn=65541, country="ES"), 30, T + 2 * HOUR_S, HOUR_S, key="k0")
    assert reasons(detector(), calm, trip) != set()
    assert reasons(detector(), calm, taken, trip) == set()


def test_a_key_that_moves_daily_may_move() -> None:
    """People on the move would be accused every day."""
    rng = np.random.default_rng(3)
    events: list[Event] = []
    for day in range(12):
        for visit in range(3):
            place = Place(f"203.0.{rng.integers(256)}.9", 64500 + int(rng.integers(3)), "DE", f"app/{day // 4}")
            events += uses(place, 8, T + day * DAY_S + visit * 4 * HOUR_S, 600)
    assert reasons(detector(), events) == set()


def test_a_place_of_the_past_is_known() -> None:
    """A second office would be new each time somebody works there."""
    second = replace(OFFICE, ip="203.0.113.8", asn=65541, country="FR")
    parts = [uses(second, 20, T + i * DAY_S, HOUR_S) for i in range(3)]
    d = detector()
    assert reasons(d, known(), *parts) == set()
    assert reasons(d, uses(replace(second, agent="curl/8"), 300, T + 4 * DAY_S, HOUR_S)) == set()


def test_what_was_told_of_teaches_nothing_until_a_day_has_passed() -> None:
    """A thief would be the owner after an hour, or an owner who moved would be a thief for ever."""
    d = detector()
    stay = uses(ABROAD, 2000, T, 40 * HOUR_S)
    at = [e["ts"] - T for e in stay]
    rows = [ts - T for _, ts, _ in findings(d, batch_of(in_order(known(), stay)))]
    assert rows[0] < HOUR_S
    assert 20 * HOUR_S < rows[-1] <= 24 * HOUR_S < at[-1]


def test_a_place_that_a_person_expects_is_known_and_only_that_one() -> None:
    """A service that moved would be accused all day; or its release would let a thief in from anywhere."""
    d, other = detector(), Place("192.0.2.80", 65541, "JP", "wget/1")
    assert found(d, known(), uses(ABROAD, 40, T, HOUR_S))
    d.release(Scope.CREDENTIAL, hash_text("k1", SEED), T + 7 * DAY_S)
    assert found(d, uses(ABROAD, 400, T + HOUR_S, 10 * HOUR_S)) == []
    beside = uses(OFFICE, 40, T + 12 * HOUR_S, HOUR_S)
    assert found(d, beside, uses(other, 300, T + 12 * HOUR_S + 30, HOUR_S))


def test_what_a_person_expected_until_yesterday_accepts_nothing() -> None:
    """A verdict that was read late, after its end, would make a thief's place the owner's."""
    d = detector()
    assert found(d, known(), uses(ABROAD, 40, T, HOUR_S))
    d.release(Scope.CREDENTIAL, hash_text("k1", SEED), T - DAY_S)
    assert found(d, uses(ABROAD, 400, T + HOUR_S, 10 * HOUR_S))


def test_a_thief_who_leaves_is_forgotten_and_new_again() -> None:
    """A thief who comes back after a week would be at home."""
    d = detector()
    first = found(d, known(), uses(ABROAD, 60, T, HOUR_S), uses(OFFICE, 400, T + 2 * HOUR_S, 7 * DAY_S))
    assert first
    assert found(d, uses(ABROAD, 60, T + 8 * DAY_S, HOUR_S))


def test_findings_are_few() -> None:
    """A key that is used abroad all day would fill the channel."""
    out = found(detector(), known(), uses(ABROAD, 5000, T, 12 * HOUR_S))
    assert len(out) < 12 * 12 + 30


def test_keys_are_not_judged_before_they_are_known() -> None:
    """A new key's second network would be an alert."""
    assert reasons(detector(), uses(OFFICE, 40, T, HOUR_S), uses(ABROAD, 300, T + HOUR_S, HOUR_S)) == set()


def test_failures_are_no_uses() -> None:
    """Whoever sends a key's id with a wrong secret would make it look leaked."""
    tries = uses(ABROAD, 300, T, HOUR_S, status=401, auth="failure")
    assert reasons(detector(), known(), tries) == set()


def test_a_use_that_policy_refuses_is_a_use() -> None:
    """A thief who starts with what the key may not do would go unseen."""
    tries = uses(ABROAD, 300, T, HOUR_S, status=403, auth=None, denied=True)
    assert reasons(detector(), known(), tries) != set()


def test_what_we_block_ourselves_does_not_count() -> None:
    """A block would keep its own alert alive for ever, and make the place known."""
    blocked = uses(ABROAD, 300, T, HOUR_S, status=403, denied=True, blocked_by_us=True)
    d = detector()
    assert reasons(d, known(), blocked) == set()
    assert reasons(d, uses(ABROAD, 300, T + 2 * HOUR_S, HOUR_S)) != set()


def test_a_backlog_is_neither_burst_nor_concurrent() -> None:
    """A night's log that arrives late would be a leak."""
    second = replace(OFFICE, ip="203.0.113.8", asn=65541, country="FR")
    calm = batch_of(in_order(known(), uses(OFFICE, 60, T, HOUR_S)))
    late = batch_of(uses(second, 300, T - 40 * HOUR_S, 20 * HOUR_S))
    d = detector()
    assert findings(d, calm) == []
    assert findings(d, late) == []


def test_explanations_say_what_was_new() -> None:
    """Whoever reads the alert would not learn whether place, client, rate or overlap made it."""
    d = detector()
    out = found(d, known(), uses(OFFICE, 40, T, HOUR_S), uses(replace(ABROAD, model="large"), 300, T + 5, HOUR_S))
    why = d.explain(out[-1])
    assert [part.name for part in why.contributions] == ["place", "agent", "model", "concurrent", "burst"]
    assert sum(part.nats for part in why.contributions) == pytest.approx(out[-1].nats, rel=1e-9)
    assert "country" in why.baseline
    assert why.counterfactual.startswith("would not have fired from a known place")


def test_the_counterfactual_is_true() -> None:
    """An alert would promise that it had not fired, and it would have."""
    d = detector()
    out = found(d, known(), uses(ABROAD, 300, T, HOUR_S))
    assert "with its usual user agent" in d.explain(out[0]).counterfactual
    usual = replace(ABROAD, agent=OFFICE.agent)
    assert reasons(detector(burst_ratio=1e6), known(), uses(usual, 300, T, HOUR_S)) == set()


def test_opinions() -> None:
    """A key that nobody can judge would be said to be quiet."""
    k1 = hash_text("k1", SEED)
    d = detector()
    d.process(batch_of([{"ts": T, "credential": "k1", "status": 200, "auth": "success"}]))
    assert d.opinion(Scope.CREDENTIAL, k1) is Opinion.BLIND
    d = detector()
    d.process(batch_of(uses(OFFICE, 40, T - 5 * DAY_S, HOUR_S)))
    assert d.opinion(Scope.CREDENTIAL, k1) is Opinion.WARMING
    d.process(batch_of(known()))
    assert d.opinion(Scope.CREDENTIAL, k1) is Opinion.QUIET
    d.process(batch_of(uses(ABROAD, 300, T, HOUR_S)))
    assert d.opinion(Scope.CREDENTIAL, k1) is Opinion.FINDING
    assert d.opinion(Scope.IP, k1) is Opinion.BLIND


def test_a_snapshot_of_another_size_is_refused() -> None:
    """State would be read into rows that are not there."""
    with pytest.raises(StateError):
        detector(keys_total=500_000).restore(detector().snapshot())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.floats(-4e5, 4e5)), max_size=80),
    st.integers(1, 25),
)
def test_any_cut_gives_the_same_findings(rows: list[tuple[int, int, int, float]], size: int) -> None:
    """Alerts would depend on how the traffic happened to be batched."""
    events: list[Event] = [
        {
            "ts": T + t, "credential": f"k{key}" if key else None, "principal": "p", "ip": f"203.0.{place}.9",
            "asn": 64500 + place // 2, "user_agent": f"a{agent}", "status": 200, "auth": "success",
        }
        for key, place, agent, t in rows
    ]  # fmt: skip
    if not events:
        return
    options: dict[str, Any] = {"known_events": 2, "known_s": 0, "min_nats": 0.1}
    whole = batch_of(events)
    small = list(cut(whole, size))
    assert lines_of(detector(**options), [whole]) == lines_of(detector(**options), small)


# --- simulated keys: what is promised in numbers ---------------------------------------------------------------------

_OFFICES, _MOBILES, _RUNNERS = 40, 15, 10
_DAYS = 28


@dataclass
class Site:
    """Columns of uses of numbered keys, and who is what."""

    columns: Sequence[np.ndarray[Any, Any]]  # ts, key, network, asn, country, agent

    def told(self, *, place: bool = True) -> list[tuple[float, int, int]]:
        """(time, key, network) of each finding of a fresh detector in the only partition of its site."""
        order = np.argsort(self.columns[0], kind="stable")
        ts, key, network, asn, country, agent = (c[order] for c in self.columns)
        columns: dict[str, Any] = {
            "ts": ts, "status": np.full(len(ts), 200), "auth": np.full(len(ts), 1),
            "k_credential": _hashes(key, 1), "k_network": _hashes(network, 2), "k_user_agent": _hashes(agent, 3),
        }  # fmt: skip
        if place:
            columns |= {"asn": asn, "k_country": _hashes(country, 4)}
        hits = detector(partitions=1, alarms_per_day=1 / 7).process(batch_of_columns(columns))
        rows = hits.row[: len(hits)]
        return list(zip(ts[rows].tolist(), key[rows].tolist(), network[rows].tolist(), strict=True))


def _hashes(values: np.ndarray[Any, Any], salt: int) -> np.ndarray[Any, Any]:
    mixed = (values.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29)) | np.uint64(1)


def ordinary_site(seed: int) -> Site:
    """Four weeks of offices (two networks), people on the move, and build runners on a cloud (hundreds of networks)."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[Any, ...]] = []
    for key in range(_OFFICES + _MOBILES + _RUNNERS):
        make = _office if key < _OFFICES else _mobile if key < _OFFICES + _MOBILES else _runner
        for ts, network, asn, country, agent in make(rng, key):
            n = len(ts)
            parts.append((ts + T, np.full(n, key), *(np.broadcast_to(v, n) for v in (network, asn, country, agent))))
    return Site([np.concatenate([part[j] for part in parts]) for j in range(6)])


def _office(rng: np.random.Generator, key: int) -> Iterable[tuple[Any, ...]]:
    agent = 0
    for day in range(_DAYS):
        agent += rng.random() < 1 / 45  # a new version of its client now and then
        ts = (day + (8 + 10 * rng.random(rng.poisson(150))) / 24) * DAY_S
        yield ts, 10 * key + (rng.random(len(ts)) < 0.1), key % 30, key % 5, 100 * (key % 7) + agent


def _mobile(rng: np.random.Generator, key: int) -> Iterable[tuple[Any, ...]]:
    for visit in range(_DAYS * 5):
        ts = visit / 5 * DAY_S + rng.random() * HOUR_S + np.cumsum(rng.exponential(35.0, 8))
        at_home = rng.random() < 0.4
        network = 10 * key if at_home else rng.integers(1 << 30)
        country = key % 5 if rng.random() > 0.005 else rng.integers(10, 40)
        yield ts, network, key % 30 if at_home else 40 + rng.integers(3), country, 1000 + key + 50 * (visit // 70)


def _runner(rng: np.random.Generator, key: int) -> Iterable[tuple[Any, ...]]:
    pool = rng.integers(1 << 30, size=400)
    for build in range(_DAYS * 15):
        ts = build / 15 * DAY_S + rng.random() * HOUR_S + np.cumsum(rng.exponential(3.0, 15))
        picked = int(rng.integers(400))
        yield ts, pool[picked], 60 + picked % 3, key % 5, 2000 + key + 50 * (build // 150)


def leaks(seed: int, *, per_hour: int, hours: float, country: int = 200) -> tuple[Site, dict[int, float]]:
    """Each office's key in a stranger's hands, while the office is open on the 21st day; and since when."""
    rng = np.random.default_rng(seed)
    n = int(per_hour * hours)
    since = {key: (21 + (9 + 6 * rng.random()) / 24) * DAY_S + T for key in range(_OFFICES)}
    ts = np.concatenate([since[key] + hours * HOUR_S * np.arange(n) / n for key in since])
    key = np.repeat(np.arange(_OFFICES), n)
    columns = [ts, key, (1 << 40) + key, np.full(len(ts), 500), np.full(len(ts), country), np.full(len(ts), 99_999)]
    return Site(columns), since


def both(one: Site, two: Site) -> Site:
    """The uses of both."""
    return Site([np.concatenate(pair) for pair in zip(one.columns, two.columns, strict=True)])


@pytest.mark.parametrize("place", [True, False])
def test_ordinary_keys_are_left_alone(place: bool) -> None:
    """Offices, mobile users and build runners would bring alerts every week: one in 1,000 key-days is the promise."""
    days = {(key, ts // DAY_S) for ts, key, _ in ordinary_site(1).told(place=place)}
    assert len(days) <= (_OFFICES + _MOBILES + _RUNNERS) * _DAYS / 1000


@pytest.mark.parametrize(("per_hour", "hours", "least", "within_s"), [(20, 2.0, 0.8, 1800.0), (300, 0.5, 0.95, 600.0)])
def test_leaked_office_keys_are_found(per_hour: int, hours: float, least: float, within_s: float) -> None:
    """A key used abroad by another client, at a trickle or in a burst, would be found days later, if ever."""
    site, since = leaks(2, per_hour=per_hour, hours=hours)
    first: dict[int, float] = {}
    for ts, key, network in both(ordinary_site(1), site).told():
        if network >= 1 << 40:
            first.setdefault(key, ts - since[key])
    assert len(first) >= least * _OFFICES
    assert float(np.median(list(first.values()))) <= within_s
