"""What a member of a group owns, has read and has marked, and what happened to that since the last poll.

Shared by both Kafka clients. An eager rebalance takes everything and gives most of it back: only what changed hands is
told. No client is called from here, so it may be used inside a rebalance callback.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import structlog

from gatewatch.clock import Clock
from gatewatch.errors import LogError
from gatewatch.log.base import Polled, TopicPartition

LAST_COMMIT_S = 5.0  # half of what a worker has to end: a rebalance among workers that are alive takes a second
_log = structlog.get_logger("gatewatch.log")


def commit_rest(members: Membership, group: str, clock: Clock, step: Callable[[], object]) -> None:
    """Before a member leaves: commit what a rebalance kept back, or its successor does a second of work again.

    A rebalance ends by polls only: ``step`` polls once and commits. What polls bring counts as never read. A broker
    that is away is not waited for: a clean stop has no time for that, and loses no more than a kill does.
    """
    deadline = clock.monotonic() + LAST_COMMIT_S
    with suppress(LogError):  # fenced, or the broker is away: the last commit stands
        while members.kept_back and not members.in_outage and clock.monotonic() < deadline:
            step()
    if members.kept_back:
        _log.warning("left without the last commit: its successor does some work again", group=group)


def is_of(note: str | None, topic_id: str) -> bool:
    """Whether a commit is of this life of its topic, by the note that stands beside it.

    A tool that moves offsets by hand leaves no note: what it says holds. librdkafka ends its with a NUL.
    """
    return not note or note.rstrip("\0") == topic_id


class Membership:
    """Owned partitions and their marks.

    Attributes:
        owned: partitions that are ours.
        next_offset: for those that were sought or read, the offset after the last record polled.
        closed: nothing that happens now counts.
        kept_back: there are marks that could not be committed when that was asked.
    """

    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.next_offset: dict[TopicPartition, int] = {}
        self.closed = False
        self.kept_back = False
        self._marks: dict[TopicPartition, int] = {}
        self._renewed: set[TopicPartition] = set()
        self._news = Polled()
        self._failing_since: float | None = None

    def mark(self, tp: TopicPartition, next_offset: int) -> None:
        """Remember what is done; of a partition that is not ours it says nothing."""
        if tp in self.owned:
            self._marks[tp] = next_offset

    def take_marks(self) -> dict[TopicPartition, int]:
        """All marks, to be committed."""
        marks, self._marks, self.kept_back = self._marks, {}, False
        return marks

    def put_back(self, marks: dict[TopicPartition, int]) -> None:
        """They could not be committed: keep those that are not outdated."""
        self._marks = {tp: offset for tp, offset in marks.items() if tp in self.owned} | self._marks
        self.kept_back = bool(self._marks)

    def not_committed(self, marks: dict[TopicPartition, int], now: float) -> float:
        """The broker is away: :meth:`put_back`, and returns for how many seconds no commit has been made."""
        self.put_back(marks)
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since

    def committed(self) -> None:
        """A commit was made."""
        self._failing_since = None

    @property
    def in_outage(self) -> bool:
        """Whether the broker has been away since the last commit that was made."""
        return self._failing_since is not None

    def revoking(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """A rebalance begins; returns the marks to commit. They are kept until it is known what is gone."""
        if self.closed:
            return {}
        return {tp: self._marks[tp] for tp in tps if tp in self._marks}

    def assigned(self, tps: Collection[TopicPartition], *, unbroken: bool) -> list[TopicPartition]:
        """A rebalance is over; returns the partitions that are new.

        Where it took more than one round (not ``unbroken``), somebody else may have had what we kept in between: those
        partitions count as revoked and new.
        """
        if self.closed:
            return []
        now = set(tps)
        kept = self.owned & now if unbroken else set()
        gone, new = sorted(self.owned - kept), sorted(now - kept)
        self._renewed |= self.owned & now - kept
        self._forget(gone)
        self.owned = now
        self._news.revoked += tuple(gone)
        self._news.assigned = (*(tp for tp in self._news.assigned if tp in now and tp not in new), *new)
        return new

    def lose(self, tps: Collection[TopicPartition]) -> None:
        """Taken without us."""
        if self.closed:
            return
        lost = [tp for tp in tps if tp in self.owned]
        self._forget(lost)
        self.owned -= set(lost)
        self._news.lost += tuple(lost)
        self._news.assigned = tuple(tp for tp in self._news.assigned if tp not in lost)

    def polled(self, tp: TopicPartition, offsets: Sequence[int]) -> None:
        """Records came.

        Raises:
            LogError: they go backwards, which only a topic that was made again under its old name does.
        """
        expected = self.next_offset.get(tp, 0)
        if offsets[0] < expected:
            raise LogError(
                f"{tp.topic}-{tp.partition}: offset {offsets[0]} after {expected - 1}: "
                "the topic was deleted and made again; start the worker again"
            )
        self.next_offset[tp] = offsets[-1] + 1

    def take(self) -> Polled:
        """What happened since the last time."""
        news, self._news = self._news, Polled()
        return news

    def take_renewed(self) -> set[TopicPartition]:
        """Partitions that were kept, but not without a break: their position must be set again."""
        renewed, self._renewed = self._renewed & self.owned, set()
        return renewed

    def check_owned(self, tps: Collection[TopicPartition]) -> None:
        """Raise where one is not ours.

        Raises:
            LogError: names it.
        """
        for tp in tps:
            if tp not in self.owned:
                raise LogError(f"{tp.topic}-{tp.partition} is not assigned to this member")

    def _forget(self, tps: Collection[TopicPartition]) -> None:
        for tp in tps:
            self._marks.pop(tp, None)
            self.next_offset.pop(tp, None)
        self.kept_back = self.kept_back and bool(self._marks)
