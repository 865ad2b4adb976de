"""Projects whose callers are refused more often than anybody should be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gatewatch.sdk import (
    Context,
    Contribution,
    DetectorConfig,
    Explanation,
    KeyTable,
    Kind,
    Need,
    Opinion,
    PopulationDetector,
    PopulationHit,
    RawFinding,
    Reason,
    Rollup,
    Scope,
    Severity,
    TableStats,
    find_or_admit,
    restore_parts,
    snapshot_parts,
    table_stats,
)

TAU_S = 60.0  # the sum forgets over a minute: a steady stream counts its refusals a minute
REPEAT_S = 300.0  # while it goes on it is told of every five minutes
AT_LIMIT_NATS = 9.2  # a limit has no p-value; by convention four decades at the limit, and ln(times over it) more
ROW = np.dtype([("total", np.float64), ("t", np.float64), ("since", np.float64), ("told", np.float64)])
_DENIED = Reason(
    0, "denied", "Refused requests", "refusals a minute", Severity.MEDIUM, learned=False, columns=("limit",)
)


class Options(DetectorConfig):
    """See :class:`NewDetector`."""

    denied_per_minute: float = Field(100.0, gt=0)
    projects_total: int = Field(1000, ge=8)


class NewDetector(PopulationDetector):
    """Finds projects whose callers are refused more often than a limit, however many callers share in it.

    Sees: a policy that was rolled out wrongly, a probe that comes from a thousand keys at once. Misses: the same,
    slowly; and projects that the gateway does not name.

    Options:
        denied_per_minute: a decayed sum of refusals above which a project is reported.
        projects_total: projects that are known at once.

    Cost: 10 us a project and bucket of ten seconds. Memory: 65 bytes a project.
    """

    name: ClassVar[str] = "new_detector"
    version: ClassVar[int] = 1
    Config: ClassVar[type[DetectorConfig]] = Options
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.PROJECT,)
    reasons: ClassVar[tuple[Reason, ...]] = (_DENIED,)
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.PROJECT, ("project",), "log the project or tenant that a caller belongs to"),
        Need(Scope.PROJECT, ("status",), "log the HTTP status"),
    )
    config: Options

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        self._table = KeyTable(self.config.projects_total, ROW)
        self._buckets = np.zeros(1, np.int64)  # with a project in them

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Add each project's refusals to its sum."""
        rows, denied = rollup.rows(Kind.PROJECT), rollup.column("denied")
        self._buckets += rows.shape[0] > 0
        now = rollup.start + rollup.span_s
        hits = (self._one(int(i), int(rollup.keys[i]), float(denied[i]), now) for i in rows)
        return [hit for hit in hits if hit is not None]

    def _one(self, i: int, key: int, denied: float, now: float) -> PopulationHit | None:
        limit = self.config.denied_per_minute
        at, new = find_or_admit(self._table.head, np.uint64(key), now, success=True, authenticated_only=False)
        if at < 0:
            return None
        row = self._table.rows[at]
        if new:
            row["total"], row["t"], row["told"] = 0.0, now, -math.inf
        row["total"] = row["total"] * math.exp(min(row["t"] - now, 0.0) / TAU_S) + denied
        row["t"] = max(row["t"], now)
        if row["total"] <= limit:
            row["since"], row["told"] = now, -math.inf
            return None
        if now < row["told"] + REPEAT_S:
            return None
        row["told"] = now
        return PopulationHit(
            row=i,
            scope=Scope.PROJECT,
            reason=_DENIED,
            nats=AT_LIMIT_NATS + math.log(row["total"] / limit),
            threshold_nats=AT_LIMIT_NATS,
            observed=float(row["total"]),
            expected=limit,
            window_s=TAU_S,
            since=float(row["since"]) or now,
            warm=True,
            detail={"limit": limit},
        )

    def explain(self, finding: RawFinding) -> Explanation:
        """Why: how many, against the limit."""
        limit, over = finding.detail["limit"], finding.nats - AT_LIMIT_NATS
        return Explanation(
            contributions=(
                Contribution("over the limit", AT_LIMIT_NATS, f"more than {limit:g} refusals within a minute"),
                Contribution("how far", over, f"{finding.observed:.0f} refusals, {math.exp(over):.1f} times the limit"),
            ),
            baseline=f"the limit of {limit:g} refusals a minute",
            counterfactual=f"would not have fired at {limit:g} refusals a minute or less",
        )

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about a project."""
        del scope
        if self._buckets[0] == 0:
            return Opinion.BLIND
        at = self._table.row_of(key)
        if at < 0:
            return Opinion.WARMING
        return Opinion.FINDING if math.isfinite(self._table.rows["told"][at]) else Opinion.QUIET

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The table, and whether there ever was a project."""
        return snapshot_parts(self._tables(), {"buckets": self._buckets})

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved."""
        restore_parts(self.name, self._tables(), {"buckets": self._buckets}, arrays)

    def tables(self) -> dict[str, TableStats]:
        """The size of its table."""
        return table_stats(self._tables())

    def _tables(self) -> dict[str, KeyTable]:
        return {"project": self._table}
