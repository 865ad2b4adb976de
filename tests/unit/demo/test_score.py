"""The scoreboard says what happened, no better and no worse."""

from __future__ import annotations

from functools import cache

import pytest

from gatewatch.demo.score import GRACE_S, Scoreboard, Truth, score
from gatewatch.records import Action, Alert, Decision, Explanation, Finding, Mode, Scope, Severity, Status
from gatewatch.simulate.scenario import Simulation

_START = 1772539200.0


@cache
def _simulation(name: str) -> Simulation:
    return Simulation(name, rate=8.0, duration_s=7200.0, start=_START, seed=3)


def _truth(name: str) -> Truth:
    simulation = _simulation(name)
    return Truth(simulation.world, simulation.episodes[0], simulation.hostile)


def _alert(scope: Scope, key: str, last_ts: float, **changed: object) -> Alert:
    fields: dict[str, object] = {
        "id": f"{scope}-{key}", "revision": 1, "status": Status.OPEN, "severity": Severity.HIGH, "mode": Mode.ALERT,
        "detector": "credential_stuffing", "detector_version": 1, "scope": scope, "key": key, "reason": "cracking",
        "title": "Password cracking", "summary": "s", "first_ts": last_ts, "last_ts": last_ts,
        "valid_until": last_ts + 600, "count": 1, "nats": 12.0, "p": 1e-5, "observed": 30.0, "expected": 1.0,
        "unit": "failures in a row", "window_s": 60.0, "threshold_nats": 9.0, "baseline": "b", "counterfactual": "c",
        "contributions": (), "samples": (), "playbook": "p", "config_hash": "h",
    }  # fmt: skip
    return Alert.model_validate(fields | changed)


def _block(scope: Scope, value: str, start: float, mode: Mode = Mode.BLOCK) -> Decision:
    return Decision(
        id=f"b-{value}", action=Action.BLOCK, scope=scope, value=value, reason="r", start=start, until=start + 600,
        mode=mode,
    )  # fmt: skip


def _board(
    truth: Truth,
    alerts: list[Alert],
    decisions: list[Decision] | None = None,
    findings: list[Finding] | None = None,
) -> Scoreboard:
    if findings is None:
        findings = [_finding(alert.key, alert.last_ts, detector=alert.detector, scope=alert.scope) for alert in alerts]
    return score([truth], alerts, decisions or [], findings, {truth.episode.attack}, days=0.5)


def test_an_alert_on_the_attackers_address_is_a_catch_with_its_delay() -> None:
    """An attack that was seen would be called missed, or a delay be invented."""
    truth = _truth("cracking")
    address = truth.episode.keys[Scope.IP][0]
    verdict = _board(truth, [_alert(Scope.IP, address, truth.episode.first_ts + 30)]).verdicts[0]
    assert verdict.caught
    assert verdict.after_s == pytest.approx(30.0)
    assert verdict.events_named == verdict.events == truth.episode.events


def _finding(
    key: str, ts: float, *, warm: bool = True, detector: str = "credential_stuffing", scope: Scope = Scope.IP
) -> Finding:
    return Finding(
        id=f"{key}-{ts}", detector=detector, version=1, scope=scope, key=key, reason="cracking",
        title="Password cracking", ts=ts, since=ts, nats=12.0, threshold_nats=9.0, observed=30.0, expected=1.0,
        unit="failures in a row", window_s=60.0, learned=True, warm=warm, sample="t-0-0-0",
        explanation=Explanation((), "b", "c"),
    )  # fmt: skip


def test_the_delay_ends_with_the_first_finding_that_was_not_in_shadow() -> None:
    """Delays would be as long as a chunk of the demo is, or count what was sent to nobody."""
    truth = _truth("cracking")
    address = truth.episode.keys[Scope.IP][0]
    at = truth.episode.first_ts
    findings = [_finding(address, at - 50), _finding(address, at + 2, warm=False), _finding(address, at + 5)]
    board = _board(truth, [_alert(Scope.IP, address, at + 90)], [], findings)
    assert board.verdicts[0].after_s == pytest.approx(5.0)


def test_an_attack_nobody_tells_of_is_missed() -> None:
    """The demo would pass without seeing anything."""
    board = _board(_truth("cracking"), [])
    assert not board.verdicts[0].caught
    assert not board.passed


def test_an_attack_without_a_detector_does_not_fail_the_demo() -> None:
    """The demo could never pass before the last detector is shipped."""
    board = score([_truth("payload_drift")], [], [], [], set(), days=0.5)
    assert not board.verdicts[0].covered
    assert board.passed


def test_an_alert_on_another_key_is_a_false_alarm() -> None:
    """Alerts about innocent people would be counted as catches, or not at all."""
    truth = _truth("cracking")
    board = _board(truth, [_alert(Scope.IP, "192.0.2.77", truth.episode.first_ts + 30)])
    assert not board.verdicts[0].caught
    assert [alert.key for alert in board.false_alarms] == ["192.0.2.77"]


