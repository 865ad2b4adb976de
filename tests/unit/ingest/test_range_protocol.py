"""The range protocol, as a model: any interleaving, and every source offset counts exactly once or is told as lost.

Each run is drawn from its seed: a source that grows, loses its head to retention, and is deleted and made again;
workers that read it, rebalance, die, and come back as zombies; records that expire before they are acknowledged and
take all later ones of that sender with them (an idempotent producer that fails, fails for good); batches that are cut
anywhere. By hand: ``GATEWATCH_TEST_RUNS=200000``; a failing run is repeated by its seed, which stands in the failure.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from gatewatch.detect.applied import Applied
from gatewatch.ingest.ranges import Ranges
from gatewatch.log.base import TopicPartition
from gatewatch.records import SourceRange

RUNS = int(os.environ.get("GATEWATCH_TEST_RUNS", "3000"))
SEED = int(os.environ.get("GATEWATCH_TEST_SEED", "0"))  # of the first run
STEPS = 60
TP = TopicPartition("access", 0)
PARTITIONS = 3


@dataclass
class Sender:
    """One ingest worker, alive, dead, or a zombie: records it has sent that the log has not yet."""

    life: int
    ranges: Ranges
    queues: list[list[SourceRange]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    had: set[int] = field(default_factory=set)  # offsets that it has really read
    dead: bool = False

    @property
    def read(self) -> int:
        """Next offset to read."""
        return self.ranges.streams()[0].read

    def poll(self, begin: int, stop: int) -> None:
        """Read up to ``stop``; a hole that retention made is told."""
        if begin > self.read:
            self.ranges.hole(TP, begin)
        self.had.update(range(self.read, stop))
        self.ranges.advance(TP, stop, 0.0)


@dataclass
class World:
    """The source in its lives, what the group has committed, the routed log, and every sender there ever was."""

    random: random.Random
    life: int = 0
    begin: int = 0  # what is before it retention has removed
    end: int = 0
    committed: tuple[int, int] | None = None  # the life that it is of, and the offset
    routed: list[list[tuple[SourceRange, Sender]]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    senders: list[Sender] = field(default_factory=list)

    def start(self) -> None:
        """A worker takes the partition over, as the group says."""
        at = None
        if self.committed is not None and self.committed[0] == self.life:  # a commit of another life does not count
            at = self.committed[1]
        sender = Sender(self.life, Ranges(PARTITIONS))
        sender.ranges.open(TP, f"life-{self.life}", at, self.begin)
        self.senders.append(sender)

    def turn(self) -> None:
        """Something happens to somebody."""
        sender = self.random.choice(self.senders)
        q = self.random.randrange(PARTITIONS)
        what = self.random.choices(
            (self.grow, self.retain, self.again, self.start, self.commit),
            weights=(6, 1, 0.3, 1.5, 3),
        )[0]
        if self.random.random() < 0.6:
            self.random.choices((self.poll, self.send, self.deliver, self.fail), weights=(4, 5, 6, 0.4))[0](sender, q)
        else:
            what()

    def grow(self) -> None:
        """The gateway writes."""
        self.end += self.random.randint(1, 9)

    def retain(self) -> None:
        """Retention removes the head, perhaps what nobody has read."""
        self.begin = self.random.randint(self.begin, self.end)

    def again(self) -> None:
        """The topic is deleted and made again, and a worker of the old one has not noticed."""
        self.life, self.begin, self.end = self.life + 1, 0, 0
        self.start()

    def poll(self, sender: Sender, _q: int) -> None:
        """Read some values; a hole in the source is told."""
        if sender.dead or sender.life != self.life:
            return
        at = max(sender.read, self.begin)
        sender.poll(self.begin, min(at + self.random.randint(1, 7), self.end))

    def send(self, sender: Sender, q: int) -> None:
        """A record for one routed partition: up to where was read, or cut short after any value."""
        if sender.dead:
            return
        # A batch is cut after a row, so after a value that was read
        cut = {TP: self.random.choice(sorted(sender.had)) + 1} if sender.had and self.random.random() < 0.3 else None
        sender.queues[q].append(sender.ranges.take(q, cut)[0])

    def deliver(self, sender: Sender, q: int) -> None:
        """The broker takes the oldest record of one sender for one routed partition, and acknowledges it."""
        if sender.queues[q]:
            record = sender.queues[q].pop(0)
            self.routed[q].append((record, sender))
            sender.ranges.acknowledged(q, [record])

    def fail(self, sender: Sender, q: int) -> None:
        """A send error: nothing more of this sender for that partition, and it ends."""
        sender.queues[q].clear()
        sender.dead = True

    def commit(self) -> None:
        """Only the newest owner's commit is taken: an older generation is fenced by the group."""
        sender = self.senders[-1]
        if not sender.dead:
            at = sender.ranges.committable()[TP]
            if self.committed is None or self.committed[0] != sender.life or at >= self.committed[1]:
                self.committed = (sender.life, at)

    def finish(self) -> None:
        """A last healthy worker reads to the end; zombies' records arrive among its own."""
        self.start()
        last = self.senders[-1]
        last.poll(self.begin, self.end)
        for q in range(PARTITIONS):
            last.queues[q].append(last.ranges.take(q)[0])
        waiting = [(sender, q) for sender in self.senders for q in range(PARTITIONS) for _ in sender.queues[q]]
        self.random.shuffle(waiting)
        for sender, q in waiting:
            self.deliver(sender, q)
        self.commit()


