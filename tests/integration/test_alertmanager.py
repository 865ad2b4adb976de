"""A real Alertmanager shows, groups, silences and resolves our alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gatewatch.clock import SystemClock
from gatewatch.notify.base import Result
from gatewatch.notify.notice import Bulletin
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.words import rfc3339
from gatewatch.records import Severity, Status
from gatewatch.testing.alertmanager import Running, running_alertmanager
from gatewatch.testing.alerts import notice
from gatewatch.testing.sinks import StandIn
from gatewatch.testing.waiting import wait_until

pytestmark = pytest.mark.slow
HOSTILE = 'x" , \n{{ .Labels }} <script> \u202e ' + "y" * 100_000
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def hook() -> Iterator[StandIn]:
    """Where Alertmanager sends what it says."""
    made = StandIn()
    yield made
    made.close()


@pytest.fixture(scope="module")
def manager(hook: StandIn) -> Iterator[Running]:
    """The real one."""
    with running_alertmanager(hook.url) as running:
        yield running


@pytest.fixture
def receiver(manager: Running) -> Iterator[Alertmanager]:
    """What is tested."""
    made = Alertmanager(manager.url, CLOCK)
    yield made
    made.close()


def _tell(told: Alertmanager, alert_id: str, **changes: Any) -> str:
    now = CLOCK.now()
    times = {"first_ts": now - 90.0, "last_ts": now - 1.0, "valid_until": now + 600.0}
    attempt = told.send(notice(id=alert_id, **{**times, **changes}), None)
    assert attempt.result is Result.DELIVERED
    assert attempt.handle is not None
    return attempt.handle


def _groups(hook: StandIn, status: str) -> list[set[str]]:
    """Episodes that were told together with that status."""
    told = (json.loads(body) for _, _, body in hook.seen)
    return [{a["labels"]["episode"] for a in group["alerts"] if a["status"] == status} for group in told]


def test_it_shows_groups_and_resolves(manager: Running, receiver: Alertmanager, hook: StandIn) -> None:
    """If this fails, a site that pages by Alertmanager is paged for each key, or for ever."""
    handles = {name: _tell(receiver, name, project="billing", key=f"203.0.113.{name[-1]}") for name in ("g1", "g2")}
    _tell(receiver, "g3", project="shop")
    assert {a["labels"]["episode"] for a in manager.alerts()} >= {"g1", "g2", "g3"}
    wait_until(lambda: {"g1", "g2"} in _groups(hook, "firing") and {"g3"} in _groups(hook, "firing"))
    for name, handle in handles.items():
        over = notice(id=name, key=f"203.0.113.{name[-1]}", status=Status.RESOLVED, first_ts=CLOCK.now() - 90.0)
        assert receiver.send(over, handle).result is Result.DELIVERED
    # A flush may fall between the two: then they are told one after the other
    wait_until(lambda: {"g1", "g2"} <= {episode for group in _groups(hook, "resolved") for episode in group})


def test_it_silences_by_our_labels(manager: Running, receiver: Alertmanager, hook: StandIn) -> None:
    """If this fails, a silence that somebody made there does not hold."""
    manager.silence("key", "198.51.100.7", rfc3339(CLOCK.now() + 3600.0))
    _tell(receiver, "s1", key="198.51.100.7", project="quiet")
    wait_until(lambda: any(a["status"]["state"] == "suppressed" for a in manager.alerts(filter='episode="s1"')))


def test_a_revision_changes_the_alert_and_a_graver_one_replaces_it(
    manager: Running, receiver: Alertmanager, hook: StandIn
) -> None:
    """If this fails, one attack is two alerts there, or stays at the severity it began with."""
    handle = _tell(receiver, "r1", project="r")
    now = CLOCK.now()
    for severity, handed in ((Severity.HIGH, handle), (Severity.CRITICAL, handle)):
        told = notice(
            id="r1", revision=9, project="r", severity=severity, first_ts=now - 90.0, valid_until=now + 600.0, count=77
        )
        assert receiver.send(told, handed).result is Result.DELIVERED
    wait_until(
        lambda: [a["labels"]["severity"] for a in manager.alerts(filter='episode="r1"', active="true")] == ["critical"]
    )


def test_it_takes_hostile_strings_and_bulletins(manager: Running, receiver: Alertmanager, hook: StandIn) -> None:
    """If this fails, an attacker's key makes Alertmanager refuse the alert, and nobody is told."""
    _tell(receiver, "h1", key=HOSTILE, project=HOSTILE, summary=HOSTILE, context={"user_agent": HOSTILE})
    shown = manager.alerts(filter='episode="h1"')
    assert len(shown) == 1
    assert "\u202e" not in json.dumps(shown, ensure_ascii=False)
    told = Bulletin("refused-slack-1", "slack refuses alerts", Severity.HIGH)
    assert receiver.announce(told).result is Result.DELIVERED
