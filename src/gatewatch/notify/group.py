"""The first stage: alerts that belong together are told together.

A conversation is an incident where decide named one, else a single alert. This keeps the last revision of each, so that
a message about one member shows them all. Bounded; what was not revised for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from gatewatch.notify.notice import Notice
from gatewatch.records import Alert, Incident, Status, Verdict, VerdictKind
from gatewatch.verdicts import Book

# Alerts and incidents kept: some 100 MB at the worst; 20,000 open at once are no longer for people anyway.
CAPACITY = 20_000
MEMBERS_MAX = 50  # of one incident that a notice carries; a message shows fewer
# Kept of one incident: each revision looks at all of them, and what the incident is as a whole its own record says
MEMBERS_KEPT = 200
_SAID = {
    VerdictKind.TRUE: "a true alarm",
    VerdictKind.FALSE_ALARM: "a false alarm",
    VerdictKind.EXPECTED: "expected",
    VerdictKind.SNOOZE: "snoozed",
    VerdictKind.ACKNOWLEDGE: "acknowledged",
    VerdictKind.APPROVE: "orders approved",
    VerdictKind.REJECT: "orders rejected",
}


class Groups:
    """What is known of each conversation.

    Args:
        book: what people said.
        playbooks: by detector, or by detector and reason.
        console: URL of a page about an alert, with ``{id}``.
        told_alone: whether an alert already has a conversation of its own, which then goes on.
    """

    def __init__(
        self,
        book: Book,
        playbooks: Mapping[str, str],
        console: str | None,
        told_alone: Callable[[str], bool] = lambda _alert_id: False,
    ) -> None:
        self._book, self._playbooks, self._console, self._told_alone = book, playbooks, console, told_alone
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._incidents: OrderedDict[str, Incident] = OrderedDict()
        self._members: dict[str, dict[str, None]] = {}
        self._escalated: set[str] = set()

    def alert(self, alert: Alert) -> Notice:
        """A revision of an alert came."""
        before = self._alerts.get(alert.id)
        if before is not None and before.incident_id not in (None, alert.incident_id):
            self._leave(self._key(before), alert.id)
        self._alerts[alert.id] = alert
        self._alerts.move_to_end(alert.id)
        key = self._key(alert)
        self._join(key, alert.id)
        while len(self._alerts) > CAPACITY:
            _id, oldest = self._alerts.popitem(last=False)
            self._leave(self._key(oldest), oldest.id)
        return self._notice(key, alert, alert.id, alert.revision)

    def incident(self, incident: Incident) -> Notice | None:
        """A revision of an incident came; nothing is said while none of its alerts is known."""
        self._incidents[incident.id] = incident
        self._incidents.move_to_end(incident.id)
        while len(self._incidents) > CAPACITY:
            self._incidents.popitem(last=False)
        gravest = self._gravest(incident.id)
        return self._notice(incident.id, gravest[0], incident.id, incident.revision) if gravest else None

    def judged(self, verdict: Verdict) -> Notice | None:
        """A person said something: the conversation as it stands now."""
        alert = self._alerts.get(verdict.alert_id or "")
        key = self._key(alert) if alert is not None else verdict.incident_id or ""
        gravest = self._gravest(key)
        return self._notice(key, gravest[0], verdict.id, verdict.findings_offset) if gravest else None

    def find(self, key: str) -> Alert | Incident | None:
        """What a button on a message about ``key`` is about. Also from other threads."""
        return self._incidents.get(key) or self._alerts.get(key) or next(iter(self._gravest(key)), None)

    def said(self, key: str) -> list[Verdict]:
        """What was said about it and its members, by when it was said. Also from other threads."""
        return self._book.about(key, *(m.id for m in self._gravest(key)))

    def mark_escalated(self, key: str) -> None:
        """It was escalated in an earlier life."""
        self._escalated.add(key)

    def escalated(self, key: str) -> Notice | None:
        """Nobody acknowledged: the conversation as it stands now, marked."""
        self._escalated.add(key)
        gravest = self._gravest(key)
        return self._notice(key, gravest[0], f"{key}-escalated", 0) if gravest else None

    def open(self) -> list[Notice]:
        """Every conversation that is not over, as it stands."""
        notices = (
            self._notice(key, gravest[0], key, 0) for key in list(self._members) if (gravest := self._gravest(key))
        )
        return [notice for notice in notices if notice.status is not Status.RESOLVED]

    def open_alerts(self) -> list[Notice]:
        """Every alert that is not over, by itself."""
        return [
            self._notice(self._key(a), a, a.id, a.revision)
            for a in self._alerts.values()
            if a.status is not Status.RESOLVED
        ]

    def _key(self, alert: Alert) -> str:
        if alert.incident_id is None or self._told_alone(alert.id):
            return alert.id
        return alert.incident_id

    def _gravest(self, key: str) -> list[Alert]:
        """Known members, open ones and grave ones first. Copied first: a button's thread may ask while we change it."""
        members = [a for m in list(self._members.get(key, ())) if (a := self._alerts.get(m)) is not None]
        return sorted(members, key=lambda a: (a.status is Status.RESOLVED, -a.severity.rank, a.first_ts, a.id))

    def _notice(self, key: str, alert: Alert, about: str, revision: int) -> Notice:
        incident, members = self._incidents.get(key), self._gravest(key)
        said = self._book.about(key, *(m.id for m in members))
        looked = next((v.actor for v in said if v.kind is not VerdictKind.SNOOZE), None)
        return Notice(
            key=key,
            about=about,
            revision=revision,
            alert=alert,
            incident=incident,
            members=tuple(members[:MEMBERS_MAX]),
            playbook=self._playbooks.get(f"{alert.detector}/{alert.reason}") or self._playbooks.get(alert.detector, ""),
            acknowledged_by=looked or alert.acknowledged_by or (incident.acknowledged_by if incident else None),
            verdict=_words(said[-1]) if said else alert.verdict or (incident.verdict if incident else None),
            escalated=key in self._escalated,
            link=self._console.replace("{id}", key) if self._console is not None else None,
        )

    def _join(self, key: str, alert_id: str) -> None:
        members = self._members.setdefault(key, {})
        members[alert_id] = None
        if len(members) > MEMBERS_KEPT:
            over = (m for m in members if m in self._alerts and self._alerts[m].status is Status.RESOLVED)
            members.pop(next(over, None) or next(iter(members)))

    def _leave(self, key: str, alert_id: str) -> None:
        members = self._members.get(key)
        if members is not None:
            members.pop(alert_id, None)
            if not members:
                del self._members[key]


def _words(verdict: Verdict) -> str:
    return f"{_SAID[verdict.kind]}, says {verdict.actor}: {verdict.reason}"
