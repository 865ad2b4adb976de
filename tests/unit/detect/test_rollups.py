"""The sums of a detect task: every event once, however rows are cut, within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewatch.detect import rollups as room
from gatewatch.detect.rollup_kernel import LATE_S
from gatewatch.detect.rollup_row import VOICES
from gatewatch.detect.rollups import LIMITS, Rollups
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch, Role
from gatewatch.events.rollup import COUNTS, SPAN_S, Kind, Rows, bins_of
from gatewatch.testing import traffic
from gatewatch.testing.batches import SEED, batch_of, cut

T0 = 1_767_225_600.0


def _closed(sums: Rollups, watermark: float = float("-inf")) -> Rows:
    closed = sums.close(watermark)
    assert closed is not None
    return closed[1]


def _all_of(batch: Batch, rows_each: int | None = None) -> Rows:
    sums = Rollups(SEED)
    for piece in [batch] if rows_each is None else cut(batch, rows_each):
        sums.add(piece)
    return _closed(sums, float(batch.ts.max()) + 10 * SPAN_S)


def _count(rows: Rows, name: str, kind: Kind = Kind.ALL) -> float:
    return float(rows.counts[rows.kinds == kind, COUNTS.index(name)].sum())


def _login(ts: float, account: str, ip: str, **more: Any) -> dict[str, Any]:
    return {
        "ts": ts,
        "account": account,
        "ip": ip,
        "auth": "failure",
        "project": "portal",
        "endpoint": "/login",
        **more,
    }


def test_each_event_counts_once_although_it_has_two_rows_and_is_shown() -> None:
    """Rates of endpoints would be up to twice what they are."""
    event = {"ts": T0, "principal": "p", "ip": "203.0.113.9", "project": "x", "endpoint": "/v1", "model": "m"}
    sums = Rollups(SEED)
    sums.add(batch_of([event], role=Role.WHO))
    sums.add(batch_of([event], role=Role.WHERE))
    sums.add(batch_of([event], role=Role.SHOW))
    rows = _closed(sums, T0 + 60.0)
    assert [_count(rows, "requests", kind) for kind in (Kind.ALL, Kind.PROJECT, Kind.ENDPOINT)] == [1.0, 1.0, 1.0]


def test_the_cut_into_batches_does_not_matter() -> None:
    """A replay would give other population findings than the live run."""
    batch = traffic.joined(traffic.calm(), traffic.attack(first_offset=2000))
    whole = _all_of(batch)
    for rows_each in (1, 7, 500):
        other = _all_of(batch, rows_each)
        assert other.labels == whole.labels
        for name in ("buckets", "kinds", "keys", "counts", "bins"):
            assert np.array_equal(getattr(other, name), getattr(whole, name)), f"{name} at {rows_each} rows a batch"
    assert _count(whole, "requests") == batch.n


def test_a_bucket_waits_for_late_rows_and_a_later_one_goes_to_the_next() -> None:
    """Rows of a slower source partition would be lost, or counted at a time that is over."""
    sums = Rollups(SEED)
    sums.add(batch_of([{"ts": T0 + 1.0}, {"ts": T0 + SPAN_S + LATE_S - 1.0}, {"ts": T0 + 2.0}]))
    assert sums.close(float("-inf")) is not None  # everything before the first bucket
    sums.add(batch_of([{"ts": T0 + SPAN_S + LATE_S + 1.0}, {"ts": T0 + 3.0}]))
    first = _closed(sums)
    assert first.counts[:, COUNTS.index("requests")].tolist() == [2.0]
    second = _closed(sums, T0 + 100.0)
    assert second.counts[:, COUNTS.index("requests")].tolist() == [3.0]


def test_one_network_is_no_population() -> None:
    """A single guesser would be reported as a botnet."""
    one = [_login(T0 + i / 100, f"a{i}", "203.0.113.9", account_known=False) for i in range(500)]
    many = [_login(T0 + i / 100, f"b{i}", f"10.{i // 256}.{i % 256}.7", account_known=False) for i in range(500)]
    assert _count(_all_of(batch_of(one)), "first_failures") == VOICES
    rows = _all_of(batch_of(many))
    assert _count(rows, "first_failures") >= 480  # a Bloom filter may say "seen" of a few
    assert _count(rows, "unknown_failures") == _count(rows, "first_failures")
    assert _count(rows, "failures") == 500


def test_a_repeated_try_is_no_first_contact_and_an_account_succeeds_once_an_hour() -> None:
    """Typing errors of the same people would add up, and an attacker could buy credit with one account."""
    tries = [_login(T0 + i, "ana", "203.0.113.9") for i in range(5)]
    ok = [_login(T0 + i, "ben", f"198.51.{i}.9", auth="success") for i in range(30)]
    rows = _all_of(batch_of(tries + ok))
    assert _count(rows, "first_failures") == 1.0
    assert _count(rows, "first_successes") == 30.0
    assert _count(rows, "account_hours") == 1.0


@pytest.mark.parametrize(("after_s", "counts"), [(60.0, 1.0), (1700.0, 1.0), (3700.0, 0.0)])
def test_who_fails_and_soon_gets_in_has_recovered(after_s: float, counts: float) -> None:
    """A forced reset of passwords would look like a botnet; failures saved up for days could be taken back at will."""
    bad = [_login(T0 + i, f"p{i}", f"10.1.{i}.9") for i in range(3)]
    ok = [_login(T0 + after_s + i, f"p{i}", f"10.1.{i}.9", auth="success") for i in range(3)]
    stranger = [_login(T0 + after_s + 9, "p0", "198.51.100.7", auth="success")]
    rows = _all_of(batch_of(bad + ok + stranger))
    assert _count(rows, "recovered") == 3.0 * counts
    assert _count(rows, "first_failures") == 3.0


def test_an_account_recovers_once_an_hour() -> None:
    """With one account of his own an attacker could take back a failure from each network that he has."""
    tries = [
        _login(T0 + 10 * i + k, "mine", f"10.2.{i}.9", **({"auth": "success"} if k else {}))
        for i in range(20)
        for k in range(2)
    ]
    assert _count(_all_of(batch_of(tries)), "recovered") == 1.0


def test_our_own_refusals_are_nobodys_failure() -> None:
    """A block would look like the attack that caused it."""
    refused = [_login(T0, f"a{i}", f"10.0.{i}.7", blocked_by_us=True) for i in range(5)]
    rows = _all_of(batch_of(refused))
    assert (_count(rows, "blocked"), _count(rows, "failures")) == (5.0, 0.0)


def test_a_flood_of_keys_counts_in_all_and_takes_no_more_room() -> None:
    """Whoever invents user agents could fill the memory, or hide the endpoints."""
    sums = Rollups(SEED)
    flood = [{"ts": T0, "user_agent": f"agent {i}", "endpoint": "/v1", "project": "x"} for i in range(3000)]
    sums.add(batch_of(flood))
    rows = _closed(sums, T0 + 60.0)
    assert (rows.kinds == Kind.CLIENT).sum() == LIMITS[Kind.CLIENT]
    assert _count(rows, "requests") == _count(rows, "requests", Kind.ENDPOINT) == 3000.0
    assert sums.overflown == 3000 - LIMITS[Kind.CLIENT]


def test_names_that_are_forgotten_are_those_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint of an open bucket would be reported without a name."""
    monkeypatch.setattr(room, "LABELS_MAX", 50)
    sums = Rollups(SEED)
    for i in range(40):
        sums.add(batch_of([{"ts": T0 + 20.0 * i, "endpoint": f"/{i}", "model": "m"}]))
        closed = sums.close(float("-inf"))
        if closed is not None:
            assert all(label for kind, label in zip(closed[1].kinds, closed[1].labels, strict=True) if kind)


