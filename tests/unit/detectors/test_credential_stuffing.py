"""credential_stuffing: whom it accuses, whom it must not, and how soon."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch import registry
from gatewatch.errors import ConfigError, StateError
from gatewatch.events.batch import AuthCode, Batch
from gatewatch.records import Opinion, Scope, Severity
from gatewatch.sdk import Context, Detector
from gatewatch.settings import DetectorSettings
from gatewatch.state.hashing import HashSeed, hash_text
from gatewatch.testing.batches import SEED, batch_of, batch_of_columns
from gatewatch.testing.detector_runs import findings

ENTRY = registry.load("credential_stuffing")
ROW = importlib.import_module("gatewatch.detectors.credential_stuffing.row")  # found along the search path
T = 1_770_000_000.0


def detector(*, partitions: int = 12, seed: HashSeed = SEED, **options: Any) -> Detector:
    """A fresh one."""
    return ENTRY.build(DetectorSettings.model_validate(options), Context(seed, partitions, alarms_per_day=1.0))


def tries(
    ip: str | None,
    accounts: Iterable[str | None],
    *,
    start: float = T,
    gap_s: float = 1.0,
    ok: bool = False,
    **more: Any,
) -> list[dict[str, Any]]:
    """One login an account, in turn."""
    auth = "success" if ok else "failure"
    return [
        {"ts": start + i * gap_s, "ip": ip, "account": account, "auth": auth, **more}
        for i, account in enumerate(accounts)
    ]


def told(d: Detector, events: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(scope, key, reason) of each finding."""
    return [(f.scope.value, f.key, f.reason.name) for _, _, f in findings(d, batch_of(list(events)))]


def keys(rng: np.random.Generator, n: int) -> npt.NDArray[np.uint64]:
    """Hashes of names nobody has used yet."""
    return rng.integers(1, 2**63, n).astype(np.uint64)


def first_contacts(
    rng: np.random.Generator, k_ip: npt.NDArray[np.uint64], success: float, ts: npt.NDArray[np.float64]
) -> Batch:
    """One try on a new account in each row."""
    n = len(k_ip)
    ok = rng.random(n) < success
    return batch_of_columns(
        {
            "ts": ts,
            "auth": np.where(ok, int(AuthCode.SUCCESS), int(AuthCode.FAILURE)),
            "k_ip": k_ip,
            "k_network": keys(rng, n),
            "k_account": keys(rng, n),
        }
    )


