"""One record of ``findings`` while it is applied: what it touches, and what it leads to."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewatch.decide.episodes import Episode
from gatewatch.records import Alert, Decision, Incident, Refusal, Release


@dataclass(slots=True)
class Decided:
    """What one record of ``findings`` led to, the gravest first; at most one revision of each alert and incident."""

    alerts: list[Alert] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)  # for detect: baselines that a person lets go

    def __bool__(self) -> bool:
        return bool(self.alerts or self.incidents or self.decisions or self.refusals or self.releases)


@dataclass(slots=True)
class Turn:
    """A record's place in the log, the episodes that it changed and that go on, by id, and what it led to so far."""

    offset: int
    touched: dict[str, Episode] = field(default_factory=dict)
    decided: Decided = field(default_factory=Decided)
