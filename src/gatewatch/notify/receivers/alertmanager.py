"""Alertmanager API v2: we report, it groups, silences, inhibits and routes.

Labels are an alert's identity, so they come from closed sets plus the key; counts and scores stand in annotations. The
label ``incident`` is that of the first delivery, whatever the alert is joined to later. When the severity changes, the
alert with the old label is ended in the same request. An alert counts as over at ``endsAt``, so an open one is told
again well before that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from gatewatch.clock import Clock
from gatewatch.notify.base import Attempt, Result, Traits, failed, judge
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.words import cut, rfc3339, shown, visible, words_of
from gatewatch.records import Status

REFRESH_S = 60.0
LASTS_S = 5 * 60.0  # five refreshes may be lost; its own resolve_timeout is the same by default
BULLETIN_S = 3600.0
ANNOTATION_MAX = 4000


class Alertmanager:
    """One Alertmanager.

    Args:
        url: its base URL.
        clock: for the end of what is still open.
        name: of this receiver.
    """

    traits = Traits(people=False, every_revision=True, refresh_s=REFRESH_S)

    def __init__(
        self, url: str, clock: Clock, *, name: str = "alertmanager", transport: httpx.BaseTransport | None = None
    ) -> None:
        self.name, self._clock = name, clock
        self._client = httpx.Client(base_url=url, timeout=10.0, transport=transport)

    def wants(self, notice: Notice) -> bool:
        """Everything: routing is its job."""
        del notice
        return True

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Post the alert as it stands. The handle: incident of the first delivery, severity of the last."""
        incident, _, before = (handle or "").rpartition("|")
        incident = incident or notice.key
        over = notice.alert.status is Status.RESOLVED
        severity = before if before and over else notice.alert.severity.value
        now = self._clock.now()
        alerts = [render(notice, incident, severity, now)]
        if before not in ("", severity):
            alerts.append({**render(notice, incident, before, now), "endsAt": rfc3339(now)})
        attempt = self._post(*alerts)
        return replace(attempt, handle=f"{incident}|{severity}") if attempt.result is Result.DELIVERED else attempt

    def announce(self, bulletin: Bulletin) -> Attempt:
        """An alert about ourselves, over after an hour."""
        now = self._clock.now()
        labels = {"alertname": "GatewatchBulletin", "severity": bulletin.severity.value, "bulletin": bulletin.id}
        text = "\n".join((*bulletin.rows, bulletin.footer))
        annotations = {"summary": bulletin.title, "lines": cut(text, ANNOTATION_MAX)}
        return self._post(
            {
                "labels": labels,
                "annotations": annotations,
                "startsAt": rfc3339(now),
                "endsAt": rfc3339(now + BULLETIN_S),
            }
        )

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _post(self, *alerts: dict[str, Any]) -> Attempt:
        try:
            return judge(self._client.post("/api/v2/alerts", json=list(alerts)))
        except httpx.HTTPError as error:
            return failed(error)


def render(notice: Notice, incident: str, severity: str, now: float) -> dict[str, Any]:
    """One element of the array that the API takes, under labels with that incident and severity."""
    alert, words = notice.alert, words_of(notice)
    over = alert.status is Status.RESOLVED
    annotations = {
        "summary": words.summary,
        "owner": shown(alert.owner or ""),
        "facts": "\n".join(f"{name}: {value}" for name, value in (*words.facts, *words.details)),
        "steps": "\n".join(words.steps),
        "rate": words.spark,
        "command": words.command,
        "link": notice.link or "",
    }
    return {
        "labels": {
            "alertname": "".join(part.title() for part in alert.detector.split("_")),
            "severity": severity,
            "detector": alert.detector,
            "reason": alert.reason,
            "scope": alert.scope.value,
            "key": visible(alert.key, 256),
            "project": visible(alert.project or ""),
            "episode": alert.id,
            "incident": incident,
        },
        "annotations": {name: cut(text, ANNOTATION_MAX) for name, text in annotations.items() if text},
        "startsAt": rfc3339(min(alert.first_ts, now)),
        "endsAt": rfc3339(now if over else max(alert.valid_until, now + LASTS_S)),
    }
