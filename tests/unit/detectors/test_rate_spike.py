"""rate_spike: what it sees at which false-alarm rate, what it must not learn, and what it says."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from gatewatch import registry
from gatewatch.records import Scope
from gatewatch.sdk import Context, Detector, RawFinding, Role, hash_text
from gatewatch.settings import DetectorSettings
from gatewatch.testing.batches import SEED, batch_of, batch_of_columns, cut
from gatewatch.testing.detector_runs import findings

ENTRY = registry.load("rate_spike")
TAIL = importlib.import_module("gatewatch.detectors.rate_spike.tail")  # found along the search path
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
DAY_S = 86400.0
T = 2959 * 7 * DAY_S  # the first hour of a week, so that hours of the simulated season are the detector's


def detector(*, alarms_per_day: float = 1.0, partitions: int = 1, **options: Any) -> Detector:
    """A fresh one that has all keys, of one of so many partitions."""
    settings = DetectorSettings.model_validate(options)
    return ENTRY.build(settings, Context(SEED, partitions=partitions, alarms_per_day=alarms_per_day))


def steady(
    who: str, per_minute: float, start: float, stop: float, rng: np.random.Generator, **more: Any
) -> list[dict[str, Any]]:
    """A plain stream of one principal."""
    times = rng.uniform(start, stop, rng.poisson(per_minute * (stop - start) / 60.0))
    return [{"ts": float(t), "principal": who, "status": 200, **more} for t in times]


def crowd(start: float, stop: float, rng: np.random.Generator, **more: Any) -> list[dict[str, Any]]:
    """Ten principals at three requests a minute: enough to be warm after half an hour."""
    return [e for i in range(10) for e in steady(f"svc-{i}", 3.0, start, stop, rng, **more)]


def told(d: Detector, events: Sequence[Mapping[str, Any]], *, in_order: bool = True) -> list[tuple[float, RawFinding]]:
    """(time, finding) of each finding."""
    rows = sorted(events, key=lambda e: e["ts"]) if in_order else list(events)
    return [(ts, f) for _, ts, f in findings(d, batch_of(rows))]


def reasons(found: list[tuple[float, RawFinding]]) -> set[tuple[str, str]]:
    """Who was told of, and why."""
    return {(f.key, f.reason.name) for _, f in found}


# --- the tail


@given(st.floats(0.01, 1e5), st.floats(1.001, 100.0), st.floats(0.02, 200.0))
def test_the_tail_is_that_of_a_negative_binomial(mean: float, factor: float, r: float) -> None:
    """A wrong tail makes every threshold wrong, by an amount that depends on the key's rate."""
    x = mean * factor
    p = special.betainc(x, r, mean / (mean + r))

    nats = TAIL.tail_nats(x, mean, r)

    if p > 1e-280:
        expected = max(0.0, -math.log(p))
        # close to the mean the continued fraction is cut short; nobody asks there, thresholds begin far above 3 nats
        assert nats == pytest.approx(expected, rel=1e-6, abs=1e-6 if expected > 3.0 else 1e-4)
    assert nats >= TAIL.chernoff(x, mean, r) - 1e-6 * max(1.0, nats)


@given(st.floats(0.01, 1e5), st.floats(1.0, 1000.0), st.floats(0.02, 200.0))
def test_the_cheap_gate_never_hides_evidence(mean: float, factor: float, r: float) -> None:
    """The gate without logarithms must lie above the bound that it stands in for, else it would drop real bursts."""
    x = mean * factor
    quadratic = (x - mean) ** 2 / (2.0 * (mean + mean * mean / r))

    assert TAIL.chernoff(x, mean, r) <= quadratic * (1.0 + 1e-9) + 1e-6 * (1.0 + x * 1e-9)


@given(st.floats(5.0, 60.0), st.floats(0.01, 1e4), st.floats(0.1, 200.0))
def test_the_counterfactual_is_where_the_tail_reaches_the_threshold(nats: float, mean: float, r: float) -> None:
    """What an alert says about it ("would not have fired below 412") must be true at 411 and false at 413."""
    least = TAIL.count_at(nats, mean, r)

    assert TAIL.tail_nats(least * 1.001, mean, r) >= nats
    assert TAIL.tail_nats(least * 0.999, mean, r) <= nats


