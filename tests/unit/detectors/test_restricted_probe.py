"""restricted_probe: whom it accuses, whom it must not, and how soon."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch import registry
from gatewatch.errors import ConfigError, StateError
from gatewatch.events.batch import Batch
from gatewatch.records import Opinion, Scope
from gatewatch.sdk import Context, Detector, RawFinding, templates_of
from gatewatch.settings import DetectorSettings
from gatewatch.state.hashing import HashSeed, hash_text
from gatewatch.testing.batches import SEED, batch_of, batch_of_columns, cut
from gatewatch.testing.detector_runs import findings, lines_of

ENTRY = registry.load("restricted_probe")
T = 1_770_000_000.0
DAY_S = 86_400.0
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

Event = dict[str, Any]


def detector(*, partitions: int = 12, seed: HashSeed = SEED, **options: Any) -> Detector:
    """A fresh one."""
    return ENTRY.build(DetectorSettings.model_validate(options), Context(seed, partitions, alarms_per_day=1.0))


def asks(who: str | None, names: Iterable[str], *, start: float = T, gap_s: float = 1.0, **more: Any) -> list[Event]:
    """One request a name, in turn; served unless ``more`` says otherwise."""
    event: Event = {"principal": who, "status": 200, **more}
    return [{**event, "ts": start + i * gap_s, "endpoint": name} for i, name in enumerate(names)]


def refused(who: str | None, names: Iterable[str], **more: Any) -> list[Event]:
    """The same, refused."""
    return asks(who, names, **{"status": 403, **more})


def routes(n: int, prefix: str = "r") -> list[str]:
    """Names of routes."""
    return [f"/{prefix}{i}" for i in range(n)]


def found(d: Detector, events: Iterable[Mapping[str, Any]]) -> list[RawFinding]:
    """Findings, in order."""
    return [f for _, _, f in findings(d, batch_of(list(events)))]


def told(d: Detector, events: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(scope, key, reason) of each finding."""
    return [(f.scope.value, f.key, f.reason.name) for f in found(d, events)]


def first_row(d: Detector, events: list[Event]) -> int:
    """Row of the first finding."""
    return findings(d, batch_of(events))[0][0]


SERVED = asks("bot", ["/chat"], start=T - 60)  # the bot is a customer: never_served does not speak


def test_five_refusals_are_a_probe() -> None:
    """A key that walks through the administration routes would be seen late, or a typo would be called a probe."""
    assert told(detector(), SERVED + refused("bot", routes(4))) == []
    assert told(detector(), SERVED + refused("bot", routes(5))) == [("principal", "bot", "probe")]


def test_models_and_features_are_resources() -> None:
    """A walk through models, or through features of one route, would look like one refusal, repeated."""
    events = [{**SERVED[0], "ts": T + i, "status": 403, "model": f"m{i}"} for i in range(5)]
    assert told(detector(), SERVED + events) == [("principal", "bot", "probe")]
    events = [{**SERVED[0], "ts": T + i, "status": 403, "features": [f"f{i}", "tools"]} for i in range(5)]
    assert told(detector(), SERVED + events) == [("principal", "bot", "probe")]


def test_order_of_features_does_not_matter() -> None:
    """A client that lists what it asks for in any order would look like one that tries many things."""
    orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"], ["b", "c", "a"], ["a", "c", "b"], ["c", "a", "b"]]
    events = [{**SERVED[0], "ts": T + i, "status": 403, "features": order} for i, order in enumerate(orders)]
    assert told(detector(), SERVED + events) == []


def test_repeats_count_for_nothing() -> None:
    """A service with an old configuration that retries for ever would be accused of probing."""
    assert told(detector(), SERVED + refused("bot", routes(4) * 50)) == []


def test_what_was_served_before_is_no_probe() -> None:
    """Whoever loses a permission would be accused for asking as before."""
    names = routes(8)
    assert told(detector(), asks("bot", names, start=T - 100) + refused("bot", names)) == []


def test_new_resources_that_are_served_take_away() -> None:
    """A newcomer who explores what is open to everybody, and meets a closed door now and then, would be accused."""
    events: list[Event] = []
    for i in range(4):
        events += asks("bot", routes(6, f"open{i}-"), start=T + 100 * i) + refused(
            "bot", [f"/x{i}"], start=T + 100 * i + 50
        )
    assert told(detector(), events) == []


