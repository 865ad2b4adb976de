"""What a detector says: findings on keys as arrays, filled by kernels, and each with its reason for the explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from gatewatch.records import Scope, Severity


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

    def add(self, found: npt.NDArray[np.void], *, scope: int = 0, warm: bool = True) -> None:
        """Put what a kernel found behind what is here.

        Args:
            found: (findings,) records with the fields row, reason, nats, threshold, observed, expected, window_s, since
                and detail, and with scope and warm where these are not the same for all of them.
            scope: of all of them, index into ``Detector.scopes``.
            warm: whether enough is known to judge all of them.
        """
        new = slice(len(self), len(self) + len(found))
        self.scope[new], self.warm[new] = scope, warm
        for name in found.dtype.names or ():
            getattr(self, "threshold_nats" if name == "threshold" else name)[new] = found[name]
        self.count[0] = new.stop

    def sort(self) -> None:
        """Put them in the order of their rows; those of one row stay as they were added."""
        n = len(self)
        order = np.argsort(self.row[:n], kind="stable")
        for name in (field.name for field in fields(self) if field.name != "count"):
            array = getattr(self, name)
            array[:n] = array[:n][order]


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
