"""Principals that take away too much at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gatewatch.sdk import (
    Batch,
    Context,
    Contribution,
    DetectorConfig,
    Explanation,
    Hits,
    KeyTable,
    Need,
    Opinion,
    RawFinding,
    Reason,
    Scope,
    Severity,
    TableDetector,
)

from .kernel import ROW, TAU_S, scan

AT_LIMIT_NATS = 9.2  # a limit has no p-value; by convention four decades at the limit, and ln(times over it) more


class Options(DetectorConfig):
    """See :class:`NewDetector`."""

    megabytes_per_minute: float = Field(50.0, gt=0)
    keys_total: int = Field(20_000, ge=8)


class NewDetector(TableDetector):
    """Finds principals that take away more than a limit within a minute.

    Sees: a copied key that empties a store, an export that nobody ordered. Misses: the same, slowly; and callers that
    never authenticated, which get no row.

    Options:
        megabytes_per_minute: a decayed sum of response bytes above which a principal is reported.
        keys_total: rows of the table, over all partitions.

    Cost: one look-up a row. Memory: 65 bytes a row of the table.
    """

    name: ClassVar[str] = "new_detector"
    version: ClassVar[int] = 1
    Config: ClassVar[type[DetectorConfig]] = Options
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.PRINCIPAL,)
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(0, "volume", "Bulk download", "megabytes a minute", Severity.MEDIUM, learned=False, columns=("limit",)),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("bytes_out",), "log the size of the response"),
    )
    config: Options

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        self._table = KeyTable(max(8, self.config.keys_total // context.partitions), ROW, authenticated_only=True)
        self._seen = np.zeros(1, np.int64)
        self._hits = Hits.empty(1000)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it."""
        hits = self._hits = self._hits.fitting(batch.n)
        limit = self.config.megabytes_per_minute
        n = scan(
            self._table.head,
            self._table.rows,
            batch.ts,
            batch.role,
            batch.column("k_principal"),
            batch.column("auth"),
            batch.column("bytes_out"),
            limit * 1e6,
            self._seen,
            hits.row,
            hits.observed,
            hits.since,
        )
        hits.count[0] = n
        hits.scope[:n], hits.reason[:n], hits.warm[:n], hits.window_s[:n] = 0, 0, 1, TAU_S
        hits.observed[:n] /= 1e6
        hits.expected[:n], hits.detail[:n, 0], hits.threshold_nats[:n] = limit, limit, AT_LIMIT_NATS
        hits.nats[:n] = AT_LIMIT_NATS + np.log(hits.observed[:n] / limit)
        return hits

    def explain(self, finding: RawFinding) -> Explanation:
        """Why: how much, against the limit."""
        limit, over = finding.detail["limit"], finding.nats - AT_LIMIT_NATS
        return Explanation(
            contributions=(
                Contribution("over the limit", AT_LIMIT_NATS, f"more than {limit:g} MB within a minute"),
                Contribution("how far", over, f"{finding.observed:.0f} MB, {math.exp(over):.1f} times the limit"),
            ),
            baseline=f"the limit of {limit:g} MB a minute",
            counterfactual=f"would not have fired at {limit:g} MB a minute or less",
        )

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about a principal."""
        del scope
        if self._seen[0] == 0:
            return Opinion.BLIND
        at = self._table.row_of(key)
        if at < 0:
            return Opinion.WARMING
        return Opinion.FINDING if self._table.is_held(at) else Opinion.QUIET

    def key_tables(self) -> Mapping[str, KeyTable]:
        """Its table: saved, restored and measured under this name."""
        return {"principal": self._table}

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Whether the fields were ever there."""
        return {"seen": self._seen}
