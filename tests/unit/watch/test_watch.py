"""What a watcher says: soon, not too often, of everything that holds, and for nothing that is usual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.errors import DetectorError
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.ingest.raw import columns_of
from gatewatch.log.base import TopicPartition
from gatewatch.records import Severity
from gatewatch.registry import load, load_all
from gatewatch.sdk import TableStats
from gatewatch.settings import DetectorSettings, Settings, WatchSettings
from gatewatch.watch import reasons
from gatewatch.watch.behind import MOST as SAMPLES
from gatewatch.watch.behind import STEP_S, Behind
from gatewatch.watch.needs import Needed, needed
from gatewatch.watch.playbook import playbooks
from gatewatch.watch.signs import Signs
from gatewatch.watch.sources import Halted, Sources
from gatewatch.watch.tasks import Tasks
from gatewatch.watch.usual import LEARN_S, PERIOD_S, UNLEARNED_S, Usual
from gatewatch.watch.watch import MOST, REPEAT_S, SIGN_S, Condition, Watch

T0 = 1_700_000_000.0
TP = TopicPartition("access", 0)
OTHER = TopicPartition("access", 1)
SETTINGS = Settings.model_validate({"sources": [{"topic": "access", "format": "native"}]})
NEED = Needed(("principal",), ("rate_spike",))


def condition(blindness: reasons.Blindness = reasons.BEHIND, thing: str = "access") -> Condition:
    """Something that holds."""
    return Condition(blindness, thing, 400.0, 300.0, "partitions 0", 400.0)


def names(conditions: Sequence[Condition]) -> list[str]:
    """Of what holds."""
    return [c.blindness.reason.name for c in conditions]


def test_what_holds_is_told_at_once_and_again_before_its_alert_would_end() -> None:
    """If this fails, a blind spot is told late, or its alert resolves while it lasts."""
    watch = Watch("ingest-a")
    said = [(now, watch.look([condition()], T0 + now)) for now in range(1201)]
    times = [now for now, batch in said if batch is not None and batch.findings]
    assert times == [0, 240, 480, 720, 960, 1200]
    first = said[0][1]
    assert first is not None
    (finding,) = first.findings
    assert (finding.detector, finding.reason, finding.key) == ("gatewatch", "behind", "lag of access")
    assert (finding.ts, finding.since, finding.observed) == (T0, T0 - 400.0, 400.0)
    assert "watch.behind" in finding.explanation.counterfactual


def test_signs_of_life_come_each_minute_with_nothing_to_say() -> None:
    """If this fails, what was blind and no longer is stays an open alert for ever, also after a restart."""
    watch = Watch("ingest-a")
    said = [batch for now in range(301) if (batch := watch.look([], T0 + now)) is not None]
    assert [batch.watermark - T0 for batch in said] == [SIGN_S * i for i in range(6)]
    assert not any(batch.findings for batch in said)


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    """If this fails, a worker whose clock was an hour fast says nothing for an hour."""
    watch = Watch("ingest-a")
    watch.look([condition()], T0 + 3600.0)
    batch = watch.look([condition()], T0)
    assert batch is not None
    assert len(batch.findings) == 1


@given(st.lists(st.lists(st.integers(0, 400), max_size=300), max_size=20))
def test_no_one_is_flooded_whatever_flaps(turns: list[list[int]]) -> None:
    """If this fails, a broker that goes up and down pages somebody each second."""
    watch = Watch("ingest-a")
    told: dict[str, list[float]] = {}
    for second, things in enumerate(turns):
        batch = watch.look([condition(thing=str(thing)) for thing in things], T0 + 30.0 * second)
        findings = () if batch is None else batch.findings
        assert len(findings) <= MOST
        for finding in findings:
            told.setdefault(finding.key, []).append(finding.ts)
    for times in told.values():
        assert all(b - a >= REPEAT_S for a, b in pairwise(times))


def test_grave_things_are_told_first_where_there_is_no_room_for_all() -> None:
    """If this fails, a thousand crowded tables hide that nothing is read."""
    many = [condition(reasons.CROWDED, str(i)) for i in range(1000)]
    batch = Watch("detect-a").look([*many, condition()], T0)
    assert batch is not None
    assert (len(batch.findings), batch.findings[0].reason) == (MOST, "behind")


def test_every_way_to_be_blind_has_a_playbook_of_steps_that_can_be_done() -> None:
    """If this fails, who is woken up does not know what to do."""
    names_ = {f"gatewatch/{reason.name}" for reason in reasons.REASONS} | {
        "gatewatch/breaker",
        "gatewatch/not_effective",
    }
    assert playbooks().keys() == names_
    assert all("\n1. " in text and "\n2. " in text for text in playbooks().values())


def test_reasons_are_a_closed_set_with_their_own_names_and_codes() -> None:
    """If this fails, two ways to be blind are one alert, and the second is never told."""
    assert [reason.code for reason in reasons.REASONS] == list(range(len(reasons.REASONS)))
    assert len({b.thing for b in reasons.ALL}) == len({b.reason.name for b in reasons.ALL}) == len(reasons.ALL)
    assert all(b.reason.severity.rank >= Severity.LOW.rank for b in reasons.ALL)


def test_a_gap_is_unusual_when_it_is_twice_the_longest_of_late() -> None:
    """If this fails, a source that writes each hour alarms each hour, or one that died is not missed."""
    hourly = Usual(0.0)
    for hour in range(30):
        assert hourly.gap(hour * 3600.0) <= hourly.limit(300.0, 86400.0)
        hourly.seen(hour * 3600.0)
    assert hourly.limit(300.0, 86400.0) == 2 * 3600.0
    busy = Usual(0.0)
    for second in range(4000):
        busy.seen(float(second))
    assert busy.limit(300.0, 86400.0) == 300.0
    assert busy.gap(4400.0) == 401.0


def test_what_was_seen_for_less_than_an_hour_has_no_usual_gap_yet() -> None:
    """If this fails, each start of a worker on a quiet topic is an alert."""
    young = Usual(1000.0)
    assert (young.gap(1500.0), young.limit(300.0, 86400.0)) == (500.0, UNLEARNED_S)
    young.seen(2000.0)
    young.seen(2000.0 + LEARN_S - 1.0)
    assert young.limit(300.0, 86400.0) == UNLEARNED_S


def test_long_gaps_are_forgotten_after_two_weeks_and_never_usual_beyond_the_cap() -> None:
    """If this fails, one outage at Christmas makes a source blind for half a year."""
    source = Usual(0.0)
    for second in (0.0, 1.0, 5 * 86400.0):
        source.seen(second)
    assert source.limit(300.0, 86400.0) == 86400.0
    at = 5 * 86400.0
    while at < 5 * 86400.0 + 2.1 * PERIOD_S:
        at += 600.0
        source.seen(at)
    assert source.limit(300.0, 86400.0) == 1200.0


def test_lateness_is_how_long_the_oldest_unread_record_has_been_there() -> None:
    """If this fails, a busy reader that is never quite at the end counts as late, or one that is late does not."""
    busy, stuck = Behind(), Behind()
    for second in range(1000):
        busy.tell(second * 100, second * 100 + 50, float(second))
        stuck.tell(500, 500 + second, float(second))
    assert busy.seconds(1000.0) <= STEP_S + 1.0
    assert stuck.seconds(1000.0) == 999.0
    stuck.tell(10_000, 10_000, 1000.0)
    assert stuck.seconds(1000.0) == 0.0


def test_a_reader_that_is_days_late_takes_no_more_memory_than_one_that_is_an_hour_late() -> None:
    """If this fails, a dead gateway's backlog is paid for by ingest."""
    behind = Behind()
    for step in range(20_000):
        behind.tell(0, step + 1, step * 10.0)
    assert len(behind._ends) <= SAMPLES + 1
    assert behind.seconds(200_000.0) == 200_000.0


