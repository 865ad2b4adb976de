"""Whether detection still speaks: every task gives a sign of life each second of event time, and ticks make time go on.

Decide listens, last in the row; so silence of ingest is noticed, too, for without its ticks no task has anything to
say. That decide itself is silent only somebody outside can see (``gatewatch canary``, Prometheus).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gatewatch.watch.reasons import MUTE
from gatewatch.watch.watch import Condition

# Event time further behind the record's own time than this is history that somebody replays: it ends, and that is all.
HISTORY_S = 86400.0


@dataclass(slots=True)
class Signs:
    """All tasks on keys. Times are monotonic seconds, but for those of records.

    Args:
        tasks: how many there are; those beyond (populations, slow ones, watchers) have no rhythm of their own.
        limit_s: silence that is told.
    """

    tasks: int
    limit_s: float
    _heard: dict[int, float] = field(default_factory=dict)

    def hear(self, task: int, watermark: float, written: float, now: float) -> None:
        """A task's record: up to when it has seen everything, and when it wrote that, both epoch seconds."""
        if task < self.tasks:
            if watermark < written - HISTORY_S:
                self._heard.pop(task, None)
            else:
                self._heard[task] = now

    def conditions(self, now: float) -> Iterator[Condition]:
        """Tasks that were heard once and no longer are, all in one."""
        silent = sorted(task for task, at in self._heard.items() if now - at > self.limit_s)
        if silent:
            longest = now - min(self._heard.values())
            says = f"{len(silent)} of {self.tasks} tasks are silent: ingest or detect does not run, or is stuck"
            yield Condition(MUTE, "detect", longest, self.limit_s, says, longest)
