"""The detector: what it sees, its options, its tables. The tests themselves are in ``kernel.py`` and ``peers.py``."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gatewatch.sdk import (
    Batch,
    Context,
    DetectorConfig,
    Explanation,
    HashSeed,
    Hits,
    KeyTable,
    Need,
    Opinion,
    RawFinding,
    Reason,
    Rows,
    Scope,
    Severity,
    TableDetector,
    fresh_calibrators,
    no_rows,
    rows_of,
)

from . import constants as k
from .explain import explain
from .features import asked
from .kernel import scan
from .layout import CALLER, COMMON, METRICS, PAIR, PEERS, Found, Memory, Params
from .peers import is_warm

_SIGNALS = ("volume", "repeats", "spread", "asked", "newcomer", "repeated", "asking", "shapes")

REASONS = (
    Reason(
        k.HARVEST, "harvest", "Systematic queries to one model", "queries an hour", Severity.MEDIUM,
        learned=True, columns=_SIGNALS,
    ),
    Reason(
        k.TOKENS, "tokens", "Systematic harvest of one model's answers", "tokens an hour", Severity.MEDIUM,
        learned=True, columns=_SIGNALS,
    ),
    Reason(
        k.LIMIT, "limit", "More queries to one model than the limit", "queries an hour", Severity.MEDIUM,
        learned=False, columns=_SIGNALS,
    ),
    Reason(
        k.SWEEP, "sweep", "Nearly identical queries to one model, by the hundred", "queries an hour", Severity.LOW,
        learned=False, columns=_SIGNALS,
    ),
)  # fmt: skip


class Config(DetectorConfig):
    """Options; what each does is in :class:`ModelExtraction`."""

    watched_features: tuple[str, ...] = Field(("logprobs", "top_logprobs", "logit_bias", "embeddings"), max_length=100)
    queries_per_hour: int | None = Field(None, ge=1)
    sweep_queries_per_hour: int | None = Field(300, ge=20)
    least_queries: int = Field(50, ge=20)
    least_nats: float = Field(9.2, ge=4.6)
    newcomer_days: float = Field(7.0, gt=0)
    warm_days: float = Field(1.0, ge=0)
    warm_hours: int = Field(200, ge=50)
    warm_callers: int = Field(12, ge=4, le=48)
    pairs_total: int = Field(32_256, ge=8)


class ModelExtraction(TableDetector):
    """Finds callers who harvest the answers of one model: to copy it, to invert it, or to learn what it was taught.

    An hour of a caller on a model is one observation, of five signals: *volume* (requests, or tokens taken away),
    *repeats* (requests of the same body shape and size as one of the last few dozen: near-duplicates of a
    systematic sweep),
    *spread* (different templates), *asked* (share of requests for a watched feature), *newcomer*. Each is a p-value
    against the hours of all callers of the model (of all models while few are known), and, where the caller has a past
    of 24 active hours on that model, against that too: what counts is the more ordinary of the two. Fisher's method
    makes them one score. A finding needs volume and one signal of behaviour (*repeats*, *spread*, *asked*), p = .05 at
    most each.

    Sees:
        * *harvest*, *tokens*: a caller that sweeps a template over many values, or asks for log-probabilities or
          embeddings of a list of inputs, much more than others do and than it used to; sooner if it is new.
        * *limit*: more queries an hour to one model than ``queries_per_hour``, whoever it is.
        * *sweep*: ``sweep_queries_per_hour`` to one model, nine in ten near-duplicates or for a watched feature, by a
          newcomer or much more than its own past. It compares with nobody, so it holds where there are few callers.
          Severity low: a new customer's batch job looks the same.

    Misses:
        * queries spread over many accounts that each stay ordinary (SEAT measures what that costs the attacker: 3.8 to
          16 times); queries at the pace of the others; a caller whose volume grows for weeks (rate_spike's);
        * natural prompts in natural sizes, without any watched feature, at any volume: that is rate_spike's too;
        * a caller who did so from the start, while the baseline was learned; the first hours of an installation;
        * what a clock hour cuts in two halves that are each too small;
        * an evaluation suite or a backfill that is new and repetitive looks the same: the playbook asks first.

    Nothing learned alerts before ``warm_days`` (1) of traffic, ``warm_hours`` (200) hours of callers and about 14
    callers (``warm_callers`` of 64 bits) are known in the partition. An hour that was told of teaches nothing; after a
    day of such hours the caller's own past rises by 5 % a day.

    Options:
        watched_features: names in ``features`` that extraction asks for, exactly as logged.
        queries_per_hour: the plain limit; null for none. Elastic's rule for membership inference has 500.
        sweep_queries_per_hour: the limit for a sweep; null for none.
        least_queries: of an hour, before it is judged. PRADA needs more than 100.
        least_nats: least score of a finding; the threshold is ln(hours judged a day / false alarms allowed a day) where
            that is more, moved to where the scores of hours so far have it (:mod:`gatewatch.state.calibrator`).
        newcomer_days: how long a caller is new; only who came after the first ``warm_days`` can be.
        warm_days, warm_hours, warm_callers: what must be known first.
        pairs_total: rows for callers on models, over all partitions.

    Cost: about 0.1 us a row. Memory: 344 bytes a pair, 48 a caller, 1.4 kB for each of 64 models; fixed at the start.

    Sources: Juuti et al. 2019 (PRADA: distances between queries give extraction away); Li et al. 2022 (Blacklight: near
    duplicates by fingerprints); Fisher 1925; Vovk 2005 (conformal p); the 2-of-6 rule of algorithms E.
    """

    name = "model_extraction"
    version = 3
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PRINCIPAL,)
    reasons = REASONS
    needs = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("model", "endpoint"), "log the model, or the route"),
        Need(
            Scope.PRINCIPAL,
            ("shape", "bytes_in", "tokens_in", "features"),
            "log the size of the request, let ingest take the shape of the body, or log the options asked for",
        ),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._watched = frozenset(config.watched_features)
        self._params = _params(config, context)
        rows = max(8, config.pairs_total // context.partitions)
        self._pairs = KeyTable(rows, PAIR)
        self._callers = KeyTable(rows, CALLER)
        self._models = KeyTable(64, PEERS)
        pool, common = np.zeros(1, PEERS), np.zeros(1, COMMON)
        common["now"] = common["began"] = common["day_t"] = -np.inf
        common["calibrator"] = fresh_calibrators(1)
        self._memory = Memory(
            self._pairs.head, self._pairs.rows, self._callers.head, self._callers.rows,
            self._models.head, self._models.rows, pool, common, np.empty(METRICS),
        )  # fmt: skip
        self._looked_at = np.zeros(1, np.int64)
        self._hits = Hits.empty(0)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it."""
        hits = self._hits = self._hits.fitting(batch.n)
        self._looked_at[0] += batch.n
        if batch.has("k_principal"):
            self._scan(rows_of(batch), asked(batch, self._watched), hits)
        return hits

    def _scan(self, rows: Rows, asked_for: npt.NDArray[np.uint8], hits: Hits) -> None:
        n = scan(rows, asked_for, self._memory, self._params, _found(hits))
        hits.scope[:n] = 0
        hits.count[0] = n

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """Hours that were told of are the caller's own past until then, on every model; those of no other caller."""
        del scope
        at = self._callers.row_of(key)
        if at >= 0:
            self._callers.rows[at]["released_until"] = until

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came, but none with a caller, a model and a sign of behaviour."""
        common = self._memory.common[0]
        if scope is not Scope.PRINCIPAL:
            return Opinion.BLIND
        if common["behaviour"] == 0:
            return Opinion.BLIND if self._looked_at[0] else Opinion.WARMING
        at = self._callers.row_of(key)
        if at < 0:
            return Opinion.WARMING
        if common["now"] - self._callers.rows[at]["told_at"] < k.HOUR_S:
            return Opinion.FINDING
        warm = is_warm(self._memory.pool[0], self._params) and common["now"] - common["began"] >= self._params.warm_s
        return Opinion.QUIET if warm else Opinion.WARMING

    def key_tables(self) -> dict[str, KeyTable]:
        """Callers on models, callers, models."""
        return {"pairs": self._pairs, "callers": self._callers, "models": self._models}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The pool of all models, the clock."""
        return {"pool": self._memory.pool, "common": self._memory.common, "looked_at": self._looked_at}

    def shifts(self) -> dict[str, float]:
        """Of the hours of callers."""
        return {"hours": float(self._memory.common[0]["calibrator"]["shift"])}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 10 s once, then 50 ms from the cache on disk."""
        detector = cls(Config(pairs_total=8), Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0))
        detector._scan(no_rows(), np.zeros(0, np.uint8), Hits.empty(0))


def _found(hits: Hits) -> Found:
    return Found(
        hits.row, hits.reason, hits.nats, hits.threshold_nats, hits.observed, hits.expected, hits.window_s, hits.since,
        hits.warm, hits.detail,
    )  # fmt: skip


def _params(config: Config, context: Context) -> Params:
    return Params(
        least_calls=float(config.least_queries),
        least_nats=config.least_nats,
        alarms_per_day=context.alarms_per_day,
        limit=math.inf if config.queries_per_hour is None else float(config.queries_per_hour),
        newcomer_s=config.newcomer_days * k.DAY_S,
        sweep=math.inf if config.sweep_queries_per_hour is None else float(config.sweep_queries_per_hour),
        warm_s=config.warm_days * k.DAY_S,
        warm_hours=float(config.warm_hours),
        warm_callers=config.warm_callers,
    )
