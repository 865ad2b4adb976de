"""A detector around a model in plain Python.

A subclass names the columns that its model reads and makes the model; everything else is done here: which rows are
looked at, what teaches, how a score becomes nats, when it is told and when no longer, bounded memory, snapshots.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gatewatch.adapters.explain import COLUMNS, VALUES, explain
from gatewatch.adapters.generations import Generations
from gatewatch.adapters.judge import OPINION, Judge
from gatewatch.adapters.report import ROW, report
from gatewatch.adapters.rows import EventModel, Reader
from gatewatch.events.batch import ABSENT, KEY_OF, STRINGS
from gatewatch.sdk import (
    AuthCode,
    Batch,
    Context,
    Detector,
    DetectorConfig,
    Explanation,
    Hits,
    KeyTable,
    Lane,
    Opinion,
    RawFinding,
    Role,
    Scope,
    TableStats,
)

KEY_COLUMN = {name: key for key, name in KEY_OF.items()}
OPINION_OF_ROW = np.dtype([*OPINION.descr, ("warm", np.bool_)])
_WHO = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT)
_AUTHENTICATED = (Scope.PRINCIPAL, Scope.CREDENTIAL)


class PerEventConfig(DetectorConfig):
    """Options of every adapter; a subclass adds its model's own."""

    threshold_nats: float = Field(9.2, gt=0)  # rarity that is told at least: 9.2 is one event in 10,000
    freeze_nats: float = Field(5.3, gt=0)  # rarity that does not teach: the strangest event in 200 (docstring of Gate)
    warm_events: int = Field(2000, ge=100)  # events learned before findings may alert; until then they are shadow
    remember_events: int = Field(5000, ge=100, le=1_000_000)  # the model knows the last 1 to 2 times as many
    keys_total: int = Field(20_000, ge=8)  # rows of the table of keys, over all partitions


