"""What crosses a topic besides batches: findings, alerts, decisions, dead letters.

One module, so that every reader and writer agrees. Findings are many and internal (msgspec); alerts and decisions are
few and read by people and other programs (pydantic, JSON).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from pydantic import BaseModel, ConfigDict, Field


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
        return list(Severity).index(self)


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
    context: dict[str, str] = {}  # other keys of that row: principal, ip, network, account, user_agent, endpoint, model


class FindingBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of ``findings``: all that one routed record caused in one task, or a sign of life.

    ``routed_offset`` rises within a task, so a reader drops what it has applied already, whoever sent it.
    """

    task: int  # the routed partition
    routed_offset: int
    watermark: float  # event time up to which the task has seen everything, epoch seconds
    findings: tuple[Finding, ...] = ()


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
