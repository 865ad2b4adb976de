"""Detectors that run in a task, on keys or populations: when one raises, is released, or gets a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt
import structlog

from gatewatch.detect.memory import Memory
from gatewatch.errors import StateError
from gatewatch.metrics import Metrics
from gatewatch.records import Release
from gatewatch.sdk import Detector, PopulationDetector

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
    seconds: float = 0.0  # that it took since somebody last asked: to count each batch costs more than small ones do
    knows_until: int = -1  # records before this offset are in its memory, from a snapshot

    @property
    def quarantined(self) -> bool:
        """Whether it was switched off."""
        return self.raised >= MAX_RAISES

    def spent(self) -> float:
        """Seconds that it took since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def note_raise(self, name: str, task: int, metrics: Metrics) -> None:
        """It raised what is being handled now; too often, and it is quarantined."""
        self.raised += 1
        _log.exception("detector raised", detector=name, partition=task, raised=self.raised)
        metrics.detector_raised(name)


def release(
    detectors: Mapping[str, Running[Detector]] | Mapping[str, Running[PopulationDetector]],
    said: Release,
    keys: Iterable[int],
    task: int,
    metrics: Metrics,
) -> None:
    """A person expects what a key does: whoever judges its scope hears of it, by each hash that it may have."""
    keys = tuple(keys)
    for name, running in detectors.items():
        if running.quarantined or said.scope not in running.detector.scopes:
            continue
        try:
            for key in keys:
                running.detector.release(said.scope, key, said.until)
        except Exception:  # noqa: BLE001 - a team's own detector may raise anything; the others must go on
            running.note_raise(name, task, metrics)


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
