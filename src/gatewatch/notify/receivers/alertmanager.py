"""Alertmanager API v2: we report, it groups, silences, inhibits and routes.

Labels are an alert's identity, so they come from closed sets plus the key; counts and scores stand in annotations.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from gatewatch.notify.base import Attempt, failed, judge
from gatewatch.notify.words import visible, words_of
from gatewatch.records import Alert, Status


class Alertmanager:
    """One Alertmanager.

    Args:
        url: its base URL.
    """

    name = "alertmanager"

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(base_url=url, timeout=10.0, transport=transport)

    def wants(self, alert: Alert) -> bool:
        """Everything: routing is its job."""
        del alert
        return True

    def send(self, alert: Alert, playbook: str, handle: str | None) -> Attempt:
        """Post the alert as it stands; it expires by itself at ``valid_until``."""
        del handle
        try:
            return judge(self._client.post("/api/v2/alerts", json=[render(alert, playbook)]))
        except httpx.HTTPError as error:
            return failed(error)


def render(alert: Alert, playbook: str) -> dict[str, Any]:
    """One element of the array that the API takes."""
    words = words_of(alert, playbook)
    labels = {
        "alertname": "".join(part.title() for part in alert.detector.split("_")),
        "severity": alert.severity.value,
        "detector": alert.detector,
        "reason": alert.reason,
        "scope": alert.scope.value,
        "key": visible(alert.key, 256),
        "project": visible(alert.project or ""),
        "episode": alert.id,
    }
    return {
        "labels": labels,
        "annotations": {
            "summary": words.summary,
            "owner": alert.owner or "",
            "facts": "\n".join(f"{name}: {value}" for name, value in words.facts),
            "steps": "\n".join(words.steps),
        },
        "startsAt": _rfc3339(alert.first_ts),
        "endsAt": _rfc3339(alert.last_ts if alert.status is Status.RESOLVED else alert.valid_until),
    }


def _rfc3339(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).isoformat()