class PerEventDetector(Detector):
    """Asks a model in plain Python how strange each event is, and lets it learn those that are not.

    A subclass has one scope (principal, credential, account, ip or network), one or more reasons of which the first is
    used, needs as any detector (rows that lack one are not looked at), ``reads`` and :meth:`model`. A score is any
    number that rises with strangeness; nats come from how rare such a score has been in this partition.

    The model is one for the whole partition; one that keeps something for each key finds it under ``event.key``.

    Attributes:
        reads: columns of a row that the model sees, beside ``key`` and ``ts``.
        calibrated: the model's score is nats by its own account, -ln p of this event for this key, or a limit that is
            written as such; ``threshold_nats`` alone says which are told.
        gated: what surprises does not teach. False for counters and drift tests, which must see everything.
    """

    lane: ClassVar[Lane] = "slow"
    Config: ClassVar[type[DetectorConfig]] = PerEventConfig
    reads: ClassVar[tuple[str, ...]] = ()
    calibrated: ClassVar[bool] = False
    gated: ClassVar[bool] = True
    config: PerEventConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the reasons the numbers that :meth:`explain` needs."""
        super().__init_subclass__(**kwargs)
        cls.reasons = tuple(replace(reason, columns=COLUMNS) for reason in getattr(cls, "reasons", ()))

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        self._scope, self._reason = self.scopes[0], self.reasons[0]
        self._role = int(Role.WHO if self._scope in _WHO else Role.WHERE)
        self._authenticated_only = self._scope in _AUTHENTICATED
        self._table = KeyTable(
            max(8, self.config.keys_total // context.partitions), ROW, authenticated_only=self._authenticated_only
        )
        self._reader = Reader(self.columns(), f"k_{self._scope}")
        self._generations = Generations(self.model, self._reader, self.config.remember_events)
        self._judge = Judge(
            self._generations,
            freeze_nats=self.config.freeze_nats,
            threshold_nats=self.config.threshold_nats,
            alarms_per_day=context.alarms_per_day,
            calibrated=self.calibrated,
            gated=self.gated,
        )
        self._hits = Hits.empty(1000)

    @abstractmethod
    def model(self) -> EventModel:
        """A model that has learned nothing. Called again for each generation, and at a restore."""

    def columns(self) -> tuple[str, ...]:
        """What the model reads; by default ``reads``."""
        return self.reads

    def process(self, batch: Batch) -> Hits:
        """Score each row that has what is needed, then learn from it."""
        rows = self._looked_at(batch)
        hits = self._hits = self._hits.fitting(rows.shape[0])
        if not rows.shape[0]:
            return hits
        block = self._reader.block(batch, rows)
        told = self._opinions(block, _served(batch, rows))
        at = np.zeros(rows.shape[0], np.int64)
        n = report(
            self._table.head,
            self._table.rows,
            np.ascontiguousarray(block["key"]),
            np.ascontiguousarray(block["ts"]),
            batch.column("auth")[rows] == AuthCode.SUCCESS,
            np.ascontiguousarray(told["nats"]),
            np.ascontiguousarray(told["threshold"]),
            self._authenticated_only,
            at,
            hits.since,
        )
        self._fill(hits, rows, block, told, at[:n])
        return hits

    def _looked_at(self, batch: Batch) -> npt.NDArray[np.intp]:
        """Rows of our role that have a key and what is needed."""
        mask = (batch.role & np.uint8(self._role) != 0) & (batch.column(f"k_{self._scope}") != 0)
        for need in self.needs:
            mask &= np.logical_or.reduce([_present(batch, name) for name in need.fields])
        return np.flatnonzero(mask)

    def _opinions(self, block: npt.NDArray[np.void], served: npt.NDArray[np.bool_]) -> npt.NDArray[np.void]:
        """What is known of each row, in order: the slow part, for the models are plain Python."""
        told = np.zeros(block.shape[0], OPINION_OF_ROW)
        for i, event in enumerate(self._reader.events(block)):
            opinion = self._judge.judge(event, block[i], served=bool(served[i]))
            told[i] = (*opinion, self._warm)
        return told

    @property
    def _warm(self) -> bool:
        return not self._reason.learned or self._judge.taught >= self.config.warm_events

    def _fill(
        self,
        hits: Hits,
        rows: npt.NDArray[np.intp],
        block: npt.NDArray[np.void],
        told: npt.NDArray[np.void],
        at: npt.NDArray[np.int64],
    ) -> None:
        n = at.shape[0]
        hits.count[0] = n
        hits.row[:n], hits.scope[:n], hits.reason[:n] = rows[at], 0, self._reason.code
        hits.nats[:n], hits.threshold_nats[:n], hits.warm[:n] = (
            told["nats"][at],
            told["threshold"][at],
            told["warm"][at],
        )
        hits.observed[:n], hits.expected[:n], hits.window_s[:n] = told["score"][at], told["edge"][at], 0.0
        for j, name in enumerate(("score", "needed", "floor", "past")):
            hits.detail[:n, j] = told[name][at]
        for j, name in enumerate(self._shown()):
            values = block[name][at].astype(np.float64)
            hits.detail[:n, len(COLUMNS) - len(VALUES) + j] = np.where(np.isfinite(values), values, -1.0)

    def _shown(self) -> list[str]:
        """Columns whose values an explanation may show: numbers that are not hashes."""
        names = [name for name in self.columns() if name not in STRINGS and not name.startswith("k_")]
        return names[: len(VALUES)]

    def explain(self, finding: RawFinding) -> Explanation:
        """Why: how far out among the past scores."""
        return explain(finding, self._shown(), calibrated=self.calibrated)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """What can be said now about a key."""
        del scope
        if self._judge.rows == 0:
            return Opinion.BLIND
        at = self._table.row_of(key)
        if at < 0:
            return Opinion.WARMING
        if self._table.is_held(at):
            return Opinion.FINDING
        return Opinion.QUIET if self._warm else Opinion.WARMING

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The table, the past scores, and the events that made the model: never the model itself."""
        return {f"table_{name}": array for name, array in self._table.snapshot().items()} | self._judge.snapshot()

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved; the model learns its events again."""
        self._judge.check(arrays)
        table = {name.removeprefix("table_"): array for name, array in arrays.items() if name.startswith("table_")}
        self._table.restore(table)
        self._judge.restore(arrays)

    def tables(self) -> dict[str, TableStats]:
        """The table of keys, and the events remembered."""
        evicted, refused, _admitted = self._table.head.stats.tolist()
        keys = TableStats(
            rows=self._table.used,
            capacity=self._table.capacity,
            evicted=evicted,
            refused=refused,
            nbytes=self._table.nbytes,
        )
        kept = self._generations
        return {
            str(self._scope): keys,
            "remembered": TableStats(rows=kept.count, capacity=kept.capacity, evicted=0, refused=0, nbytes=kept.nbytes),
        }

    @classmethod
    def warm_up(cls) -> None:
        """Compile the one kernel that all adapters share."""
        table = KeyTable(8, ROW)
        none = np.zeros(0)
        report(
            table.head,
            table.rows,
            np.zeros(0, np.uint64),
            none,
            np.zeros(0, np.bool_),
            none,
            none,
            authenticated_only=False,
            hit=np.zeros(0, np.int64),
            since=none,
        )


def _served(batch: Batch, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Rows that show a real customer: authenticated, or, where the gateway does not say, not refused."""
    auth, status = batch.column("auth")[rows], batch.column("status")[rows]
    silent = (auth == AuthCode.UNKNOWN) | (auth == AuthCode.NONE)
    return np.asarray((auth == AuthCode.SUCCESS) | (silent & (status < 400)))


def _present(batch: Batch, name: str) -> npt.NDArray[np.bool_]:
    """Rows in which a field is there."""
    if name in KEY_COLUMN:
        return np.asarray(batch.column(KEY_COLUMN[name]) != 0)
    if name in STRINGS:
        return np.asarray(batch.arrow.column(name).is_valid()) if batch.has(name) else np.zeros(batch.n, np.bool_)
    values = batch.column(name)
    absent = ABSENT[name]
    there: npt.NDArray[np.bool_] = np.isfinite(values) if isinstance(absent, float) else values != absent
    return there
