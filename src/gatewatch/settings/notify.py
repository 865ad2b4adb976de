"""Whom the notify role tells, of what, when, and how much at most."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from gatewatch.records import Severity
from gatewatch.settings.base import Duration, Listen, Section

Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
Hours = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def check_zone(value: str) -> str:
    """A time zone of the IANA database that this machine has."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value}: no such time zone; write one like Europe/Berlin, or UTC") from None
    return value


Zone = Annotated[str, AfterValidator(check_zone)]


class When(Section):
    """A part of the week. Hours that end before they begin go over midnight and belong to the day they begin on."""

    hours: Hours | None = None
    days: tuple[Day, ...] = DAYS
    zone: Zone = "UTC"

    def holds(self, ts: float) -> bool:
        """Whether an epoch second lies in it.

        >>> night = When(hours="22:00-07:00", days=("fri",))
        >>> [night.holds(datetime(2026, 11, d, h, tzinfo=UTC).timestamp()) for d, h in ((27, 23), (28, 6), (28, 23))]
        [True, True, False]
        """
        zone: tzinfo = UTC if self.zone == "UTC" else ZoneInfo(self.zone)
        at = datetime.fromtimestamp(ts, zone)
        today, before = DAYS[at.weekday()], DAYS[at.weekday() - 1]
        if self.hours is None:
            return today in self.days
        start, stop = self.hours.split("-")
        minute = f"{at:%H:%M}"
        if start < stop:
            return today in self.days and start <= minute < stop
        return (today in self.days and minute >= start) or (before in self.days and minute < stop)


class SlackButtons(Section):
    """Buttons under each message; who may press them stands in ``verdicts.actors``."""

    mode: Literal["socket", "http"] = "socket"
    app_token_env: str | None = None  # socket: an app-level token with connections:write
    app_token_file: Path | None = None
    signing_secret_env: str | None = None  # http: Slack signs its requests with it
    signing_secret_file: Path | None = None
    listen: Listen = "127.0.0.1:9109"  # http: where Slack's requests arrive, behind a proxy with TLS
    team: str | None = None  # id of the only workspace whose people count


class SlackSettings(Section):
    """Alerts to one Slack channel."""

    channel: str
    token_env: str | None = None
    token_file: Path | None = None
    url: Url = "https://slack.com/api/"
    per_minute: int = Field(15, ge=1, le=60)  # new messages; Slack takes about one message a second for a channel
    buttons: SlackButtons | None = None


class PagerDutySettings(Section):
    """Alerts from a severity on to PagerDuty Events v2."""

    routing_key_env: str | None = None
    routing_key_file: Path | None = None
    severity: Severity = Severity.HIGH
    url: Url = "https://events.pagerduty.com"
    per_minute: int = Field(30, ge=1, le=100)  # new incidents; an integration key takes 120 events a minute


class AlertmanagerSettings(Section):
    """Alerts to a Prometheus Alertmanager, API v2."""

    url: Url


class WebhookSettings(Section):
    """Alerts as JSON to a URL, signed where a secret is named."""

    url: Url
    secret_env: str | None = None
    secret_file: Path | None = None
    envelope: Literal["plain", "cloudevents", "ocsf"] = "plain"

    @property
    def signed(self) -> bool:
        """Whether there is a secret."""
        return self.secret_env is not None or self.secret_file is not None


class EmailSettings(Section):
    """Alerts by SMTP."""

    host: str
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None  # of the server's certificate, where no public authority signed it
    sender: str = Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")
    to: tuple[Annotated[str, Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")], ...] = Field(min_length=1, max_length=50)
    severity: Severity = Severity.MEDIUM
    per_minute: int = Field(10, ge=1, le=100)  # new mails


class ReceiverSettings(Section):
    """One more receiver, of exactly one kind."""

    slack: SlackSettings | None = None
    pagerduty: PagerDutySettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    webhook: WebhookSettings | None = None
    email: EmailSettings | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("name exactly one of slack, pagerduty, alertmanager, webhook, email")
        return self


class Route(When):
    """Which receivers get an alert: the first route where all holds that it names; ``then: continue`` looks further."""

    projects: tuple[str, ...] = ()  # empty: all
    detectors: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    receivers: tuple[str, ...] = ()  # empty: nobody
    then: Literal["stop", "continue"] = "stop"


class Escalation(Section):
    """Whom to tell as well when nobody acknowledges."""

    after: Duration
    severity: Severity = Severity.HIGH  # from this one on
    receivers: tuple[str, ...] = Field(min_length=1)


class DigestSettings(Section):
    """What is not worth a message of its own, told together."""

    every: Duration = 4 * 3600.0
    severity: Severity = Severity.LOW  # this one and lower


class QuietSettings(When):
    """When little things wait; they are told together when it is over."""

    severity: Severity = Severity.LOW  # this one and lower


class NotifySettings(ReceiverSettings):
    """Whom the notify role tells."""

    receivers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")], ReceiverSettings] = Field(
        default_factory=dict
    )
    routes: tuple[Route, ...] = ()  # none matches: everybody
    escalation: Escalation | None = None
    digest: DigestSettings | None = None
    quiet: QuietSettings | None = None
    console: Url | None = None  # of a page about an alert; {id} becomes its id

    @model_validator(mode="after")
    def _one(self) -> Self:
        known = {*self.names}
        for path, names in self._named():
            for name in names:
                if name not in known:
                    raise ValueError(f"{path}: no receiver {name!r}: there are {', '.join(sorted(known)) or 'none'}")
        if twice := {*self.receivers} & set(ReceiverSettings.model_fields):
            raise ValueError(f"receivers: {min(twice)!r} is the name of a kind: choose another")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of all receivers: the kind for those that stand directly under ``notify``."""
        kinds = (kind for kind in ReceiverSettings.model_fields if getattr(self, kind) is not None)
        return (*kinds, *self.receivers)

    @property
    def slacks(self) -> dict[str, SlackSettings]:
        """Every Slack channel, by its place in the settings."""
        named = {"notify.slack": self.slack}
        named |= {f"notify.receivers.{name}.slack": one.slack for name, one in self.receivers.items()}
        return {path: slack for path, slack in named.items() if slack is not None}

    def _named(self) -> list[tuple[str, tuple[str, ...]]]:
        named = [(f"routes[{i}]", route.receivers) for i, route in enumerate(self.routes)]
        return named if self.escalation is None else [*named, ("escalation", self.escalation.receivers)]