def test_an_alert_of_low_severity_is_a_note_and_no_false_alarm() -> None:
    """A hint about a broken client would count against the budget of medium or worse."""
    truth = _truth("cracking")
    board = _board(truth, [_alert(Scope.IP, "192.0.2.77", truth.episode.first_ts, severity=Severity.LOW)])
    assert (len(board.false_alarms), len(board.notes)) == (0, 1)


@pytest.mark.parametrize("severity", [Severity.LOW, Severity.HIGH])
def test_what_gatewatch_says_of_itself_is_counted_apart(severity: Severity) -> None:
    """The breaker that opens in a flood would be a detector's false alarm, or vanish from the page."""
    truth = _truth("key_flood")
    at = truth.episode.first_ts + 5
    board = _board(truth, [_alert(Scope.ALL, "blocks", at, detector="gatewatch", severity=severity)])
    assert (board.false_alarms, board.notes) == ([], [])
    assert [alert.key for alert in board.about_us] == ["blocks"]


@pytest.mark.parametrize("offset_s", [-60.0, GRACE_S + 4000.0])
def test_an_alert_before_or_long_after_the_attack_is_a_false_alarm(offset_s: float) -> None:
    """A false alarm on a later victim would be sold as foresight."""
    truth = _truth("spike")
    at = truth.episode.first_ts + offset_s
    board = _board(truth, [_alert(Scope.PRINCIPAL, truth.episode.keys[Scope.PRINCIPAL][0], at, detector="rate_spike")])
    assert not board.verdicts[0].caught
    assert len(board.false_alarms) == 1


def test_another_detector_that_names_the_key_is_mentioned_and_catches_nothing() -> None:
    """Luck, or a side effect, would be sold as detection."""
    truth = _truth("cracking")
    address = truth.episode.keys[Scope.IP][0]
    board = _board(truth, [_alert(Scope.IP, address, truth.episode.first_ts + 5, detector="rate_spike")])
    assert not board.verdicts[0].caught
    assert board.verdicts[0].others == ("rate_spike",)
    assert board.false_alarms == []


def test_revisions_of_one_alert_count_once() -> None:
    """An episode that goes on would be many false alarms."""
    truth = _truth("cracking")
    at = truth.episode.first_ts
    board = _board(truth, [_alert(Scope.IP, "192.0.2.77", at + i, revision=i, first_ts=at) for i in range(5)])
    assert [alert.revision for alert in board.false_alarms] == [4]


def test_shadow_alerts_and_blocks_catch_nothing() -> None:
    """What nobody is told would be shown as a success."""
    truth = _truth("cracking")
    address = truth.episode.keys[Scope.IP][0]
    at = truth.episode.first_ts + 1
    board = _board(
        truth, [_alert(Scope.IP, address, at, mode=Mode.SHADOW)], [_block(Scope.IP, address, at, Mode.SHADOW)]
    )
    assert not board.verdicts[0].caught
    assert board.verdicts[0].blocked_after_s is None
    assert board.false_alarms == []


def test_only_events_after_the_block_count_as_stopped() -> None:
    """The demo would claim that a block had stopped what came before it."""
    truth = _truth("cracking")
    address = truth.episode.keys[Scope.IP][0]
    ts = sorted(_simulation("cracking").hostile["ts"].tolist())
    board = _board(truth, [_alert(Scope.IP, address, ts[99])], [_block(Scope.IP, address, ts[99])])
    assert board.verdicts[0].blocked_after_s == pytest.approx(ts[99] - ts[0])
    assert board.verdicts[0].events_after_block == len(ts) - 100
    assert board.wrong_blocks == []


def test_a_block_of_somebody_innocent_is_shown() -> None:
    """The worst thing that can happen would not be on the page."""
    board = _board(_truth("cracking"), [], [_block(Scope.IP, "192.0.2.77", _START)])
    assert [decision.value for decision in board.wrong_blocks] == ["192.0.2.77"]


def test_events_named_are_those_that_carry_an_alerted_key() -> None:
    """An alert on one of 1,500 addresses would look like the whole botnet."""
    truth = _truth("distributed_stuffing")
    address = truth.episode.keys[Scope.IP][0]
    verdict = _board(truth, [_alert(Scope.IP, address, truth.episode.last_ts)]).verdicts[0]
    assert verdict.caught
    assert verdict.events_named == 1


def test_an_ipv6_address_may_be_named_by_its_64() -> None:
    """An alert on the household's /64 would be a false alarm and the attack missed."""
    truth = _truth("key_flood")
    address = next(key for key in truth.episode.keys[Scope.IP] if ":" in key)
    prefix = ":".join(address.split("::")[0].split(":")[:4]) + "::/64"
    board = _board(truth, [_alert(Scope.IP, prefix, truth.episode.last_ts)])
    assert board.verdicts[0].caught
    assert board.verdicts[0].events_named >= 1
