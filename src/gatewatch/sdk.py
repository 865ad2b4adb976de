"""What a detector may import. ``docs/add-a-detector.md`` walks through one.

A detector scores rows of one partition, in order, and never looks back: it gets batches of columns, keeps arrays, and
gives findings. It must be a pure function of what it was given: no clock, no randomness outside its state, no I/O.
Cut anyhow into batches, the same rows give the same findings; that, and more, is what ``check_detector`` tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from gatewatch.errors import StateError
from gatewatch.events.batch import AuthCode, Batch, Flag, Role, read_only
from gatewatch.events.kinds import KINDS
from gatewatch.events.rollup import Kind, Rollup, middle_of
from gatewatch.records import Contribution, Explanation, Opinion, Scope, Severity
from gatewatch.state.hashing import HashSeed, hash_text, mix
from gatewatch.state.jit import kernel, scale
from gatewatch.state.keytable import (
    STRIDE,
    Head,
    KeyTable,
    ask_row,
    ask_set,
    find,
    find_or_admit,
    hold,
    is_far,
    is_held,
    look_ahead,
    succeeded_since,
    touch,
    used_rows,
)
from gatewatch.state.pairs import Pairs, add_pair, ask_pair, forget_older, has_pair, is_full, meet, no_pairs
from gatewatch.state.parts import restore_parts, snapshot_parts

__all__ = [
    "KINDS",
    "STRIDE",
    "AuthCode",
    "Batch",
    "Context",
    "Contribution",
    "Detector",
    "DetectorConfig",
    "Explanation",
    "Flag",
    "HashSeed",
    "Head",
    "Hits",
    "KeyTable",
    "Kind",
    "Lane",
    "Need",
    "Opinion",
    "Pairs",
    "PopulationDetector",
    "PopulationHit",
    "RawFinding",
    "Reason",
    "Role",
    "Rollup",
    "Scope",
    "Severity",
    "StateError",
    "TableStats",
    "add_pair",
    "ask_pair",
    "ask_row",
    "ask_set",
    "find",
    "find_or_admit",
    "forget_older",
    "has_pair",
    "hash_text",
    "hold",
    "is_far",
    "is_full",
    "is_held",
    "kernel",
    "look_ahead",
    "meet",
    "middle_of",
    "mix",
    "no_pairs",
    "read_only",
    "restore_parts",
    "scale",
    "snapshot_parts",
    "succeeded_since",
    "table_stats",
    "touch",
    "used_rows",
]


Lane = Literal["fast", "slow"]


class DetectorConfig(BaseModel):
    """Base of a detector's own options. Unknown keys are refused; units are in the names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of finding a detector can make: a closed set, listed in ``defaults.yaml`` order by ``code``.

    ``columns`` names the numbers of :attr:`Hits.detail` for this reason, in order.
    """

    code: int
    name: str  # "burst"
    title: str  # "Request burst"
    unit: str  # of observed and expected: "requests a minute"
    severity: Severity  # where nothing else decides
    learned: bool  # from a learned baseline; False for plain limits and sequential tests
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a detector is told about where it runs.

    Attributes:
        seed: the installation's hash seed, for pairs and sets of its own.
        partitions: routed partitions; a table of ``keys_total`` keys gets ``keys_total / partitions`` rows here.
        alarms_per_day: medium-or-worse false alarms a day that this detector may spend in this partition.
    """

    seed: HashSeed
    partitions: int
    alarms_per_day: float


DETAIL = 8  # numbers a finding may carry for its explanation


@dataclass(slots=True)
class Hits:
    """Findings of one batch as parallel arrays, in row order; kernels fill them and raise ``count[0]``.

    At most one finding a row and scope (the reason with the largest nats over its threshold), so room for
    ``rows * scopes`` is always enough. A detector stays quiet about a key that it has just reported (cool-down).
    """

    row: npt.NDArray[np.int32]
    scope: npt.NDArray[np.int8]  # index into Detector.scopes
    reason: npt.NDArray[np.int8]  # Reason.code
    nats: npt.NDArray[np.float64]
    threshold_nats: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    window_s: npt.NDArray[np.float64]
    since: npt.NDArray[np.float64]  # event time at which the excursion began
    warm: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.float64]  # (room, DETAIL)
    count: npt.NDArray[np.int64]  # (1,)

    @classmethod
    def empty(cls, room: int) -> Hits:
        """Room for that many findings."""
        f = np.float64
        return cls(
            row=np.zeros(room, np.int32),
            scope=np.zeros(room, np.int8),
            reason=np.zeros(room, np.int8),
            nats=np.zeros(room, f),
            threshold_nats=np.zeros(room, f),
            observed=np.zeros(room, f),
            expected=np.zeros(room, f),
            window_s=np.zeros(room, f),
            since=np.zeros(room, f),
            warm=np.zeros(room, np.uint8),
            detail=np.zeros((room, DETAIL), f),
            count=np.zeros(1, np.int64),
        )

    def fitting(self, room: int) -> Hits:
        """These arrays, emptied, where they have the room; else larger ones. Saves an allocation a batch."""
        if self.row.shape[0] < room:
            return Hits.empty(2 * room)
        self.count[0] = 0
        return self

    def __len__(self) -> int:
        return int(self.count[0])


