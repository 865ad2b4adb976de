"""The second stage: what a person asked not to hear of is recorded and not sent, unless it gets worse.

Who silences must hear what that hides: :class:`Tally` counts it by weeks, from the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import floor

from gatewatch.notify.dedup import Why
from gatewatch.notify.notice import LINES_MAX, Bulletin, Line, Notice
from gatewatch.notify.record import Action
from gatewatch.notify.words import shown, utc
from gatewatch.records import Alert, Severity, Silence, Status
from gatewatch.verdicts import Book

WEEK_S = 7 * 86_400.0
_MONDAY_S = 4 * 86_400.0 + 9 * 3600.0  # the epoch began on a Thursday; at nine (UTC) somebody is there to read it
GROUPS_MAX = 10_000  # alerts told apart for each silence, week and receiver
BULLETIN = "silences-"  # how ids of its bulletins begin
_SILENCED = re.compile(r"^silenced by .* \((\w+)\)$")


def week_of(ts: float) -> int:
    """Number of the week that begins on Monday at nine, UTC."""
    return floor((ts - _MONDAY_S) / WEEK_S)


@dataclass(slots=True)
class Tally:
    """How many alerts each silence held back, this week and the last. Bounded."""

    _held: dict[tuple[int, str], dict[str, set[str]]] = field(default_factory=dict)  # week, silence: receiver: groups

    def note(self, action: Action) -> None:
        """Something that was recorded, in whatever life."""
        found = _SILENCED.match(action.detail) if action.result == Why.SILENCED else None
        if found is None:
            return
        week = week_of(action.ts)
        groups = self._held.setdefault((week, found[1]), {}).setdefault(action.receiver, set())
        if len(groups) < GROUPS_MAX:
            groups.add(action.group or action.alert_id)
        newest = max(week for week, _silence in self._held)
        for old in [key for key in self._held if key[0] < newest - 1]:
            del self._held[old]

    def count(self, silence_id: str, week: int) -> int:
        """Alerts that would have been told in that week: at the receiver that would have had the most."""
        return max((len(groups) for groups in self._held.get((week, silence_id), {}).values()), default=0)


def bulletin(silences: Iterable[Silence], tally: Tally, week: int) -> Bulletin | None:
    """What silences hid in a week, the most first; ``None`` where they hid nothing."""
    counts = [(n, silence) for silence in silences if (n := tally.count(silence.id, week))]
    if not counts:
        return None
    counts.sort(key=lambda item: (-item[0], item[1].id))
    lines = [
        Line(Severity.INFO, f"{n:,} held back by {s.id} ({described(s)}; {shown(s.owner, 64)} until {utc(s.until)})")
        for n, s in counts
    ]
    return Bulletin(
        id=f"{BULLETIN}{week}",
        title=f"Silences held back {sum(n for n, _silence in counts):,} alerts last week",
        severity=Severity.INFO,
        lines=tuple(lines[:LINES_MAX]),
        more=max(len(lines) - LINES_MAX, 0),
        footer="all of them: gatewatch silences list; to end one: gatewatch silences remove ID",
    )


def described(silence: Silence) -> str:
    """What a silence is about."""
    parts = silence.matchers.model_dump(mode="json", exclude_none=True)
    return ", ".join(f"{name} {shown(str(value), 128)}" for name, value in parts.items())


def held_by(notice: Notice, book: Book, now: float, *, whole: bool) -> str | None:
    """Who holds it back and why, in words, or ``None``.

    Args:
        notice: what would be told.
        book: silences and snoozes.
        now: epoch seconds.
        whole: as an incident, which is held back when each of its open alerts is; else the one alert.
    """
    if whole and notice.incident is not None:
        snooze = book.snoozed(notice.incident, now)
        if snooze is not None:
            return f"snoozed by {snooze.actor}"
    alerts = [a for a in notice.members if a.status is not Status.RESOLVED] if whole else []
    reasons = [_alert_held(a, book, now) for a in alerts or [notice.alert]]
    return reasons[0] if all(reasons) else None


def _alert_held(alert: Alert, book: Book, now: float) -> str | None:
    silence = book.silenced(alert, now)
    if silence is not None:
        return f"silenced by {silence.owner} ({silence.id})"
    snooze = book.snoozed(alert, now)
    return f"snoozed by {snooze.actor}" if snooze is not None else None
