"""The least that a detector is, for tests that need one of their own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import gatewatch
from gatewatch.registry import Defaults, Entry
from gatewatch.sdk import (
    Batch,
    Context,
    Contribution,
    Detector,
    DetectorConfig,
    Explanation,
    Hits,
    Opinion,
    RawFinding,
    Scope,
    TableStats,
)


class SmallDetector(Detector):
    """Finds nothing, and knows only how many rows it has ``seen``; a subclass has a name, scopes and reasons."""

    version: ClassVar[int] = 1
    Config: ClassVar[type[DetectorConfig]] = DetectorConfig

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        self.seen = 0

    def process(self, batch: Batch) -> Hits:
        """Look at a batch."""
        self.seen += batch.n
        return Hits.empty(batch.n).fitting(0)

    def explain(self, finding: RawFinding) -> Explanation:
        """All of it is one thing, which names the key."""
        part = Contribution(finding.reason.name, finding.nats, f"{finding.key} was there")
        return Explanation((part,), "nobody", "not here")

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Nothing is going on."""
        return Opinion.QUIET if key and scope in self.scopes else Opinion.BLIND

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """How many rows."""
        return {"seen": np.array([self.seen])}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """As they were."""
        self.seen = int(arrays["seen"][0])

    def tables(self) -> dict[str, TableStats]:
        """None."""
        return {}


def entry_of(detector: type[Detector], defaults: Defaults | None = None) -> Entry:
    """As a folder would give it."""
    return Entry(detector.name, detector, defaults or Defaults(), "1. look", files(gatewatch))
