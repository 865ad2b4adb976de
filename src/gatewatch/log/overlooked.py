"""Partitions that no member of a group has, although the group is at rest.

A member that comes back under its own id within its session is given what it had, without a rebalance (KIP-345). If it
is the one that shares out, it is not told so: that needs JoinGroup 9 (KIP-814), and kafka-python sends 7 at most,
librdkafka 5. So nobody sees that the topics have other partitions by now than when they were shared out: after a topic
was made again, nobody may have any, for ever.

So each member looks, once it has joined, what all of them have together, and asks for another round where that is not
everything. The broker begins one if it is the leader that asks; any other member is told again what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog

from gatewatch.clock import Clock
from gatewatch.log.base import TopicPartition

AGAIN_S = 5.0  # until the next look, where the group was not at rest or the broker did not answer
_log = structlog.get_logger("gatewatch.log")

Partitions = Mapping[str, Collection[int]]  # by topic


class Overlooked:
    """Looks once, and again only when the topics have other partitions: it must not ask for rounds for ever."""

    def __init__(self, group: str, clock: Clock) -> None:
        self._group, self._clock = group, clock
        self._seen: Partitions = {}
        self._again_at = 0.0

    @property
    def due(self) -> bool:
        """Whether the first look is still to be made, and not put off."""
        return not self._seen and self._clock.monotonic() >= self._again_at

    def found(self, there: Partitions | None, shared_out: Callable[[], Collection[TopicPartition] | None]) -> bool:
        """Whether there are partitions that nobody has.

        Args:
            there: what the topics have; ``None`` where it cannot be known now.
            shared_out: asks the broker what all members have together; gives ``None`` likewise.
        """
        now = self._clock.monotonic()
        if there == self._seen or now < self._again_at:
            return False
        has = None if there is None else shared_out()
        if there is None or has is None:
            self._again_at = now + AGAIN_S
            return False
        self._seen = there
        nobodys = {TopicPartition(topic, p) for topic, ps in there.items() for p in ps}.difference(has)
        if nobodys:
            _log.warning("no worker has some partitions: asks the group to share out again", group=self._group,
                         partitions=len(nobodys), first="{}-{}".format(*min(nobodys)))  # fmt: skip
        return bool(nobodys)