def sources(needs: Sequence[Needed] = (NEED,), settings: Settings = SETTINGS) -> Sources:
    """One partition is ours since 0."""
    made = Sources(settings, needs)
    made.own([TP], 0.0)
    return made


def look(at: Sources, now: float, *, lag: int = 0, halted: bool = False, history: bool = False) -> list[Condition]:
    """What holds at a time."""
    paused = {TP: Halted(10.0, 900, 1000, 50.0)} if halted else {}
    return list(at.conditions({TP: lag}, {TP: 1000}, paused, now, history=history))


def fed(at: Sources, seconds: int, make: Callable[[], list[AccessEvent]], start: int = 0, dead: int = 0) -> None:
    """A chunk each second."""
    for second in range(start, start + seconds):
        at.arrived(TP, float(second))
        events = make()
        at.decoded(TP, len(events), dead, columns_of(events).has, float(second))


def whole() -> list[AccessEvent]:
    """Two events, one with the field."""
    return [AccessEvent(ts=T0, principal="alice"), AccessEvent(ts=T0)]


def without() -> list[AccessEvent]:
    """Two events without it."""
    return [AccessEvent(ts=T0), AccessEvent(ts=T0)]


def test_a_source_that_falls_silent_is_told_and_one_that_is_read_is_not() -> None:
    """If this fails, a gateway that stopped logging looks like a quiet night."""
    source = sources()
    fed(source, 4000, whole)
    assert look(source, 4200.0) == []
    (silent,) = look(source, 4400.0)
    assert (silent.blindness, silent.key, silent.expected) == (reasons.SILENT, "silence of access", 300.0)
    assert look(source, 4400.0, lag=5) == []  # there is something to read: that is lateness, not silence
    assert look(source, 4400.0, history=True) == []  # an old file that ends


