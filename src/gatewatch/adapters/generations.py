"""Two models take turns, so that any model has a bounded memory and a snapshot.

A model in plain Python may keep what it likes: trees, dictionaries that grow, objects that cannot be saved but by a
pickle. So nothing of it is saved. A model is a function of the events that it has learned; those are kept in a ring,
and a restored model learns them again. For that to be exact, a model must not know more than the ring holds: after
``remember`` events a younger model starts beside the elder, after as many more it takes the elder's place, and
everything before it is forgotten, by model and ring alike.

The model that scores has thus learned the last ``remember`` to ``2 * remember`` events (fewer only at the start), and
nobody, however patient, teaches it for longer than that.

Cost: two ``learn`` an event. Memory: the ring, and what two models make of ``3 * remember`` events. A restore learns
at most ``3 * remember`` events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.adapters.rows import EventModel, Reader
from gatewatch.sdk import StateError


class Generations:
    """An elder model that scores, a younger one that will, and the events that made them.

    Args:
        make: a model that has learned nothing.
        reader: turns remembered rows into events.
        remember: events after which a younger model starts.
    """

    def __init__(self, make: Callable[[], EventModel], reader: Reader, remember: int) -> None:
        self._make, self._reader, self._remember = make, reader, remember
        self._ring = np.zeros(2 * remember, reader.dtype)
        self._count = 0  # events of the ring: those that the elder has learned
        self._elder = make()
        self._younger: EventModel | None = None

    @property
    def count(self) -> int:
        """Events that the model that scores has learned."""
        return self._count

    @property
    def capacity(self) -> int:
        """Events remembered at most."""
        return int(self._ring.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of the ring, bytes; the models' own comes on top and is bounded by it."""
        return int(self._ring.nbytes)

    def score(self, event: Any) -> float | None:
        """What the elder thinks of it."""
        return self._elder.score(event)

    def learn(self, event: Any, row: np.void) -> None:
        """Let both learn the event; ``row`` is the same event as an array."""
        self._ring[self._count] = row
        self._count += 1
        self._elder.learn(event)
        if self._younger is not None:
            self._younger.learn(event)
        if self._count == self._remember:
            self._younger = self._make()
        elif self._count == 2 * self._remember:
            self._grow_up()

    def _grow_up(self) -> None:
        assert self._younger is not None
        self._elder, self._younger = self._younger, self._make()
        self._ring[: self._remember] = self._ring[self._remember :]
        self._count = self._remember

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The events remembered, in order."""
        return {"events": self._ring[: self._count].copy(), "capacity": np.array([self.capacity])}

    def check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Refuse what :meth:`restore` could not become.

        Raises:
            StateError: another capacity, or events of other columns.
        """
        events, capacity = arrays.get("events"), arrays.get("capacity")
        if events is None or capacity is None or events.dtype != self._ring.dtype or int(capacity[0]) != self.capacity:
            raise StateError("events remembered for a model do not fit (other columns, capacity or version)")

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Learn again what was remembered."""
        self.check(arrays)
        events = arrays["events"]
        self._count = int(events.shape[0])
        self._ring[: self._count] = events
        self._elder, self._younger = self._make(), None
        if self._count >= self._remember:
            self._younger = self._make()
        for i, event in enumerate(self._reader.events(events)):
            self._elder.learn(event)
            if self._younger is not None and i >= self._remember:
                self._younger.learn(event)