def test_good_calls_between_buy_nothing() -> None:
    """A prober who keeps calling what it may use would stay below the threshold for ever."""
    events: list[Event] = []
    for i in range(5):
        events += asks("bot", ["/chat"] * 20, start=T + 100 * i) + refused("bot", [f"/x{i}"], start=T + 100 * i + 50)
    assert ("principal", "bot", "probe") in told(detector(), events)


def test_one_a_day_is_seen_within_a_week() -> None:
    """Who is patient would never be seen."""
    events = refused("bot", routes(9), gap_s=DAY_S)
    rows = [row for row, _, f in findings(detector(), batch_of(SERVED + events)) if f.reason.name == "probe"]
    assert rows
    assert rows[0] <= 7


def test_five_an_hour_are_too_many_whatever_was_served() -> None:
    """A crawler with a key could hide refusals among new pages that are served."""
    events: list[Event] = []
    for i in range(5):
        events += asks("bot", routes(9, f"open{i}-"), start=T + 100 * i) + refused(
            "bot", [f"/x{i}"], start=T + 100 * i + 50
        )
    d = detector()
    out = found(d, events)
    assert [(f.key, f.reason.name) for f in out] == [("bot", "many_refusals")]
    assert d.explain(out[0]).counterfactual == "would not have fired below 5 resources in an hour"


def test_twelve_a_week_are_too_many_whatever_was_served() -> None:
    """The same, at two a day, would go unseen for ever."""
    events: list[Event] = []
    for i in range(12):
        events += asks("bot", routes(9, f"open{i}-"), start=T + 12 * 3600 * i)
        events += refused("bot", [f"/x{i}"], start=T + 12 * 3600 * i + 50)
    d = detector()
    out = found(d, events)
    assert [(f.key, f.reason.name, f.observed) for f in out] == [("bot", "many_refusals", 12.0)]
    assert d.explain(out[0]).counterfactual == "would not have fired below 12 resources in 7 days"


def test_names_that_do_not_exist_count_half() -> None:
    """A wordlist would go unseen, or five dead links would be an attack."""
    missing = asks(None, routes(9), ip="203.0.113.9", status=404)
    assert told(detector(), missing[:8]) == []
    assert told(detector(), missing) == [("ip", "203.0.113.9", "enumeration")]
    assert told(detector(missing_weight=0), missing) == []


@pytest.mark.parametrize("status", [404, 405, 410, 422, 444])
def test_whatever_says_that_nothing_is_there_counts(status: int) -> None:
    """A scanner whom NGINX drops without an answer (444), or who asks for what is gone, would not be seen."""
    asked = asks(None, routes(9), ip="203.0.113.9", status=status)
    assert told(detector(), asked) == [("ip", "203.0.113.9", "enumeration")]


def by_path(who: str, paths: Iterable[str], status: int, **more: Any) -> list[Event]:
    """As :func:`asks`, where the gateway logs no routes."""
    return [{**event, "path": event["endpoint"], "endpoint": None} for event in asks(who, paths, status=status, **more)]


def test_old_ids_count_less_than_names() -> None:
    """A removed route, or a list of deleted records, would accuse each client that has ids of it."""
    old = [f"/v1/orders/{n}" for n in range(4000, 4060)]
    assert told(detector(), by_path("ci", old[:25], 404)) == []
    (who, *_rest) = told(detector(), by_path("ci", old, 404))  # but whoever counts through them is told of in the end
    assert who == ("principal", "ci", "enumeration")


def test_ids_that_are_refused_count_in_full() -> None:
    """Who counts through the records of others would be found after thirty of them, not after five."""
    assert told(detector(), by_path("ci", [f"/v1/orders/{n}" for n in range(5)], 403)) == [("principal", "ci", "probe")]


def test_who_looks_and_then_creates_is_no_scanner() -> None:
    """A client that asks whether a name is free before it takes it would be accused after nine names."""
    names = [
        f"/models/{word}"
        for word in ["ada", "bob", "eve", "dan", "fay", "gil", "hal", "ian", "jan", "kim", "lea", "mia"]
    ]
    looked, made = by_path("ci", names, 404, gap_s=10.0), by_path("ci", names, 201, gap_s=10.0, start=T + 1)
    assert told(detector(), sorted(looked + made, key=lambda e: e["ts"])) == []
    assert told(detector(), looked) != []