def test_histograms_hold_what_the_rows_had() -> None:
    """Drift of outputs would be measured on other numbers than the gateway logged."""
    events = [
        {"ts": T0, "latency_ms": 0.0, "model_version": "v1", "shape": {"finish_reason": "stop", "confidence": 0.99}},
        {"ts": T0, "latency_ms": 1e9, "model_version": "v2", "shape": {"finish_reason": "length", "confidence": 1.0}},
        {"ts": T0, "tokens_out": 7, "shape": {"finish_reason": "something new", "refusal": True}},
    ]
    rows = _all_of(batch_of(events))
    row = rows.bins[rows.kinds == Kind.ALL][0]
    assert row[bins_of("latency_ms")][[0, -1]].tolist() == [1.0, 1.0]
    assert row[bins_of("finish")].tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    assert row[bins_of("confidence")][-1] == 2.0
    assert row[bins_of("version")].sum() == 2.0
    assert (_count(rows, "outputs"), _count(rows, "refusals")) == (3.0, 1.0)


def test_errors_are_no_answers() -> None:
    """A client that is refused in a loop would look like a model that answers with nothing, in no time."""
    sizes = {"ts": T0, "tokens_out": 0, "bytes_out": 90, "latency_ms": 2.0, "bytes_in": 100}
    rows = _all_of(batch_of([{**sizes, "status": status} for status in (200, 403, 429, 502)] + [sizes]))
    row = rows.bins[rows.kinds == Kind.ALL][0]
    filled = {name: row[bins_of(name)].sum() for name in ("tokens_out", "bytes_out", "latency_ms", "bytes_in")}
    assert filled == {"tokens_out": 2.0, "bytes_out": 2.0, "latency_ms": 3.0, "bytes_in": 5.0}


def test_restored_sums_go_on() -> None:
    """After a restart an endpoint's rate would begin at nothing, and old pairs would be new again."""
    calm, attack = traffic.calm(), traffic.attack(first_offset=2000)
    here, there = Rollups(SEED), Rollups(SEED)
    here.add(calm)
    here.close(float("-inf"))
    there.restore(here.snapshot())
    for sums in (here, there):
        sums.add(attack)
    one, two = _closed(here, 2e9), _closed(there, 2e9)
    assert one.labels == two.labels
    assert np.array_equal(one.counts, two.counts)
    assert np.array_equal(one.bins, two.bins)


def test_another_versions_snapshot_is_refused() -> None:
    """Numbers would be read as something else."""
    saved = Rollups(SEED).snapshot()
    saved["version"] = np.array([99], np.int64)
    with pytest.raises(StateError):
        Rollups(SEED).restore(saved)
