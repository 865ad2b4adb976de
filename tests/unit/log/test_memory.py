"""What the memory log does beyond the contract: what tests and replays ask of it by hand."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.clock import ManualClock
from gatewatch.errors import LogError, SendError, TopicMissingError
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.testing.logs import Reader, numbered, until


def _log(*topics: str, partitions: int = 1, forget: tuple[str, ...] = ()) -> MemoryLog:
    log = MemoryLog(ManualClock(1000.0), forget=forget)
    log.admin().create([TopicSpec(topic, partitions) for topic in topics])
    return log


def _reader(log: MemoryLog, topic: str, member: str = "m", group: str = "g") -> Reader:
    return Reader(log.consumer([topic], group=group, member=member))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 8))
def test_every_partition_has_one_owner_whoever_comes_and_goes(steps: list[int], partitions: int) -> None:
    """Two tasks would write the same findings, or one partition would stay unread."""
    log = _log("t", partitions=partitions)
    members: dict[int, Reader] = {}
    for step in steps:
        if step in members:
            members.pop(step).close()
        else:
            members[step] = _reader(log, "t", member=f"m{step}")
        for _ in range(2):  # the old owner lets go in the first round, the new one takes over in the second
            for reader in members.values():
                reader.poll(0.0)
                owned = [tp for r in members.values() for tp in r.owned]
                assert len(owned) == len(set(owned))
        sizes = [len(r.owned) for r in members.values()]
        if members:
            assert sum(sizes) == partitions
            assert max(sizes) - min(sizes) <= 1


def test_an_expelled_member_hears_that_it_lost_everything_and_comes_back() -> None:
    """A worker that hung would go on with state that another one has moved past."""
    log = _log("t", partitions=2)
    first, second = _reader(log, "t", "a"), _reader(log, "t", "b")
    until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    log.expel("g", "a")
    until(lambda: len(second.owned) == 2, second)
    polled = first.poll(0.0)
    assert polled.lost == (TopicPartition("t", 0),)
    until(lambda: len(first.owned) == len(second.owned) == 1, first, second)


def test_what_every_group_has_committed_is_forgotten_where_asked() -> None:
    """A replay of a large file would hold all of it in memory, or lose what a slower group has not read."""
    log = _log("kept", "forgotten", forget=("forgotten",))
    for topic in ("kept", "forgotten"):
        log.extend(TopicPartition(topic, 0), numbered(10))
        readers = [_reader(log, topic, group=f"{topic}-{i}") for i in range(2)]
        until(lambda readers=readers: all(len(r.records) == 10 for r in readers), *readers)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        for reader, offset in zip(readers, (4, 9), strict=True):
            reader.consumer.mark(TopicPartition(topic, 0), offset)
            reader.consumer.commit()
    assert [c.offsets for c in log.read("kept")] == [list(range(10))]
    assert [c.offsets for c in log.read("forgotten")] == [[4, 5, 6, 7, 8, 9]]


def test_a_topic_that_fails_sends_fails_its_producer_for_good() -> None:
    """Workers' tests could not show that an unacknowledged record ends the worker."""
    log = _log("good", "bad")
    producer, other = log.producer(), log.producer()
    log.fail_sends("bad")
    with pytest.raises(SendError, match="bad"):
        producer.send("bad", b"v")
    with pytest.raises(SendError, match="bad"):
        producer.send("good", b"v")
    other.send("good", b"v")
    assert [c.values for c in log.read("good")] == [[b"v"]]


def test_a_deleted_topic_ends_its_readers() -> None:
    """A worker would wait for ever for a topic that is gone, or go on at offsets of another."""
    log = _log("t")
    reader = _reader(log, "t")
    until(lambda: bool(reader.owned), reader)
    log.delete("t")
    with pytest.raises(TopicMissingError, match="t"):
        reader.poll(0.0)
    log.admin().create([TopicSpec("t", 1)])
    with pytest.raises(TopicMissingError, match="made again"):
        reader.poll(0.0)


def test_ids_of_topics_are_the_same_in_every_run() -> None:
    """Two replays of one file would give findings with different ids."""
    ids = [_log("a", "b").admin().describe(["a", "b"]) for _ in range(2)]
    assert ids[0] == ids[1]
    assert ids[0]["a"].id != ids[0]["b"].id


def test_records_carry_the_time_of_the_clock_they_were_given() -> None:
    """A replay would show the machine's time in its records."""
    log = _log("t")
    log.producer().send("t", b"v")
    assert [c.timestamps_ms for c in log.read("t")] == [[1_000_000]]


def test_a_closed_consumer_ends_a_poll_that_waits() -> None:
    """Ctrl-C would have to wait for the poll's timeout."""
    log = _log("t")
    reader = _reader(log, "t")
    until(lambda: bool(reader.owned), reader)
    errors: list[LogError] = []
    began = threading.Event()

    def wait() -> None:
        began.set()
        try:
            reader.poll(60.0)
        except LogError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    began.wait()
    reader.close()
    thread.join(5.0)
    assert not thread.is_alive()
    assert [str(error) for error in errors] == ["this consumer is closed"]
