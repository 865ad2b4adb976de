"""All that decide remembers, in one place: what a snapshot holds, and what a new decider lacks.

Everything else that a :class:`~gatewatch.decide.decider.Decider` has are settings, the catalog, and what follows from
them; a restored one has those of today.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewatch.decide.episodes import Episodes
from gatewatch.decide.guards import Breaker
from gatewatch.decide.incidents import Incidents
from gatewatch.decide.offences import Offences
from gatewatch.decide.orders import Orders
from gatewatch.decide.said import Said
from gatewatch.state.plans import Before
from gatewatch.state.shapes import Shape

# Raise it when a field means something else under the same name and type; other changes are seen by the shape's digest.
VERSION = 1


@dataclass(slots=True)
class State:
    """The state of one decider. Bounded by its parts, each of which says what it forgets first."""

    episodes: Episodes
    orders: Orders
    offences: Offences
    breaker: Breaker
    said: Said = field(default_factory=Said)
    incidents: Incidents = field(default_factory=Incidents)
    tasks: dict[int, tuple[int, float]] = field(default_factory=dict)  # routed offset applied, watermark

    def watch(self, before: Before) -> None:
        """Tell of each object before it changes; everything else is a container, or never changes."""
        self.episodes.before = before
        self.incidents.watch(before)


SHAPE = Shape(State)
