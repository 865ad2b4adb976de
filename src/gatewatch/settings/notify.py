"""Whom the notify role tells."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gatewatch.records import Severity
from gatewatch.settings.base import Section


class SlackSettings(Section):
    """Alerts to one Slack channel."""

    channel: str
    token_env: str | None = None
    token_file: Path | None = None


class PagerDutySettings(Section):
    """Alerts from a severity on to PagerDuty Events v2."""

    routing_key_env: str | None = None
    routing_key_file: Path | None = None
    severity: Severity = Severity.HIGH


class AlertmanagerSettings(Section):
    """Alerts to a Prometheus Alertmanager, API v2."""

    url: str = Field(pattern=r"^https?://")


class WebhookSettings(Section):
    """Alerts as JSON to a URL, signed where a secret is named."""

    url: str = Field(pattern=r"^https?://")
    secret_env: str | None = None
    secret_file: Path | None = None
    envelope: Literal["plain", "cloudevents"] = "plain"

    @property
    def signed(self) -> bool:
        """Whether there is a secret."""
        return self.secret_env is not None or self.secret_file is not None


class NotifySettings(Section):
    """Whom the notify role tells."""

    slack: SlackSettings | None = None
    pagerduty: PagerDutySettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    webhook: WebhookSettings | None = None
