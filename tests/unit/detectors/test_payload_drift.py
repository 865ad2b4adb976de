"""payload_drift: whom it accuses, whom it must not, and what it learns from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gatewatch import registry
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch, Role
from gatewatch.events.kinds import kinds_of
from gatewatch.events.rollup import Kind, Rollup
from gatewatch.records import Opinion, Scope
from gatewatch.sdk import Context, Detector, PopulationDetector, RawFinding
from gatewatch.settings import DetectorSettings
from gatewatch.state.hashing import hash_text
from gatewatch.testing.batches import SEED, batch_of, cut
from gatewatch.testing.detector_runs import bytes_of, findings, lines_of
from gatewatch.testing.populations import START, Line, rollup_of, told

ENTRY = registry.load("payload_drift")
T = 1_770_000_000.0
DAY_S = 86_400.0
FIELDS = [":obj", "messages:arr", "messages[].content:str", "messages[].role:str", "messages[]:obj", "model:str"]

Event = dict[str, Any]


def detector(**options: Any) -> Detector:
    """A fresh one; what it learned may alert at once."""
    chosen = DetectorSettings.model_validate({"warm_hours": 0, **options})
    return ENTRY.build(chosen, Context(SEED, partitions=12, alarms_per_day=1.0))


def body(
    name: str = "chat", fields: Sequence[str] = tuple(FIELDS), size: float = 1000.0, text: str = "Hello, you."
) -> Event:
    """A shape."""
    return {
        "hash": name,
        "fields": list(fields),
        "depth": 3,
        "keys": 6,
        "body_size": int(size),
        "kinds": kinds_of([text]),
    }


def event(ts: float, who: str, shape: Event, **more: Any) -> Event:
    """A request of a principal, served."""
    return {"ts": ts, "principal": who, "endpoint": "/chat", "status": 200, "shape": shape, **more}


def usual(n: int = 900, *, callers: int = 3, seed: int = 1, anonymous: bool = False) -> list[Event]:
    """Calm traffic: each caller with two structures of the same client, sizes within a factor of three or so."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        tools = rng.random() < 0.2
        shape = body("tools" if tools else "chat", [*FIELDS, "tools:arr"] if tools else FIELDS, rng.lognormal(7.0, 0.5))
        who = {"principal": None, "ip": f"198.51.100.{i % callers}"} if anonymous else {}
        made.append(event(T + 30.0 * i, f"app-{i % callers}", shape, **who))
    return made


AFTER = T + 30.0 * 900 + 60.0


def found(d: Detector, events: Iterable[Mapping[str, Any]]) -> list[RawFinding]:
    """Findings, in order."""
    return [f for _, _, f in findings(d, batch_of(list(events)))]


def taught(**options: Any) -> Detector:
    """One that has seen the usual and found nothing in it."""
    d = detector(**options)
    assert found(d, usual()) == []
    return d


@pytest.mark.parametrize(
    ("reason", "shape"),
    [
        ("body_bytes", {"body_size": 20_000_000}),
        ("depth", {"depth": 16}),
        ("keys", {"keys": 6000}),
        ("array", {"longest_array": 30_000}),
        ("string", {"longest_string": 9_000_000}),
    ],
)
def test_a_limit_holds_from_the_first_event_and_is_told_once(reason: str, shape: Event) -> None:
    """If this fails, a body made to break a parser passes until enough was learned, or fills the alerts."""
    events = [{"ts": T + i, "ip": "203.0.113.7", "status": 400, "shape": shape} for i in range(50)]
    told_of = found(detector(), events)
    assert [f.reason.name for f in told_of] == [reason]
    assert told_of[0].scope is Scope.IP


def test_no_baseline_moves_a_limit() -> None:
    """If this fails, who sends huge bodies for long enough may send them for ever."""
    d = detector(max_body_bytes=5000.0)
    large = [event(T + 60.0 * i, "app-0", body(size=6000.0)) for i in range(2000)]
    last = found(d, large)[-1]
    assert last.reason.name == "body_bytes"
    assert found(d, [event(T + 60.0 * 2010, "app-0", body(size=6000.0))])[0].expected == 5000.0


