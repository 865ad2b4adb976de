"""What is told: one alert or incident as it stands (a notice), or something about many of them (a bulletin)."""

from __future__ import annotations

from dataclasses import dataclass

from gatewatch.records import Alert, Incident, Severity, Status

LINES_MAX = 20  # of a bulletin: a screen; the rest is counted


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert or incident, as it stands.

    Args:
        key: names the conversation: the incident's id where there is one, else the alert's.
        about: id of the alert or incident whose revision caused it.
        revision: of that one.
        alert: what to speak of: the revision that came, or the gravest member of the incident that came.
        incident: what belongs together, where something does.
        members: all alerts of the incident that are known, gravest first, ``alert`` among them.
        playbook: of the alert's detector.
        acknowledged_by: who is on it.
        verdict: what a person said of it last, in words.
        escalated: nobody acknowledged in time.
        link: a page about it, where there is a console.
    """

    key: str
    about: str
    revision: int
    alert: Alert
    incident: Incident | None = None
    members: tuple[Alert, ...] = ()
    playbook: str = ""
    acknowledged_by: str | None = None
    verdict: str | None = None
    escalated: bool = False
    link: str | None = None

    @property
    def severity(self) -> Severity:
        """Of the whole: the gravest that is open, or was."""
        if self.incident is not None:
            return self.incident.severity
        alerts = self.members or (self.alert,)
        still = [a for a in alerts if a.status is not Status.RESOLVED] or alerts
        return max((a.severity for a in still), key=lambda severity: severity.rank)

    @property
    def status(self) -> Status:
        """Of the whole: it is over when every part is."""
        if self.incident is not None:
            return self.incident.status
        alerts = self.members or (self.alert,)
        if all(a.status is Status.RESOLVED for a in alerts):
            return Status.RESOLVED
        return Status.OPEN if len(alerts) == 1 and self.alert.status is Status.OPEN else Status.UPDATED

    @property
    def waiting(self) -> bool:
        """Whether orders wait for a second person."""
        if self.incident is not None:
            return self.incident.waiting > 0
        return any(a.waiting and a.status is not Status.RESOLVED for a in self.members or (self.alert,))

    @property
    def summary(self) -> str:
        """What happens, in one line."""
        return self.incident.story if self.incident is not None else self.alert.summary

    @property
    def news(self) -> str:
        """Differs where somebody who was told before must hear of it: state, severity, person, detectors, orders."""
        detectors = self.incident.detectors if self.incident is not None else {a.detector for a in self.members}
        state = "resolved" if self.status is Status.RESOLVED else "open"
        parts = (
            state,
            self.severity.value,
            self.acknowledged_by or "-",
            self.verdict or "-",
            "escalated" if self.escalated else "-",
            str(max(len(detectors), 1)),
            *(("waiting",) if self.waiting else ()),
        )
        return "|".join(parts)[:300]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing of many, in a bulletin."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Bulletin:
    """Something about many alerts, or about notify itself.

    Args:
        id: the same for every try, so that it is told once where the other side can recognise that.
        title: what it is, with the number.
        lines: the gravest, at most ``LINES_MAX``.
        more: how many lines are left out.
        footer: where to find them.
        severity: of the gravest.
    """

    id: str
    title: str
    severity: Severity
    lines: tuple[Line, ...] = ()
    more: int = 0
    footer: str = ""

    @property
    def rows(self) -> list[str]:
        """The lines as text, then how many are left out."""
        rows = [f"{line.severity.value.upper()} {line.text}" for line in self.lines]
        return [*rows, f"and {self.more:,} more"] if self.more else rows
