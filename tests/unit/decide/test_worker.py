"""The decide role on a log: what a crash, a takeover and a person's order do to what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gatewatch import verdicts
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide import records_io
from gatewatch.decide.worker import H_OFFSET, DecideWorker
from gatewatch.errors import SendError, StateError
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import Action, Decision, Finding, FindingBatch, Mode, Scope, Status, Verdict, VerdictKind
from gatewatch.registry import Entry
from gatewatch.settings import Settings, VerdictSettings

Make = Callable[..., Finding]
Batch = Callable[..., FindingBatch]
T0 = 1_700_000_000.0
GROUP = "gatewatch.decide"
FINDINGS = TopicPartition("gatewatch.findings", 0)


class Site:
    """A memory log with our topics, and workers on it."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.log = MemoryLog()
        names = ("findings", "alerts", "incidents", "decisions", "verdicts", "actions")
        self.log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in names])
        self.clock = ManualClock(T0)
        self.metrics = Metrics()
        self._entries = entries
        self._producer = self.log.producer()

    def worker(self, member: str = "a", catalog: Path | None = None) -> DecideWorker:
        """One more member; it follows its catalog."""
        settings = Settings.model_validate({"guards": {"allow": [
            {"ip": "203.0.113.7", "owner": "sre", "reason": "load test", "until": "2027-01-31"},
        ]}, "verdicts": {"actors": ["ana"]}, "catalog": catalog})  # fmt: skip
        return DecideWorker(
            self.log, settings, self._entries, Catalog.load(catalog), member=member, clock=self.clock,
            metrics=self.metrics, follow_catalog=True,
        )  # fmt: skip

    def say(self, *batches: FindingBatch, read_at: float | None = None) -> None:
        """What detect does."""
        headers = () if read_at is None else (("gw-read-at", f"{read_at:.3f}".encode()),)
        for batch in batches:
            self._producer.send(FINDINGS.topic, msgspec.json.encode(batch), partition=0, headers=headers)

    def order(self, decision: Decision) -> None:
        """What `gatewatch decisions add` and `remove` do."""
        self._producer.send("gatewatch.decisions", records_io.write(decision), partition=0, key=decision.id.encode())

    def values(self, name: str) -> list[bytes]:
        """All that is in a topic of ours."""
        return [v for chunk in self.log.read(f"gatewatch.{name}") for v in chunk.values if v is not None]

    def run(self, worker: DecideWorker) -> None:
        """Until there is nothing more to do, and what was done is committed."""
        worker.step(0.0)  # joins, or hears that it lost
        while worker.step(0.0):
            pass
        self.clock.advance(2.0)
        worker.step(0.0)


@pytest.fixture
def site(entries: dict[str, Entry]) -> Site:
    """An empty one."""
    return Site(entries)