@dataclass(frozen=True, slots=True)
class RawFinding:
    """One hit with its reason looked up: what :meth:`Detector.explain` gets."""

    reason: Reason
    scope: Scope
    key: str
    nats: float
    threshold_nats: float
    observed: float
    expected: float
    window_s: float
    detail: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TableStats:
    """Size of one table of a detector, for metrics."""

    rows: int
    capacity: int
    evicted: int
    refused: int
    nbytes: int

    def __add__(self, other: TableStats) -> TableStats:
        return TableStats(
            self.rows + other.rows,
            self.capacity + other.capacity,
            self.evicted + other.evicted,
            self.refused + other.refused,
            self.nbytes + other.nbytes,
        )


def table_stats(tables: Mapping[str, KeyTable]) -> dict[str, TableStats]:
    """Sizes of key tables, by their names. Cost: one pass over the keys."""
    return {
        name: TableStats(t.used, t.capacity, int(t.head.stats[0]), int(t.head.stats[1]), t.nbytes)
        for name, t in tables.items()
    }


@dataclass(frozen=True, slots=True)
class Need:
    """A field that a scope of a detector cannot do without, and how a gateway can be made to send it."""

    scope: Scope
    fields: tuple[str, ...]  # any one of them is enough
    how: str = ""


class Detector(ABC):
    """Base of all detectors on keys.

    A subclass says in its docstring what attack it sees, what it misses, what each option does, its cost an event,
    its bytes a key, and where its method comes from.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[DetectorConfig]]
    scopes: ClassVar[tuple[Scope, ...]]
    reasons: ClassVar[tuple[Reason, ...]]
    needs: ClassVar[tuple[Need, ...]] = ()
    lane: ClassVar[Lane] = "fast"  # slow ones run in a consumer group of their own and delay nobody else

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it. The batch must not be changed.

        Rows are in offset order of the routed partition; event times may go back. Cost must be linear in rows.
        """

    def tick(self, now: float) -> Hits | None:
        """Event time has reached ``now`` without a row (once a second at most). Findings here have row -1: none may."""
        del now
        return None

    def release(self, scope: Scope, key: int, until: float) -> None:
        """A person expects what the key with this hash does: until event time ``until`` it may teach like any other.

        For detectors that hold back what an unusual row teaches; the default does nothing. Called between two batches,
        at the same place of the log whenever it is read, and in every partition, so mostly for keys that are not here.
        It must change nothing about other keys and move no threshold. Cost: as of a row.
        """
        del scope, key, until

    @abstractmethod
    def explain(self, finding: RawFinding) -> Explanation:
        """Why: contributions that add up to ``finding.nats`` (within 1e-6 of it, relatively), baseline, counterfactual.

        A pure function of the finding: everything it needs is in ``detail``.
        """

    @abstractmethod
    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about the key with this hash."""

    @abstractmethod
    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything the detector knows, as copies. Never pickles."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved; nothing decays by it.

        Raises:
            StateError: another version or capacity.
        """

    @abstractmethod
    def tables(self) -> dict[str, TableStats]:
        """Sizes of its tables, for metrics and the memory test."""

    @classmethod
    def warm_up(cls) -> None:
        """Compile the kernels, by running them on an empty batch. A worker does this before it joins its group."""


@dataclass(frozen=True, slots=True)
class PopulationHit:
    """One finding of a population detector about one row of a :class:`Rollup`. ``detail`` as ``Reason.columns``."""

    row: int
    scope: Scope
    reason: Reason
    nats: float
    threshold_nats: float
    observed: float
    expected: float
    window_s: float
    since: float  # event time at which the excursion began
    warm: bool
    detail: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)  # what else stands out: a user agent, a version


class PopulationDetector(ABC):
    """Base of all detectors on what is coarser than a key: endpoints, projects, clients, everything.

    It gets one closed bucket of ten seconds at a time, in order of time, with the sums over all partitions; buckets
    in which nothing happened do not come. There is one of it in an installation, so plain numpy over a few hundred rows
    is fast enough. It must be a pure function of the rollups, as a :class:`Detector` is of its rows.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[DetectorConfig]]
    scopes: ClassVar[tuple[Scope, ...]]
    reasons: ClassVar[tuple[Reason, ...]]
    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Score the bucket, then learn from it. It must not be changed."""

    def release(self, scope: Scope, key: int, until: float) -> None:
        """A person expects what the row with this hash does: until event time ``until`` it may teach like any other.

        For detectors that hold back what is unusual, or freeze what is usual; the default does nothing. As
        :meth:`Detector.release`: called between two buckets, mostly for rows that are not here (an endpoint's name has
        several hashes), perhaps twice, and must change nothing about other rows.
        """
        del scope, key, until

    @abstractmethod
    def explain(self, finding: RawFinding) -> Explanation:
        """As :meth:`Detector.explain`: a pure function of the finding."""

    @abstractmethod
    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about the row with this hash."""

    @abstractmethod
    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything it knows, as copies. Never pickles."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version.
        """

    @abstractmethod
    def tables(self) -> dict[str, TableStats]:
        """Sizes of its tables, for metrics."""

    @classmethod
    def warm_up(cls) -> None:
        """Compile its kernels, if it has any."""
