"""What crosses a topic besides batches: findings, alerts, decisions, dead letters.

One place, so that every reader and writer agrees; a module for each topic. Findings are many and internal (msgspec);
alerts and decisions are few and read by people and other programs (pydantic, JSON).
"""

from __future__ import annotations

from gatewatch.records.alerts import Alert, ContributionModel, Incident, IncidentMember
from gatewatch.records.findings import (
    SERIES_STEP_S,
    Contribution,
    Control,
    Effect,
    Explanation,
    Finding,
    FindingBatch,
    Release,
)
from gatewatch.records.orders import LONGEST_S, Decision, Refusal
from gatewatch.records.people import Matchers, Silence, Verdict
from gatewatch.records.routed import (
    H_KIND,
    H_LAYOUT,
    H_RANGES,
    H_READ_AT,
    H_SCHEMA,
    H_SEAL,
    DeadLetter,
    SourceRange,
)
from gatewatch.records.seal import Seal, layout_of
from gatewatch.records.words import Action, Mode, Opinion, Scope, Severity, Status, VerdictKind

__all__ = [
    "H_KIND",
    "H_LAYOUT",
    "H_RANGES",
    "H_READ_AT",
    "H_SCHEMA",
    "H_SEAL",
    "LONGEST_S",
    "SERIES_STEP_S",
    "Action",
    "Alert",
    "Contribution",
    "ContributionModel",
    "Control",
    "DeadLetter",
    "Decision",
    "Effect",
    "Explanation",
    "Finding",
    "FindingBatch",
    "Incident",
    "IncidentMember",
    "Matchers",
    "Mode",
    "Opinion",
    "Refusal",
    "Release",
    "Scope",
    "Seal",
    "Severity",
    "Silence",
    "SourceRange",
    "Status",
    "Verdict",
    "VerdictKind",
    "layout_of",
]