def play(seed: int) -> World:
    """One run."""
    world = World(random.Random(seed))
    world.start()
    for _ in range(world.random.randint(1, STEPS)):
        world.turn()
    world.finish()
    return world


def judge(world: World) -> None:
    """Each offset of the last life once, or removed by retention and told as lost; of earlier lives at most once."""
    last = f"life-{world.life}"
    for q in range(PARTITIONS):
        applied = Applied()
        counted: Counter[tuple[str, int]] = Counter()
        lost = 0
        for record, sender in world.routed[q]:
            verdict = applied.accept([record])
            offsets = np.array(sorted(sender.had & set(range(record.start, record.stop))), np.int64)
            kept = applied.keep(verdict, np.zeros(len(offsets), np.uint16), offsets)
            counted.update((record.topic_id, int(offset)) for offset in offsets[kept])
            lost += verdict.lost if record.topic_id == last else 0
        assert max(counted.values(), default=1) == 1, "an offset counts twice"
        assert applied.offsets[last, 0] == world.end, "the end is not reached"
        missing = set(range(world.end)) - {offset for topic, offset in counted if topic == last}
        assert missing <= set(range(world.begin)), "an offset is missing that was there"
        first = next(r.start for r, _sender in world.routed[q] if r.topic_id == last)
        assert len({offset for offset in missing if offset >= first}) <= lost, "an offset is missing, and nobody told"
        assert world.begin or not lost, "something is told as lost, and nothing was removed"
    assert world.committed == (world.life, world.end), "what is done is not committed"


def test_every_offset_counts_exactly_once() -> None:
    """If this fails, a crash or a zombie makes Gatewatch miss requests, or count some twice."""
    for seed in range(SEED, SEED + RUNS):
        try:
            judge(play(seed))
        except AssertionError as error:
            raise AssertionError(f"GATEWATCH_TEST_SEED={seed} GATEWATCH_TEST_RUNS=1: {error}") from error


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


def test_a_hole_in_a_range_that_is_repeated_in_part_is_told() -> None:
    """If this fails, requests that retention removed before they were read are missing, and no metric says so."""
    applied = Applied()
    applied.accept([SourceRange("id", 0, 0, 5, 0.0, opened=True)])
    verdict = applied.accept([SourceRange("id", 0, 3, 12, 0.0, opened=True, lost=7)])  # from 3 to 10
    assert verdict.lost == 7
    assert applied.accept([SourceRange("id", 0, 3, 12, 0.0, opened=True, lost=7)]).lost == 0
