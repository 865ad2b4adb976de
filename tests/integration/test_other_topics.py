"""Sources that come into the settings, or go: a worker that is started again within its session reads what they say."""

from __future__ import annotations

from functools import partial

import pytest

from gatewatch.log.base import TopicPartition
from gatewatch.testing.logs import KafkaRig, Reader, until

pytestmark = pytest.mark.kafka


def restarted(rig: KafkaRig, before: tuple[str, ...], after: tuple[str, ...], members: str) -> None:
    """Workers that had some topics are started again, one after the other, with others: all of these are read."""
    running: dict[str, Reader] = {}

    def shared(topics: tuple[str, ...]) -> bool:
        owned = [tp for reader in running.values() for tp in reader.owned]
        return sorted(owned) == sorted(TopicPartition(topic, p) for topic in topics for p in range(2))

    for member in "ab"[: len(members)]:  # the first leads
        running[member] = rig.join(*before, group=before[0], member=member, values_only=True)
        until(lambda: shared(before) and all(r.owned for r in running.values()), *running.values())
    for member in members:
        running.pop(member).close()
        running[member] = again = rig.join(*after, group=before[0], member=member, values_only=True)
        until(partial(bool, again.owned), *running.values())
    until(lambda: shared(after), *running.values())
    for reader in running.values():
        reader.close()


@pytest.mark.parametrize("members", ["a", "ab", "ba"])
def test_a_source_that_is_new_in_the_settings_is_read(rig: KafkaRig, members: str) -> None:
    """If this fails, nobody reads a new source, unless all workers are stopped for longer than a session."""
    first, second = rig.topic(2), rig.topic(2)
    restarted(rig, (first,), (first, second), members)


@pytest.mark.parametrize("members", ["a", "ab", "ba"])
def test_a_source_that_left_the_settings_stops_nobody(rig: KafkaRig, members: str) -> None:
    """If this fails, a worker is given a topic that it does not know, for ever: it ends at each start, or joins on."""
    first, second = rig.topic(2), rig.topic(2)
    restarted(rig, (first, second), (first,), members)
