"""A watcher's way into `findings`: once a second it looks, and writes what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from gatewatch.clock import Clock
from gatewatch.log.base import Producer
from gatewatch.metrics import Metrics
from gatewatch.records import Mode
from gatewatch.settings import Settings
from gatewatch.watch.reasons import REASONS
from gatewatch.watch.watch import Condition, Watch

LOOK_S = 1.0  # blindness is told in minutes; a look costs some microseconds a partition


class Reporter:
    """What one worker says of what it cannot see.

    Nothing waits for these records: they stand for no offset, and what still holds after a restart is said again.

    Args:
        settings: whether to say it at all, and under which prefix.
        producer: the worker's own.
        member: of the worker.
        clock: wall time stands in the records.
        metrics: what to count on.
    """

    def __init__(self, settings: Settings, producer: Producer, member: str, clock: Clock, metrics: Metrics) -> None:
        self._on = settings.watch.mode is not Mode.OFF
        self._topic = settings.kafka.topic("findings")
        self._producer, self._clock, self._metrics = producer, clock, metrics
        self._watch = Watch(member)
        self._look_at = clock.monotonic() + LOOK_S
        metrics.blind({reason.name: 0 for reason in REASONS})

    def turn(self, conditions: Callable[[], Iterable[Condition]]) -> None:
        """Look, if it is time to. ``conditions`` gives all that hold now.

        Raises:
            SendError: as any send.
        """
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        hold = list(conditions())
        count = Counter(condition.blindness.reason.name for condition in hold)
        self._metrics.blind({reason.name: count[reason.name] for reason in REASONS})
        said = self._watch.look(hold, self._clock.now()) if self._on else None
        if said is not None:
            self._producer.send(self._topic, msgspec.json.encode(said), partition=0)
