"""What people ordered: decisions they made, and decisions they removed.

Orders reach decide on ``decisions``, beside its own. So that state stays a function of the log, each takes effect at
one ``findings`` offset: decide writes the order back with that offset (an acknowledgement), and a restart reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from gatewatch.decide.candidate import Candidate
from gatewatch.decide.offences import Key
from gatewatch.records import Action, Decision
from gatewatch.state.recent import Recent

# Removals are remembered for as long as their episode may live; a person makes tens of them, a script thousands.
CLEARED_MAX = 100_000
STANDING_MAX = 10_000
BLOCKS_MAX = 10_000  # as many as detect follows; 15 MB


def is_order(decision: Decision) -> bool:
    """Whether a record of ``decisions`` is a person's, not ours."""
    return decision.removed is not None or decision.detector is None


@dataclass(slots=True)
class Orders:
    """People's orders that have taken effect, and those that will at a later offset."""

    _cleared: Recent[str, str] = field(default_factory=Recent)  # decision id, who
    _standing: Recent[Key, Decision] = field(default_factory=Recent)
    _blocks: Recent[str, Decision] = field(default_factory=Recent)  # by id
    _coming: list[tuple[int, int, Decision]] = field(default_factory=list)
    _turn: int = 0  # of the next that is scheduled

    def schedule(self, order: Decision, offset: int) -> None:
        """Let an order take effect before the findings of ``offset``."""
        heappush(self._coming, (offset, self._turn, order))
        self._turn += 1

    @property
    def pending(self) -> bool:
        """Whether some will."""
        return bool(self._coming)

    def take_effect(self, offset: int) -> list[Decision]:
        """Apply what is due; returns the removals among it."""
        removals: list[Decision] = []
        while self._coming and self._coming[0][0] <= offset:
            order = heappop(self._coming)[2]
            if order.removed is not None:
                self.clear(order)
                removals.append(order)
            elif order.action is Action.BLOCK:
                self._standing.put((order.scope, order.value), order, most=STANDING_MAX)
                self.note(order)
        return removals

    def cleared(self, decision_id: str) -> str | None:
        """Who removed the decision, or ``None``."""
        return self._cleared.get(decision_id)

    def standing(self, candidate: Candidate) -> Decision | None:
        """A person's block on exactly that key that has not ended."""
        order = self._standing.get((candidate.scope, candidate.value))
        return order if order is not None and order.until > candidate.at else None

    def note(self, decision: Decision) -> None:
        """A block, ours or a person's, that gateways are told of: it may outlive the episode that led to it."""
        if decision.action is Action.BLOCK:
            self._blocks.put(decision.id, decision, most=BLOCKS_MAX)

    def block(self, decision_id: str) -> Decision | None:
        """The block with that id, unless somebody took it back."""
        return self._blocks.get(decision_id)

    def clear(self, order: Decision) -> None:
        """Somebody removed a decision: it is not made again."""
        self._blocks.pop(order.id, None)
        self._cleared.put(order.id, order.removed_by or order.actor or "somebody", most=CLEARED_MAX)
        key = (order.scope, order.value)
        if key in self._standing and self._standing[key].id == order.id:
            del self._standing[key]