def test_findings_become_alerts_decisions_and_refusals_on_their_topics(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, an attack is found and nobody is told."""
    worker = site.worker()
    allowed = make_finding(0.0, key="203.0.113.7", n=1)
    site.say(make_batch(0, 0.0, make_finding(0.0), allowed), read_at=T0 - 0.25)
    site.run(worker)
    alerts = [records_io.read_alert(v, "alerts") for v in site.values("alerts")]
    (decision,) = [records_io.read_decision(v, "decisions") for v in site.values("decisions")]
    (refusal,) = [msgspec.json.decode(v) for v in site.values("actions")]
    assert {a.key for a in alerts} == {"203.0.113.9", "203.0.113.7"}
    assert (decision.value, decision.findings_offset) == ("203.0.113.9", 0)
    assert (refusal["kind"], refusal["guard"], refusal["findings_offset"]) == ("refusal", "allow_list", 0)
    value = site.metrics.registry.get_sample_value
    assert value("gatewatch_refusals_total", {"guard": "allow_list"}) == 1.0
    assert value("gatewatch_decisions_total", {"action": "block", "scope": "ip", "mode": "block"}) == 1.0
    assert value("gatewatch_decision_latency_seconds_sum") == pytest.approx(0.25)
    assert value("gatewatch_open_episodes") == 2.0
    assert site.log.group_lag(GROUP) == {FINDINGS: 0}
    (chunk,) = site.log.read("gatewatch.alerts")
    keys = [(key, dict(head)[H_OFFSET]) for key, head in zip(chunk.keys, chunk.headers, strict=True)]
    assert keys == [(a.id.encode(), b"0") for a in alerts]


def test_who_takes_over_is_silent_about_what_was_said_and_goes_on_with_the_same_episode(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, each restart of decide pages everybody again for everything in the log."""
    first = site.worker("a")
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(first)
    said = site.values("alerts")
    first.close()
    second = site.worker("b")
    site.run(second)
    assert second.caught_up
    assert site.values("alerts") == said
    site.say(make_batch(1, 10.0, make_finding(10.0, n=1)))
    site.run(second)
    opened, updated = (records_io.read_alert(v, "alerts") for v in site.values("alerts"))
    assert (updated.id, updated.count, updated.revision) == (opened.id, 2, 1)


def test_a_worker_that_dies_before_its_commit_repeats_the_same_bytes(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, what is sent again after a kill has other ids, and its readers cannot recognise it."""
    first = site.worker("a")
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    first.step(0.0)
    first.step(0.0)
    said = site.values("alerts"), site.values("decisions")
    assert len(said[0]) == 1
    first.close(flush=False)
    site.run(site.worker("b"))
    assert (site.values("alerts"), site.values("decisions")) == (said[0] * 2, said[1] * 2)


def test_one_is_active_and_the_other_stands_by(site: Site, make_finding: Make, make_batch: Batch) -> None:
    """If this fails, two deciders send every alert twice, or none is left when one ends."""
    workers = [site.worker("a"), site.worker("b")]
    for worker in workers * 3:
        worker.step(0.0)
    standby, active = sorted(workers, key=lambda worker: worker.assigned)
    assert (active.assigned, standby.assigned) == (1, 0)
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(standby)
    assert site.values("alerts") == []
    site.run(active)
    active.close()
    site.say(make_batch(1, 1.0, make_finding(1.0, n=1)))
    site.run(standby)
    assert [records_io.read_alert(v, "").count for v in site.values("alerts")] == [1, 2]


def test_a_member_that_was_expelled_drops_what_it_knew(site: Site, make_finding: Make, make_batch: Batch) -> None:
    """If this fails, a worker that slept through its session goes on with a state that another has overtaken."""
    worker = site.worker()
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(worker)
    site.log.expel(GROUP, "a")
    site.run(worker)  # loses, joins again, replays in silence
    site.say(make_batch(1, 1.0, make_finding(1.0, n=1)))
    site.run(worker)
    assert [records_io.read_alert(v, "").count for v in site.values("alerts")] == [1, 2]


def test_an_alert_that_was_not_acknowledged_ends_the_worker_without_a_commit(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, an alert that the broker refused counts as sent, and nobody ever hears of the attack."""
    worker = site.worker()
    worker.step(0.0)
    site.log.fail_sends("gatewatch.alerts")
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    with pytest.raises(SendError):
        site.run(worker)
    worker.close(flush=False)
    assert site.log.group_lag(GROUP).get(FINDINGS, 1) == 1


def test_a_removal_by_a_person_holds_and_survives_a_takeover(site: Site, make_finding: Make, make_batch: Batch) -> None:
    """If this fails, a block that an engineer lifted comes back with the next finding, or with the next restart."""
    worker = site.worker("a")
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(worker)
    block = records_io.read_decision(site.values("decisions")[0], "")
    site.order(block.model_copy(update={"removed": T0 + 5.0, "removed_by": "alice", "findings_offset": -1}))
    site.run(worker)
    acknowledged = records_io.read_decision(site.values("decisions")[-1], "")
    assert (acknowledged.removed_by, acknowledged.findings_offset) == ("alice", 1)
    worker.close()
    second = site.worker("b")
    site.run(second)
    site.say(make_batch(1, 400.0, make_finding(400.0, n=1)))
    site.run(second)
    assert len(site.values("decisions")) == 3  # the block, the removal, its acknowledgement
    (refusal,) = [msgspec.json.decode(v) for v in site.values("actions")]
    assert refusal["guard"] == "cleared"


def test_an_order_that_came_while_nobody_ran_is_heard_at_the_start(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, what a person ordered during an outage of decide is not known when it comes back."""
    site.order(
        Decision(
            id="m1", action=Action.BLOCK, scope=Scope.IP, value="203.0.113.9", reason="by hand", start=T0,
            until=T0 + 9000.0, mode=Mode.BLOCK, actor="alice",
        )
    )  # fmt: skip
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(site.worker())
    assert [msgspec.json.decode(v)["guard"] for v in site.values("actions")] == ["standing"]


def test_a_finding_that_cannot_be_read_goes_alone(site: Site, make_finding: Make, make_batch: Batch) -> None:
    """If this fails, one infinite number of a home-made detector stops all alerts for good."""
    bad = make_finding(0.0, key="203.0.113.10", observed=float("inf"), n=1)
    site.say(make_batch(0, 0.0, bad, make_finding(0.0)))
    site.run(site.worker())
    assert [records_io.read_alert(v, "").key for v in site.values("alerts")] == ["203.0.113.9"]


def test_a_task_that_has_seen_no_time_yet_is_understood(site: Site, make_batch: Batch) -> None:
    """If this fails, the first sign of life of a fresh installation stops decide."""
    site.say(make_batch(0, float("-inf")))
    site.run(site.worker())
    assert site.log.group_lag(GROUP) == {FINDINGS: 0}


def test_an_order_of_another_version_does_not_stop_the_alerts(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, one order that a newer command wrote ends all alerting until somebody cleans the topic."""
    site.log.producer().send("gatewatch.decisions", b'{"id": "x", "of": "tomorrow"}', partition=0)
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(site.worker())
    assert len(site.values("alerts")) == 1


def test_a_record_of_another_program_stops_the_worker_with_its_place(site: Site) -> None:
    """If this fails, decide skips what it does not understand and people believe that all is quiet."""
    site.log.producer().send(FINDINGS.topic, b"hello", partition=0)
    with pytest.raises(StateError, match=r"gatewatch\.findings-0 offset 0"):
        site.run(site.worker())


def test_a_verdict_takes_effect_at_one_offset_and_again_there_after_a_restart(
    site: Site, make_finding: Make, make_batch: Batch
) -> None:
    """If this fails, a restart blocks whom people let go, or forgets what they said."""
    first = site.worker("a")
    site.say(make_batch(0, 0.0, make_finding(0.0)))
    site.run(first)
    (opened,) = (records_io.read_alert(v, "alerts") for v in site.values("alerts"))
    actors = VerdictSettings.model_validate({"actors": ["ana", "eve"]})
    for name in ("eve", "ana"):  # eve is on nobody's list here
        made = verdicts.verdict_on(
            opened, VerdictKind.EXPECTED, actor=name, reason="load test", now=T0 + 5, settings=actors, until=T0 + 9000
        )
        site.log.producer().send("gatewatch.verdicts", verdicts.write(made), partition=0, key=made.id.encode())
    site.run(first)
    site.say(make_batch(1, 10.0, make_finding(10.0, n=1)))
    site.run(first)
    said = [verdicts.read(v, "verdicts") for v in site.values("verdicts")]
    taken = [v for v in said if isinstance(v, Verdict) and v.findings_offset >= 0]
    assert [(v.actor, v.findings_offset) for v in taken] == [("ana", 1)]
    closed = records_io.read_alert(site.values("alerts")[-1], "alerts")
    assert (closed.id, closed.status) == (opened.id, Status.RESOLVED)
    before = [site.values(name) for name in ("alerts", "decisions", "incidents", "verdicts")]
    first.close()
    second = site.worker("b")
    site.run(second)
    assert [site.values(name) for name in ("alerts", "decisions", "incidents", "verdicts")] == before
    site.say(make_batch(2, 20.0, make_finding(20.0, n=2)))
    site.run(second)
    assert site.values("alerts") == before[0]
    assert site.metrics.registry.get_sample_value("gatewatch_open_incidents") == 0.0


def test_a_changed_catalog_holds_from_then_on_and_a_wrong_one_does_not(
    site: Site, make_finding: Make, make_batch: Batch, tmp_path: Path
) -> None:
    """If this fails, pages go to who was on call when decide was started, or to nobody after a typing error."""
    path = tmp_path / "catalog.yaml"
    path.write_text("projects: {shop: {owner: ana}}")
    worker = site.worker("a", catalog=path)
    for n, text in enumerate(["", "projects: {shop: {owner: ben}}", "projects: {shop: {owner: [1]}}"]):
        if text:
            path.write_text(text)
            site.run(worker)
        site.say(make_batch(n, n * 1000.0, make_finding(n * 1000.0, n=n, project="shop")))
        site.run(worker)
    alerts = [records_io.read_alert(v, "alerts") for v in site.values("alerts")]
    opened = [a for a in alerts if a.status is Status.OPEN]
    assert [a.owner for a in opened] == ["ana", "ben", "ben"]
    assert len({a.catalog_hash for a in opened}) == 2
    value = site.metrics.registry.get_sample_value
    counts = [value("gatewatch_catalog_reads_total", {"result": r}) for r in ("ok", "refused")]
    assert counts == [1.0, 1.0]
