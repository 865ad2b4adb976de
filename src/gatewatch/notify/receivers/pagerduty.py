"""PagerDuty Events API v2: trigger and resolve under one dedup key, so that repeats never page twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr

from gatewatch.notify.base import Attempt, failed, judge
from gatewatch.notify.words import PAGERDUTY, cut, visible, words_of
from gatewatch.records import Alert, Severity, Status

URL = "https://events.pagerduty.com"
SUMMARY_MAX = 1024  # contracts.md 10.1


class PagerDuty:
    """One integration key.

    Args:
        routing_key: of the service or orchestration.
        severity: the least that pages.
        url: of the API; EU accounts have another one.
    """

    name = "pagerduty"

    def __init__(
        self,
        routing_key: SecretStr,
        severity: Severity,
        *,
        url: str = URL,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key, self._severity = routing_key, severity
        self._client = httpx.Client(base_url=url, timeout=10.0, transport=transport)

    def wants(self, alert: Alert) -> bool:
        """From the configured severity on."""
        return alert.severity.rank >= self._severity.rank

    def send(self, alert: Alert, playbook: str, handle: str | None) -> Attempt:
        """Trigger or resolve; a repeat with the same key changes the open incident and pages nobody again."""
        del handle
        try:
            return judge(self._client.post("/v2/enqueue", json=render(alert, playbook, self._key)))
        except httpx.HTTPError as error:
            return failed(error)


def render(alert: Alert, playbook: str, routing_key: SecretStr) -> dict[str, Any]:
    """The event."""
    event: dict[str, Any] = {
        "routing_key": routing_key.get_secret_value(),
        "dedup_key": f"gatewatch/{alert.id}",
        "event_action": "resolve" if alert.status is Status.RESOLVED else "trigger",
    }
    if alert.status is Status.RESOLVED:
        return event
    words = words_of(alert, playbook)
    event["payload"] = {
        "summary": cut(f"{words.title} - {words.summary}", SUMMARY_MAX),
        "source": "gatewatch",
        "severity": PAGERDUTY[alert.severity],
        "timestamp": datetime.fromtimestamp(alert.first_ts, UTC).isoformat(),
        "component": alert.detector,
        "group": visible(alert.project or "model-endpoints"),
        "class": alert.reason,
        "custom_details": {**dict(words.facts), "next steps": list(words.steps), "why": list(words.why)},
    }
    event["client"] = "Gatewatch"
    return event