def test_without_a_shape_the_size_of_the_request_has_its_limit() -> None:
    """If this fails, gateways that log no bodies get nothing at all."""
    assert [f.reason.name for f in found(detector(), [{"ts": T, "ip": "203.0.113.7", "bytes_in": 2e7}])] == [
        "body_bytes"
    ]


def test_one_body_of_another_world_is_enough() -> None:
    """If this fails, a probe with bodies of its own is seen late or never."""
    probe = event(AFTER, "app-1", body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"]))
    first = found(taught(), [probe])[0]
    assert (first.reason.name, first.key) == ("structure", "app-1")
    assert first.detail["new_fields"] == 3


def test_an_injection_from_a_stranger_is_enough() -> None:
    """If this fails, an injection by somebody unknown is taken for a new caller's habit."""
    d = detector()
    assert found(d, usual(anonymous=True)) == []
    shape = body(text="1' or '1'='1' --")
    attack = event(AFTER, "x", shape, principal=None, ip="203.0.113.9")
    assert [(f.reason.name, f.key) for f in found(d, [attack])] == [("characters", "203.0.113.9")]


def test_what_is_new_for_a_caller_adds_up_though_others_send_it() -> None:
    """If this fails, a stolen key used with other clients looks like any traffic."""
    d = detector()
    sizes = np.random.default_rng(2).lognormal(7.0, 0.6, 2400)
    own = [
        event(T + 30.0 * i, f"app-{i % 12}", body(f"own{i % 12}", [*FIELDS, f"o{i % 12}:num"], sizes[i]))
        for i in range(2400)
    ]
    assert found(d, own) == []
    later = T + 30.0 * 2400
    others = [event(later + i, "app-0", body(f"own{i}", [*FIELDS, f"o{i}:num"], 9000.0)) for i in range(1, 12)]
    assert {(f.key, f.reason.name) for f in found(d, others)} == {("app-0", "drift")}


def test_a_new_version_of_a_client_is_no_probe() -> None:
    """If this fails, each release of a client library is a night of alerts."""
    d = taught()
    new = body("chat2", [*FIELDS, "metadata:obj"])
    assert found(d, [event(AFTER + 60.0 * i, f"app-{i // 20}", new) for i in range(60)]) == []


def test_a_structure_of_three_callers_becomes_a_template() -> None:
    """If this fails, a release with many new fields is told of for each of a thousand callers."""
    d = taught()
    new = body("v2", [":obj", "input:arr", "input[].parts:arr", "input[].parts[].text:str", "config:obj"])
    voting = [event(AFTER + 60.0 * i, f"app-{i}", new) for i in range(3)]
    assert {f.key for f in found(d, voting)} <= {"app-0", "app-1", "app-2"}
    fourth = [event(AFTER + 3600.0 + i, "app-new", new) for i in range(5)]
    assert found(d, fourth) == []


def test_repeating_one_odd_structure_adds_nothing() -> None:
    """If this fails, one caller with one unusual option is accused for using it often."""
    d = taught()
    odd = body("odd", [*FIELDS, "seed:num", "user:str"])
    assert found(d, [event(AFTER + 10.0 * i, "app-0", odd) for i in range(40)]) == []


def test_what_surprises_does_not_teach() -> None:
    """If this fails, an attacker who goes on becomes usual, for itself or for the endpoint."""
    d = taught()
    shape = body(text="x'); drop table users; --", size=40_000.0)
    for day in range(5):
        attack = [event(AFTER + 1.1 * DAY_S * day + i, "app-2", shape) for i in range(40)]
        assert [f.key for f in found(d, attack)][:1] == ["app-2"], day
    assert [f.key for f in found(d, [event(AFTER + 5.0 * DAY_S, "app-1", shape)])] == ["app-1"]


def test_what_was_told_of_and_goes_on_is_no_news() -> None:
    """If this fails, one integration with an odd habit is an alert each time it comes up, a hundred a day."""
    d = taught()
    shapes = [body(text="x'); drop table users; --"), body("odd", [":obj", "cmd:str", "debug:bool", "eval:str"]),
              body(size=90_000.0)]  # fmt: skip
    odd = [event(AFTER + 1800.0 * i + 60.0 * j, "app-2", shape) for i in range(40) for j, shape in enumerate(shapes)]
    ordinary = [event(AFTER + 20.0 * i, f"app-{i % 3}", body(size=1100.0)) for i in range(3600)]
    told_of = found(d, sorted([*odd, *ordinary], key=lambda e: e["ts"]))
    assert 3 <= len(told_of) <= 6, [(f.reason.name, f.nats) for f in told_of]


def test_a_customers_new_client_is_told_of_once_and_is_a_low_matter() -> None:
    """If this fails, each customer's upgrade pages somebody, as often as its client has structures."""
    d = taught()
    added = ["client:obj", "client.name:str", "client.version:str", "options:obj", "options.safe:bool"]
    new = [body("chat3", [*FIELDS, *added]), body("tools3", [*FIELDS, "tools:arr", *added])]
    told_of = found(d, [event(AFTER + 300.0 * i, "app-0", new[i % 5 == 0]) for i in range(200)])
    assert [(f.reason.name, f.key) for f in told_of] == [("change", "app-0")]


def test_many_changes_of_one_caller_are_a_probe() -> None:
    """If this fails, who adds other fields to each body passes as a customer with a new client."""
    d = taught()
    probes = [
        body(f"p{i}", [*FIELDS, *(f"{word}{i}:str" for word in ("is_admin", "role", "debug", "tenant"))])
        for i in range(9)
    ]
    told_of = found(d, [event(AFTER + 30.0 * i, "app-0", probe) for i, probe in enumerate(probes)])
    assert {f.reason.name for f in told_of} >= {"change", "structure"}


def test_a_structure_that_waits_to_be_a_template_is_not_news_in_each_body() -> None:
    """If this fails, an endpoint with one caller takes all structures for usual, and nothing at it is ever odd."""
    d = detector()
    one = [event(T + 30.0 * i, "app-0", body(size=1000.0 + i % 90)) for i in range(600)]
    assert found(d, one) == []
    probe = event(T + 18_100.0, "app-0", body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"]))
    assert [f.reason.name for f in found(d, [probe])] == ["structure"]


def test_a_newcomer_with_many_structures_is_a_probe() -> None:
    """If this fails, who tries an API with a fresh key is a new customer, whatever it sends."""
    d = detector()
    assert found(d, usual(callers=6)) == []
    probes = [
        event(AFTER + 30.0 * i, "fresh", body(f"p{i}", [":obj", f"a{i}:arr", f"b{i}:num"]), status=422, auth="success")
        for i in range(8)
    ]
    own = [event(AFTER + 30.0 * i, "customer", body("own", [*FIELDS, "user:str"])) for i in range(8)]
    assert {f.key for f in found(d, [*probes, *own])} == {"fresh"}


def test_a_huge_body_of_a_newcomer_is_seen_by_what_the_endpoint_gets() -> None:
    """If this fails, a body a thousand times as large as any passes, because its own structure has no sizes yet."""
    d = detector()
    assert found(d, usual()) == []
    huge = event(AFTER, "fresh", body("cut", FIELDS[:-1], size=3_000_000.0))
    assert [f.reason.name for f in found(d, [huge])] == ["size"]


@pytest.mark.parametrize("expected", [False, True])
def test_what_a_person_expects_teaches_the_caller_that_sends_it(expected: bool) -> None:
    """If this fails, a customer's new client that was called expected is told of again after each quiet day."""
    d = taught()
    new = body("import", [":obj", "rows:arr", "rows[].cells:arr", "rows[].cells[]:str", "dialect:obj"], size=40_000.0)

    def hour(n: int) -> set[str]:
        return {f.key for f in found(d, [event(AFTER + 3600.0 * n + 20 * i, "app-1", new) for i in range(40)])}

    assert hour(0) == {"app-1"}
    if expected:
        d.release(Scope.PRINCIPAL, hash_text("app-1", SEED), AFTER + DAY_S)
    for n in range(1, 8):
        hour(n)
    assert hour(7 + 25) == (set() if expected else {"app-1"})


def test_bodies_that_were_refused_teach_nothing() -> None:
    """If this fails, probes that the API refused make themselves known structures."""
    d = detector()
    refused = [event(T + i, "app-0", body(f"r{i % 5}"), status=400, auth="success") for i in range(600)]
    found(d, refused)
    assert d.opinion(Scope.PRINCIPAL, hash_text("app-0", SEED)) is Opinion.WARMING


def test_what_is_learned_is_not_warm_at_first() -> None:
    """If this fails, an endpoint's first hours alert although little is known; or a busy one's are silent."""
    probe = event(AFTER, "app-1", body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"]))
    for hours, bodies, warm in ((6.0, 10_000, 1), (24.0, 10_000, 0), (24.0, 200, 1)):
        d = detector(warm_hours=hours, endpoint_bodies=bodies)
        d.process(batch_of(usual()))
        hits = d.process(batch_of([probe]))
        assert hits.warm[: len(hits)].tolist() == [warm]


def test_a_twelfth_of_an_endpoints_bodies_is_enough_to_know_it() -> None:
    """If this fails, an endpoint of a few hundred bodies an hour is never known where there are twelve partitions."""
    at = {"principal": None, "ip": "203.0.113.9"}
    probe = event(T + 1900.0, "", body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"]), **at)
    told_of = found(detector(alpha=0.02), [*usual(60, callers=20, anonymous=True), probe])
    assert [f.reason.name for f in told_of] == ["structure"]


PROBE = body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"])


def show(d: Detector, events: Iterable[Mapping[str, Any]]) -> None:
    """Let it see bodies of callers of other partitions; nothing is said of them."""
    assert len(d.process(batch_of(list(events), role=Role.SHOW))) == 0


def test_an_endpoint_that_nobody_here_calls_is_known_from_what_is_shown() -> None:
    """If this fails, a small site's new key can send anything to whatever none of its partition's customers calls."""
    d = detector()
    show(d, [event(e["ts"], f"guest-{i % 20}", e["shape"]) for i, e in enumerate(usual())])
    injection = [event(AFTER + i, "new", body(text=f"'; drop table x{i} --")) for i in range(3)]
    assert {f.key for f in found(d, injection)} == {"new"}
    assert found(detector(), injection) == []


def test_one_guest_does_not_make_his_bodies_usual() -> None:
    """If this fails, whoever sends odd bodies for an hour has made them usual in partitions that do not know him."""
    d = taught()
    show(d, [event(AFTER + 10.0 * i, "guest", PROBE) for i in range(360)])
    assert [f.reason.name for f in found(d, [event(AFTER + 3600.0, "app-1", PROBE)])] == ["structure"]


def test_bodies_that_are_shown_but_were_refused_teach_nothing() -> None:
    """If this fails, an older ingest or a fault lets who is refused teach all partitions."""
    d = taught()
    refused = [event(AFTER + i, f"guest-{i % 30}", PROBE, auth="failure") for i in range(300)]
    show(d, [e | {"status": 401} for e in refused])
    assert [f.key for f in found(d, [event(AFTER + 600.0, "app-1", PROBE)])] == ["app-1"]


def test_guests_push_no_customer_and_no_endpoint_out() -> None:
    """If this fails, ten thousand customers elsewhere cost this partition what it knows of its own."""
    d = detector(keys_total=1024, endpoints_total=96)
    found(d, usual())
    show(d, [event(AFTER + 0.1 * i, f"guest-{i}", body(f"g{i}"), endpoint=f"/other-{i}") for i in range(3000)])
    assert d.opinion(Scope.PRINCIPAL, hash_text("app-0", SEED)) is Opinion.QUIET
    assert [f.key for f in found(d, [event(AFTER + 600.0, "app-1", PROBE)])] == ["app-1"]


def test_however_shown_bodies_are_cut_the_findings_are_the_same() -> None:
    """If this fails, a replay differs from what happened."""
    whole = batch_of([*usual(900), *(event(AFTER + i, "app-0", body(f"p{i}", [f"f{i}:str"])) for i in range(6))])
    roles = np.where(np.arange(whole.n) % 3 == 1, int(Role.SHOW), int(Role.WHO)).astype(np.uint8)
    roles[-6:] = int(Role.WHO)
    at = whole.arrow.schema.get_field_index("role")
    whole = Batch(whole.arrow.set_column(at, whole.arrow.schema.field(at), pa.array(roles)))
    expected, state = lines_of(one := detector(), [whole]), bytes_of(one.snapshot())
    assert len(expected) > 0
    for rows in (1, 7, 100):
        other = detector()
        assert lines_of(other, list(cut(whole, rows))) == expected
        assert bytes_of(other.snapshot()) == state


def test_a_flood_of_strangers_pushes_no_customer_out() -> None:
    """If this fails, an attacker makes us forget the customers, and then is one of them."""
    d = detector(keys_total=1024)
    found(d, usual())
    flood = [
        {"ts": AFTER + 0.01 * i, "ip": f"10.{i >> 8 & 255}.{i & 255}.1", "path": f"/{i}", "shape": body(f"f{i}")}
        for i in range(3000)
    ]
    d.process(batch_of(flood))
    assert d.opinion(Scope.PRINCIPAL, hash_text("app-0", SEED)) is Opinion.QUIET
    probe = event(AFTER + 60.0, "app-1", body("probe", [":obj", "cmd:str", "debug:bool", "eval:str"]))
    assert [f.key for f in found(d, [probe])] == ["app-1"]


def test_without_field_names_hashes_are_enough_for_the_caller() -> None:
    """If this fails, an installation that keeps no field names finds nothing, or breaks."""
    d = detector()
    plain = [event(T + 30.0 * i, f"app-{i % 3}", {"hash": "a", "body_size": 1000 + i % 90}) for i in range(900)]
    assert found(d, plain) == []
    others = [event(AFTER + i, "app-0", {"hash": f"b{i}", "body_size": 1000}) for i in range(12)]
    assert {f.key for f in found(d, others)} == {"app-0"}


@given(st.integers(1, 60))
@settings(max_examples=12, deadline=None)
def test_however_bodies_are_cut_the_findings_are_the_same(rows: int) -> None:
    """If this fails, a replay differs from what happened."""
    whole = batch_of([*usual(400), *(event(AFTER + i, "app-1", body(f"p{i}", [f"f{i}:str"])) for i in range(6))])
    expected = lines_of(detector(), [whole])
    assert len(expected) > 0
    assert lines_of(detector(), list(cut(whole, rows))) == expected


# The part on populations


def population(**options: Any) -> PopulationDetector:
    """A fresh one with a reference of a day."""
    chosen = DetectorSettings.model_validate({"reference_hours": 24, **options})
    return ENTRY.build_population(chosen, Context(SEED, partitions=1, alarms_per_day=1.0))


def hours(
    n: int, *, start: float = START, new: float = 0.0, largest: float = 0.1, seed: int = 1, bodies: int = 600
) -> list[Rollup]:
    """One bucket an hour of one endpoint: five structures, of which ``new`` went over to a sixth."""
    rng = np.random.default_rng(seed)
    made = []
    for hour in range(n):
        shares = np.array([0.4, 0.3, 0.15, 0.1, 0.05]) * (1.0 - new)
        counts = rng.multinomial(bodies, [*shares, new])
        callers = rng.multinomial(bodies, [largest, *[(1.0 - largest) / 40] * 40])
        bins = {"template": dict(enumerate(counts.tolist())), "principal": dict(enumerate(callers.tolist()))}
        made.append(
            rollup_of(start + 3600.0 * hour, [Line(Kind.ENDPOINT, {"endpoint": "/chat", "model": "m"}, {}, bins)])
        )
    return made


def test_a_release_is_told_once_and_as_a_release() -> None:
    """If this fails, a new client's release is unseen, a daily nuisance, or blamed on one caller."""
    d = population()
    assert told(d, hours(40)) == []
    changed = told(d, hours(12, start=START + 40 * 3600.0, new=0.4, seed=2))
    assert [f.reason.name for _, f in changed] == ["release"]
    assert changed[0][1].observed == pytest.approx(40.0, abs=8.0)


def test_what_one_caller_can_have_done_is_not_called_a_release() -> None:
    """If this fails, one caller who changes the whole endpoint passes as everybody's release."""
    d = population()
    told(d, hours(40, largest=0.5))
    changed = told(d, hours(6, start=START + 40 * 3600.0, new=0.3, largest=0.5, seed=2))
    assert [f.reason.name for _, f in changed] == ["one_caller"]


def test_an_hour_that_varies_as_the_reference_did_is_no_change() -> None:
    """If this fails, every endpoint whose callers come and go alarms each night."""
    d = population()
    rng = np.random.default_rng(3)
    for seed, new in enumerate(rng.uniform(0.0, 0.4, 60).tolist()):
        assert told(d, hours(1, start=START + 3600.0 * seed, new=new, seed=seed)) == []


def test_a_change_that_stays_for_a_week_is_the_new_reference() -> None:
    """If this fails, a change is a finding for ever, or is forgotten within hours."""
    d = population()
    told(d, hours(40))
    reasons = told(d, hours(24 * 12, start=START + 40 * 3600.0, new=0.4, seed=2))
    days = {int((ts - START) // DAY_S) for ts, _ in reasons}
    assert 6 <= len(reasons) <= 8
    assert max(days) <= 9


def test_a_change_that_a_person_expects_is_the_new_reference_at_once() -> None:
    """If this fails, a release that was announced is told of each day of a week, and missed for the next."""
    d = population()
    told(d, hours(40))
    change = START + 40 * 3600.0
    assert told(d, hours(3, start=change, new=0.4, seed=2))
    d.release(Scope.ENDPOINT, hash_text("/chat m", SEED), change + 2 * DAY_S)
    assert told(d, hours(60, start=change + 3 * 3600.0, new=0.4, seed=3)) == []
    assert d.opinion(Scope.ENDPOINT, hash_text("/chat m", SEED)) is Opinion.QUIET
    assert told(d, hours(3, start=change + 63 * 3600.0, seed=4)), "what a person expected ends"


def test_false_alarms_of_endpoints_that_do_not_change() -> None:
    """If this fails, the statistic is not what its threshold says: 200 endpoint-weeks gave more than one alarm."""
    alarms = 0
    for seed in range(12):
        d = population()
        alarms += len(told(d, hours(24 * 8, seed=seed, bodies=150)))
    assert alarms == 0


def test_a_snapshot_of_another_layout_is_refused() -> None:
    """If this fails, a worker goes on with numbers that mean something else."""
    d = population()
    saved = d.snapshot()
    with pytest.raises(StateError):
        population().restore({**saved, "counts": np.zeros(2)})


def test_the_tail_is_that_of_chi_square() -> None:
    """If this fails, p-values of population drift are wrong by orders of magnitude."""
    assert ENTRY.population is not None
    mixes = import_module(f"{ENTRY.population.__module__.rpartition('.')[0]}.mixes")
    for df in (3, 10, 40):
        for x in (df, 2.0 * df, 5.0 * df):
            assert mixes.tail_nats(x, df) == pytest.approx(-math.log(stats.chi2.sf(x, df)), rel=0.05)
