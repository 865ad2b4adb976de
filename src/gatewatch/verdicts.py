"""What people say about alerts: verdicts, and silences. How they are checked, written and read.

Both stand in one topic, ``<prefix>.verdicts``, compacted by id. Whoever writes one (a command, a button) passes the
same checks: a name on ``verdicts.actors``, a reason, and an end where it hides something. Whoever reads (decide,
notify, commands) folds them into a :class:`Book`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from gatewatch.errors import StateError, VerdictError
from gatewatch.log.base import Log
from gatewatch.records import Alert, Incident, Matchers, Scope, Silence, Verdict, VerdictKind
from gatewatch.settings import Actor, Settings, VerdictSettings

TOPIC = "verdicts"
REASON_MAX = 500  # a sentence or two; the rest belongs into a ticket
FLUSH_S = 10.0
# A person gives tens a day. A script that gives thousands loses the oldest, which only means that people are told.
VERDICTS_MAX = 100_000
SILENCES_MAX = 10_000
ENDING = frozenset({VerdictKind.EXPECTED, VerdictKind.SNOOZE})  # these hide something, so they always end
SECOND = frozenset({VerdictKind.APPROVE, VerdictKind.REJECT})  # what the second person says about orders that wait

_RECORD: TypeAdapter[Verdict | Silence] = TypeAdapter(Annotated[Verdict | Silence, Field(discriminator="record")])


def verdict_on(
    about: Alert | Incident,
    kind: VerdictKind,
    *,
    actor: str,
    reason: str,
    now: float,
    settings: VerdictSettings,
    until: float | None = None,
    via: str = "cli",
    said: Iterable[Verdict] = (),
) -> Verdict:
    """A verdict, checked. The same person saying the same at the same ``now`` makes the same one: buttons come twice.

    Args:
        about: the alert or the incident, as the person saw it.
        kind: what is said.
        actor: the name of the person on ``verdicts.actors``.
        reason: why; it is shown to others.
        now: when it was said, epoch seconds.
        settings: who may, and for how long.
        until: when it ends, epoch seconds; needed for ``expected`` and ``snooze``, and for nothing else.
        via: how it came: cli, slack, webhook.
        said: what was said about it before: who called it true cannot be the second person.

    Raises:
        VerdictError: the person may not, or something is missing; the text names the fix.
    """
    person = allowed(actor, settings)
    own_id = _digest("verdict", about.id, kind.value, person.name, f"{now:.6f}")
    before = sorted(said, key=lambda v: (v.ts, v.id))
    if kind in SECOND and all(v.id != own_id for v in before):
        _second(about, kind, person, before)
    ends = _end(kind, until, now, settings)
    alert_id, incident_id = (about.id, about.incident_id) if isinstance(about, Alert) else (None, about.id)
    return Verdict(
        id=own_id,
        kind=kind,
        alert_id=alert_id,
        incident_id=incident_id,
        detector=about.detector,
        scope=about.scope,
        key=about.key,
        project=about.project,
        severity=about.severity,
        actor=person.name,
        via=via,
        reason=_why(reason),
        ts=now,
        until=ends,
    )


def silence(
    matchers: Matchers, *, owner: str, reason: str, until: float, now: float, settings: VerdictSettings
) -> Silence:
    """A silence, checked.

    Raises:
        VerdictError: the person may not, it would silence everything, or something is missing; names the fix.
    """
    person = allowed(owner, settings)
    if not any((matchers.detector, matchers.scope, matchers.key, matchers.project)):
        raise VerdictError("a silence must say for what: name at least one of detector, scope, key, project")
    if matchers.key is not None and matchers.scope is None:
        raise VerdictError("a key needs its scope: the same text may be a principal and an account")
    end = _within(until, now, settings.max_silence, "verdicts.max_silence")
    text = matchers.model_dump_json()
    return Silence(
        id=_digest("silence", text, person.name, f"{now:.6f}"),
        matchers=matchers,
        owner=person.name,
        reason=_why(reason),
        created=now,
        until=end,
    )


def lifted(silence: Silence, *, actor: str, now: float, settings: VerdictSettings) -> Silence:
    """The same silence, ended by a person before its time.

    Raises:
        VerdictError: the person may not, or it is over.
    """
    person = allowed(actor, settings)
    if silence.removed is not None or silence.until <= now:
        raise VerdictError(f"silence {silence.id} is over already")
    return silence.model_copy(update={"removed": now, "removed_by": person.name})


def allowed(actor: str, settings: VerdictSettings) -> Actor:
    """The person of that name, where the settings list one.

    Raises:
        VerdictError: they do not.
    """
    person = settings.named(actor)
    if person is None:
        raise VerdictError(
            f"{actor[:64] or 'nobody'} may not judge alerts: add the name to verdicts.actors in the settings"
        )
    return person


def counts(verdict: Verdict, settings: VerdictSettings) -> bool:
    """Whether its actor may say that: whoever can write to the topic can claim any name and any kind."""
    person = settings.named(verdict.actor)
    return person is not None and (person.approve or verdict.kind not in SECOND)


def release_of(verdict: Verdict) -> tuple[Scope, str, float] | None:
    """Whose frozen baseline a verdict lets go, and until when: scope, key, epoch seconds. Only ``expected`` does."""
    if verdict.kind is not VerdictKind.EXPECTED or verdict.until is None:
        return None
    return verdict.scope, verdict.key, verdict.until


def write(record: Verdict | Silence) -> bytes:
    """As it stands in its topic; the Kafka key is its id."""
    return record.model_dump_json().encode()


def read(value: bytes, place: str) -> Verdict | Silence:
    """A record of ``verdicts``.

    Raises:
        StateError: it is none that this version writes; the text names ``place``.
    """
    try:
        return _RECORD.validate_json(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise StateError(f"{place}: not a verdict that this version writes: {where}: {first['msg']}") from error


def send(log: Log, settings: Settings, records: Iterable[Verdict | Silence]) -> None:
    """Write records, and wait until they are acknowledged.

    Raises:
        SendError: they are not; nothing may be relied on.
    """
    producer = log.producer()
    try:
        for record in records:
            topic = settings.kafka.topic(TOPIC)
            producer.send(topic, write(record), partition=0, key=record.id.encode())
        producer.flush(FLUSH_S)
    finally:
        producer.close(flush=False)


@dataclass(slots=True)
class Book:
    """All verdicts and silences that were read, each as its last record says. Bounded; the oldest go first."""

    _verdicts: OrderedDict[str, Verdict] = field(default_factory=OrderedDict)
    _silences: OrderedDict[str, Silence] = field(default_factory=OrderedDict)
    _about: dict[str, list[str]] = field(default_factory=dict)  # alert or incident id: verdict ids, in order

    @classmethod
    def load(cls, log: Log, settings: Settings) -> tuple[Book, int]:
        """Read the whole topic; also how many of its records could not be read."""
        book, bad = cls(), 0
        for chunk in log.read(settings.kafka.topic(TOPIC)):
            for offset, value in zip(chunk.offsets, chunk.values, strict=True):
                if value is None:
                    continue
                try:
                    book.apply(read(value, f"{chunk.tp.topic}-{chunk.tp.partition} offset {offset}"))
                except StateError:
                    bad += 1
        return book, bad

    def apply(self, record: Verdict | Silence) -> None:
        """Take one more record in. What was removed stays removed, whatever order the records come in."""
        if isinstance(record, Silence):
            before = self._silences.get(record.id)
            if before is None or before.removed is None:
                self._silences[record.id] = record
            while len(self._silences) > SILENCES_MAX:
                self._silences.popitem(last=False)
            return
        if record.id not in self._verdicts:
            self._about.setdefault(_about(record), []).append(record.id)
        self._verdicts[record.id] = record
        while len(self._verdicts) > VERDICTS_MAX:
            _id, oldest = self._verdicts.popitem(last=False)
            ids = self._about[_about(oldest)]
            ids.remove(oldest.id)
            if not ids:
                del self._about[_about(oldest)]

    def verdicts(self) -> list[Verdict]:
        """All of them, by when they were said."""
        return sorted(self._verdicts.values(), key=lambda v: (v.ts, v.id))

    def silences(self, now: float | None = None) -> list[Silence]:
        """All of them, or with ``now`` those that hold, by when they were made."""
        held = (s for s in self._silences.values() if now is None or is_active(s, now))
        return sorted(held, key=lambda s: (s.created, s.id))

    def about(self, *ids: str | None) -> list[Verdict]:
        """What was said about an alert or an incident, by when it was said."""
        found = [self._verdicts[v] for about in ids if about is not None for v in self._about.get(about, ())]
        return sorted(found, key=lambda v: (v.ts, v.id))

    def silenced(self, alert: Alert | Incident, now: float) -> Silence | None:
        """The silence that holds an alert back, the one that lasts longest where there are several."""
        holding = [s for s in self._silences.values() if is_active(s, now) and matches(s.matchers, alert)]
        return max(holding, key=lambda s: (s.until, s.id), default=None)

    def snoozed(self, alert: Alert | Incident, now: float) -> Verdict | None:
        """The snooze that holds an alert back; none does once it is graver than when the person said so."""
        ids = (alert.id, alert.incident_id) if isinstance(alert, Alert) else (alert.id,)
        for verdict in reversed(self.about(*ids)):
            running = verdict.until is not None and verdict.ts <= now < verdict.until
            if verdict.kind is VerdictKind.SNOOZE and running and alert.severity.rank <= verdict.severity.rank:
                return verdict
        return None

    def acknowledged(self, alert: Alert | Incident) -> Verdict | None:
        """Who is on it: any verdict but a snooze says that somebody has looked."""
        ids = (alert.id, alert.incident_id) if isinstance(alert, Alert) else (alert.id,)
        return next((v for v in self.about(*ids) if v.kind is not VerdictKind.SNOOZE), None)


def is_active(silence: Silence, now: float) -> bool:
    """Whether a silence holds now."""
    return silence.removed is None and silence.created <= now < silence.until


def matches(matchers: Matchers, alert: Alert | Incident) -> bool:
    """Whether a silence is about an alert. Of an incident the gravest member counts: the others are no reason to wake.

    >>> from gatewatch.testing.alerts import alert
    >>> matches(Matchers(scope=Scope.NETWORK, key="203.0.113.0/24"), alert(scope=Scope.IP, key="203.0.113.9"))
    True
    >>> matches(Matchers(project="search"), alert(project="billing"))
    False
    """
    return (
        matchers.detector in (None, alert.detector)
        and matchers.project in (None, alert.project)
        and (matchers.severity is None or alert.severity.rank <= matchers.severity.rank)
        and _covers(matchers, alert)
    )


def _covers(matchers: Matchers, alert: Alert | Incident) -> bool:
    if matchers.scope is None or (matchers.scope is alert.scope and matchers.key in (None, alert.key)):
        return True
    if matchers.scope is not Scope.NETWORK or matchers.key is None or alert.scope not in (Scope.IP, Scope.NETWORK):
        return False
    try:
        outer, inner = ip_network(matchers.key, strict=False), ip_network(alert.key, strict=False)
    except ValueError:
        return False
    if inner.prefixlen < outer.prefixlen:
        return False
    first, last = int(outer.network_address), int(outer.broadcast_address)
    return outer.version == inner.version and first <= int(inner.network_address) <= last


def _second(about: Alert | Incident, kind: VerdictKind, person: Actor, before: Sequence[Verdict]) -> None:
    """Refuse whoever cannot be the second person; ``before`` is what was said, the oldest first."""
    if not person.approve:
        raise VerdictError(f"{person.name} may not approve orders: set approve: true at that name in verdicts.actors")
    if not about.waiting:
        done = next((v for v in reversed(before) if v.kind in SECOND), None)
        by = f": {done.actor} said {done.kind.value}" if done is not None else ""
        raise VerdictError(f"no order of {about.id} waits for a second person{by}")
    asker = next((v.actor for v in before if v.kind is VerdictKind.TRUE), None)
    if kind is VerdictKind.APPROVE and asker == person.name:
        raise VerdictError(
            f"{person.name} called it true, and asked for the order by that: another person must approve"
        )


def _end(kind: VerdictKind, until: float | None, now: float, settings: VerdictSettings) -> float | None:
    if kind not in ENDING:
        if until is not None:
            raise VerdictError(f"{kind.value} has no end: leave out --until")
        return None
    longest, name = (
        (settings.max_snooze, "verdicts.max_snooze")
        if kind is VerdictKind.SNOOZE
        else (settings.max_expected, "verdicts.max_expected")
    )
    if until is None:
        raise VerdictError(f"{kind.value} must end: say until when (--until 8h)")
    return _within(until, now, longest, name)


def _within(until: float, now: float, longest_s: float, name: str) -> float:
    if not now < until < float("inf"):
        raise VerdictError("the end must be a time to come: say until when (--until 8h)")
    if until - now > longest_s:
        raise VerdictError(f"that is longer than {name} ({longest_s / 86400:g} days): say an earlier end")
    return until


def _why(reason: str) -> str:
    if not reason.strip():
        raise VerdictError("say why: who reads it later knows nothing of today (--reason)")
    return reason.strip()[:REASON_MAX]


def _about(verdict: Verdict) -> str:
    return verdict.alert_id or verdict.incident_id or ""


def _digest(*parts: str) -> str:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