def test_paths_without_ids() -> None:
    """Two records of one kind would be two names, or two names one record."""
    paths = ["/v1/orders/4711", "/v1/orders/4712", "/x/3fae09b2-77aa", "/x/0123456789abcdefXYZw", "/backup", None]
    batch = batch_of([{"ts": T, "path": path} for path in paths])
    distinct, codes = templates_of(batch, np.arange(len(paths)))
    assert [distinct[code] for code in codes] == ["/v*/orders/*", "/v*/orders/*", "/x/*", "/x/*", "/backup", None]


def test_restricted_names_weigh_more() -> None:
    """What matters most would need as many tries as anything else."""
    options: dict[str, Any] = {"restricted": {"/admin/keys": 10, "/v1/files": 3, "/v1/tunes": 3}}
    assert first_row(detector(**options), SERVED + refused("bot", ["/admin/keys"])) == 1
    assert told(detector(**options), SERVED + refused("bot", ["/v1/files"])) == []
    assert first_row(detector(**options), SERVED + refused("bot", ["/v1/files", "/v1/tunes"])) == 2


def test_a_model_or_a_feature_may_be_restricted() -> None:
    """Only routes could be put on the list."""
    d = detector(restricted={"gpt-secret": 10, "logprobs": 10})
    model = {**SERVED[0], "ts": T, "status": 403, "model": "gpt-secret"}
    feature = {**SERVED[0], "ts": T, "status": 403, "principal": "other", "features": ["tools", "logprobs"]}
    assert [key for _, key, _ in told(d, [*SERVED, model, feature])] == ["bot", "other"]


def test_a_fifth_of_the_list_is_a_walk_through_it() -> None:
    """A prober who is served between could walk through the whole list, one name an hour."""
    names = routes(15, "secret")
    events: list[Event] = []
    for i, name in enumerate(names[:4]):
        events += refused("bot", [name], start=T + 7200 * i)
        events += asks("bot", routes(8, f"open{i}-"), start=T + 7200 * i + 60)
    out = told(detector(restricted=dict.fromkeys(names, 1.0)), SERVED + events)
    assert set(out) == {("principal", "bot", "coverage")}


@pytest.mark.parametrize("status", [200, 403, 404])
def test_one_touch_of_a_canary_is_enough(status: int) -> None:
    """Who uses what nobody was told of would go unseen because it was served."""
    out = found(detector(canaries=["gpt-internal"]), [{**SERVED[0], "status": status, "model": "gpt-internal"}])
    assert [(f.scope, f.reason.name) for f in out] == [(Scope.PRINCIPAL, "canary")]
    assert out[0].nats == pytest.approx(27.63, abs=0.01)


def test_a_canary_is_told_of_once_in_five_minutes() -> None:
    """A loop over a canary would flood whoever reads the alerts."""
    events = asks("bot", ["/canary"] * 600)
    assert len(told(detector(canaries=["/canary"]), events)) == 2


def test_a_permission_change_accuses_nobody() -> None:
    """A release that calls what is not allowed yet would bring an alert for each of its customers."""
    people = [f"p{i}" for i in range(10)]
    events = [e for who in people for e in asks(who, ["/chat"], start=T - 60)]
    for j, name in enumerate(routes(8)):
        events += [e for i, who in enumerate(people) for e in refused(who, [name], start=T + 60 * j + i)]
    assert told(detector(), events) == []


def test_a_permission_change_hides_no_restricted_name() -> None:
    """A thief with a bundle of keys could walk through the list in step with himself."""
    people = [f"p{i}" for i in range(6)]
    names = routes(8)
    events = [e for who in people for e in asks(who, ["/chat"], start=T - 60)]
    for j, name in enumerate(names):
        events += [e for i, who in enumerate(people) for e in refused(who, [name], start=T + 60 * j + i)]
    out = told(detector(restricted=dict.fromkeys(names, 1.0), coverage=1.0), events)
    assert {key for _, key, _ in out} == set(people)


def test_strangers_have_no_voice() -> None:
    """A crowd of scanners that try the same names would excuse each other."""
    events: list[Event] = []
    for j, name in enumerate(routes(12)):
        events += [e for i in range(8) for e in asks(None, [name], start=T + j, ip=f"203.0.113.{i}", status=404)]
    assert len({key for _, key, _ in told(detector(), events)}) == 8


