"""The range protocol, as a model: any interleaving of senders, and every source offset counts exactly once.

A source partition of numbered values; workers that read it from what is committed, send ranges to every routed
partition, die at any moment, come back as zombies; records that are lost before they are acknowledged take all later
ones of that sender with them (an idempotent producer that fails, fails for good). Detect reads what is in the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewatch.detect.applied import Applied
from gatewatch.ingest.ranges import Ranges
from gatewatch.log.base import TopicPartition
from gatewatch.records import SourceRange

TP = TopicPartition("access", 0)
PARTITIONS = 3


@dataclass
class Sender:
    """One ingest worker, alive or a zombie: records it has sent that the log has not yet."""

    ranges: Ranges
    queues: list[list[SourceRange]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    dead: bool = False

    def read(self, n: int, end: int) -> None:
        stream = self.ranges.streams()[0]
        self.ranges.advance(TP, min(stream.read + n, end), 0.0)

    def send(self, q: int) -> None:
        self.queues[q].append(self.ranges.take(q)[0])


@dataclass
class World:
    """The source, its committed offset, the routed log, and every sender there ever was."""

    end: int
    committed: int = 0
    routed: list[list[SourceRange]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    senders: list[Sender] = field(default_factory=list)

    def start(self) -> None:
        sender = Sender(Ranges(PARTITIONS))
        sender.ranges.open(TP, "id", self.committed, 0)
        self.senders.append(sender)

    def deliver(self, sender: Sender, q: int) -> None:
        """The broker takes the oldest record of one sender for one routed partition, and acknowledges it."""
        if sender.queues[q]:
            record = sender.queues[q].pop(0)
            self.routed[q].append(record)
            sender.ranges.acknowledged(q, [record])

    def commit(self, sender: Sender) -> None:
        """Only the newest owner's commit is taken: an older generation is fenced by the group."""
        if sender is self.senders[-1] and not sender.dead:
            self.committed = max(self.committed, sender.ranges.committable()[TP])


ACTIONS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 9), st.integers(1, 7)),
    st.tuples(st.just("send"), st.integers(0, 9), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("deliver"), st.integers(0, 9), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("commit"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
    st.tuples(st.just("fail"), st.integers(0, 9), st.integers(0, PARTITIONS - 1)),
)


def run(actions: list[tuple[str, int, int]], end: int) -> World:
    """Play the actions, then let a healthy worker finish."""
    world = World(end)
    world.start()
    for what, who, n in actions:
        sender = world.senders[who % len(world.senders)]
        if what == "restart":
            world.start()
        elif what == "read" and not sender.dead:
            sender.read(n, end)
        elif what == "send" and not sender.dead:
            sender.send(n)
        elif what == "deliver":
            world.deliver(sender, n)
        elif what == "commit":
            world.commit(sender)
        elif what == "fail":  # a send error: nothing more of this sender for that partition, and it ends
            sender.queues[n].clear()
            sender.dead = True
    finish(world)
    return world


def finish(world: World) -> None:
    """A last healthy worker reads to the end; zombies' records arrive among its own."""
    world.start()
    last = world.senders[-1]
    last.read(world.end, world.end)
    for q in range(PARTITIONS):
        last.send(q)
    for sender in world.senders:
        for q in range(PARTITIONS):
            while sender.queues[q]:
                world.deliver(sender, q)
    world.commit(last)


@settings(max_examples=600, deadline=None)
@given(st.lists(ACTIONS, max_size=60), st.integers(1, 30))
def test_every_offset_counts_exactly_once(actions: list[tuple[str, int, int]], end: int) -> None:
    """If this fails, a crash or a zombie makes Gatewatch miss requests, or count some twice."""
    world = run(actions, end)
    for q in range(PARTITIONS):
        applied = Applied()
        counted: list[int] = []
        for record in world.routed[q]:
            verdict = applied.accept([record])
            offsets = np.arange(record.start, record.stop)
            kept = applied.keep(verdict, np.zeros(len(offsets), np.uint16), offsets)
            counted += offsets[kept].tolist()
            assert verdict.lost == 0
        assert counted == list(range(end))
    assert world.committed == end


def test_a_range_that_begins_too_late_is_refused() -> None:
    """If this fails, a record that overtook a lost one hides the loss for ever."""
    applied = Applied()
    applied.accept([SourceRange("id", 0, 0, 10, 0.0, opened=True)])
    verdict = applied.accept([SourceRange("id", 0, 15, 20, 0.0)])
    assert verdict.refused == 1
    assert applied.offsets == {("id", 0): 10}


def test_an_operators_skip_is_accepted_and_reported() -> None:
    """If this fails, moving the group's offset by hand stops detection of that source for good."""
    applied = Applied()
    applied.accept([SourceRange("id", 0, 0, 10, 0.0, opened=True)])
    verdict = applied.accept([SourceRange("id", 0, 50, 60, 0.0, opened=True)])
    assert (verdict.refused, verdict.lost) == (0, 40)
    assert applied.offsets == {("id", 0): 60}


def test_a_hole_left_by_retention_is_told_to_every_partition_once() -> None:
    """If this fails, lost requests are not reported, or reported several times."""
    ranges = Ranges(2)
    assert ranges.open(TP, "id", 10, 50) == 50
    ranges.advance(TP, 60, 0.0)
    first, second = ranges.take(0)[0], ranges.take(0)[0]
    assert (first.start, first.stop, first.lost) == (10, 60, 40)
    assert (second.start, second.stop, second.lost) == (60, 60, 0)
    assert ranges.take(1)[0].lost == 40


def test_nothing_is_committable_before_every_partition_has_it() -> None:
    """If this fails, a crash loses what one routed partition had not got yet."""
    ranges = Ranges(2)
    ranges.open(TP, "id", 0, 0)
    ranges.advance(TP, 7, 0.0)
    ranges.acknowledged(0, ranges.take(0))
    assert ranges.committable() == {TP: 0}
    ranges.acknowledged(1, ranges.take(1))
    assert ranges.committable() == {TP: 7}


def test_a_topic_made_again_is_another_stream() -> None:
    """If this fails, a re-created topic is taken for repeats of the old one and its events are dropped."""
    applied = Applied()
    applied.accept([SourceRange("old", 0, 0, 100, 0.0, opened=True)])
    verdict = applied.accept([SourceRange("new", 0, 0, 5, 0.0, opened=True)])
    assert verdict.whole
    assert (verdict.low[0], verdict.high[0]) == (0, 5)


def test_only_the_last_piece_of_a_round_tells_its_newest_time() -> None:
    """If this fails, the rest of a round looks late to detect and decide, and a block starts minutes too late."""
    ranges = Ranges(1)
    ranges.open(TP, "id", 0, 0)
    ranges.advance(TP, 10, 500.0)
    first = ranges.take(0, {TP: 4})[0]
    last = ranges.take(0)[0]
    assert (first.stop, first.watermark) == (4, -np.inf)
    assert (last.start, last.stop, last.watermark) == (4, 10, 500.0)
