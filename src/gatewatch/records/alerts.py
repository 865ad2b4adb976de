"""`alerts` and `incidents`: what people are told."""

from __future__ import annotations

from pydantic import Field

from gatewatch.records.model import Model
from gatewatch.records.words import Mode, Scope, Severity, Status


class ContributionModel(Model):
    """:class:`Contribution`, as an alert shows it."""

    name: str
    nats: float
    text: str


class Alert(Model):
    """One revision of one episode: what a person is told.

    ``id`` names the episode (detector, scope, key, first finding); ``revision`` is the ``findings`` offset that caused
    this text, so a later one always has a larger number.
    """

    id: str
    revision: int
    status: Status
    severity: Severity
    mode: Mode  # shadow: everything but sending
    detector: str
    detector_version: int
    scope: Scope
    key: str
    reason: str
    title: str
    summary: str  # one line for people, numbers with units
    project: str | None = None
    first_ts: float
    last_ts: float
    valid_until: float  # this revision says nothing about later times
    count: int  # findings in the episode
    nats: float
    p: float
    observed: float
    expected: float
    unit: str
    window_s: float
    threshold_nats: float
    baseline: str
    counterfactual: str
    contributions: tuple[ContributionModel, ...]
    samples: tuple[str, ...]
    context: dict[str, str] = Field(default_factory=dict)
    owner: str | None = None
    escalation: str | None = None
    tags: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    playbook: str
    decision_ids: tuple[str, ...] = ()
    config_hash: str
    catalog_hash: str = ""  # of the catalog that named the owner; empty where there is none
    incident_id: str | None = None
    acknowledged_by: str | None = None
    verdict: str | None = None  # what a person said of it last, in words: "expected by ana until ...: load test"
    held_until: float | None = None  # a person wants to hear nothing of it before that, unless it gets worse
    waiting: bool = False  # its orders hold once a second person approves them
    series: tuple[float, ...] = ()  # requests a minute of the key, one value for each SERIES_STEP_S, oldest first


class IncidentMember(Model):
    """One key that belongs to an incident, and what was found about it."""

    scope: Scope
    key: str
    detectors: tuple[str, ...]
    severity: Severity
    alert_id: str  # of its gravest alert
    count: int  # findings


class Incident(Model):
    """One revision of everything that belongs together: an attacker, or a campaign, across detectors and scopes.

    Lists are bounded (the gravest are kept), their totals are not. Ids and revisions are as an alert's.
    """

    id: str
    revision: int
    status: Status
    severity: Severity
    mode: Mode  # the highest of its alerts
    title: str
    story: str  # one line: who, since when, how much, what was done about it
    scope: Scope  # of its gravest member
    key: str
    detector: str
    detectors: tuple[str, ...]
    project: str | None = None
    projects: tuple[str, ...] = ()
    members: tuple[IncidentMember, ...]
    members_total: int
    alert_ids: tuple[str, ...]
    alerts_total: int
    decision_ids: tuple[str, ...] = ()
    decisions_total: int = 0
    first_ts: float
    last_ts: float
    valid_until: float
    count: int  # findings
    joined_by: tuple[str, ...] = ()  # the evidence: "principal alice", "ja4 t13d... in AS64500"
    owner: str | None = None
    escalation: str | None = None
    acknowledged_by: str | None = None
    verdict: str | None = None
    held_until: float | None = None
    merged_into: str | None = None  # resolved because it turned out to be part of that one
    resolution: str | None = None  # why it is over, where it is
    waiting: int = 0  # alerts whose orders hold once a second person approves them
    config_hash: str
    catalog_hash: str = ""
