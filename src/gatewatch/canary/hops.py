"""What the topics say of a probe: has it arrived, have all tasks passed it, has decide read that."""

from __future__ import annotations

from contextlib import closing

import msgspec

from gatewatch.log.base import Chunk, Log, TopicPartition
from gatewatch.records import FindingBatch
from gatewatch.settings import Settings
from gatewatch.watch.reasons import TASK

_POLL_S = 0.1
SKEW_S = 5.0  # the gateway's clock may be so far behind ours; ingest itself moves what is as far ahead


class Topics:
    """Follows the sources and `findings` from their ends, in a group of its own that commits nothing.

    Args:
        log: of the installation.
        settings: name the topics.
        nonce: stands in the probe's user agent, so in its record.
        member: stable id in the group.
    """

    def __init__(self, log: Log, settings: Settings, nonce: bytes, member: str) -> None:
        self._log, self._nonce = log, nonce
        self._group = f"{settings.kafka.prefix}.decide"
        self._findings = TopicPartition(settings.kafka.topic("findings"), 0)
        self._told = dict.fromkeys(range(settings.kafka.partitions), float("-inf"))  # task -> its watermark
        self._passed: int | None = None
        self._tasks = msgspec.json.Decoder(FindingBatch)
        self._following = self._arrived = False
        topics = [*(source.topic for source in settings.sources), self._findings.topic]
        self._consumer = log.consumer(topics, group=f"{settings.kafka.prefix}.canary.{member}", member=member)

    def followed(self) -> bool:
        """We have the partitions, and will see what comes from now on."""
        self._look()
        return self._following

    def arrived(self) -> bool:
        """The probe's record is in a source topic."""
        self._look()
        return self._arrived

    def detected(self, sent_at: float) -> bool:
        """Every detect task has seen everything up to the probe."""
        self._look()
        return min(self._told.values()) >= sent_at - SKEW_S

    def decided(self) -> bool:
        """Decide has read, and committed, what detect had said when this was asked for the first time."""
        end = self._consumer.end_offsets([self._findings])[self._findings]
        if self._passed is None:
            self._passed = end
        with closing(self._log.admin()) as admin:
            lag = admin.group_lag(self._group).get(self._findings)
        self._look()
        return lag is not None and end - lag >= self._passed

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _look(self) -> None:
        """Read what is new."""
        polled = self._consumer.poll(_POLL_S)
        if polled.assigned:
            for tp, end in self._consumer.end_offsets(polled.assigned).items():
                self._consumer.seek(tp, end)
            self._consumer.resume(polled.assigned)
            self._following = True
        for chunk in polled.chunks:
            self._take(chunk)

    def _take(self, chunk: Chunk) -> None:
        if chunk.tp != self._findings:
            self._arrived = self._arrived or any(self._nonce in value for value in chunk.values if value is not None)
            return
        for value in chunk.values:
            if value is not None:
                batch = self._tasks.decode(value)
                if batch.task == TASK:  # watchers speak by the wall clock, once a minute
                    continue
                self._told[batch.task] = max(self._told.get(batch.task, float("-inf")), batch.watermark)
