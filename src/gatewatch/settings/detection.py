"""Detectors, budgets, and what differs for a project."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gatewatch.records import Action, Mode, Scope, Severity
from gatewatch.settings.base import Duration, Section


class Budget(Section):
    """How many false alarms a project bears."""

    false_alarms_per_day: float = Field(1.0, gt=0)


class BlockSettings(Section):
    """What a detector's decision is, where its mode is block."""

    action: Action = Action.BLOCK
    scope: Scope | None = None  # only findings on this scope block; None: on any that they have
    ttl: Duration = 600.0
    max_ttl: Duration = 86400.0  # where the climb ends
    min_severity: Severity = Severity.MEDIUM
    approval: bool = False  # the order is recorded in shadow until a person approves it


class DetectorSettings(BaseModel):
    """One detector: mode and block are ours, the rest are the detector's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    mode: Mode | None = None
    block: BlockSettings = BlockSettings()

    @property
    def options(self) -> dict[str, Any]:
        """What the detector's own config model gets."""
        return dict(self.model_extra or {})


class ProjectDetectorSettings(Section):
    """One detector within one project."""

    mode: Mode | None = None
    block: BlockSettings | None = None


class Project(Section):
    """What differs for one project."""

    budget: Budget | None = None
    detectors: dict[str, ProjectDetectorSettings] = Field(default_factory=dict)
