"""`findings`: what detect saw, and what it was told of orders. Many and internal, so msgspec."""

from __future__ import annotations

import msgspec

from gatewatch.records.words import Scope

SERIES_STEP_S = 300.0  # of the rate that findings and alerts show: two hours are 24 values


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


class FindingBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of ``findings``: all that one routed record caused in one task, or a sign of life.

    ``routed_offset`` rises within a task, so a reader drops what it has applied already, whoever sent it.
    """

    task: int  # the routed partition
    routed_offset: int
    watermark: float  # event time up to which the task has seen everything, epoch seconds
    findings: tuple[Finding, ...] = ()
    effects: tuple[Effect, ...] = ()


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What traffic says about an order: somebody was refused, or requests are served although they should not be."""

    decision_id: str
    ts: float
    after_s: float | None = None  # from the order's start to the first refusal
    through: int = 0  # requests served that began after the grace
    gateway: str = ""  # whose: the topic that its events come from


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decide tells detect, by a record in every partition of ``routed``: a key is blocked, or no longer."""

    decision_id: str
    scope: Scope
    key: str
    start: float
    until: float
    removed: bool = False


class Release(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decide tells detect in the same way: a person expects what a key does, until an epoch second.

    ``place`` rises from one to the next, so a reader knows a copy of an earlier one. It is the ``findings`` offset at
    which the verdict took effect, and the how manieth this is there.
    """

    scope: Scope
    key: str
    until: float
    place: tuple[int, int] = (-1, 0)  # from a worker that does not say it: one version before
