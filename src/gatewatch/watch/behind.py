"""How late a reader is, in seconds, from offsets alone: records carry the clocks of strangers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gatewatch.log.base import TopicPartition
from gatewatch.watch.reasons import BEHIND
from gatewatch.watch.watch import Condition

STEP_S = 5.0  # how finely the end is remembered
MOST = 720  # samples: an hour; beyond that, half as finely


@dataclass(slots=True)
class Behind:
    """One partition. What its end was, since the oldest record that we have not read."""

    _ends: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, read: int, end: int, now: float) -> None:
        """The next offset to read, and the offset after the last record."""
        while self._ends and self._ends[0][1] <= read:
            self._ends.popleft()
        if end <= read or (self._ends and (end <= self._ends[-1][1] or now - self._ends[-1][0] < STEP_S)):
            return
        self._ends.append((now, end))
        if len(self._ends) > MOST:
            self._ends = deque(end for i, end in enumerate(self._ends) if i % 2 == 0)

    def seconds(self, now: float) -> float:
        """For how long at least the oldest unread record has been there."""
        return now - self._ends[0][0] if self._ends else 0.0


def late(behind: Mapping[TopicPartition, Behind], limit_s: float, now: float) -> Iterator[Condition]:
    """For each topic, the partition that is read latest, if that is beyond the limit."""
    beyond: dict[str, dict[int, float]] = {}
    for tp, one in behind.items():
        if (seconds := one.seconds(now)) > limit_s:
            beyond.setdefault(tp.topic, {})[tp.partition] = seconds
    for topic, partitions in sorted(beyond.items()):
        worst = max(partitions.values())
        says = f"partitions {some(sorted(partitions))} have records that nobody read for {worst:.0f} s"
        yield Condition(BEHIND, topic, worst, limit_s, says, worst)


def some(partitions: list[int], most: int = 10) -> str:
    """The first of them.

    >>> some([0, 3, 7], most=2)
    '0, 3 and 1 more'
    """
    shown = ", ".join(str(partition) for partition in partitions[:most])
    return shown if len(partitions) <= most else f"{shown} and {len(partitions) - most} more"
