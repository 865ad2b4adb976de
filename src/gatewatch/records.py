"""What crosses a topic besides batches: findings, alerts, decisions, dead letters.

One module, so that every reader and writer agrees. Findings are many and internal (msgspec); alerts and decisions are
few and read by people and other programs (pydantic, JSON).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

SERIES_STEP_S = 300.0  # of the rate that findings and alerts show: two hours are 24 values


class Scope(StrEnum):
    """What a key is: the type of the thing that a finding accuses and that a decision stops."""

    PRINCIPAL = "principal"
    CREDENTIAL = "credential"
    ACCOUNT = "account"
    IP = "ip"
    NETWORK = "network"
    ENDPOINT = "endpoint"
    PROJECT = "project"
    ALL = "all"


class Mode(StrEnum):
    """What a finding may cause; each includes those before it."""

    OFF = "off"
    SHADOW = "shadow"
    ALERT = "alert"
    BLOCK = "block"


class Severity(StrEnum):
    """How soon a person must look."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 4 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Opinion(StrEnum):
    """What a detector can say about a key now. "No opinion" is never the same as "normal"."""

    WARMING = "warming"
    QUIET = "quiet"
    FINDING = "finding"
    BLIND = "blind"


class Contribution(msgspec.Struct, frozen=True):
    """One named part of a score. The parts of a finding add up to its nats."""

    name: str
    nats: float
    text: str


class Explanation(msgspec.Struct, frozen=True):
    """Why a finding fired, in words and numbers."""

    contributions: tuple[Contribution, ...]
    baseline: str  # what it was compared with: "usually 3-9 requests a minute, 7 days"
    counterfactual: str  # "would not have fired below 412 requests a minute"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something unusual about one key, as a detector saw it. What to do about it is decided later.

    ``id`` is a pure function of the routed log: the same log gives the same ids.
    """

    id: str
    detector: str
    version: int
    scope: Scope
    key: str
    reason: str  # a code of the detector's own closed set, e.g. "burst", "spraying"
    title: str  # the reason in words: "Password spraying"
    ts: float  # event time of the row that caused it, epoch seconds
    since: float  # event time when the excursion began, as far as the detector knows
    nats: float  # surprise, -ln p under the detector's model of normal
    threshold_nats: float
    observed: float
    expected: float
    unit: str  # of observed and expected: "requests a minute"
    window_s: float
    learned: bool  # from a learned baseline (shadow until warm) or from a plain limit or sequential test
    warm: bool  # the baseline has seen enough (always true where learned is false)
    sample: str  # topic-partition-offset-index of the row
    explanation: Explanation
    project: str | None = None
    series: tuple[float, ...] = ()  # requests a minute of the key up to now, one for each SERIES_STEP_S, oldest first
    context: dict[str, str] = {}  # other keys of that row: principal, ip, network, account, user_agent, endpoint, model


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decide tells detect, by a record in every partition of ``routed``: a key is blocked, or no longer."""

    decision_id: str
    scope: Scope
    key: str
    start: float
    until: float
    removed: bool = False


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What decide tells detect in the same way: a person expects what a key does, until an epoch second."""

    scope: Scope
    key: str
    until: float


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What traffic says about an order: somebody was refused, or requests are served although they should not be."""

    decision_id: str
    ts: float
    after_s: float | None = None  # from the order's start to the first refusal
    through: int = 0  # requests served that began after the grace


class FindingBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of ``findings``: all that one routed record caused in one task, or a sign of life.

    ``routed_offset`` rises within a task, so a reader drops what it has applied already, whoever sent it.
    """

    task: int  # the routed partition
    routed_offset: int
    watermark: float  # event time up to which the task has seen everything, epoch seconds
    findings: tuple[Finding, ...] = ()
    effects: tuple[Effect, ...] = ()


class Status(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    UPDATED = "updated"
    RESOLVED = "resolved"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContributionModel(_Model):
    """:class:`Contribution`, as an alert shows it."""

    name: str
    nats: float
    text: str


class Alert(_Model):
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


class IncidentMember(_Model):
    """One key that belongs to an incident, and what was found about it."""

    scope: Scope
    key: str
    detectors: tuple[str, ...]
    severity: Severity
    alert_id: str  # of its gravest alert
    count: int  # findings


class Incident(_Model):
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


class Action(StrEnum):
    """What a gateway does to requests of a key, weakest first."""

    CHALLENGE = "challenge"
    THROTTLE = "throttle"
    BLOCK = "block"


class Decision(_Model):
    """One order to the gateways. Always has an end.

    The compaction key of the topic is ``id``; a removed decision is written again with ``removed`` set.
    """

    id: str
    action: Action
    scope: Scope
    value: str  # the key; for ip and network an address or CIDR
    reason: str
    detector: str | None = None  # None: a person's
    alert_id: str | None = None
    start: float
    until: float
    mode: Mode  # shadow: recorded, never enforced
    offence: int = 1  # how often in a row; the TTL climbs with it
    findings_offset: int = -1  # what caused it; -1: a person
    removed: float | None = None
    removed_by: str | None = None
    actor: str | None = None  # the person, where it was one


class Refusal(_Model):
    """A decision that a guard did not let pass: recorded with the guard's name."""

    scope: Scope
    value: str
    guard: str
    reason: str
    alert_id: str


class VerdictKind(StrEnum):
    """What a person says about an alert or an incident."""

    TRUE = "true"  # it is what it says
    FALSE_ALARM = "false_alarm"  # it is not: nothing happened
    EXPECTED = "expected"  # it happened, and may, until a time: a load test, a migration
    SNOOZE = "snooze"  # not now: tell again after a time, or when it gets worse
    ACKNOWLEDGE = "acknowledge"  # somebody is on it
    APPROVE = "approve"  # the orders that wait for a second person may hold
    REJECT = "reject"  # they shall not


class Verdict(_Model):
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


class Matchers(_Model):
    """Which alerts a silence holds back: all that is named must hold; what is not named matches everything."""

    detector: str | None = None
    scope: Scope | None = None
    key: str | None = None  # with scope network also the addresses in it
    project: str | None = None
    severity: Severity | None = None  # this one and lower: what gets worse is told


class Silence(_Model):
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


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An element that could not be read, with its place. ``raw`` is bounded, and absent unless the config grants it."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    index: int
    format: str
    size: int
    sha256: str
    raw: bytes | None = None


class SourceRange(msgspec.Struct, frozen=True, array_like=True):
    """Which offsets [start, stop) of one source partition a routed record covers for its routed partition.

    ``watermark`` is the event time up to which that source partition has been read, -inf where the range was cut short
    and says nothing of it. ``opened`` marks the first range of a worker that has just taken the partition over at its
    committed offset: everything before that offset was acknowledged by every routed partition, so a jump to ``start``
    is no reordering but somebody's doing (an operator moved the offset). ``lost`` counts source offsets in the range
    that retention had removed before they were read.
    """

    topic_id: str
    partition: int
    start: int
    stop: int
    watermark: float
    opened: bool = False
    lost: int = 0
    topic: str = ""


# Header names of a routed record
H_KIND = "gw-kind"
H_SCHEMA = "gw-schema"
H_RANGES = "gw-ranges"
H_WORKER = "gw-worker"
H_LAYOUT = "gw-layout"  # partitions and hash-seed id: refused where they differ
H_READ_AT = "gw-read-at"  # wall time when ingest sent it, for latency metrics only; never state
