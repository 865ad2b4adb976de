"""What an evaluation says of a replay whose every part is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gatewatch.records import Explanation, Finding, Scope
from gatewatch.settings import Settings, Source
from gatewatch.testing.alerts import alert
from gatewatch.tune.evaluate import ANY, DetectorReport, Report, judge
from gatewatch.tune.evaluate_events import BENIGN, Collector, Events, scores
from gatewatch.tune.evaluate_labels import Attack, Truth
from gatewatch.tune.replay import Replayed

START = 1_770_000_000.0
GOOD, BAD = "198.51.100.7", "203.0.113.9"


def _finding(ts: float, key: str, nats: float = 20.0, **changes: object) -> Finding:
    fields: dict[str, object] = {
        "id": f"{key}-{ts}",
        "detector": "credential_stuffing",
        "version": 1,
        "scope": Scope.IP,
        "key": key,
        "reason": "stuffing",
        "title": "Credential stuffing",
        "ts": ts,
        "since": ts,
        "nats": nats,
        "threshold_nats": 10.0,
        "observed": 9.0,
        "expected": 1.0,
        "unit": "accounts",
        "window_s": 600.0,
        "learned": False,
        "warm": True,
        "sample": "t-0-0-0",
        "explanation": Explanation((), "", ""),
    }
    return Finding(**{**fields, **changes})  # type: ignore[arg-type]


def _events(truth: Truth) -> Events:
    """Two days: an honest address every 100 s, and a bad one 100 times from noon of the first day on, every 10 s."""
    collector = Collector(Source(topic="t", format="native"))
    honest = [(START + 100.0 * i, GOOD) for i in range(1728)]
    hostile = [(START + 43_200.0 + 10.0 * i, BAD) for i in range(100)]
    lines = sorted(honest + hostile)
    collector.add([f'{{"ts": {ts}, "ip": "{ip}", "status": 401}}'.encode() for ts, ip in lines])
    return collector.events(truth)


@pytest.fixture
def truth() -> Truth:
    """One attack by one address."""
    return Truth([Attack("a", "stuffing", START + 43_200.0, START + 44_190.0, {(Scope.IP, BAD)})])


def _of(report: Report, detector: str) -> DetectorReport:
    return next(d for d in report.detectors if d.detector == detector)


def test_events_are_labelled_by_key_and_time(truth: Truth) -> None:
    """If this fails, what an address does on another day counts as its attack."""
    events = _events(truth)
    assert events.hostile.sum() == 100
    truth.attacks[0].end = START + 43_200.0 + 95.0
    assert _events(truth).hostile.sum() == 10


def test_an_attack_is_caught_with_its_delay_and_events(truth: Truth) -> None:
    """If this fails, "found after 7 events" is wrong, and with it every comparison of settings."""
    done = Replayed(findings=[_finding(START + 43_260.0, BAD)])
    report = judge(done, _events(truth), truth, Settings())
    kind = _of(report, "credential_stuffing").kinds[0]
    assert (kind.caught, kind.attacks, kind.after_s.value, kind.after_events.value) == (1, 1, 60.0, 7.0)
    assert _of(report, ANY).kinds[0].caught == 1
    assert _of(report, "rate_spike").kinds[0].caught == 0


@pytest.mark.parametrize(
    ("scope", "key", "context", "caught"),
    [
        (Scope.CREDENTIAL, "key-1", {"ip": BAD, "principal": "acme"}, True),
        (Scope.NETWORK, "203.0.113.0/24", {"ip": BAD}, True),
        (Scope.CREDENTIAL, "key-1", {"ip": GOOD, "user_agent": BAD}, False),
        (Scope.ENDPOINT, "/chat", {"ip": BAD}, False),
    ],
    ids=["of its row", "its network", "of another's row", "an endpoint that it never called"],
)
def test_a_finding_names_who_and_where_from_its_row_was(
    scope: Scope, key: str, context: dict[str, str], caught: bool, truth: Truth
) -> None:
    """If this fails, a leaked key told of by its id is missed, and a false alarm, where the label says whose it is."""
    found = _finding(START + 43_260.0, key, scope=scope, context=context)
    told = alert(id="1", scope=scope, key=key, context=context, first_ts=found.ts, last_ts=found.ts)
    report = _of(judge(Replayed(findings=[found], alerts=[told]), _events(truth), truth, Settings()), ANY)
    assert (report.kinds[0].caught == 1, report.false_alarms == 0) == (caught, caught)


@pytest.mark.parametrize(
    "finding",
    [
        _finding(START + 43_260.0, GOOD),
        _finding(START + 43_100.0, BAD),
        _finding(START + 44_190.0 + 901.0, BAD),
        _finding(START + 43_260.0, BAD, learned=True, warm=False),
    ],
    ids=["another key", "before it", "long after it", "in shadow"],
)
def test_what_does_not_count_as_caught(finding: Finding, truth: Truth) -> None:
    """If this fails, an attack counts as caught by an alert about somebody else, at another time, or never sent."""
    report = judge(Replayed(findings=[finding]), _events(truth), truth, Settings())
    assert _of(report, ANY).kinds[0].caught == 0


def test_alerts_about_no_attack_are_false_and_priced(truth: Truth) -> None:
    """If this fails, false alarms a day or a key-day, what a budget is compared with, are wrong."""
    times = {"first_ts": START + 43_260.0, "last_ts": START + 43_300.0}
    alerts = [alert(id="1", key=BAD, **times), alert(id="2", key=GOOD, **times)]
    detector = _of(judge(Replayed(alerts=alerts), _events(truth), truth, Settings()), "credential_stuffing")
    assert (detector.alerts, detector.false_alarms) == (2, 1)
    assert [false.key for false in detector.false] == [GOOD]
    assert detector.precision.value == 0.5
    assert detector.false_per_day.value == pytest.approx(0.5, rel=0.01)  # one in two days
    # An address, its network and the whole, on three calendar days each: the data begins at 02:40 UTC
    assert detector.false_per_key_day.value == pytest.approx(1 / 9)


def test_mild_alerts_do_not_count(truth: Truth) -> None:
    """If this fails, notes of low severity are charged to a budget that is about medium and worse."""
    note = alert(key=GOOD, severity="low", first_ts=START, last_ts=START)
    assert _of(judge(Replayed(alerts=[note]), _events(truth), truth, Settings()), ANY).alerts == 0


def test_scores_hold_from_the_finding_on_for_its_key(truth: Truth) -> None:
    """If this fails, an event is credited with what was known only after it, or with another key's finding."""
    events = _events(truth)
    found = scores(events, [_finding(START + 43_260.0, BAD, nats=20.0), _finding(START + 43_300.0, BAD, nats=30.0)])
    mine = events.hostile
    since = events.ts - (START + 43_200.0)
    assert (found[~mine] == 0.0).all()
    assert (found[mine & (since < 60)] == 0.0).all()
    assert (found[mine & (since >= 60) & (since < 100)] == 20.0).all()
    assert (found[mine & (since >= 100) & (since < 700)] == 30.0).all()
    assert (found[mine & (since >= 700)] == 0.0).all()