def test_a_source_that_never_spoke_is_missed_and_the_settings_say_when() -> None:
    """If this fails, a topic that nobody writes to counts as watched."""
    assert look(sources(), UNLEARNED_S) == []
    assert names(look(sources(), UNLEARNED_S + 1.0)) == ["source_silent"]
    given_ = Settings.model_validate({"sources": [{"topic": "access", "format": "native", "silent_after": "3d"}]})
    assert look(sources(settings=given_), 2 * 86400.0) == []
    assert names(look(sources(settings=given_), 4 * 86400.0)) == ["source_silent"]


def test_a_needed_field_that_stops_is_told_with_who_is_blind_and_ends_when_it_is_back() -> None:
    """If this fails, a detector by principal goes blind when a plugin is switched off, and nobody hears of it."""
    source = sources()
    fed(source, 4000, whole)
    assert look(source, 4000.0) == []
    fed(source, 400, without, start=4000)
    (gone,) = look(source, 4400.0)
    assert (gone.blindness, gone.key) == (reasons.FIELD, "field principal of access")
    assert "rate_spike" in gone.says
    fed(source, 2, whole, start=4400)
    assert look(source, 4402.0) == []


def test_a_field_is_not_missed_while_nothing_arrives_nor_where_it_never_was() -> None:
    """If this fails, a silent night is told twice, and each format that lacks a field is an alert for ever."""
    source = sources()
    fed(source, 4000, whole)
    fed(source, 1, without, start=9000)
    assert "field_gone" not in names(look(source, 9001.0))
    never = sources()
    fed(never, 8000, without)
    assert look(never, 8000.0) == []


def test_what_cannot_be_read_is_told_by_its_share() -> None:
    """If this fails, a tenth of the traffic is unseen for weeks."""
    source = sources()
    fed(source, 600, lambda: whole() * 20, dead=0)
    assert look(source, 600.0) == []
    fed(source, 300, lambda: whole() * 20, start=600, dead=4)
    (dead,) = look(source, 900.0)
    assert dead.blindness is reasons.DEAD
    assert 0.05 < dead.observed < 0.1
    fed(source, 1500, whole, start=900)
    assert look(source, 2400.0) == []


def test_gaps_are_told_once_with_all_that_was_lost() -> None:
    """If this fails, retention eats a night's traffic and no alert says so."""
    source = sources()
    source.lost(TP, 1000, 10.0)
    source.lost(TP, 234, 20.0)
    (gap,) = look(source, 21.0)
    assert (gap.blindness, gap.observed, gap.key) == (reasons.LOST, 1234, "gap in access")
    assert look(source, 400.0) == []


def test_a_source_that_is_read_late_is_told_and_one_that_is_paused_says_so_itself() -> None:
    """If this fails, alerts come an hour late and nobody knows."""
    source = sources()
    for second in range(400):
        source.arrived(TP, float(second))
        told = look(source, float(second), lag=10_000)
    assert names(told) == ["behind"]
    assert told[0].observed == 399.0
    (paused,) = look(source, 400.0, lag=10_000, halted=True)
    assert (paused.blindness, paused.observed, paused.context) == (reasons.PAUSED, 900, {"partitions": "0"})