def test_a_role_that_was_never_served_is_mentioned() -> None:
    """A stolen role without a right would hammer one resource unseen: the log does not say that it tries many."""
    out = found(detector(), refused("role", ["/secret"] * 40))
    assert {f.reason.name for f in out} == {"never_served"}
    assert out[0].reason.severity.value == "low"
    assert len(out) < 8
    assert told(detector(never_served=None), refused("role", ["/secret"] * 40)) == []


def test_what_we_block_ourselves_does_not_count() -> None:
    """A block would keep its own alert alive for ever, by the refusals it causes."""
    assert told(detector(), SERVED + refused("bot", routes(30), blocked_by_us=True)) == []


def test_a_backlog_is_not_a_burst() -> None:
    """Refusals of three months that arrive late and all at once would look like a probe."""
    events = refused("bot", routes(12), start=T - 90 * DAY_S, gap_s=8 * DAY_S)
    assert told(detector(), SERVED + events) == []


def test_an_expired_key_is_no_probe() -> None:
    """A named caller whose key ran out would be accused of probing what it always used."""
    names = routes(10)
    assert told(detector(), asks("bot", names, start=T - 100) + refused("bot", names * 20, status=401)) == []


@pytest.mark.parametrize("status", [429, 499, 500, 503, 0, None])
def test_outages_teach_nothing(status: int | None) -> None:
    """An outage would be taken for a probe, or for good behaviour."""
    d = detector()
    assert told(d, SERVED + asks("bot", routes(40), status=status)) == []
    assert told(d, refused("bot", routes(5), start=T + 100)) == [("principal", "bot", "probe")]


def test_a_month_is_forgotten() -> None:
    """Refusals of a month ago would count with one of today."""
    d = detector()
    assert told(d, SERVED + refused("bot", routes(4), start=T)) == []
    assert told(d, refused("bot", ["/x"], start=T + 30 * DAY_S)) == []


def test_after_a_pause_it_takes_news() -> None:
    """One more dead link, hours after a probe was told of, would raise the alarm again."""
    d = detector()
    assert told(d, SERVED + refused("bot", routes(20)))
    assert told(d, refused("bot", ["/one-more"], start=T + 3 * 3600)) == []
    assert told(d, refused("bot", routes(4, "again"), start=T + 4 * 3600))


def test_explanations_say_what_counted() -> None:
    """Whoever reads the alert would not learn what was refused, what was served, and how close it was."""
    events = (
        refused("bot", routes(4)) + asks("bot", ["/new"], start=T + 10) + refused("bot", routes(2, "x"), start=T + 20)
    )
    d = detector(refused_per_hour=100)
    finding = found(d, SERVED + events)[0]
    why = d.explain(finding)
    assert {part.name for part in why.contributions} == {"refused", "served"}
    assert sum(part.nats for part in why.contributions) == pytest.approx(finding.nats, rel=1e-9)
    assert why.counterfactual == "would not have fired with 1 resource fewer"


def test_the_counterfactual_is_true() -> None:
    """An alert would promise that it had not fired, and it would have."""
    events = SERVED + refused("bot", routes(5))
    d = detector()
    why = d.explain(found(d, events)[0])
    fewer = re.search(r"with (\d+) resource", why.counterfactual)
    assert fewer is not None
    assert told(detector(), SERVED + refused("bot", routes(5 - int(fewer[1])))) == []


def test_blind_without_outcomes() -> None:
    """A gateway that logs no status would be said to be quiet."""
    d = detector()
    d.process(batch_of([{"ts": T, "principal": "bot", "endpoint": "/x"}]))
    assert d.opinion(Scope.PRINCIPAL, hash_text("bot", SEED)) is Opinion.BLIND
    d.process(batch_of(SERVED))
    assert d.opinion(Scope.PRINCIPAL, hash_text("bot", SEED)) is Opinion.QUIET
    assert d.opinion(Scope.IP, hash_text("203.0.113.9", SEED)) is Opinion.BLIND


@pytest.mark.parametrize(
    "options",
    [
        {"theta0": 0.6, "theta1": 0.7},
        {"restricted": {"/x": 0}},
        {"restricted": {"": 1}},
        {"canaries": [""]},
        {"restricted": {f"/{i}": 1 for i in range(257)}},
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any]) -> None:
    """A typo in the settings would switch the detector off in silence."""
    with pytest.raises(ConfigError, match="restricted_probe"):
        detector(**options)


