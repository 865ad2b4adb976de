"""What the active notify worker knows and does: each notice goes through the stages into the lane of each receiver."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from gatewatch.clock import Clock
from gatewatch.notify.base import Receiver
from gatewatch.notify.escalate import Escalations
from gatewatch.notify.group import Groups
from gatewatch.notify.lane import Desk, Lane
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.record import Action
from gatewatch.notify.route import receivers_for
from gatewatch.notify.silence import BULLETIN, bulletin, held_by, week_of
from gatewatch.notify.words import visible
from gatewatch.records import Alert, Incident, Severity, Silence, Verdict
from gatewatch.settings import NotifySettings
from gatewatch.verdicts import Book

LOOK_S = 1.0  # how often escalations and refreshes are looked at
REFUSED_S = 3600.0  # a receiver that refuses is told of once an hour
_log = structlog.get_logger("gatewatch.notify")

Place = tuple[str, int]  # a topic and an offset


class Teller:
    """Tells receivers. One thread only.

    Args:
        settings: of notify.
        receivers: all there are.
        desk: where things are recorded.
        book: what people said.
        playbooks: by detector.
        clock: injected time.
    """

    def __init__(
        self,
        settings: NotifySettings,
        receivers: Sequence[Receiver],
        desk: Desk,
        book: Book,
        playbooks: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._settings, self._desk, self._book, self._clock = settings, desk, book, clock
        self.lanes = [Lane(r, settings, desk, clock, self._refused) for r in receivers]
        self._people = frozenset(r.name for r in receivers if r.traits.people)
        self.groups = Groups(
            book, playbooks, settings.console, lambda alert_id: desk.sent.first_ts(alert_id, self._people) is not None
        )
        self._escalations = Escalations(settings.escalation)
        self._refused_at: dict[str, float] = {}
        self._told_of_silences: set[tuple[str, str]] = set()  # receiver, bulletin: a few a week
        self._look_at = clock.monotonic()

    def note(self, action: Action) -> None:
        """Something that was recorded in an earlier life."""
        if action.kind == "escalation":
            self._escalations.done[action.alert_id] = None
            self.groups.mark_escalated(action.alert_id)
        if action.kind == "bulletin" and action.alert_id.startswith(BULLETIN):
            self._told_of_silences.add((action.receiver, action.alert_id))
        self._desk.note(action)
        for lane in self.lanes:
            lane.piles.note(action)

    def alert(self, alert: Alert, place: Place) -> None:
        """A revision of an alert."""
        self._tell(self.groups.alert(alert), place, self.lanes)

    def incident(self, incident: Incident, place: Place) -> None:
        """A revision of an incident; programs take alerts and put them together themselves."""
        notice = self.groups.incident(incident)
        if notice is not None:
            self._tell(notice, place, [lane for lane in self.lanes if lane.traits.people])

    def said(self, record: Verdict | Silence) -> None:
        """A person said something: who was told hears who is on it."""
        self._book.apply(record)
        notice = self.groups.judged(record) if isinstance(record, Verdict) else None
        if notice is not None:
            self._tell(notice, None, [lane for lane in self.lanes if lane.traits.people and lane.told(notice)])

    def pressed(self, action: Action) -> None:
        """Somebody pressed a button. Called from other threads."""
        self._desk.write(action, wait=False)

    def turn(self) -> None:
        """Let each receiver move on; look at what is due."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._escalate()
            self._tell_of_silences()
            due = [lane for lane in self.lanes if lane.wants_refresh]
            alerts = self.groups.open_alerts() if due else []
            for lane in due:
                lane.refresh(alerts)
        for lane in self.lanes:
            lane.turn()

    def close(self, timeout_s: float) -> None:
        """End the receivers' threads."""
        for lane in self.lanes:
            lane.close(timeout_s / len(self.lanes))

    def _tell(self, notice: Notice, place: Place | None, lanes: Collection[Lane]) -> None:
        now = self._clock.now()
        names = receivers_for(notice, self._settings.routes, [lane.name for lane in self.lanes], now)
        held = {whole: held_by(notice, self._book, now, whole=whole) for whole in (True, False)}
        for lane in lanes:
            lane.offer(notice, place, routed=lane.name in names, held=held[lane.traits.people])

    def _escalate(self) -> None:
        settings = self._settings.escalation
        if settings is None:
            return
        now = self._clock.now()
        told = [(n, self._desk.sent.first_ts(n.key, self._people)) for n in self.groups.open()]
        awake = [(n, ts) for n, ts in told if held_by(n, self._book, now, whole=True) is None]
        for key in self._escalations.due(awake, now):
            notice = self.groups.escalated(key)
            if notice is None:
                continue
            due = self._desk.action("", notice, "due", key, kind="escalation", alert_id=key)
            self._desk.write(due, wait=False)
            for lane in self.lanes:
                asked = lane.name in settings.receivers
                if asked or lane.told(notice):
                    lane.offer(notice, None, routed=True, held=None, urgent=asked)

    def _tell_of_silences(self) -> None:
        """Once a week people hear what their silences hid in the last one."""
        told = bulletin(self._book.silences(), self._desk.hidden, week_of(self._clock.now()) - 1)
        if told is None:
            return
        for lane in self.lanes:
            if lane.traits.people and (lane.name, told.id) not in self._told_of_silences:
                self._told_of_silences.add((lane.name, told.id))
                lane.announce(told)

    def _refused(self, name: str, why: str) -> None:
        """A receiver refuses for good: a person must mend its settings, and hears it elsewhere."""
        _log.error("refused", receiver=name, why=why)
        now = self._clock.now()
        if now - self._refused_at.get(name, -REFUSED_S) < REFUSED_S:
            return
        self._refused_at[name] = now
        bulletin = Bulletin(
            id=f"refused-{name}-{int(now // REFUSED_S)}",
            title=f"{name} refuses alerts: {visible(why, 200)}",
            severity=Severity.HIGH,
            footer=f"Mend notify.{name} in the settings. `gatewatch audit list --receiver {name}` names the alerts.",
        )
        for lane in self.lanes:
            if lane.name != name:
                lane.announce(bulletin)
