"""The second stage: what a person asked not to hear of is recorded and not sent, unless it gets worse."""

from __future__ import annotations

from gatewatch.notify.notice import Notice
from gatewatch.records import Alert, Status
from gatewatch.verdicts import Book


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
