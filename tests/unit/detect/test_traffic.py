"""What guards hear of who else would be hit: from where, how many, and independent of the cut into batches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewatch.detect.traffic import LEAST_SERVED, SLOTS, THIRD_S, Traffic
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch, Role
from gatewatch.records import Explanation, Finding, Scope
from gatewatch.testing.batches import batch_of, cut

T0 = THIRD_S * 60_000  # the beginning of a third of a day
OFFICE = "203.0.113.9"


def row(ts: float, ip: str, principal: str | None = None, status: int = 200) -> dict[str, Any]:
    """One request."""
    return {"ts": ts, "ip": ip, "principal": principal, "status": status}


def finding(scope: Scope, key: str) -> Finding:
    """A finding on a key, as a detector would make it."""
    return Finding(
        id="f", detector="d", version=1, scope=scope, key=key, reason="r", title="t", ts=T0, since=T0, nats=1.0,
        threshold_nats=1.0, observed=1.0, expected=1.0, unit="u", window_s=1.0, learned=False, warm=True, sample="s",
        explanation=Explanation((), "", ""), context={"account": "root"},
    )  # fmt: skip


def last(traffic: Traffic, batch: Batch, scope: Scope, key: str = OFFICE) -> dict[str, str]:
    """What the finding of the last row says."""
    (told,) = traffic.tell(batch, [(batch.n - 1, finding(scope, key))])
    return {name: text for name, text in told.context.items() if name != "account"}


def days(principals: int, thirds: int) -> Batch:
    """Some people behind one address, in some thirds of a day each."""
    return batch_of(
        [row(T0 + t * THIRD_S + p, OFFICE, f"user-{p}") for t in range(thirds) for p in range(principals)]
        + [row(T0 + thirds * THIRD_S, OFFICE, None, 401)]
    )


@pytest.mark.parametrize("scope", [Scope.IP, Scope.NETWORK])
def test_people_who_come_back_make_an_address_shared(scope: Scope) -> None:
    """If this fails, one attacker in an office blocks the office."""
    assert last(Traffic(1), days(7, 2), scope) == {"healthy_principals": "7"}


def test_the_victims_of_an_attack_do_not_shield_the_attacker() -> None:
    """If this fails, credential stuffing with some success makes its own address unblockable."""
    assert last(Traffic(1), days(50, 1), Scope.IP) == {"healthy_principals": "0"}


def test_rows_that_are_only_shown_carry_nothing() -> None:
    """If this fails, each partition takes what is shown to it for its own traffic, and guards spare or stop by it."""
    traffic = Traffic(1)
    traffic.tell(batch_of([row(T0 + i, OFFICE, f"user-{i}") for i in range(2000)], role=Role.SHOW), [])
    state = traffic.snapshot()
    assert not any(state[name].any() for name in ("served", "weights", "bits", "counts"))


def test_people_who_have_gone_are_forgotten() -> None:
    """If this fails, an address that changed hands is spared for what its former users did."""
    traffic = Traffic(1)
    last(traffic, days(7, 2), Scope.IP)
    later = batch_of([row(T0 + 6 * THIRD_S, OFFICE, None, 401)])
    assert last(traffic, later, Scope.IP) == {"healthy_principals": "0"}


@pytest.mark.parametrize(("partitions", "share"), [(1, "0.2500"), (12, "0.0270")])
def test_a_share_is_of_what_is_served_everywhere(partitions: int, share: str) -> None:
    """If this fails, the largest customer is blocked, or nobody ever is because one task sees a part only."""
    n = int(2 * LEAST_SERVED)
    rows = [row(T0 + i / 100, OFFICE if i % 4 == 0 else f"198.51.{i % 200}.1", f"p{i % 4}") for i in range(n)]
    ended = batch_of([*rows, row(T0 + 30, OFFICE, "p0", 401)])
    assert last(Traffic(partitions), ended, Scope.IP)["share"] == share
    assert last(Traffic(partitions), ended, Scope.PRINCIPAL, "p0") == {"share": share}
    assert last(Traffic(partitions), ended, Scope.CREDENTIAL) == {}


def test_who_is_refused_carries_nothing_however_much_they_send() -> None:
    """If this fails, the louder an attack is the less it is blocked."""
    n = int(LEAST_SERVED) + 1
    good = [row(T0 + i / 100, f"198.51.{i % 200}.1", f"p{i}") for i in range(n)]
    bad = [row(T0 + i / 100, OFFICE, None, 401) for i in range(9 * n)]
    assert last(Traffic(1), batch_of(good + bad), Scope.IP)["share"] == "0.0000"


def test_of_little_traffic_no_share_is_told() -> None:
    """If this fails, a test site's only client is a fifth of all traffic, and never blocked."""
    few = batch_of([row(T0 + i, OFFICE, "p") for i in range(20)])
    assert "share" not in last(Traffic(1), few, Scope.IP)
    old = [row(T0 + i / 100, OFFICE, "p") for i in range(int(LEAST_SERVED) + 10)]
    assert "share" not in last(Traffic(1), batch_of([*old, row(T0 + 3600, OFFICE, "p")]), Scope.IP)


