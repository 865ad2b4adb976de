"""`verdicts`: what people say."""

from __future__ import annotations

from typing import Literal

from gatewatch.records.model import Model
from gatewatch.records.words import Scope, Severity, VerdictKind


class Verdict(Model):
    """What one person said, once. Scope, key and the rest are copied, so that it means the same when the alert is gone.

    About one alert (``alert_id``) or about a whole incident (``incident_id``, and ``alert_id`` is ``None``).
    """

    record: Literal["verdict"] = "verdict"
    id: str
    kind: VerdictKind
    alert_id: str | None = None
    incident_id: str | None = None
    detector: str | None = None
    scope: Scope
    key: str
    project: str | None = None
    severity: Severity  # when it was said: a snooze holds no longer than nothing gets worse
    actor: str  # a name on `verdicts.actors`
    via: str  # cli, slack, webhook
    reason: str
    ts: float  # when it was said, epoch seconds
    until: float | None = None  # expected and snooze always have one
    findings_offset: int = -1  # from where on decide counts it; -1: it has not heard of it yet


class Matchers(Model):
    """Which alerts a silence holds back: all that is named must hold; what is not named matches everything."""

    detector: str | None = None
    scope: Scope | None = None
    key: str | None = None  # with scope network also the addresses in it
    project: str | None = None
    severity: Severity | None = None  # this one and lower: what gets worse is told


class Silence(Model):
    """Alerts that are recorded and not sent, for a reason, until a time. A removed one is written again."""

    record: Literal["silence"] = "silence"
    id: str
    matchers: Matchers
    owner: str
    reason: str
    created: float
    until: float
    removed: float | None = None
    removed_by: str | None = None