# --- limits


def test_a_plain_limit_needs_no_baseline() -> None:
    """A limit must hold from the first minute of an installation, on whoever it is."""
    events = [{"ts": T + i * 0.1, "principal": "new", "status": 200} for i in range(300)]

    found = told(detector(limits={"requests_per_minute": 100}), events)

    assert reasons(found) == {("new", "requests_limit")}
    first_ts, first = found[0]
    assert first_ts - T < 15.0
    assert not first.reason.learned
    assert first.observed >= first.expected == 100.0


@pytest.mark.parametrize(
    ("limit", "reason"), [("tokens_per_minute", "tokens_limit"), ("cost_usd_per_hour", "cost_limit")]
)
def test_limits_are_in_their_own_units(limit: str, reason: str) -> None:
    """A limit of 10 USD an hour that fired at 10 a minute, or one of tokens that forgot the answers, is no limit."""
    events = [
        {"ts": T + i, "principal": "p", "status": 200, "tokens_in": 60.0, "tokens_out": 40.0, "cost_usd": 1.0}
        for i in range(30)
    ]

    def fires(value: float) -> bool:
        return ("p", reason) in reasons(told(detector(limits={limit: value}), events))

    total = 100.0 * 30 if limit == "tokens_per_minute" else 30.0
    assert fires(total * 0.7)
    assert not fires(total * 1.01)


def test_no_baseline_moves_a_limit() -> None:
    """Who is above the limit for a day must be told of at the end of it as at its beginning."""
    rng = np.random.default_rng(1)
    events = steady("busy", 20.0, T, T + DAY_S, rng)

    found = told(detector(limits={"requests_per_minute": 8}), events)

    assert {f.reason.name for _, f in found} == {"requests_limit"}
    assert found[-1][0] > T + DAY_S - 600.0


# --- what does not count


def test_what_we_blocked_counts_for_nothing() -> None:
    """Refusals of our own block would keep the block alive, and teach the baseline that floods are usual."""
    events = [{"ts": T + i * 0.01, "principal": "p", "status": 403, "blocked_by_us": True} for i in range(5000)]
    d = detector(limits={"requests_per_minute": 10})

    assert told(d, events) == []
    assert all(stats.rows == 0 for stats in d.tables().values())


def test_who_never_authenticated_gets_no_row() -> None:
    """Names that anybody can write would fill the table of principals."""
    d = detector()
    told(d, [{"ts": T + i, "principal": f"guess-{i}", "ip": "192.0.2.1", "status": 401} for i in range(100)])

    assert d.tables()["principal"].rows == 0
    assert d.tables()["ip"].rows == 1


def test_a_backlog_is_no_burst() -> None:
    """A gateway that was cut off for two hours sends 3,600 old events at once: nobody did anything unusual."""
    rng = np.random.default_rng(2)
    on_time = sorted(crowd(T, T + 3 * 3600.0, rng), key=lambda e: e["ts"])
    late = [e for e in on_time if e["principal"] in {"svc-1", "svc-2"} and e["ts"] > T + 3600.0]
    rest = [e for e in on_time if e not in late]

    assert told(detector(limits={"requests_per_minute": 30}), rest + late, in_order=False) == []


def test_times_that_run_backwards_still_count_their_newest_hour() -> None:
    """A log that is written newest first must still show who is over a limit at its newest end."""
    events = [{"ts": T - i * 0.1, "ip": "192.0.2.9", "status": 404} for i in range(3000)]

    found = told(detector(limits={"requests_per_minute": 300}), events, in_order=False)

    assert reasons(found) == {("192.0.2.9", "requests_limit")}


# --- learning