def test_a_snapshot_of_another_size_is_refused() -> None:
    """State would be read into rows that are not there."""
    with pytest.raises(StateError, match="restricted_probe"):
        detector(pairs_total=4_000_000).restore(detector().snapshot())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 9),
            st.sampled_from([200, 403, 404, 500]),
            st.floats(-9e4, 9e4),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_any_cut_gives_the_same_findings(rows: list[tuple[int, int, int, float, bool]], size: int) -> None:
    """Alerts would depend on how the traffic happened to be batched."""
    events: list[Event] = [
        {
            "ts": T + t, "principal": f"p{who}", "ip": f"203.0.113.{who % 2}", "status": status, "endpoint": f"/{name}",
            "features": ["secret" if name == 3 else "tools"] if listed else None,
        }
        for who, name, status, t, listed in rows
    ]  # fmt: skip
    if not events:
        return
    options: dict[str, Any] = {"restricted": {"/1": 3, "/2": 10, "secret": 3}, "canaries": ["/9"]}
    whole = batch_of(events)
    small = list(cut(whole, size))
    assert lines_of(detector(**options), [whole]) == lines_of(detector(**options), small)


@pytest.mark.parametrize(("share", "most"), [(0.03, 2e-4), (0.1, 0.03)])
def test_callers_in_order_are_left_alone(share: float, most: float) -> None:
    """Callers who are refused 3 % of what they try would be accused: alpha a first contact is the promise."""
    rng = np.random.default_rng(4)
    callers, contacts = 10_000, 20
    n = callers * contacts
    batch = batch_of_columns(
        {
            "ts": np.sort(rng.random(n)) * 7 * DAY_S + T,
            "k_ip": np.tile(rng.integers(1, 2**63, callers).astype(np.uint64), contacts),
            "k_endpoint": rng.integers(1, 2**63, n).astype(np.uint64),
            "status": np.where(rng.random(n) < share, 403, 200),
        }
    )
    hits = detector(partitions=1, decay_days=7).process(batch)
    accused = len(set(batch.column("k_ip")[hits.row[: len(hits)]].tolist()))
    assert accused / callers <= most


def web_log(name: str) -> Iterator[Event]:
    """Requests of an Apache combined log of the shared data."""
    line_of = re.compile(r'"?(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) ([^"\s?]*)[^"]*" (\d+)')
    with gzip.open(DATA / f"{name}.log.gz", "rt", encoding="utf-8", errors="replace") as lines:
        for m in filter(None, map(line_of.match, lines)):
            ts = datetime.strptime(m[2], "%d/%b/%Y:%H:%M:%S %z").timestamp()
            yield {"ts": ts, "ip": m[1], "method": m[3], "path": m[4], "status": int(m[5])}


def test_a_real_scanner_is_seen() -> None:
    """A web scanner's log (newest first, so time runs backwards) would bring no alert."""
    rows = findings(detector(partitions=1), batch_of(list(web_log("scan_acunetix"))))
    assert {(f.key, f.reason.name) for _, _, f in rows} == {("192.168.4.25", "enumeration")}
    assert rows[0][0] < 0.1 * 6366


def test_real_visitors_and_crawlers_are_left_alone() -> None:
    """An ordinary site's visitors, crawlers with old links among them, would bring alerts."""
    assert told(detector(partitions=1), web_log("web_benign_first5000")) == []


def test_real_probing_in_a_cloud_is_seen_within_five_refusals() -> None:
    """A stolen role that is refused again and again (Stratus Red Team in AWS) would go unseen."""
    with gzip.open(DATA / "stratus_cloudtrail.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    events = [
        {
            "ts": r["ts"], "principal": r["principal"], "endpoint": r["endpoint"],
            "status": 403 if r["auth"] == "denied" else 200,
        }
        for r in rows
    ]  # fmt: skip
    out = findings(detector(partitions=1), batch_of(events))
    refusals: dict[str, list[int]] = {}
    for i, event in enumerate(events):
        if event["status"] == 403:
            refusals.setdefault(event["principal"], []).append(i)
    first: dict[str, int] = {}
    for row, _, f in out:
        first.setdefault(f.key, row)
    probing = {who for who, at in refusals.items() if len(at) >= 5}
    assert set(first) == probing
    assert len(probing) == 2
    assert all(refusals[who].index(first[who]) < 5 for who in probing)


