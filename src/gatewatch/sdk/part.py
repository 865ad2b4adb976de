"""What detectors on keys and on populations have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from gatewatch.records import Explanation, Opinion, Scope
from gatewatch.sdk.findings import RawFinding, Reason
from gatewatch.sdk.stats import TableStats
from gatewatch.state.hashing import HashSeed


class DetectorConfig(BaseModel):
    """Base of a detector's own options. Unknown keys are refused; units are in the names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What a detector is told about where it runs.

    Attributes:
        seed: the installation's hash seed, for pairs and sets of its own.
        partitions: routed partitions; a table of ``keys_total`` keys gets ``keys_total / partitions`` rows here.
        alarms_per_day: medium-or-worse false alarms a day that this part may spend in this partition: for all of its
            :attr:`Part.tests` together.
    """

    seed: HashSeed
    partitions: int
    alarms_per_day: float


@dataclass(frozen=True, slots=True)
class Need:
    """A field that a scope of a detector cannot do without, and how a gateway can be made to send it."""

    scope: Scope
    fields: tuple[str, ...]  # any one of them is enough
    how: str = ""


class Part(ABC):
    """Base of both kinds: it says whether a key or a row is unusual, why, and what it knows.

    ``tests``: how many learned tests spend of the budget, each of a kind and a scope; every one gets an equal share of
    ``budget.false_alarms_per_day``. 0 where all thresholds are bounds of sequential tests that hold whatever the
    traffic is (Wald's, Ville's), for these cost what their options say. Without a learned reason there are none.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[DetectorConfig]]
    scopes: ClassVar[tuple[Scope, ...]]
    reasons: ClassVar[tuple[Reason, ...]]
    needs: ClassVar[tuple[Need, ...]] = ()
    tests: ClassVar[int] = 1

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        self.config = config
        self.context = context

    def release(self, scope: Scope, key: int, until: float) -> None:
        """A person expects what the key with this hash does: until event time ``until`` it may teach like any other.

        For detectors that hold back what is unusual, or freeze what is usual; the default does nothing. Called between
        two batches or buckets, at the same place of the log whenever it is read, mostly for keys that are not here (in
        every partition, and by each hash that an endpoint's name may have), and perhaps twice. It must change nothing
        about other keys and move no threshold. Cost: as of a row.
        """
        del scope, key, until

    @abstractmethod
    def explain(self, finding: RawFinding) -> Explanation:
        """Why: contributions that add up to ``finding.nats`` (within 1e-6 of it, relatively), baseline, counterfactual.

        A pure function of the finding: everything it needs is in ``detail``.
        """

    @abstractmethod
    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about the key, or the row, with this hash."""

    @abstractmethod
    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything it knows, as copies. Never pickles."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved; nothing decays by it.

        Raises:
            StateError: another version or capacity.
        """

    @abstractmethod
    def tables(self) -> dict[str, TableStats]:
        """Sizes of its tables, for metrics and the memory test."""

    def shifts(self) -> Mapping[str, float]:
        """Nats that calibration adds to the thresholds of each of its tests, by the test's name; for metrics."""
        return {}

    @classmethod
    def warm_up(cls) -> None:
        """Compile its kernels, by running them on nothing. A worker does this before it joins its group."""
