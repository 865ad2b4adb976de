"""Reads source partitions side by side in event time.

Without it a backlog of skewed partitions makes event time run backwards by minutes, and counters accuse bystanders
(measured in DESIGN section 2). A partition that is further ahead than the limit waits for the slowest busy one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from gatewatch.log.base import TopicPartition


def too_far_ahead(
    watermarks: Mapping[TopicPartition, float], lag: Mapping[TopicPartition, int], limit_s: float
) -> set[TopicPartition]:
    """Partitions to pause: more than ``limit_s`` ahead of the slowest one that still has records to read.

    ``watermarks`` is the newest event time read of each partition; one of which nothing was read yet does not hold the
    others up (it may be empty for ever), it catches up by being the only one not paused.

    >>> a, b = TopicPartition("t", 0), TopicPartition("t", 1)
    >>> too_far_ahead({a: 100.0, b: 50.0}, {a: 5, b: 5}, 5.0) == {a}
    True
    >>> too_far_ahead({a: 100.0, b: 50.0}, {a: 5, b: 0}, 5.0)
    set()
    """
    busy = [w for tp, w in watermarks.items() if lag.get(tp, 0) > 0 and isfinite(w)]
    if not busy:
        return set()
    slowest = min(busy)
    return {tp for tp, w in watermarks.items() if w > slowest + limit_s}