def contacts_until_flagged(success: float, *, sources: int, contacts: int, site: float) -> tuple[float, float]:
    """Share of sources flagged, and the median number of first contacts before it, at a site known for a day."""
    rng = np.random.default_rng(11)
    d = detector(partitions=1, networks=False, accounts=False)
    d.process(first_contacts(rng, keys(rng, 20_000), site, np.linspace(T, T + 86_390.0, 20_000)))
    ips = keys(rng, sources)
    batch = first_contacts(rng, np.tile(ips, contacts), success, np.full(sources * contacts, T + 86_395.0))
    hits = d.process(batch)
    rows = hits.row[: len(hits)]
    first: dict[int, int] = {}
    for row in rows.tolist():
        first.setdefault(row % sources, row // sources + 1)
    return len(first) / sources, float(np.median(list(first.values()))) if first else math.inf


@pytest.mark.parametrize("site", [0.8, 0.92])
def test_ordinary_sources_are_left_alone(site: float) -> None:
    """A source that succeeds like most would be accused: one in ten thousand is the promise."""
    share, _ = contacts_until_flagged(0.92, sources=30_000, contacts=20, site=site)
    assert share < 1e-4


@pytest.mark.parametrize("site", [0.8, 0.92])
def test_forgetful_sources_are_mostly_left_alone(site: float) -> None:
    """An office whose people mistype four first tries in ten would be blocked every day."""
    share, _ = contacts_until_flagged(0.6, sources=4_000, contacts=50, site=site)
    assert share < 0.05


def test_an_attacker_is_flagged_within_seven_accounts() -> None:
    """A list with one good pair in a hundred would be tried further than it need be."""
    share, median = contacts_until_flagged(0.01, sources=1_000, contacts=20, site=0.92)
    assert share == 1.0
    assert median <= 7


def test_own_successes_buy_nothing() -> None:
    """An attacker who logs in to an account of his own between tries would never be seen."""
    events = []
    for i in range(20):
        events += tries("203.0.113.5", ["mine"], start=T + 20 * i, ok=True)
        events += tries("203.0.113.5", [f"victim{i}"], start=T + 20 * i + 10)
    assert ("ip", "203.0.113.5", "stuffing") in told(detector(), events[:20])


def test_a_person_who_forgot_is_not_an_attacker() -> None:
    """Ten wrong passwords and then the right one would raise an alarm."""
    events = tries("198.51.100.4", ["ada"] * 10, gap_s=6.0) + tries("198.51.100.4", ["ada"], start=T + 60, ok=True)
    assert told(detector(), events) == []


def test_six_failures_faster_than_a_person_types_are_mentioned() -> None:
    """A script that tries six passwords and goes would leave no trace: the test of runs wants eleven."""
    assert told(detector(), tries("198.51.100.4", ["ada"] * 6)) == [("ip", "198.51.100.4", "failures_at_once")]
    reason = next(reason for reason in ENTRY.reasons if reason.name == "failures_at_once")
    assert reason.severity is Severity.LOW
    known = tries("198.51.100.4", ["ada"], start=T - 60, ok=True)
    assert told(detector(), known + tries("198.51.100.4", ["ada"] * 6)) == []
    assert told(detector(limits={"failures_at_once": 20}), tries("198.51.100.4", ["ada"] * 6)) == []


def test_people_behind_one_address_may_fail_at_once() -> None:
    """An office that comes to work at nine would be mentioned each morning."""
    mates = tries("198.51.100.4", ["ada", "bob", "cyd", "dan"], start=T - 3600, ok=True)
    late = tries("198.51.100.4", ["fay"] * 3 + ["gil"] * 4, gap_s=0.5)
    assert told(detector(), mates + late) == []
    assert told(detector(), late) == [("ip", "198.51.100.4", "failures_at_once")]


def test_repeats_are_no_first_contacts() -> None:
    """A client that retries four accounts for ever would look like one that tries many."""
    reasons = {reason for _, _, reason in told(detector(), tries("198.51.100.4", ["a", "b", "c", "d"] * 30))}
    assert reasons == {"failures_at_once", "cracking"}


def test_what_we_block_ourselves_does_not_count() -> None:
    """A block would keep its own alert alive for ever, by the refusals it causes."""
    events = tries("203.0.113.5", [f"a{i}" for i in range(50)], blocked_by_us=True)
    d = detector()
    assert told(d, events) == []
    assert d.opinion(Scope.IP, hash_text("203.0.113.5", SEED)) is not Opinion.QUIET


def test_a_backlog_is_not_a_burst() -> None:
    """A failure a day on a new account, delivered late and all at once, would look like a list being tried."""
    events = tries("198.51.100.4", [f"a{i}" for i in range(12)], gap_s=86_400.0)
    assert told(detector(), events) == []
    assert told(detector(), reversed(events)) == []


def test_a_late_attack_is_still_an_attack() -> None:
    """A backlog would hide a list tried an hour ago."""
    newer = tries("203.0.113.5", ["me"], start=T + 3600, ok=True)
    events = tries("203.0.113.5", [f"a{i}" for i in range(30)])
    assert ("ip", "203.0.113.5", "stuffing") in told(detector(), newer + events)


def test_failures_without_a_name_on_a_customers_address_are_a_broken_client() -> None:
    """A gateway that logs no names would have every customer with an expired key accused of cracking."""
    known = tries("198.51.100.4", ["ada"], ok=True)
    unnamed = tries("198.51.100.4", [None] * 80, start=T + 10)
    assert {r for _, _, r in told(detector(), known + unnamed)} == {"expired_key"}
    assert {r for _, _, r in told(detector(), unnamed)} == {"cracking"}


def test_one_credential_again_and_again_is_a_broken_client_and_many_are_a_list() -> None:
    """A service whose key expired would be blocked as an attacker, or a list of stolen keys let pass as broken."""
    one = [{"ts": T + i, "ip": "198.51.100.4", "credential": "key-1", "auth": "failure"} for i in range(80)]
    many = [{"ts": T + i, "ip": "203.0.113.5", "credential": f"key-{i}", "auth": "failure"} for i in range(20)]
    assert {r for _, _, r in told(detector(), one)} == {"expired_key"}
    assert {r for _, _, r in told(detector(), many)} == {"stuffing"}


def test_an_expired_key_is_mentioned_with_low_severity() -> None:
    """A person would be woken by a cron job."""
    events = tries("192.0.2.1", ["svc"] * 3, ok=True) + tries("192.0.2.1", ["svc"] * 2000, start=T + 10)
    found = findings(detector(), batch_of(events))
    assert {f.reason.severity.value for _, _, f in found} == {"low"}


def test_only_a_stranger_takes_an_attacked_account_over() -> None:
    """The owner's own login during an attack would page somebody, or the attacker's success would not."""
    known = tries("198.51.100.4", ["root"], ok=True)
    attack = [e for i in range(12) for e in tries(f"203.{i}.113.5", ["root"], start=T + 60 * (i + 1))]
    owner = tries("198.51.100.4", ["root"], start=T + 900, ok=True)
    stranger = tries("203.99.113.5", ["root"], start=T + 960, ok=True)
    reasons = [r for s, k, r in told(detector(), known + attack + owner) if (s, k) == ("account", "root")]
    assert set(reasons) == {"distributed_cracking"}
    reasons = [r for s, k, r in told(detector(), known + attack + owner + stranger) if (s, k) == ("account", "root")]
    assert reasons[-1] == "takeover"


def test_failures_above_the_limit_are_told_whatever_is_known() -> None:
    """A limit that somebody set would be moved by a good history."""
    users = [f"u{i}" for i in range(40)]
    known = tries("198.51.100.4", users, ok=True)
    events = known + tries("198.51.100.4", users * 10, start=T + 100, gap_s=0.05)
    assert told(detector(), events) == []
    limited = detector(limits={"failures_per_minute": 100})
    assert ("ip", "198.51.100.4", "too_many_failures") in told(limited, events)


def test_accounts_above_the_limit_are_told_whatever_is_known() -> None:
    """A new own account for each victim would get round every test."""
    events = []
    for i in range(60):
        events += tries("203.0.113.5", [f"mine{i}"], start=T + 4 * i, ok=True)
        events += tries("203.0.113.5", [f"victim{i}"], start=T + 4 * i + 2)
    assert told(detector(), events) == []
    limited = detector(limits={"distinct_accounts_per_10min": 30})
    assert ("ip", "203.0.113.5", "too_many_accounts") in told(limited, events)


def test_an_endless_attack_is_told_of_now_and_then() -> None:
    """An attack of a failure a second would bury everything else under 3,600 findings an hour."""
    found = told(detector(), tries("203.0.113.5", [f"a{i}" for i in range(3600)]))
    first_growth = math.log(3600 / 5, 1.5)
    assert 12 <= len(found) <= first_growth + 12 + 2


def test_one_address_speaks_for_itself_and_three_for_their_network() -> None:
    """Each attack from one address would also accuse its neighbours; or a rotating one would never be seen."""
    alone = tries("203.0.113.5", [f"a{i}" for i in range(60)])
    assert {scope for scope, _, _ in told(detector(), alone)} == {"ip"}
    spread = [e for i in range(60) for e in tries(f"203.0.113.{i % 20}", [f"a{i}"], start=T + i)]
    assert {scope for scope, _, _ in told(detector(), spread)} == {"network"}
    assert told(detector(networks=False), spread) == []


def test_a_site_under_attack_keeps_its_idea_of_normal() -> None:
    """Ten thousand attacking addresses would teach the site that failing is normal."""
    rng = np.random.default_rng(3)
    d = detector(partitions=1)
    d.process(first_contacts(rng, keys(rng, 5_000), 0.9, np.linspace(T, T + 3600, 5_000)))
    d.process(first_contacts(rng, np.repeat(keys(rng, 10_000), 5), 0.01, np.linspace(T + 3600, T + 7200, 50_000)))
    d.process(batch_of(tries("198.51.100.4", ["x"], start=T + 7300)))
    site = d.snapshot()["site"]
    assert site["theta0"].min() >= 0.7
    assert site["threshold"].max() <= 14.0


def test_pairs_are_remembered_and_then_forgotten() -> None:
    """A filter that fills up would take every new pair for an old one, and see no attack any more."""
    rng = np.random.default_rng(4)
    d = detector(pairs_total=12 * 1000, networks=False, accounts=False)
    d.process(first_contacts(rng, keys(rng, 100_000), 0.0, np.linspace(T, T + 86_400.0, 100_000)))
    stats = d.tables()["failed_pairs"]
    assert stats.evicted > 10  # generations dropped
    assert ("ip", "203.0.113.5", "stuffing") in told(
        d, tries("203.0.113.5", [f"a{i}" for i in range(30)], start=T + 86_500)
    )


def test_false_memories_of_pairs_are_rare() -> None:
    """First contacts would be taken for repeats: at full load that may happen to one in a hundred."""
    rng = np.random.default_rng(6)
    d = detector(partitions=1, pairs_total=100_000, networks=False, accounts=False)
    d.process(first_contacts(rng, keys(rng, 100_000), 0.0, np.full(100_000, T)))
    counted = d.snapshot()["ip/rows"]["bad_new"].sum()
    rows = d.tables()["ip"].rows
    assert rows > 60_000
    assert counted > 0.99 * rows


@given(st.integers(1, 400))
def test_runs_are_scored_by_their_probability(k: int) -> None:
    """Nats of a run would not be -ln of anything. Here it is the product over single failures."""
    product = sum(math.log((8.0 + 2.0 + i) / (2.0 + i)) for i in range(k))
    assert ROW.run_nats(float(k)) == pytest.approx(product, rel=1e-9)


def test_the_counterfactual_is_true() -> None:
    """The alert would promise that fewer failures had been fine, and they had not."""
    events = tries("203.0.113.5", [f"a{i}" for i in range(40)])
    d = detector()
    _, _, first = findings(d, batch_of(events))[0]
    accounts = int(first.detail["accounts"])
    assert "1 account fewer" in d.explain(first).counterfactual
    assert told(detector(), events[: accounts - 1]) == []
    assert told(detector(), events[:accounts]) != []
    run = tries("203.0.113.5", ["root"] * 40, gap_s=10.0)
    _, _, first = findings(d := detector(), batch_of(run))[0]
    assert "1 failure fewer" in d.explain(first).counterfactual
    assert told(detector(), run[: int(first.observed) - 1]) == []


def test_a_scope_that_nobody_watches_is_blind() -> None:
    """Switched off would look like normal."""
    d = detector(networks=False, accounts=False)
    d.process(batch_of(tries("203.0.113.5", ["a"])))
    assert d.opinion(Scope.NETWORK, hash_text("203.0.113.0/24", SEED)) is Opinion.BLIND
    assert d.opinion(Scope.ACCOUNT, hash_text("a", SEED)) is Opinion.BLIND
    assert d.opinion(Scope.IP, hash_text("203.0.113.5", SEED)) is Opinion.QUIET


def test_state_of_another_installation_is_refused() -> None:
    """Hashes under another seed would make every pair a new one, in silence."""
    saved = detector(seed=HashSeed.from_secret("other")).snapshot()
    with pytest.raises(StateError, match="hash seed"):
        detector().restore(saved)


def test_options_are_taken_from_the_new_owner_of_a_snapshot() -> None:
    """A limit changed in the config would not hold until the state is thrown away."""
    d = detector(limits={"failures_per_minute": 5})
    d.restore(detector().snapshot())
    assert ("ip", "192.0.2.1", "too_many_failures") in told(d, tries("192.0.2.1", ["a"] * 9, gap_s=0.1))


def test_a_wrong_option_is_named() -> None:
    """A typing error in the config would be ignored."""
    with pytest.raises(ConfigError, match="failure_per_minute"):
        detector(limits={"failure_per_minute": 5})


def openssh() -> list[dict[str, Any]]:
    """Login attempts of LogHub's OpenSSH sample."""
    path = Path(__file__).parents[3].parent / "shared" / "data" / "load.py"
    spec = importlib.util.spec_from_file_location("evaluation_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.sshd())


def test_real_brute_force_is_found_and_covered() -> None:
    """On the OpenSSH log an attacker would be missed, or the one real user accused."""
    events = openssh()
    batch = batch_of(events)
    d = detector()
    hits = d.process(batch)
    episodes: dict[str, list[tuple[float, float]]] = {}
    for i in range(len(hits)):
        if d.scopes[int(hits.scope[i])] is Scope.IP:
            row = int(hits.row[i])
            span = (float(hits.since[i]), float(batch.ts[row]) + 900.0)  # an episode is open for 15 min after a finding
            episodes.setdefault(batch.text("ip", row) or "", []).append(span)
    assert set(episodes) == {
        "183.62.140.253", "187.141.143.180", "103.99.0.122", "112.95.230.3", "5.188.10.180", "185.190.58.151",
    }  # fmt: skip
    for ip in ("183.62.140.253", "187.141.143.180"):
        times = [e["ts"] for e in events if e["ip"] == ip]
        covered = sum(any(a <= t <= b for a, b in episodes[ip]) for t in times)
        assert covered >= 0.95 * len(times)


def test_a_dead_token_guesses_no_password() -> None:
    """Where no log names a bad token, each client with one would be told of as a cracker of passwords."""
    path = {"path": "/v1/models"}
    open_to = [{**e, **path, "principal": "svc"} for e in tries("192.0.2.1", [None] * 3, ok=True)]
    dead = [{**e, **path} for e in tries("198.51.100.4", [None] * 80, start=T + 10)]
    assert {r for _, _, r in told(detector(), open_to + dead)} == {"expired_key"}
    assert {r for _, _, r in told(detector(), dead)} == {"cracking"}  # nobody knows what opens this door
    login = [{**e, **path, "status": 200, "auth": None} for e in tries("192.0.2.2", [None], start=T + 5)]
    assert {r for _, _, r in told(detector(), [*open_to, *login, *dead])} == {"cracking"}  # some get in without a token


def test_many_paths_without_a_name_are_no_run() -> None:
    """A walk over paths would be told of as a run of guesses on one account."""
    walk = [{**e, "path": f"/p{i}"} for i, e in enumerate(tries("198.51.100.4", [None] * 300))]
    assert told(detector(), walk) == []


def test_the_first_of_a_fleet_stands_for_it() -> None:
    """Tokens that end together would be an alert for each device; another owner's dead key would not be told of."""

    def dies(ip: str, agent: str) -> list[dict[str, Any]]:
        known = [{**e, "user_agent": agent} for e in tries(ip, [ip], ok=True)]
        return known + [{**e, "user_agent": agent} for e in tries(ip, [ip] * 80, start=T + 10)]

    fleet = [e for i in range(20) for e in dies(f"198.51.{i}.4", "meter/3")]
    events = sorted([*fleet, *dies("203.0.113.4", "svc/1")], key=lambda e: e["ts"])
    assert {(key, r) for _, key, r in told(detector(), events)} == {
        ("198.51.0.4", "expired_key"),
        ("203.0.113.4", "expired_key"),
    }
