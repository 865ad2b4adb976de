"""How soon a person must look at a finding."""

from __future__ import annotations

import math

from gatewatch.catalog import Ownership, Sensitivity
from gatewatch.records import Finding, Severity
from gatewatch.sdk import Reason

_ORDER = tuple(Severity)
# Two decades of p lie between the severities of algorithms.md F (1e-3.5, 1e-5, 1e-7). Evidence must be twice as far
# over its threshold to count, because sequential tests cross theirs by whole steps of a few nats.
STRONG_NATS = 2 * math.log(100.0)


def level(finding: Finding, reason: Reason | None, ownership: Ownership) -> Severity:
    """The severity of one finding: its reason's, moved by evidence, warmth and what it was aimed at.

    One step up where the evidence is far over its threshold or the target is sensitive, one down where the baseline is
    not warm or the target is of low sensitivity. Evidence alone makes nothing critical, and nothing urgent of what is a
    low matter however sure (a broken client); a canary is at least high.
    """
    rank = (reason.severity if reason is not None else Severity.MEDIUM).rank
    if rank >= Severity.MEDIUM.rank and finding.nats - finding.threshold_nats >= STRONG_NATS:
        rank = max(rank, min(rank + 1, Severity.HIGH.rank))
    if finding.learned and not finding.warm:
        rank -= 1
    if ownership.restricted or ownership.sensitivity is Sensitivity.HIGH:
        rank += 1
    elif ownership.sensitivity is Sensitivity.LOW:
        rank -= 1
    if ownership.canary:
        rank = max(rank, Severity.HIGH.rank)
    return _ORDER[min(max(rank, 0), len(_ORDER) - 1)]


def at_least(severity: Severity, floor: Severity) -> Severity:
    """The higher of the two."""
    return max(severity, floor, key=lambda s: s.rank)