def burst_after(days: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A crowd for so many days, then two minutes in which svc-3 makes four requests a second."""
    end = T + days * DAY_S
    return crowd(T, end + 600.0, rng) + steady("svc-3", 240.0, end, end + 120.0, rng)


def test_a_burst_is_told_soon_and_seldom() -> None:
    """An alert that comes after the burst, or once a request, is of no use."""
    found = told(detector(), burst_after(7.5, np.random.default_rng(3)))

    assert {f.key for _, f in found} == {"svc-3"}
    ts, first = found[0]
    assert first.reason.name == "requests_burst"
    assert 0.0 < ts - (T + 7.5 * DAY_S) < 30.0
    assert first.expected == pytest.approx(3.0, rel=0.3)
    assert len(found) <= 6


def talkers(n: int, days: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Keys that begin on the same day; a few sessions a day of actions, each one call or a dozen at once."""
    events = []
    for who in range(n):
        for _ in range(rng.poisson(4 * days)):
            at = T + rng.uniform(0.0, days * DAY_S) + rng.exponential(60.0, rng.integers(1, 9)).cumsum()
            for action in at:
                calls = int(rng.integers(8, 16)) if rng.random() < 0.3 else 1
                events += [
                    {"ts": float(ts), "principal": f"key-{who}", "status": 200}
                    for ts in action + rng.uniform(0, 6, calls)
                ]
    return events


def test_what_young_keys_do_in_a_session_is_no_news_of_a_young_key() -> None:
    """The first days of an installation would page somebody for each dozen of parallel calls, nine times a day."""
    found = told(detector(), talkers(40, 2.5, np.random.default_rng(31)))

    assert {f.reason.name for _, f in found} <= {"requests_new_key"}
    assert len({f.key for _, f in found}) <= 2


def test_a_young_key_far_beyond_what_its_peers_do_is_told_of() -> None:
    """A key that was stolen on its second day would be free to do anything that is not over a limit."""
    rng = np.random.default_rng(32)
    stolen = T + 1.6 * DAY_S
    events = talkers(40, 2.0, rng) + steady("key-7", 150.0, stolen, stolen + 1800.0, rng)

    found = [(ts, f) for ts, f in told(detector(), events) if f.key == "key-7" and ts >= stolen]

    assert found[0][0] < stolen + 600.0
    assert "requests_burst" in {f.reason.name for _, f in found}


def test_only_tokens_may_rise() -> None:
    """Whole books as prompts at the usual pace cost as much as a flood of requests."""
    rng = np.random.default_rng(4)
    end = T + 2 * DAY_S
    events = crowd(T, end + 900.0, rng, tokens_in=1000.0)
    for e in events:
        if e["principal"] == "svc-4" and e["ts"] > end:
            e["tokens_in"] = 100_000.0

    found = told(detector(), events)

    assert found
    assert {(f.key, f.reason.name.split("_")[0]) for _, f in found} == {("svc-4", "tokens")}


def test_huge_calls_at_a_small_site_do_not_hide_themselves() -> None:
    """Who sends a hundred times the tokens at a site of little traffic would make them its noise."""
    rng = np.random.default_rng(41)
    end = T + 0.8 * DAY_S
    events = [e for i in range(2) for e in steady(f"svc-{i}", 1 / 3, T, end + 3600.0, rng)]
    for e in events:
        e["tokens_in"] = 400.0 * float(np.exp(0.5 * rng.standard_normal()))
        if e["principal"] == "svc-1" and e["ts"] > end:
            e["tokens_in"] *= 100.0

    found = told(detector(), events)

    assert "tokens_burst" in {f.reason.name for _, f in found}
    assert {f.key for _, f in found} == {"svc-1"}


def test_a_partition_is_warm_after_its_share_of_the_rows() -> None:
    """A small site with many partitions would wait for days, though all of them together have seen enough."""
    rng = np.random.default_rng(42)
    end = T + 5 * 3600.0
    events = [e for i in range(3) for e in steady(f"svc-{i}", 0.4, T, end, rng)]
    events += steady("svc-1", 60.0, end, end + 300.0, rng)

    rows = sorted(events, key=lambda e: e["ts"])
    hits = detector(partitions=4).process(batch_of(rows))

    assert 300 < len([e for e in events if e["ts"] < end]) < 600
    assert hits.warm[: len(hits)].any()


def test_what_is_over_is_not_told_as_going_on() -> None:
    """An alert that says "more than usual: 1,243, usually 1,412" is one that nobody believes, nor the next one."""
    rng = np.random.default_rng(43)
    events = crowd(T, T + 6 * DAY_S, rng)
    begun, over = T + 4.4 * DAY_S, T + 4.9 * DAY_S
    for start, stop, runs in ((T, begun, 176), (begun, over, 80), (over, T + 6 * DAY_S, 44)):
        for at in rng.uniform(start, stop, runs):  # a hundred calls or so at once; for half a day four times as often
            times = at + 0.5 * np.arange(rng.integers(40, 250))
            events += [{"ts": float(ts), "principal": "papers", "status": 200} for ts in times]
    for e in events:
        e["tokens_in"] = 1000.0 * float(np.exp(0.6 * rng.standard_normal()))

    found = [f for _, f in told(detector(), events) if f.reason.name == "tokens_sustained"]

    assert found
    assert all(f.observed > f.expected for f in found)


def test_an_attack_does_not_become_the_baseline() -> None:
    """Who floods for three hours would be "usual" afterwards, and the next flood would pass."""
    rng = np.random.default_rng(5)
    end = T + 3 * DAY_S
    events = crowd(T, end + 5 * 3600.0, rng) + steady("svc-3", 120.0, end, end + 3 * 3600.0, rng)

    found = [f for ts, f in told(detector(), events) if ts > end + 2.9 * 3600.0 and f.reason.name == "requests_burst"]

    assert found
    assert found[0].expected == pytest.approx(3.0, rel=0.3)


def test_a_key_whose_calls_differ_much_is_measured_against_what_it_spends() -> None:
    """If it failed, a steady customer with a large call now and then would be told of for weeks, at every refresh.

    What is cut off a minute was forgotten, so that the baseline was half of the truth, and everything evidence.
    """
    rng = np.random.default_rng(4)
    d = detector()
    plain = [e | {"cost_usd": 0.001} for e in crowd(T, T + 8 * DAY_S, rng)]
    skewed = [
        e | {"cost_usd": 0.04 if rng.random() < 0.03 else 0.0004} for e in steady("mixed", 0.6, T, T + 8 * DAY_S, rng)
    ]
    found = told(d, plain + skewed)

    assert ("mixed", "cost_sustained") not in reasons(found)
    table = d.key_tables()["principal"]  # type: ignore[attr-defined]
    row = table.rows[table.row_of(hash_text("mixed", SEED))]
    truth = 0.6 * (0.03 * 0.04 + 0.97 * 0.0004)
    assert 60.0 * row["a_base"][2] / row["e_base"] == pytest.approx(truth, rel=0.2)


def test_thresholds_come_down_where_all_is_calm_and_findings_carry_the_one_that_held() -> None:
    """If it failed, a budget would be a bound that nothing ever reaches, and explanations would name another bound."""
    rng = np.random.default_rng(5)
    d = detector(alarms_per_day=2.0)
    told(d, [e for i in range(10) for e in steady(f"svc-{i}", 0.5, T, T + 24 * DAY_S, rng)])
    shift = d.shifts()["principal_bursts"]
    assert shift < -0.5

    attack = [{"ts": T + 24 * DAY_S + 0.5 * i, "principal": "svc-3", "status": 200} for i in range(60)]
    first = told(d, attack)[0][1]
    pool = d.arrays()["pools"][0]  # type: ignore[attr-defined]
    model = {60.0: 1, 10.0: 0, 300.0: 2, 3600.0: 3}[first.window_s]
    assert first.threshold_nats == pytest.approx(pool["model_threshold"][model] + shift, abs=1.0)
    assert first.threshold_nats < pool["model_threshold"][model]


def test_what_a_person_expects_becomes_the_baseline() -> None:
    """If this fails, a customer's new batch job alerts every night until its baseline has crept up, for weeks."""
    rng = np.random.default_rng(5)
    end = T + 3 * DAY_S
    before = sorted(crowd(T, end, rng), key=lambda e: e["ts"])
    after = crowd(end, end + 9 * 3600.0, rng)
    after += [e for who in ("svc-3", "svc-4") for e in steady(who, 120.0, end, end + 8 * 3600.0, rng)]
    d = detector()
    told(d, before)
    d.release(Scope.PRINCIPAL, hash_text("svc-3", SEED), end + 12 * 3600.0)

    late = [f for ts, f in told(d, after) if ts > end + 7.5 * 3600.0]

    of = {
        who: [f.expected for f in late if f.key == who and f.reason.name == "requests_burst"]
        for who in ("svc-3", "svc-4")
    }
    assert of["svc-4"][0] == pytest.approx(3.0, rel=0.3), "of whom nobody said anything"
    assert not of["svc-3"] or of["svc-3"][-1] > 9.0


def nightly(days: Sequence[int], rng: np.random.Generator, calls: float = 1500.0) -> list[dict[str, Any]]:
    """A job that makes all of its calls within twenty minutes, from two o'clock on, on those days."""
    at = [T + day * DAY_S + 7200.0 for day in days]
    return [e for start in at for e in steady("job", calls / 20.0 * rng.uniform(0.8, 1.2), start, start + 1200.0, rng)]


def nights(found: list[tuple[float, RawFinding]]) -> list[int]:
    """On which days the job was told of, as more than a new key (which is low)."""
    grave = [ts for ts, f in found if f.key == "job" and not f.reason.name.endswith("new_key")]
    return sorted({int((ts - T) // DAY_S) for ts in grave})


@pytest.mark.parametrize("days", [range(12), (1, 8, 15, 22, 29, 36)], ids=["nightly", "weekly"])
def test_a_job_came_with_its_habit(days: Sequence[int]) -> None:
    """Each job of a new installation would page somebody at its second and its third run, all in the first nights."""
    rng = np.random.default_rng(9)
    events = crowd(T, T + (days[-1] + 1) * DAY_S, rng) + nightly(days, rng)

    assert nights(told(detector(), events)) == []


def visits(rng: np.random.Generator, people: int, days: int) -> list[dict[str, Any]]:
    """People who come every other day or so, and make a dozen calls each time, within minutes."""
    events = []
    for i in range(people):
        for start in T + np.sort(rng.uniform(0.0, days * DAY_S, rng.poisson(days / 1.5))):
            calls = start + rng.lognormal(2.2, 1.1, rng.geometric(1 / 14)).cumsum()
            events += [{"ts": float(t), "principal": f"person-{i}", "status": 200} for t in calls]
    return events


def test_who_comes_seldom_and_then_makes_a_dozen_calls_is_no_news() -> None:
    """Against the mean of a week every visit of a person is a burst, and a site has more people than services."""
    rng = np.random.default_rng(12)

    found = told(detector(), crowd(T, T + 9 * DAY_S, rng) + visits(rng, 40, 9))

    assert len({(f.key, int(ts // DAY_S)) for ts, f in found}) <= 3  # of some 240 visits


def test_who_has_the_key_of_such_a_person_is_told_of() -> None:
    """What is known of people's visits must not hide that somebody else makes hundreds of calls in their name."""
    rng = np.random.default_rng(13)
    at = T + 8 * DAY_S
    thief = steady("person-3", 30.0, at, at + 1200.0, rng)

    found = told(detector(), crowd(T, T + 9 * DAY_S, rng) + visits(rng, 40, 8) + thief)

    assert [ts for ts, f in found if f.key == "person-3" and at < ts < at + 600.0]


def test_a_job_that_makes_ten_times_its_calls_is_told_of() -> None:
    """A habit must not hide that somebody else has the job's key."""
    rng = np.random.default_rng(10)
    events = crowd(T, T + 9 * DAY_S, rng) + nightly(range(8), rng) + nightly((8,), rng, 15_000.0)

    assert 8 in nights(told(detector(), events))


def test_plain_traffic_is_no_news() -> None:
    """Three days of nothing must raise nothing, or nobody will read the fourth day's alert."""
    assert told(detector(), crowd(T, T + 3 * DAY_S, np.random.default_rng(6))) == []


def test_explanations_say_what_would_not_have_fired() -> None:
    """A counterfactual above what was observed would tell people that the alert was wrong."""
    d = detector()
    found = told(d, burst_after(2.0, np.random.default_rng(3)))
    assert found
    for _, f in found:
        said = d.explain(f)
        least = TAIL.count_at(f.threshold_nats, f.detail["mean"], f.detail["r"]) * f.detail["rate_per_count"]
        assert f.reason.unit in said.counterfactual
        assert "usually" in said.baseline
        assert least <= f.observed * (1.0 + 1e-6)
        assert sum(part.nats for part in said.contributions) == pytest.approx(f.nats, rel=1e-9)


# --- detection at a matched false-alarm rate (algorithms K3)

KEYS = 200
SHAPE, CORRELATION_MIN = 3.9, 7.0  # of the rate's wandering: spreads 3.9 to 97 over 1 to 333 min, as in algorithms 0.3
SHAPES = {"x10 for 5 min": (10.0, 5), "x3 for 60 min": (3.0, 60), "x2 for 6 h": (2.0, 360), "ramp to x6": (6.0, 1440)}
WANTED = {"x10 for 5 min": 0.60, "x3 for 60 min": 0.40, "x2 for 6 h": 0.65, "ramp to x6": 0.99}


class Stream:
    """Keys of log-normal rates (median one request a minute) with a season by hour and day, and rates that wander."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.base = np.minimum(np.exp(self.rng.normal(0.0, 1.0, KEYS)), 30.0)
        hour = np.arange(168)
        season = (1.0 + 0.8 * np.sin((hour % 24 - 6) / 24 * 2 * np.pi)) * np.where(hour // 24 >= 5, 0.5, 1.0)
        self.season = season / season.mean()
        self.hashes = np.arange(1, KEYS + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    def day(self, day: int, factor: npt.NDArray[np.float64] | None = None) -> tuple[Any, Any]:
        """Times and key numbers of one day; ``factor`` (1440, KEYS) multiplies the rates."""
        hours = (np.arange(day * 1440, day * 1440 + 1440) // 60) % 168
        rate = self.base * self.season[hours][:, None] * self._wander() * (1.0 if factor is None else factor)
        counts = self.rng.poisson(rate)
        minute, key = np.nonzero(counts)
        repeats = counts[minute, key]
        minute, key = np.repeat(minute, repeats), np.repeat(key, repeats)
        ts = T + (day * 1440 + minute) * 60.0 + self.rng.random(len(minute)) * 60.0
        order = np.argsort(ts, kind="stable")
        return ts[order], key[order]

    def _wander(self) -> npt.NDArray[np.float64]:
        """A stationary Gamma process of mean 1, thinned and topped up each minute (beta-gamma autoregression)."""
        keep = SHAPE * math.exp(-1.0 / CORRELATION_MIN)
        x = self.rng.gamma(SHAPE, 1.0, KEYS)
        out = np.empty((1440, KEYS))
        for minute in range(1440):
            x = self.rng.beta(keep, SHAPE - keep, KEYS) * x + self.rng.gamma(SHAPE - keep, 1.0, KEYS)
            out[minute] = x
        return out / SHAPE


def feed(d: Detector, stream: Stream, ts: npt.NDArray[Any], key: npt.NDArray[Any]) -> list[tuple[float, int]]:
    """(time, key number) of each finding."""
    columns = {"ts": ts, "k_principal": stream.hashes[key], "status": np.full(len(ts), 200)}
    whole = batch_of_columns({**columns, "auth": np.ones(len(ts))}, role=Role.WHO)
    found = []
    for i, batch in enumerate(cut(whole, 5000)):
        hits = d.process(batch)
        rows = 5000 * i + hits.row[: len(hits)]
        found += [(float(ts[r]), int(key[r])) for r in rows]
    return found


def episodes(found: list[tuple[float, int]]) -> int:
    """Findings about one key within an hour of each other are one alarm."""
    last: dict[int, float] = {}
    n = 0
    for ts, key in found:
        n += ts - last.get(key, -math.inf) > 3600.0
        last[key] = ts
    return n


def caught(d: Detector, stream: Stream, snapshot: dict[str, npt.NDArray[Any]], shape: str) -> float:
    """Share of keys that are told of within their attack (or ten minutes after it), attacked in two halves."""
    factor, length = SHAPES[shape]
    hits = 0
    for half in range(2):
        d.restore(snapshot)
        rates = np.ones((1440, KEYS))
        start = stream.rng.integers(120, 1040, KEYS) if length < 1440 else np.zeros(KEYS, int)
        for key in range(half, KEYS, 2):
            grown = 1.0 + (factor - 1.0) * np.arange(1440) / 1440 if length == 1440 else np.full(length, factor)
            rates[start[key] : start[key] + length, key] = grown
        seen = set()
        for ts, key in feed(d, stream, *stream.day(14, rates)):
            minute = (ts - T) / 60.0 - 14 * 1440
            if key % 2 == half and start[key] <= minute <= start[key] + length + 10:
                seen.add(key)
        hits += len(seen)
    return hits / KEYS


@pytest.mark.slow
def test_detection_at_one_false_alarm_a_key_and_month() -> None:
    """If it falls, attacks of these shapes pass that the method is known to see at this rate of false alarms.

    The budget handed in is 6 times KEYS / 30 a day, since this stream has one scope of two and one measure of three:
    one a key and month, and what comes out on clean days must keep it.
    """
    d = detector(alarms_per_day=6.0 * KEYS / 30.0, min_nats=6.0)
    stream = Stream(7)
    clean = []
    for day in range(14):
        found = feed(d, stream, *stream.day(day))
        clean += found if day >= 7 else []
    snapshot = d.snapshot()

    false_alarms = episodes(clean) / KEYS / 7 * 30
    got = {shape: caught(d, stream, snapshot, shape) for shape in SHAPES}

    assert false_alarms <= 1.0
    assert {s: got[s] for s in SHAPES if got[s] < WANTED[s]} == {}, got


# --- what all keys of a scope teach

CALLERS = 40
MONDAY = T + 4 * DAY_S  # 1970 began on a Thursday


def workdays(
    d: Detector, first: int, days: int, per_minute: float, factor: float = 1.0
) -> list[tuple[int, float, RawFinding]]:
    """Plain streams of 40 principals, half as busy at weekends; four of them ``factor`` times as busy."""
    rng = np.random.default_rng(first)
    minute = np.arange(first * 1440, (first + days) * 1440)
    rate = per_minute * np.where(minute // 1440 % 7 >= 5, 0.5, 1.0)[:, None] * np.ones(CALLERS)
    rate[:, :4] *= factor
    counts = rng.poisson(rate)
    at, key = np.nonzero(counts)
    at, key = np.repeat(at, counts[counts > 0]), np.repeat(key, counts[counts > 0])
    ts = MONDAY + (minute[at] + rng.random(len(at))) * 60.0
    order = np.argsort(ts)
    hashes = (key[order] + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    columns = {"ts": ts[order], "k_principal": hashes, "status": np.full(len(ts), 200), "auth": np.ones(len(ts))}
    return findings(d, batch_of_columns(columns, role=Role.WHO))


def dispersion(d: Detector) -> npt.NDArray[np.float64]:
    """Variance over mean of requests in a minute's window, by size of the mean."""
    found: npt.NDArray[np.float64] = d.snapshot()["pools"]["dispersion"][0, 0, 1]
    return found


def test_calls_that_come_singly_are_no_bursty_traffic() -> None:
    """Small customers would be taken for bursty (a count entered twice where a pause followed), and attacks missed."""
    d = detector()
    workdays(d, 0, 4, 0.08)
    assert dispersion(d)[:2].max() < 1.25


def test_a_second_monday_is_as_busy_as_expected() -> None:
    """Every first week of an installation would end with a Monday full of spikes."""
    d = detector()
    workdays(d, 0, 7, 1.0)
    workdays(d, 7, 1, 1.0)
    season = d.snapshot()["pools"]["season"][0]
    start = int(MONDAY // 3600.0)
    noon = [season[(start + 24 * day + 12) % 168] for day in range(7)]
    assert noon[0] == pytest.approx(noon[4], rel=0.1)
    assert noon[6] < 0.75 * noon[4]


def test_attacks_that_are_told_of_do_not_widen_everybodys_spread() -> None:
    """A few customers under attack would blind the detector for all others."""
    d = detector()
    workdays(d, 0, 9, 0.4)
    before = dispersion(d)
    assert workdays(d, 9, 1, 0.4, factor=12.0)
    assert (dispersion(d)[:4] < 1.15 * before[:4]).all()


# --- real traffic


def load_module() -> Any:
    """The reader beside the shared data."""
    spec = importlib.util.spec_from_file_location("shared_data_load", DATA / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def web(name: str, shift_s: float = 0.0) -> list[dict[str, Any]]:
    """Requests of an access log, in the file's order."""
    return [
        {"ts": e["ts"] + shift_s, "ip": e["ip"], "status": e["status"], "path": e["path"]}
        for e in load_module().combined(name)
    ]


def test_visitors_of_a_site_are_no_attackers() -> None:
    """People and crawlers come in sessions of up to 100 requests a minute: a detector that tells of each is useless."""
    found = told(detector(alarms_per_day=1.0 / 7.0), web("web_benign_first5000"))

    assert len({f.key for _, f in found}) <= 2


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "newest first"])
def test_a_scanner_among_visitors_is_seen(*, in_order: bool) -> None:
    """6,366 requests in half an hour from one address, among a site's visitors; the file itself is newest first."""
    visitors = sorted(web("web_benign_first5000"), key=lambda e: e["ts"])
    scan = web("scan_acunetix")
    middle = visitors[len(visitors) // 2]["ts"]
    shift = middle - min(e["ts"] for e in scan)
    scan = [{**e, "ts": e["ts"] + shift} for e in scan]
    last = max(e["ts"] for e in scan)
    rows = [e for e in visitors if e["ts"] <= last] + scan + [e for e in visitors if e["ts"] > last]

    found = told(detector(alarms_per_day=1.0 / 7.0), rows, in_order=in_order)

    assert "192.168.4.25" in {f.key for _, f in found if f.scope is Scope.IP}
    assert len({f.key for _, f in found}) <= 3


def test_a_scanner_alone_is_over_a_limit() -> None:
    """Without peers or a past nothing can be learned: the plain limit is what sees a scanner that has a site alone."""
    found = told(detector(limits={"requests_per_minute": 300}), web("scan_acunetix"))

    assert reasons(found) == {("192.168.4.25", "requests_limit")}


@pytest.mark.parametrize("name", ["azure_conv", "mooncake_conversation"])
@pytest.mark.parametrize("principals", [1, 8])
def test_real_model_traffic_is_no_news(name: str, principals: int) -> None:
    """Requests of real services are bursty. The trace is an hour and is played four times, so that baselines exist.

    The traces have no principals: one, or eight in turn, are invented.
    """
    events = [dict(e) for e in load_module().events(name)]
    length = max(e["ts"] for e in events) - min(e["ts"] for e in events) + 1.0
    rows = [
        {
            "ts": e["ts"] + turn * length + T,
            "principal": f"p{i % principals}",
            "status": 200,
            "tokens_in": float(e["bytes_in"]),
            "tokens_out": float(e["bytes_out"]),
        }
        for turn in range(4)
        for i, e in enumerate(events)
    ]

    assert told(detector(alarms_per_day=1.0 / 7.0), rows) == []