def test_what_is_said_of_everybody_scores_nobody(truth: Truth) -> None:
    """If this fails, one alarm about a whole service marks every customer's events hostile."""
    events = _events(truth)
    assert scores(events, [_finding(START + 43_260.0, "all", scope=Scope.ALL)]).max() == 0.0


def test_event_level_share(truth: Truth) -> None:
    """If this fails, the event-level share is not the share of hostile events behind the finding."""
    report = judge(Replayed(findings=[_finding(START + 43_200.0 + 495.0, BAD)]), _events(truth), truth, Settings())
    assert _of(report, "credential_stuffing").tpr == pytest.approx(0.5)
    fpr, tpr = _of(report, "credential_stuffing").curve
    assert (fpr.tolist(), tpr.tolist()) == ([0.0], [0.5])


def test_an_attack_without_events_is_said_to_be_so() -> None:
    """If this fails, an attack that is not in the files counts as missed, or as caught."""
    truth = Truth([Attack("ghost", "stuffing", START, START + 1.0, {(Scope.IP, "192.0.2.1")})])
    events = _events(truth)
    assert (events.attack == BENIGN).all()
    report = judge(Replayed(), events, truth, Settings())
    assert report.unseen == ["ghost"]
    assert _of(report, ANY).kinds == []
    assert math.isnan(_of(report, ANY).tpr)


def test_key_days_count_each_key_and_day_once(truth: Truth) -> None:
    """If this fails, a busy key dilutes the rate of false alarms of all others."""
    keys, days = _events(truth).key_days([Scope.IP])
    assert (len(keys), days.tolist()) == (1, [3.0])
    assert np.issubdtype(days.dtype, np.floating)
