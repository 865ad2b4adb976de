"""PagerDuty Events API v2: trigger, acknowledge and resolve under one dedup key, so that repeats never page twice."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import SecretStr

from gatewatch.notify.base import Attempt, Result, Traits, failed, judge
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.words import PAGERDUTY, Words, cut, rfc3339, shown, visible, words_of
from gatewatch.records import Severity, Status

URL = "https://events.pagerduty.com"
SUMMARY_MAX = 1024  # contracts.md 10.1
UPDATES_PER_MINUTE = 60  # with the new ones it stays below the 120 events a minute of an integration key


class PagerDuty:
    """One integration key.

    Args:
        routing_key: of the service or orchestration.
        severity: the least that pages.
        url: of the API; EU accounts have another one.
        name: of this receiver.
        per_minute: new incidents at most.
    """

    def __init__(
        self,
        routing_key: SecretStr,
        severity: Severity,
        *,
        url: str = URL,
        name: str = "pagerduty",
        per_minute: int = 30,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.name, self._key, self._severity = name, routing_key, severity
        self.traits = Traits(people=True, by_key=True, per_minute=per_minute, updates_per_minute=UPDATES_PER_MINUTE)
        self._client = httpx.Client(base_url=url, timeout=10.0, transport=transport)

    def wants(self, notice: Notice) -> bool:
        """From the configured severity on."""
        return notice.severity.rank >= self._severity.rank

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Trigger or resolve; then acknowledge, where somebody has. A repeat with the same key pages nobody again."""
        del handle
        attempt = self._post(render(notice, self._key))
        if attempt.result is Result.DELIVERED and notice.acknowledged_by and notice.status is not Status.RESOLVED:
            return self._post(_event(notice.key, "acknowledge", self._key))
        return attempt

    def announce(self, bulletin: Bulletin) -> Attempt:
        """An incident of its own; of low urgency where nothing in it is grave."""
        event = _event(bulletin.id, "trigger", self._key)
        event["payload"] = {
            "summary": cut(bulletin.title, SUMMARY_MAX),
            "source": "gatewatch",
            "severity": PAGERDUTY[bulletin.severity],
            "custom_details": {"alerts": bulletin.rows, "more": bulletin.footer},
        }
        return self._post(event)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _post(self, event: dict[str, Any]) -> Attempt:
        try:
            return judge(self._client.post("/v2/enqueue", json=event))
        except httpx.HTTPError as error:
            return failed(error)


def render(notice: Notice, routing_key: SecretStr) -> dict[str, Any]:
    """The event."""
    if notice.status is Status.RESOLVED:
        return _event(notice.key, "resolve", routing_key)
    event = _event(notice.key, "trigger", routing_key)
    alert, words = notice.alert, words_of(notice)
    event["payload"] = {
        "summary": cut(words.line, SUMMARY_MAX),
        "source": "gatewatch",
        "severity": PAGERDUTY[notice.severity],
        "timestamp": rfc3339(alert.first_ts),
        "component": alert.detector,
        "group": shown(alert.project or "model-endpoints"),
        "class": alert.reason,
        "custom_details": _details(words),
    }
    event["client"] = "Gatewatch"
    if notice.link is not None:
        event["client_url"] = notice.link
        event["links"] = [{"href": notice.link, "text": "Alert in the console"}]
    return event


def _event(key: str, action: str, routing_key: SecretStr) -> dict[str, Any]:
    return {
        "routing_key": routing_key.get_secret_value(),
        "dedup_key": f"gatewatch/{visible(key, 200)}",
        "event_action": action,
    }


def _details(words: Words) -> dict[str, Any]:
    return {
        "next steps": list(words.steps),
        **dict(words.facts),
        **{name: value for name, value in words.details if name not in dict(words.facts)},
        "members": list(words.members),
        "why": list(words.why),
        "rate": words.spark,
        "command": words.command,
    }