def test_partitions_that_went_to_somebody_else_are_not_ours_to_miss() -> None:
    """If this fails, each rebalance leaves an alert behind that nothing resolves."""
    source = sources()
    fed(source, 4000, whole)
    source.own([], 4000.0)
    assert look(source, 90_000.0) == []
    source.own([OTHER], 90_000.0)
    assert look(source, 90_001.0) == []


def test_detect_tells_what_is_off_what_is_late_and_what_forgets() -> None:
    """If this fails, a detector that crashed is taken for one that finds nothing."""
    tasks = Tasks(WatchSettings())
    routed = TopicPartition("gatewatch.routed", 3)
    table = TableStats(1000, 1000, 100, 0, 0)
    for second in range(0, 400, 10):
        evicted = TableStats(1000, 1000, 100 + 15 * second, 0, 0)
        tables = {("rate_spike", "ip"): evicted, ("leaked_key", "credential"): table}
        tasks.measured({"rate_spike": 2, "leaked_key": 0}, tables, float(second))
        told = list(tasks.conditions({routed: 50}, {routed: 7}, float(second)))
    assert [c.key for c in told] == ["lag of gatewatch.routed", "detector rate_spike", "table rate_spike/ip"]
    assert (told[1].observed, told[2].expected) == (2, 0.5)
    assert list(Tasks(WatchSettings()).conditions({}, {}, 0.0)) == []


def test_a_snapshot_with_many_evictions_is_no_flood_of_them() -> None:
    """If this fails, each restart says that tables are crowded: the sum came with the snapshot."""
    tasks = Tasks(WatchSettings())
    tasks.measured({}, {("rate_spike", "ip"): TableStats(1000, 1000, 5_000_000, 0, 0)}, 0.0)
    assert list(tasks.conditions({}, {}, 1.0)) == []


def test_tasks_that_fall_silent_are_told_and_those_of_the_past_are_not() -> None:
    """If this fails, a dead detect role looks like peace; or the end of an old file like a dead role."""
    signs = Signs(tasks=2, limit_s=300.0)
    assert list(signs.conditions(10_000.0)) == []  # never heard: nothing is known of them
    signs.hear(0, T0, T0, 0.0)
    signs.hear(1, T0, T0, 250.0)
    signs.hear(7, T0, T0, 0.0)  # populations have no rhythm
    assert list(signs.conditions(300.0)) == []
    (mute,) = signs.conditions(400.0)
    assert (mute.key, mute.observed) == ("signs of detect", 400.0)
    assert "1 of 2 tasks" in mute.says
    signs.hear(0, T0 - 3650 * 86400.0, T0, 401.0)  # somebody replays a log of ten years ago
    signs.hear(1, T0 - 3650 * 86400.0, T0, 401.0)
    assert list(signs.conditions(10_000.0)) == []


def test_no_folder_can_have_our_name() -> None:
    """If this fails, a team's detector speaks as Gatewatch itself, and in its mode blocks."""
    with pytest.raises(DetectorError, match="this name"):
        load("gatewatch")


def test_needs_are_those_of_detectors_that_run() -> None:
    """If this fails, a field is missed that only a detector needs which is off, or one that all need is not."""
    entries = load_all()
    every = needed(entries, {})
    fields = {name for need in every for name in need.fields}
    assert {"principal", "ip", "auth"} <= fields
    whole_event = AccessEvent.__struct_fields__ + tuple(f"shape_{name}" for name in Shape.__struct_fields__)
    assert fields <= {*whole_event, *Shape.__struct_fields__}
    off = {name: DetectorSettings.model_validate({"mode": "off"}) for name in entries}
    assert needed(entries, off) == ()
    (principal,) = [need for need in every if need.fields == ("principal",)]
    assert "rate_spike" in principal.by


@pytest.mark.parametrize("blindness", reasons.ALL, ids=lambda b: b.reason.name)
def test_keys_and_words_carry_no_more_than_names_of_ours(blindness: reasons.Blindness) -> None:
    """If this fails, what a stranger wrote gets into the key of an alert that nobody can silence."""
    batch = Watch("m").look([condition(blindness, "x")], T0)
    assert batch is not None
    (finding,) = batch.findings
    assert finding.key.endswith("x")
    assert finding.explanation.contributions[0].nats == finding.nats == 0.0
