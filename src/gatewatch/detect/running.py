"""A detector that runs in a task, on keys or populations: how often it raised, and whether a snapshot fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt
import structlog

from gatewatch.detect.memory import Memory
from gatewatch.errors import StateError

MAX_RAISES = 3  # a detector that raises so often is quarantined for this partition (DESIGN section 4)
D = TypeVar("D")
_log = structlog.get_logger("gatewatch.detect")


class Remembers(Protocol):
    """A part of a task that a snapshot holds."""

    @property
    def version(self) -> int:
        """Of what it saves."""
        ...

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved, or raise a StateError."""
        ...


@dataclass(slots=True)
class Running(Generic[D]):
    """One detector of a task."""

    detector: D
    raised: int = 0
    knows_until: int = -1  # records before this offset are in its memory, from a snapshot

    @property
    def quarantined(self) -> bool:
        """Whether it was switched off."""
        return self.raised >= MAX_RAISES


def restored(name: str, part: Remembers, memory: Memory, task: int) -> bool:
    """Whether a part of a task became what the memory holds of it; if not, it begins empty, and that is logged."""
    why = "not in the snapshot, or of another version"
    if memory.book.versions.get(name) == part.version:
        try:
            part.restore(memory.of(name))
        except StateError as error:
            why = str(error)
        else:
            return True
    _log.warning("a detector begins empty", detector=name, partition=task, why=why)
    return False
