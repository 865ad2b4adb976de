"""Findings to alerts: one episode for one attack, told often enough and not more."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from gatewatch.catalog import Catalog
from gatewatch.decide.decider import Decider
from gatewatch.records import Finding, FindingBatch, Mode, Scope, Severity, Status

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]
T0 = 1_700_000_000.0


def test_an_attack_is_one_alert_that_opens_grows_and_resolves(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an on-call engineer gets a page a finding, or never hears that it is over."""
    decider = make_decider()
    told = []
    for i in range(8):
        told += decider.apply(make_batch(i, 60.0 * i, make_finding(60.0 * i, n=i)), i).alerts
    assert [a.status for a in told] == [Status.OPEN, Status.UPDATED, Status.UPDATED, Status.UPDATED]
    assert [a.count for a in told] == [1, 2, 4, 8]  # when the count doubles
    assert decider.apply(make_batch(8, 420.0 + 599.0), 8).alerts == []
    (last,) = decider.apply(make_batch(9, 420.0 + 600.0), 9).alerts
    assert (last.status, last.count, last.revision) == (Status.RESOLVED, 8, 9)
    assert {told[0].id} == {a.id for a in (*told, last)}
    assert decider.open_episodes == 0


def test_an_episode_that_goes_on_says_so_every_five_minutes(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an alert's last news is an hour old while the attack goes on, and Alertmanager resolves it."""
    decider = make_decider()
    revisions = []
    for i in range(40):
        at = 100.0 * i
        revisions += decider.apply(make_batch(i, at, make_finding(at, n=i)), i).alerts
    late = [a for a in revisions if a.count > 8]
    gaps = {round(b.last_ts - a.last_ts) for a, b in itertools.pairwise(late)}
    assert max(gaps) == 300
    assert all(a.valid_until > b.last_ts for a, b in itertools.pairwise(revisions))


def test_a_pause_longer_than_the_cool_down_is_a_new_attack(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, two attacks days apart in one replayed chunk become one, or the first is never closed."""
    decider = make_decider()
    decided = decider.apply(make_batch(0, 700.0, make_finding(0.0), make_finding(700.0, n=1)), 0)
    assert [a.status for a in decided.alerts] == [Status.RESOLVED, Status.OPEN]
    assert len({a.id for a in decided.alerts}) == 2


def test_a_wide_window_waits_longer_before_it_is_over(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a slow attack that an hourly window sees opens a new alert for each finding."""
    decider = make_decider()
    decider.apply(make_batch(0, 0.0, make_finding(0.0, window_s=3600.0)), 0)
    assert decider.apply(make_batch(1, 5399.0), 1).alerts == []
    assert [a.status for a in decider.apply(make_batch(2, 5400.0), 2).alerts] == [Status.RESOLVED]


def test_another_partition_far_ahead_does_not_end_an_episode(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a replay (one partition hours ahead of the next) cuts each attack into many alerts."""
    decider = make_decider()
    first = decider.apply(make_batch(0, 0.0, make_finding(0.0)), 0).alerts[0]
    assert not decider.apply(make_batch(0, 7200.0, task=1), 1)
    decided = decider.apply(make_batch(1, 30.0, make_finding(30.0, n=1)), 2)
    assert [(first.id, 2)] == [(a.id, a.count) for a in decided.alerts]


def test_what_a_task_has_said_before_is_dropped_whole(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a detect worker that was thought dead doubles counts and pages again."""
    decider = make_decider()
    decider.apply(make_batch(5, 0.0, make_finding(0.0)), 0)
    assert not decider.apply(make_batch(5, 10.0, make_finding(5.0, n=1)), 1)
    assert not decider.apply(make_batch(4, 10.0, make_finding(5.0, n=2)), 2)
    (alert,) = decider.apply(make_batch(6, 10.0, make_finding(9.0, n=3)), 3).alerts
    assert alert.count == 2
    assert decider.apply(make_batch(5, 10.0, make_finding(0.0, key="203.0.113.10"), task=1), 4)


def test_an_alert_says_who_what_how_much_and_what_was_expected(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, the first line that an on-call engineer reads does not say what happened."""
    catalog = Catalog.model_validate({"projects": {"shop": {"owner": "team-shop", "escalation": "#shop"}}})
    decider = make_decider(catalog, detectors={"door_knocker": {"mode": "alert"}})
    (alert,) = decider.apply(make_batch(7, 0.0, make_finding(0.0, project="shop")), 41).alerts
    assert alert.summary == (
        "Password cracking by ip 203.0.113.9: 286 failed logins over 5 min, expected 0.4; account root"
    )
    assert (alert.owner, alert.escalation, alert.project, alert.revision) == ("team-shop", "#shop", "shop", 41)
    assert alert.tags == {"attack": ("T1110", "T1110.001")}
    assert alert.samples == ("access-0-0-0",)
    assert (alert.mode, alert.decision_ids) == (Mode.ALERT, ())
    assert "unowned" not in alert.context


def test_an_alert_that_nobody_owns_says_so(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, alerts of a forgotten project go nowhere and nobody notices."""
    catalog = Catalog.model_validate({"projects": {"shop": {"owner": "team-shop"}}})
    decider = make_decider(catalog)
    (alert,) = decider.apply(make_batch(0, 0.0, make_finding(0.0, project="billing")), 0).alerts
    assert alert.context["unowned"] == "nobody owns project billing in the catalog"


def test_what_a_stranger_wrote_cannot_break_the_line(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a login name with an escape code or a bidi override rewrites what people read."""
    decider = make_decider()
    nasty = {"account": "root\x1b[2J\u202e\n" + "x" * 500, "user_agent": "a\u2066b"}
    (alert,) = decider.apply(make_batch(0, 0.0, make_finding(0.0, key="1.2.3.4\n", context=nasty)), 0).alerts
    for text in (alert.summary, *alert.context.values()):
        assert text.isprintable()
    assert len(alert.context["account"]) == 128


def test_evidence_warmth_and_the_catalog_move_the_severity(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, people are woken for a cold baseline, or not woken for a canary."""

    def severity_of(catalog: dict[str, object] | None = None, **fields: object) -> Severity:
        decider = make_decider(Catalog.model_validate(catalog or {}))
        return decider.apply(make_batch(0, 0.0, make_finding(0.0, **fields)), 0).alerts[0].severity

    sensitive: dict[str, object] = {"projects": {"p": {"sensitivity": "high"}}}
    assert severity_of() is Severity.MEDIUM
    assert severity_of(nats=22.0) is Severity.HIGH
    assert severity_of(reason="takeover", nats=99.0) is Severity.CRITICAL
    assert severity_of(learned=True, warm=False) is Severity.LOW
    assert severity_of(sensitive, project="p") is Severity.HIGH
    assert severity_of(sensitive, project="p", nats=99.0) is Severity.CRITICAL
    assert severity_of({"projects": {"p": {"sensitivity": "low"}}}, project="p") is Severity.LOW
    assert severity_of({"canary": {"models": ["m"]}}, context={"model": "m"}, reason="burst") is Severity.HIGH
    assert severity_of(reason="of a newer version") is Severity.MEDIUM


def test_a_cold_baseline_is_recorded_in_shadow_until_it_is_warm(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, a fresh installation pages and blocks on baselines of ten minutes."""
    decider = make_decider()
    cold = decider.apply(make_batch(0, 0.0, make_finding(0.0, learned=True, warm=False)), 0)
    assert [a.mode for a in cold.alerts] == [Mode.SHADOW]
    assert "shadow" in cold.alerts[0].summary
    warm = decider.apply(make_batch(1, 1.0, make_finding(1.0, n=1, learned=True, warm=True)), 1)
    assert [(a.mode, a.status) for a in warm.alerts] == [(Mode.BLOCK, Status.UPDATED)]


def test_the_projects_mode_beats_the_detectors(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, a team that switched a detector off is still paged by it."""
    decider = make_decider(
        detectors={"door_knocker": {"mode": "alert"}},
        projects={"quiet": {"detectors": {"door_knocker": {"mode": "off"}}}},
    )
    off = decider.apply(make_batch(0, 0.0, make_finding(0.0, project="quiet")), 0)
    assert not off
    other = decider.apply(make_batch(1, 0.0, make_finding(0.0, project="loud")), 1)
    assert [a.mode for a in other.alerts] == [Mode.ALERT]
    assert not decider.apply(make_batch(2, 0.0, make_finding(0.0, detector="not installed")), 2)


def test_more_open_episodes_than_there_is_room_for_close_the_oldest(
    make_finding: Make, make_batch: Batch, make_decider: New
) -> None:
    """If this fails, an attacker with many addresses fills the memory of decide, or silences the newest attack."""
    decider = make_decider(open_max=3)
    for i in range(3):
        decider.apply(make_batch(0, i, make_finding(float(i), key=f"203.0.113.{i}"), task=i), i)
    decider.apply(make_batch(1, 3.0, make_finding(3.0, n=1, key="203.0.113.0")), 3)  # no longer the oldest
    decided = decider.apply(make_batch(2, 4.0, make_finding(4.0, key="203.0.113.77")), 4)
    (closed,) = [a for a in decided.alerts if a.status is Status.RESOLVED]
    assert closed.key == "203.0.113.1"
    assert "closed early" in closed.summary
    assert decider.open_episodes == 3


def test_two_partitions_may_find_the_same_account(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, an account that strangers try and its owner uses is resolved while the attack goes on."""
    decider = make_decider()
    account = {"scope": Scope.ACCOUNT, "key": "root"}
    decider.apply(make_batch(0, 0.0, make_finding(0.0, **account), task=0), 0)
    decider.apply(make_batch(0, 500.0, make_finding(500.0, n=1, **account), task=1), 1)
    assert not decider.apply(make_batch(1, 800.0, task=0), 2)
    (over,) = decider.apply(make_batch(1, 1100.0, task=1), 3).alerts
    assert (over.status, over.count) == (Status.RESOLVED, 2)


def test_a_victim_is_not_accused(make_finding: Make, make_batch: Batch, make_decider: New) -> None:
    """If this fails, the line that people read calls the owner of an attacked account the attacker."""
    finding = make_finding(0.0, scope=Scope.ACCOUNT, key="root", context={"ip": "203.0.113.9"})
    (alert,) = make_decider().apply(make_batch(0, 0.0, finding), 0).alerts
    assert alert.summary.startswith("Password cracking on account root: ")
    assert alert.summary.endswith("last from 203.0.113.9")