def test_a_flood_of_keys_leaves_probing_customers_seen() -> None:
    """Whoever sprays keys could probe unseen behind them."""
    d = detector()
    d.process(batch_of(asks("bot", routes(3), start=T - 60) + refused("bot", routes(3, "x"))))
    d.process(flood(60_000))
    assert ("principal", "bot", "probe") in told(d, refused("bot", routes(3, "y"), start=T + 120))


def flood(n: int) -> Batch:
    """Refused strangers, one row each."""
    rng = np.random.default_rng(8)
    return batch_of_columns(
        {
            "ts": np.sort(rng.random(n)) * 60.0 + T + 30,
            "k_principal": rng.integers(1, 2**63, n).astype(np.uint64),
            "k_ip": rng.integers(1, 2**63, n).astype(np.uint64),
            "k_endpoint": rng.integers(1, 2**63, n).astype(np.uint64),
            "status": np.full(n, 403),
        }
    )


def test_a_walk_without_a_key_is_told_of() -> None:
    """A scanner whose every request is answered with 401 would be told of as a guesser of passwords, or not at all."""
    walk = refused(None, routes(12), status=401, ip="203.0.113.9", gap_s=4.0)
    assert told(detector(), walk) == [("ip", "203.0.113.9", "without_credentials")]
    assert told(detector(), [{**e, "account": f"a{i}"} for i, e in enumerate(walk)]) == []  # failed logins
    assert told(detector(), walk * 3)  # though it comes back to what it tried


def test_a_dead_token_is_no_walk() -> None:
    """A device that lost its token, or a page whose session is over, would be told of as a scanner."""
    again = refused(None, routes(8) * 30, status=401, ip="203.0.113.9", gap_s=9.0)
    assert told(detector(), again) == []
    page = refused(None, routes(26), status=401, ip="203.0.113.9", gap_s=0.1)
    assert told(detector(), page) == []
    late = refused(None, routes(26), status=401, ip="203.0.113.9", gap_s=3.0)
    assert told(detector(), asks("other", routes(26), ip="198.51.100.7", start=T - 100) + late) == []
    assert set(told(detector(), late)) == {("ip", "203.0.113.9", "without_credentials")}


def test_a_canary_needs_no_credentials() -> None:
    """Whoever knows the canary's name has read it somewhere, with a key or without."""
    asked = refused(None, ["/v1/honey"], status=401, ip="203.0.113.9")
    assert told(detector(canaries=["/v1/honey"]), asked) == [("ip", "203.0.113.9", "canary")]


def test_a_redirect_to_the_login_is_not_served() -> None:
    """A site that sends strangers to its login would take a scanner for somebody who gets what he asks for."""

    def site(status: int) -> list[Event]:
        """Each name that is not there lies between two pages that everybody is sent away from, or served."""
        answers = [(name, 404 if i % 3 == 1 else status) for i, name in enumerate(routes(36))]
        return [asks(None, [name], start=T + i, status=s, ip="203.0.113.9")[0] for i, (name, s) in enumerate(answers)]

    assert told(detector(), site(302))
    assert told(detector(), site(200)) == []


def test_a_scan_spread_over_a_network_is_told_of() -> None:
    """A scanner with a /24 would try a few names from each address, and no address would be conspicuous."""
    spread = [
        e for i in range(6) for e in asks(None, routes(4, f"n{i}-"), start=T + 60 * i, ip=f"203.0.113.{i}", status=404)
    ]
    assert set(told(detector(), spread)) == {("network", "203.0.113.0/24", "enumeration")}
    assert (
        told(detector(), [{**e, "ip": "203.0.113.5" if i % 2 else "203.0.113.6"} for i, e in enumerate(spread)][:15])
        == []
    )
    assert told(detector(), [{**e, "endpoint": "/icon"} for e in spread]) == []  # one page that is gone


def test_those_who_are_served_speak_for_their_network() -> None:
    """A town behind one network would be accused of the dead links that its people follow in a day."""
    dead = [asks(None, [f"/d{i}"], start=T + 60 * i, ip=f"203.0.113.{i}", status=404) for i in range(20)]
    good = [asks(None, routes(3), start=T + 60 * i + 9, ip=f"203.0.113.{i}") for i in range(20)]
    assert told(detector(), [e for pair in zip(dead, good, strict=True) for part in pair for e in part]) == []
