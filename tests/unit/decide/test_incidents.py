"""What belongs together and what does not, and how much is said about it in a storm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewatch.decide.decider import Decider
from gatewatch.decide.turn import Decided
from gatewatch.records import Alert, Effect, Finding, FindingBatch, Incident, Scope, Severity, Status

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
New = Callable[..., Decider]
DAY = 86400.0


class Told:
    """What a decider said, as it stands now."""

    def __init__(self, decider: Decider, make_batch: Batch) -> None:
        self.decider, self._make_batch = decider, make_batch
        self.alerts: dict[str, Alert] = {}
        self.incidents: dict[str, Incident] = {}
        self.revisions: list[Incident] = []
        self._offset = 0

    def say(self, at: float, *findings: Finding, task: int = 0) -> Decided:
        """One more record of `findings`."""
        decided = self.decider.apply(self._make_batch(self._offset, at, *findings, task=task), self._offset)
        self._offset += 1
        self.alerts |= {a.id: a for a in decided.alerts}
        self.incidents |= {i.id: i for i in decided.incidents}
        self.revisions += decided.incidents
        return decided

    def groups(self) -> list[set[str]]:
        """Keys of each incident that was not merged into another."""
        return [{m.key for m in i.members} for i in self.incidents.values() if i.merged_into is None]


@pytest.fixture
def told(make_decider: New, make_batch: Batch) -> Told:
    """Nothing said yet."""
    return Told(make_decider(detectors={"door_knocker": {"mode": "alert"}}), make_batch)


def test_one_attacker_is_one_incident_across_scopes_and_partitions(told: Told, make_finding: Make) -> None:
    """If this fails, one thief with a stolen key is three pages to three people."""
    ip = make_finding(0.0, key="203.0.113.9", context={"network": "203.0.113.0/24"})
    principal = make_finding(
        5.0, n=1, scope=Scope.PRINCIPAL, key="alice", context={"ip": "203.0.113.9", "credential": "key-1"}
    )
    credential = make_finding(9.0, n=2, scope=Scope.CREDENTIAL, key="key-1", context={"principal": "alice"})
    network = make_finding(12.0, n=3, scope=Scope.NETWORK, key="203.0.113.0/24", context={"ip": "203.0.113.77"})
    told.say(0.0, ip, task=0)
    told.say(9.0, principal, credential, task=1)
    told.say(12.0, network, task=2)
    for task in range(3):
        told.say(2000.0, task=task)
    (incident,) = told.incidents.values()
    assert (incident.members_total, incident.alerts_total, incident.count) == (4, 4, 4)
    assert set(incident.joined_by) == {"ip 203.0.113.9", "principal alice", "network 203.0.113.0/24"}
    assert set(incident.alert_ids) == set(told.alerts)
    assert {a.incident_id for a in told.alerts.values()} == {incident.id}


def test_strangers_with_a_common_user_agent_are_two_incidents(told: Told, make_finding: Make) -> None:
    """If this fails, one customer's load test and another's attacker are closed with one click."""
    common = {"user_agent": "python-requests/2.32", "ja4": "t13d1516h2", "asn": "16509", "country": "US"}
    told.say(0.0, make_finding(0.0, key="198.51.100.7", context=common))
    told.say(1.0, make_finding(1.0, key="203.0.113.9", n=1, context=common))
    assert sorted(map(sorted, told.groups())) == [["198.51.100.7"], ["203.0.113.9"]]


def test_a_botnet_is_one_incident(told: Told, make_finding: Make) -> None:
    """If this fails, 346 machines of one campaign are 346 incidents."""
    for i in range(40):
        context = {
            "user_agent": "Go-http-client/1.1",
            "asn": str(i),
            "network": f"10.{i}.0.0/24",
            "account": f"u{i % 7}",
        }
        told.say(i * 5.0, make_finding(i * 5.0, n=i, key=f"10.{i}.0.1", context=context), task=i % 3)
    live = [i for i in told.incidents.values() if i.merged_into is None]
    (incident,) = live
    assert (incident.members_total, len(incident.members)) == (40, 20)
    assert incident.title == "Password cracking from 40 addresses"
    assert "user agent Go-http-client/1.1" in incident.joined_by
    assert "on 7 accounts" in incident.story
    assert incident.severity is Severity.HIGH  # many mediums
    merged = [i for i in told.incidents.values() if i.merged_into is not None]
    assert {i.merged_into for i in merged} == {incident.id}
    assert all(i.status is Status.RESOLVED and i.resolution == f"part of incident {incident.id}" for i in merged)


@pytest.mark.parametrize(
    ("common", "joined_by"),
    [
        ({"ja4": "t13d1516h2"}, "ja4 t13d1516h2"),
        ({"shape_hash": "9f2c"}, "shape hash 9f2c"),
        ({"user_agent": "curl/8", "asn": "64500"}, "user agent and asn curl/8 in 64500"),
        ({"network": "198.51.0.0/24"}, "network 198.51.0.0/24"),
    ],
    ids=["client", "payload", "provider", "network"],
)
def test_whatever_a_botnet_has_in_common_joins_it(
    common: dict[str, str], joined_by: str, told: Told, make_finding: Make
) -> None:
    """If this fails, a campaign that changes its user agent for each machine is an incident for each machine."""
    for i in range(40):
        told.say(i * 5.0, make_finding(i * 5.0, n=i, key=f"198.51.{i % 40}.1", context=common))
    (incident,) = [i for i in told.incidents.values() if i.merged_into is None]
    assert incident.members_total == 40
    assert joined_by in incident.joined_by


def test_what_is_usual_makes_no_wave(told: Told, make_finding: Make) -> None:
    """If this fails, the background noise of scanners grows into one incident that never ends."""
    for i in range(400):  # one an eighth of an hour, for two days
        context = {"user_agent": "zgrab/0.x"}
        told.say(i * 450.0, make_finding(i * 450.0, n=i, key=f"198.18.{i // 250}.{i % 250}", context=context))
    begin = 400 * 450.0
    for i in range(6):  # six within ten minutes: what is usual, and a little more
        at = begin + i * 90.0
        told.say(at, make_finding(at, n=1000 + i, key=f"203.0.113.{i}", context={"user_agent": "zgrab/0.x"}))
    assert max(i.members_total for i in told.incidents.values()) == 1


def test_a_victim_joins_no_two_attackers(told: Told, make_finding: Make) -> None:
    """If this fails, everybody who ever tried root is one incident."""
    told.say(0.0, make_finding(0.0, key="198.51.100.7", context={"account": "root"}))
    told.say(1.0, make_finding(1.0, key="203.0.113.9", n=1, context={"account": "root"}))
    told.say(2.0, make_finding(2.0, scope=Scope.ACCOUNT, key="root", n=2, context={"ip": "203.0.113.9"}))
    told.say(3.0, make_finding(3.0, scope=Scope.ACCOUNT, key="root", n=3, context={"ip": "198.51.100.7"}))
    assert sorted(map(sorted, told.groups())) == [["198.51.100.7"], ["203.0.113.9", "root"]]


def test_an_office_address_joins_no_two_principals(told: Told, make_finding: Make) -> None:
    """If this fails, colleagues behind one address answer for each other."""
    for n, name in enumerate(("alice", "bob")):
        context = {"ip": "203.0.113.9", "healthy_principals": "5"}
        told.say(float(n), make_finding(float(n), n=n, scope=Scope.PRINCIPAL, key=name, context=context))
    assert len(told.groups()) == 2


def test_days_apart_is_not_together(told: Told, make_finding: Make) -> None:
    """If this fails, an address that came back with another tenant inherits an old incident, and its snooze."""
    told.say(0.0, make_finding(0.0))
    told.say(DAY, make_finding(DAY, n=1))
    first, second = told.incidents.values()
    assert first.id != second.id
    assert (first.status, first.resolution) == (Status.RESOLVED, "no finding for 10 min")
    assert second.status is Status.OPEN


def test_an_incident_ends_when_its_last_episode_does(told: Told, make_finding: Make) -> None:
    """If this fails, the pager stays red for ever, or goes green while a part of the attack goes on."""
    told.say(0.0, make_finding(0.0, context={"network": "203.0.113.0/24"}))
    told.say(300.0, make_finding(300.0, n=1, scope=Scope.NETWORK, key="203.0.113.0/24"))
    told.say(601.0)  # the address is quiet
    assert [a.status for a in told.alerts.values()] == [Status.RESOLVED, Status.OPEN]
    (incident,) = told.incidents.values()
    assert incident.status is not Status.RESOLVED
    told.say(901.0)
    (incident,) = told.incidents.values()
    assert incident.status is Status.RESOLVED


def test_a_late_task_reopens_what_it_finds_a_part_of(told: Told, make_finding: Make) -> None:
    """If this fails, one attacker is two incidents because one worker was slow."""
    told.say(0.0, task=1)  # lags behind
    told.say(0.0, make_finding(0.0, context={"network": "203.0.113.0/24"}), task=0)
    told.say(5000.0, task=0)
    (ended,) = told.incidents.values()
    assert ended.status is Status.RESOLVED
    late = make_finding(60.0, n=1, scope=Scope.PRINCIPAL, key="alice", context={"ip": "203.0.113.9"})
    told.say(60.0, late, task=1)
    (incident,) = told.incidents.values()
    assert (incident.id, incident.status, incident.members_total) == (ended.id, Status.UPDATED, 2)


def test_the_story_says_what_was_done_and_whether_it_helps(
    make_decider: New, make_batch: Batch, make_finding: Make
) -> None:
    """If this fails, the reader believes that a block works, and does nothing."""
    told = Told(make_decider(), make_batch)
    told.say(0.0, make_finding(0.0))
    assert told.revisions[-1].story.endswith("; 1 block")
    told.say(130.0, make_finding(50.0, n=1), make_finding(130.0, n=2))
    assert told.revisions[-1].story.endswith("; 1 block, no request was refused since")
    other = Told(make_decider(), make_batch)
    other.say(0.0, make_finding(0.0))
    other.say(900.0)
    assert other.revisions[-1].status is Status.RESOLVED
    assert other.revisions[-1].story.endswith("; 1 block, no request was refused since")
    assert other.revisions[-1].decisions_total == 1
    shadow = Told(make_decider(detectors={"door_knocker": {"mode": "shadow"}}), make_batch)
    shadow.say(0.0, make_finding(0.0))
    assert shadow.revisions[-1].story.endswith("; nobody is stopped, orders in shadow only")
    refused = Told(make_decider(guards={"protected_networks": ["203.0.113.0/24"]}), make_batch)
    refused.say(0.0, make_finding(0.0))
    assert refused.revisions[-1].story.endswith("; nobody is stopped: refused by protected_network")


def test_what_traffic_shows_of_an_order_stands_in_the_story(
    make_decider: New, make_batch: Batch, make_finding: Make
) -> None:
    """If this fails, nobody hears that a gateway does not do what it was told."""
    told = Told(make_decider(), make_batch)
    (order,) = told.say(0.0, make_finding(0.0)).decisions
    effects = [Effect(decision_id=order.id, ts=2.1, after_s=2.1), Effect(decision_id=order.id, ts=30.0, through=7)]
    for n, effect in enumerate((*effects, Effect(decision_id="unknown", ts=1.0, after_s=1.0))):
        batch = FindingBatch(task=0, routed_offset=10 + n, watermark=1_700_000_000.0 + n, effects=(effect,))
        told.revisions += told.decider.apply(batch, 10 + n).incidents
    opened, effective, through = (i for i in told.revisions if i.detector != "gatewatch")
    assert effective.story.endswith("; 1 block, effective after 2 s")
    assert through.story.endswith("; 1 block, 1 of them still get through")
    assert {i.severity for i in (opened, effective, through)} == {Severity.MEDIUM}
    late = FindingBatch(
        task=0,
        routed_offset=20,
        watermark=1_700_000_040.0,
        effects=(Effect(decision_id=order.id, ts=40.0, after_s=40.0),),
    )
    (at_last,) = (i for i in told.decider.apply(late, 20).incidents if i.detector != "gatewatch")
    assert at_last.story.endswith("; 1 block, effective after 40 s"), "a slow gateway: nobody need look any more"
    assert at_last.severity is Severity.MEDIUM


def storm(make_decider: New, make_batch: Batch, make_finding: Make, each: int) -> tuple[Told, int, list[int]]:
    """So many findings on each of 5,000 keys in a minute; alert revisions in all, and ranks of the first record."""
    told = Told(make_decider(detectors={"door_knocker": {"mode": "alert"}}), make_batch)
    revisions, first = 0, list[int]()
    for turn in range(each):
        at, findings = 60.0 * turn / each, []
        for k in range(5000):
            reason = "takeover" if k in (77, 4321) else "cracking"
            context = {"user_agent": f"agent {k}" if each > 2 else "bot/1"}
            key = f"100.{k // 250}.{k % 250}.1"
            findings.append(make_finding(at, n=k, key=key, reason=reason, context=context))
        decided = told.say(at, *findings)
        revisions += len(decided.alerts)
        first = first or [a.severity.rank for a in decided.alerts]
    revisions += len(told.say(5000.0).alerts)
    return told, revisions, first


@pytest.mark.slow
@pytest.mark.parametrize(("each", "most"), [(20, 53), (2, 1)])
def test_a_storm_is_a_bounded_number_of_incidents(
    make_decider: New, make_batch: Batch, make_finding: Make, each: int, most: int
) -> None:
    """If this fails, an attacker buries the one takeover that matters under 100,000 messages.

    Of strangers 50 others and the two grave ones have incidents of their own, the rest is the storm; of a botnet
    (the second case) all is one.
    """
    told, revisions, first = storm(make_decider, make_batch, make_finding, each)
    live = [i for i in told.incidents.values() if i.merged_into is None]
    assert len(live) == most
    assert sum(i.count for i in live) == 5000 * each
    assert sum(i.alerts_total for i in live) == len(told.alerts) == 5000
    assert len(told.revisions) <= 60 * 6
    assert revisions <= 2 * 5000 + 400  # each opened and resolved, and the few outside the crowd
    assert first == sorted(first, reverse=True)
    grave = sorted(live, key=lambda i: -i.severity.rank)[: most - 51 if most > 1 else 1]
    assert {i.severity for i in grave} == {Severity.CRITICAL}
    assert {m.key for i in grave for m in i.members} >= {"100.0.77.1", "100.17.71.1"}