@given(size=st.integers(1, 60), at=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_cut_into_batches_and_a_restart_change_nothing(size: int, at: int) -> None:
    """If this fails, a guard refuses an order in one run and lets it pass in the replay."""
    rows = [row(T0 + 400.0 * i, f"203.0.113.{i % 3}", f"p{i % 11}", 200 if i % 5 else 401) for i in range(101)]
    batch = batch_of(rows)
    asked = [(i, finding(Scope.IP, "k")) for i in range(batch.n)]
    whole = [f.context for f in Traffic(1).tell(batch, asked)]
    traffic, parts, done = Traffic(1), [], 0
    for piece in cut(batch, size):
        if done >= at:
            again = Traffic(1)
            again.restore(traffic.snapshot())
            traffic = again
        parts += [f.context for f in traffic.tell(piece, [(i, asked[0][1]) for i in range(piece.n)])]
        done += piece.n
    assert parts == whole


def test_a_snapshot_of_another_size_is_refused_whole() -> None:
    """If this fails, half of another version's memory decides whom we spare."""
    traffic = Traffic(1)
    last(traffic, days(7, 2), Scope.IP)
    before = traffic.snapshot()
    with pytest.raises(StateError, match="bits"):
        traffic.restore(Traffic(1).snapshot() | {"bits": before["bits"][:, :2]})
    assert all((traffic.snapshot()[name] == array).all() for name, array in before.items())
    assert before["weights"].shape == (3, SLOTS)


def test_a_finding_shows_how_often_its_key_asked() -> None:
    """If this fails, the picture in an alert is of somebody else, or of nothing."""
    quiet = [row(T0 + 60.0 * i, OFFICE, "ana") for i in range(60)]  # one a minute for an hour
    others = [row(r["ts"], f"198.51.100.{i}", "ben") for i, r in enumerate(quiet)]
    burst = [row(T0 + 3600.0 + i / 10.0, OFFICE, "ana", 429) for i in range(1200)]  # ten a second, refused
    batch = batch_of([*(r for pair in zip(quiet, others, strict=True) for r in pair), *burst])
    (told,) = Traffic(1).tell(batch, [(batch.n - 1, finding(Scope.PRINCIPAL, "ana"))])
    assert told.series[:-1] == (1.0,) * 12
    assert told.series[-1] == pytest.approx(600.0, rel=0.01)
    (account,) = Traffic(1).tell(batch, [(batch.n - 1, finding(Scope.ACCOUNT, "root"))])
    assert account.series == (), "whom strangers ask for has no rate of its own"


def test_a_rate_is_of_the_last_two_hours_and_begins_with_what_we_saw() -> None:
    """If this fails, silence before we listened looks like a key that was quiet."""
    traffic = Traffic(1)
    early = batch_of([row(T0, OFFICE)])
    assert len(traffic.tell(early, [(0, finding(Scope.IP, OFFICE))])[0].series) == 1
    late = batch_of([row(T0 + 7 * 3600.0, OFFICE), row(T0 + 7 * 3600.0 - 300.0, OFFICE), row(T0, OFFICE)])
    now, before, _out = traffic.tell(late, [(i, finding(Scope.IP, OFFICE)) for i in range(3)])
    assert now.series == (0.0,) * 23 + (1.0,)
    assert before.series[-1] == 1.0, "a late row counts where it belongs"
    assert len(before.series) == 23
