"""The receiving side of the range protocol: what a task has applied of each source partition.

A range that begins beyond what was applied is refused whole (its sender will come again from there); rows that were
applied already are trimmed; then applied = the range's end. Whoever sends, every source offset counts exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gatewatch.records import SourceRange


@dataclass(slots=True)
class Verdict:
    """What became of one routed record's ranges.

    ``low`` and ``high`` (ranges,) int64: rows of range i count if low[i] <= offset < high[i].
    """

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    refused: int = 0  # ranges that came too early
    repeated: int = 0  # ranges of which a part had been applied
    lost: int = 0  # source offsets that are gone for good

    @property
    def whole(self) -> bool:
        """Every row counts: the usual case."""
        return not self.refused and not self.repeated


@dataclass(slots=True)
class Applied:
    """Offsets applied of each source partition, by topic id: a topic that was made again is another stream.

    Attributes:
        offsets: the next one of each stream.
        unsure: streams that may miss what stood in a record that nobody can read. Nobody will send it again, so a later
            start is no range that came too early.
    """

    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    unsure: set[tuple[str, int]] = field(default_factory=set)

    def accept(self, ranges: Sequence[SourceRange]) -> Verdict:
        """Judge a record's ranges and move on."""
        verdict = Verdict(np.zeros(len(ranges), np.int64), np.zeros(len(ranges), np.int64))
        for i, r in enumerate(ranges):
            stream = (r.topic_id, r.partition)
            applied = self.offsets.get(stream)
            if applied is None:  # first contact: the routed log begins here
                applied = r.start
            if r.start > applied:
                if not (r.opened or stream in self.unsure):
                    verdict.refused += 1
                    continue
                verdict.lost += r.start - applied
                applied = r.start
            if r.start < applied and r.stop > r.start:
                verdict.repeated += 1
            # Nobody says where in a range the hole is, so one that is repeated in part may tell of it again
            verdict.lost += r.lost if r.stop > applied or r.start >= applied else 0
            verdict.low[i], verdict.high[i] = applied, max(applied, r.stop)
            self.offsets[stream] = max(applied, r.stop)
            if r.stop > applied or r.start >= applied:  # it goes on from where we are: nothing is missing in between
                self.unsure.discard(stream)
        return verdict

    def misses(self, ranges: Sequence[SourceRange]) -> bool:
        """Whether going on without a record that stands for these ranges would lose anything."""
        return any(r.stop > self.offsets.get((r.topic_id, r.partition), r.start) for r in ranges)

    def give_up(self, ranges: Sequence[SourceRange]) -> Verdict:
        """As :meth:`accept`, for a record whose rows nobody can read: what would have counted of it is lost."""
        verdict = self.accept(ranges)
        verdict.lost += int((verdict.high - verdict.low).sum())
        return verdict

    def doubt(self) -> None:
        """A record is gone, and nobody knows what it stood for."""
        self.unsure = set(self.offsets)

    def keep(
        self, verdict: Verdict, src: npt.NDArray[np.uint16], offset: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Rows that count."""
        return np.flatnonzero((offset >= verdict.low[src]) & (offset < verdict.high[src]))
