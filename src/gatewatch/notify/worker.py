"""The notify role: reads `alerts`, tells receivers, records in `actions`.

At least once: an offset of `alerts` is committed when every receiver is done with it and that is recorded. A restart
reads `actions` first, so what was recorded as delivered is not told again; what was delivered and not yet recorded is
(PagerDuty and Alertmanager recognise it, Slack shows it twice).
"""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from pydantic import ValidationError

from gatewatch.clock import Clock
from gatewatch.errors import ConfigError
from gatewatch.log.base import Chunk, Log, TopicPartition
from gatewatch.notify.base import Attempt, Receiver
from gatewatch.notify.delivery import Delivery, Job
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.notify.receivers.webhook import Webhook
from gatewatch.notify.sent import Action, Sent
from gatewatch.records import Alert
from gatewatch.registry import Entry
from gatewatch.settings import NotifySettings, Settings, read_secret

COMMIT_S = 1.0
DRAIN_S = 8.0  # SIGTERM gives 10 s in all
_log = structlog.get_logger("gatewatch.notify")


def receivers(settings: NotifySettings, clock: Clock) -> list[Receiver]:
    """Those that are configured.

    Raises:
        ConfigError: there is none, or a secret is not where the settings say.
    """
    made: list[Receiver] = []
    if (slack := settings.slack) is not None:
        made.append(Slack(slack.channel, read_secret("notify.slack.token", slack.token_env, slack.token_file)))
    if (duty := settings.pagerduty) is not None:
        key = read_secret("notify.pagerduty.routing_key", duty.routing_key_env, duty.routing_key_file)
        made.append(PagerDuty(key, duty.severity))
    if (manager := settings.alertmanager) is not None:
        made.append(Alertmanager(manager.url))
    if (hook := settings.webhook) is not None:
        secret = read_secret("notify.webhook.secret", hook.secret_env, hook.secret_file) if hook.signed else None
        made.append(Webhook(hook.url, secret, clock, envelope=hook.envelope))
    if not made:
        raise ConfigError("notify", "name at least one of slack, pagerduty, alertmanager, webhook")
    return made


class NotifyWorker:
    """One member of the group ``<prefix>.notify``; `alerts` has one partition, so one is active.

    Args:
        log: where from, and where `actions` go.
        settings: topics.
        entries: for the playbooks.
        to: the receivers.
        member: stable id in the group.
        clock: injected time.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        entries: Mapping[str, Entry],
        to: Sequence[Receiver],
        *,
        member: str,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._playbooks = {name: entry.playbook for name, entry in entries.items()}
        self._actions = settings.kafka.topic("actions")
        self._sent = Sent()
        for chunk in log.read(self._actions):
            for value in chunk.values:
                if value is not None:
                    self._recall(value)
        self._done: queue.SimpleQueue[tuple[str, Job, str, Attempt]] = queue.SimpleQueue()
        self._deliveries = [self._delivery(receiver) for receiver in to]
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._paused = False
        self._commit_at = clock.monotonic() + COMMIT_S
        self._producer = log.producer()
        self._consumer = log.consumer(
            [settings.kafka.topic("alerts")], group=f"{settings.kafka.prefix}.notify", member=member
        )

    @property
    def assigned(self) -> int:
        """1 for the active worker, 0 for those that stand by."""
        return len(self._next)

    @property
    def caught_up(self) -> bool:
        """Whether everything that was there at the start has been read."""
        return all(self._next[tp] >= end for tp, end in self._ends.items())

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many alerts were read.

        Raises:
            LogError: the worker must end, by ``close(flush=False)``.
        """
        polled = self._consumer.poll(timeout_s)
        self._producer.check()
        for tp in (*polled.revoked, *polled.lost):
            self._next.pop(tp, None)
            self._ends.pop(tp, None)
        if polled.assigned:
            self._take_over(polled.assigned)
        read = sum(self._read(chunk) for chunk in polled.chunks)
        self._record_done()
        self._brake()
        now = self._clock.monotonic()
        if now >= self._commit_at:
            self._commit()
            self._commit_at = now + COMMIT_S
        return read

    def close(self, *, flush: bool = True) -> None:
        """Leave. With ``flush`` what is on its way is finished, recorded and committed, within a few seconds."""
        try:
            for delivery in self._deliveries:
                delivery.close(DRAIN_S / len(self._deliveries) if flush else 0.0)
            if flush:
                self._record_done()
                self._commit()
        finally:
            self._producer.close(flush=flush)
            self._consumer.close()

    def _delivery(self, receiver: Receiver) -> Delivery:
        name = receiver.name
        return Delivery(
            receiver,
            lambda alert: self._sent.handle(name, alert),
            lambda job, ended, attempt: self._done.put((name, job, ended, attempt)),
        )

    def _take_over(self, tps: Sequence[TopicPartition]) -> None:
        committed, ends = self._consumer.committed(tps), self._consumer.end_offsets(tps)
        beginnings = self._consumer.beginning_offsets(tps)
        for tp in tps:
            self._next[tp] = max(committed.get(tp, 0), beginnings[tp])
            self._ends[tp] = ends[tp]
            self._consumer.seek(tp, self._next[tp])
        self._consumer.resume(tps)

    def _read(self, chunk: Chunk) -> int:
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is not None:
                self._tell(offset, value)
        self._next[chunk.tp] = chunk.offsets[-1] + 1
        return len(chunk.offsets)

    def _tell(self, offset: int, value: bytes) -> None:
        try:
            alert = Alert.model_validate_json(value)
        except ValidationError as error:
            _log.error("a record of `alerts` cannot be read", offset=offset, problems=error.error_count())
            return
        now = self._clock.now()
        for delivery in self._deliveries:
            receiver = delivery.receiver
            why = self._sent.why_not(receiver.name, alert, now, wanted=receiver.wants(alert))
            if why is None:
                delivery.put(Job(offset, alert, self._playbooks.get(alert.detector, "")))
            else:
                self._record(receiver.name, alert, why.value, Attempt.none())

    def _record_done(self) -> None:
        while not self._done.empty():
            name, job, ended, attempt = self._done.get()
            self._record(name, job.alert, ended, attempt)

    def _record(self, receiver: str, alert: Alert, result: str, attempt: Attempt) -> None:
        action = Action(
            receiver=receiver,
            alert_id=alert.id,
            revision=alert.revision,
            status=alert.status.value,
            result=result,
            ts=self._clock.now(),
            detail=attempt.detail,
            handle=attempt.handle,
        )
        self._sent.note(action)
        self._producer.send(self._actions, msgspec.json.encode(action), partition=0, key=alert.id.encode())

    def _recall(self, value: bytes) -> None:
        try:
            self._sent.note(msgspec.json.decode(value, type=Action))
        except msgspec.DecodeError:
            return  # another kind of record: decide's refusals stand there too

    def _brake(self) -> None:
        """Stop reading while some receiver's queue is full: what is in Kafka is safe."""
        full = any(delivery.full for delivery in self._deliveries)
        if full != self._paused:
            (self._consumer.pause if full else self._consumer.resume)(list(self._next))
            self._paused = full

    def _commit(self) -> None:
        """Commit up to the oldest alert that some receiver is not done with, once what is done is recorded."""
        waiting = [oldest for d in self._deliveries if (oldest := d.oldest()) is not None]
        unrecorded = not self._done.empty()
        if unrecorded:
            return
        self._producer.flush(DRAIN_S)
        for tp, offset in self._next.items():
            self._consumer.mark(tp, min([offset, *waiting]))
        self._consumer.commit()
