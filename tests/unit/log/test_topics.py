"""What our topics must be, and what `gatewatch topics check` calls a difference."""

from __future__ import annotations

from dataclasses import replace

from gatewatch.log.base import TopicInfo
from gatewatch.log.topics import Difference, differences, specs
from gatewatch.settings import IngestSettings, KafkaSettings, Settings, Source

SETTINGS = Settings(kafka=KafkaSettings(prefix="gw", partitions=6), sources=(Source(topic="access", format="native"),))


def _cluster(settings: Settings = SETTINGS) -> dict[str, TopicInfo]:
    """Topics exactly as they must be."""
    found = {s.name: TopicInfo(s.name, "id", s.partitions, s.replication, dict(s.configs)) for s in specs(settings)}
    return found | {"access": TopicInfo("access", "id", 3, 1, {})}


def test_a_cluster_as_it_must_be_has_no_differences() -> None:
    """`check` would never pass."""
    assert differences(SETTINGS, _cluster()) == []


def test_partitions_follow_the_design() -> None:
    """Rows of one key would meet in two places, or policy would not be in one order."""
    partitions = {s.name.removeprefix("gw."): s.partitions for s in specs(SETTINGS)}
    assert {name for name, n in partitions.items() if n == 6} == {"routed", "state"}
    assert {name for name, n in partitions.items() if n == 1} == {
        "rollups", "findings", "alerts", "decisions", "incidents", "verdicts", "actions", "dead-letters",
    }  # fmt: skip


def test_compacted_topics_are_those_that_are_read_from_the_start() -> None:
    """Active blocks would expire with retention, or a replica would read years of them."""
    compacted = {s.name for s in specs(SETTINGS) if s.configs["cleanup.policy"] == "compact"}
    assert compacted == {"gw.decisions", "gw.incidents", "gw.verdicts", "gw.state"}


def test_routed_takes_the_largest_batch_that_the_settings_allow() -> None:
    """A batch would be refused by the broker, at every restart again."""
    large = SETTINGS.model_copy(update={"ingest": IngestSettings(batch_bytes=8 << 20)})
    routed = next(s for s in specs(large) if s.name == "gw.routed")
    assert int(routed.configs["max.message.bytes"]) > 8 << 20
    assert int(routed.configs["retention.ms"]) >= 24 * 3_600_000


def test_every_kind_of_difference_is_told() -> None:
    """A wrong topic would pass the check and lose data later."""
    found = _cluster()
    routed, decisions = found["gw.routed"], found["gw.decisions"]
    found["gw.routed"] = replace(routed, partitions=12, configs={**routed.configs, "retention.ms": "60000"})
    found["gw.decisions"] = replace(decisions, configs={**decisions.configs, "cleanup.policy": "delete"})
    del found["gw.alerts"], found["access"]
    assert differences(SETTINGS, found) == [
        Difference("gw.routed", "partitions", "12", "6"),
        Difference("gw.routed", "retention.ms", "60000", "at least 86400000"),
        Difference("gw.alerts", "missing", "", "1 partitions"),
        Difference("gw.decisions", "cleanup.policy", "delete", "compact"),
        Difference("access", "missing", "", "a topic that a gateway writes"),
    ]


def test_more_than_needed_is_no_difference() -> None:
    """An operator who keeps a month of everything would be told to keep less."""
    found = _cluster()
    routed = found["gw.routed"]
    more = {**routed.configs, "retention.ms": "-1", "max.message.bytes": "99999999"}
    found["gw.routed"] = replace(routed, replication=3, configs=more)
    assert differences(SETTINGS, found) == []


def test_three_replicas_make_an_acknowledgement_mean_two() -> None:
    """The loss of one machine would lose what it alone had acknowledged."""
    three = SETTINGS.model_copy(update={"kafka": KafkaSettings(prefix="gw", partitions=6, replication=3)})
    assert {s.configs["min.insync.replicas"] for s in specs(three)} == {"2"}
    lone = {n: replace(t, replication=1) for n, t in _cluster(three).items()}
    assert {d.what for d in differences(three, lone)} == {"replication"}
