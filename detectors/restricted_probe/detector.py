"""The detector: what it sees, its options, its tables. The tests themselves are in ``kernel.py`` and ``row.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from gatewatch.sdk import (
    Batch,
    Context,
    Detector,
    DetectorConfig,
    Explanation,
    HashSeed,
    Hits,
    KeyTable,
    Need,
    Opinion,
    RawFinding,
    Reason,
    Scope,
    Severity,
    StateError,
    TableStats,
    hash_text,
)

from . import constants as k
from . import pairs
from .explain import explain
from .kernel import scan
from .layout import COMMON, FOUND, NAMES, ROW, SHARED, Columns, Params, Tables
from .names import FeatureHashes, table

REFRESH_S = 300.0  # what goes on is told again after so long
_TRIED = (
    "gain_refused", "gain_missing", "credit", "refused", "missing", "served", "step", "missing_weight",
)  # fmt: skip
_SEE_OUTCOME = "log the status, or whether policy refused the request"
_SEE_RESOURCE = "log the path, the route or the model"

REASONS = (
    Reason(
        k.PROBE, "probe", "Probing of what is not allowed", "resources", Severity.MEDIUM,
        learned=False, columns=_TRIED,
    ),
    Reason(
        k.ENUMERATION, "enumeration", "Guessing of names that do not exist", "resources", Severity.MEDIUM,
        learned=False, columns=_TRIED,
    ),
    Reason(
        k.COVERAGE, "coverage", "Walk through the restricted list", "restricted names", Severity.HIGH,
        learned=False, columns=("step", "least"),
    ),
    Reason(k.CANARY, "canary", "Canary touched", "requests", Severity.CRITICAL, learned=False),
    Reason(
        k.MANY, "many_refusals", "More different things refused than the limit", "resources", Severity.MEDIUM,
        learned=False,
    ),
    Reason(
        k.NEVER_SERVED, "never_served", "Only ever refused", "refusals", Severity.LOW,
        learned=False, columns=("limit",),
    ),
)  # fmt: skip


class Config(DetectorConfig):
    """Options; what each does is in :class:`RestrictedProbe`."""

    restricted: dict[str, float] = Field(default_factory=dict, max_length=NAMES)
    canaries: tuple[str, ...] = Field((), max_length=1000)
    theta0: float = Field(0.97, gt=0.5, lt=1)
    theta1: float = Field(0.5, gt=0, lt=0.9)
    alpha: float = Field(1e-5, gt=0, lt=0.1)
    missing_weight: float = Field(0.5, ge=0, le=1)
    refused_per_hour: int = Field(5, ge=2)
    refused_per_week: int = Field(12, ge=2)
    never_served: int | None = Field(5, ge=2)
    coverage: float = Field(0.2, gt=0, le=1)
    decay_days: float = Field(7.0, gt=0)
    keys_total: int = Field(50_000, ge=8)
    pairs_total: int = Field(2_000_000, ge=96)

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        if self.theta1 >= self.theta0:
            raise ValueError("theta1 must be below theta0")
        wrong = {name: weight for name, weight in self.restricted.items() if not (name and 0 < weight <= 100)}
        if wrong:
            raise ValueError(f"restricted: each name needs a weight in (0, 100], not {wrong}")
        if not all(self.canaries):
            raise ValueError("canaries: an empty name")
        return self


class RestrictedProbe(Detector):
    """Finds callers who try what they may not use, guess names that do not exist, or touch a canary.

    Sees:
        * *probe*: different resources refused (denied, 403, or 401 to a named caller), each at the first try, with few
          first tries served between: after 5, however slowly within a week; after 2 or 1 if they are restricted.
        * *enumeration*: the same for names that are not there (404, 405, 422), at half the weight: after 9.
        * *coverage*: a fifth of the ``restricted`` list refused, three names at least.
        * *canary*: any request for a name that nobody was ever told of, even a served one.
        * *many_refusals*: 5 different resources refused in an hour or 12 in a week, whatever was served between.
        * *never_served*: a principal that was refused 5 times, on one resource even, and never served: a stolen role,
          or a new service without its permission. Severity low.
        A resource is route (else path), model and the set of features asked for, together.

    Misses:
        * fewer than 5 resources a week by one key, if they are not on the list; many keys with fewer each;
        * who was served on a resource in the last 7 to 14 days and is refused now: a permission changed, that is no
          probe; likewise what more than three customers of this partition are refused within an hour (but never what
          is on the list);
        * sequential ids behind one route template: one resource, unless the gateway logs no template;
        * an address with as many new resources served as missing, such as a crawler with old links;
        * sources behind one address for longer than a day: an address forgets in a day, a principal in a week;
        * refusals inside a 200, or by a gateway that logs no status.

    Options:
        restricted: names (route, path, model or feature, exactly as logged) with a weight: 1 counts like any refusal,
            3 makes two enough, 10 makes one enough. At most 256.
        canaries: names whose every use is a finding. Tell nobody, and keep your own scanners from them.
        theta0, theta1: chance that a first try is served, for callers in order and for probers. Services that know
            their own API reach .99; theta0 leaves room for a typo.
        alpha: chance of a false alarm a first contact. Only with theta0 does it say how many refusals are needed.
        missing_weight: of a name that does not exist, against a refusal; 0 turns *enumeration* off.
        refused_per_hour, refused_per_week: the plain limits, for principals.
        never_served: refusals of a principal that was never served; null turns it off.
        coverage: share of the ``restricted`` list.
        decay_days: how fast a principal's evidence fades.
        keys_total: rows of each of the two tables, over all partitions.
        pairs_total: (key, resource) pairs remembered a generation, over all partitions.

    No baseline is learned, so it works from the first row. The threshold is Wald's bound ln(.99 / alpha) = 11.5 nats.

    Cost: about 0.1 us a row for each of the two scopes. Memory: 369 bytes a key, 8 bytes a pair, fixed at the start.

    Sources: Jung, Paxson, Berger and Balakrishnan 2004 (Threshold Random Walk); Lorden 1971 (false alarms of CUSUM);
    Prowler's share of a known catalogue and Elastic's "denied models" rule for the scale of the plain numbers.
    """

    name = "restricted_probe"
    version = 1
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PRINCIPAL, Scope.IP)  # in the order of constants.PRINCIPAL, IP
    reasons = REASONS
    needs = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("denied", "status"), _SEE_OUTCOME),
        Need(Scope.PRINCIPAL, ("endpoint", "path", "model"), _SEE_RESOURCE),
        Need(Scope.IP, ("ip",), "log the client's address"),
        Need(Scope.IP, ("denied", "status"), _SEE_OUTCOME),
        Need(Scope.IP, ("endpoint", "path", "model"), _SEE_RESOURCE),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        rows = max(8, config.keys_total // context.partitions)
        self._tables = {scope: KeyTable(rows, ROW) for scope in self.scopes}
        self._shared = KeyTable(max(8, rows // 8), SHARED)
        self._pairs = pairs.room(max(8, config.pairs_total // context.partitions))
        self._common = np.zeros(1, COMMON)
        self._common["now"] = self._common["since"] = -np.inf
        self._looked_at = np.zeros(1, np.int64)
        self._names = table(config.restricted, config.canaries, context.seed)
        self._features = FeatureHashes(context.seed)
        self._params = _params(config, context)
        who, where = self._tables.values()
        self._kernel_tables = Tables(
            who.head, where.head, self._shared.head, who.rows, where.rows, self._shared.rows
        )
        self._hits = Hits.empty(0)
        self._found = np.zeros(0, FOUND)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it."""
        room = batch.n * len(self.scopes)
        self._hits = self._hits.fitting(room)
        self._looked_at[0] += batch.n
        if len(self._found) < room:
            self._found = np.zeros(2 * room, FOUND)
        columns = _columns(batch, *self._features.of(batch))
        n = self._scan(columns)
        if n:
            _hand_over(self._found[:n], self._hits)
        return self._hits

    def _scan(self, columns: Columns) -> int:
        return scan(
            columns, self._kernel_tables, self._pairs, self._common[0], self._names, self._params, self._found
        )

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came, but none with such a key, an outcome and something that was asked for."""
        if scope not in self.scopes:
            return Opinion.BLIND
        if self._common[0]["rows"][self.scopes.index(scope)] == 0:
            return Opinion.BLIND if self._looked_at[0] else Opinion.WARMING
        at = self._tables[scope].row_of(key)
        if at < 0:
            return Opinion.WARMING
        row = self._tables[scope].rows[at]
        now = self._common[0]["now"]
        recent = now - max(row["told_at"], row["canary_at"]) < REFRESH_S
        over = row["refused"] + row["missing"] - row["credit"] >= self._params.threshold
        return Opinion.FINDING if recent or over else Opinion.QUIET

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Both tables of keys, the shared resources, the pairs and the clock."""
        arrays = {f"{name}/{field}": a for name, t in self._all_tables().items() for field, a in t.snapshot().items()}
        return {**arrays, **{name: a.copy() for name, a in self._own_arrays().items()}}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version or capacity.
        """
        for name, mine in self._own_arrays().items():
            theirs = arrays.get(name)
            if theirs is None or theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise StateError(f"restricted_probe: {name!r} in the snapshot does not fit (capacity or version)")
        for name, keys in self._all_tables().items():
            prefix = f"{name}/"
            keys.restore({field.removeprefix(prefix): a for field, a in arrays.items() if field.startswith(prefix)})
        for name, mine in self._own_arrays().items():
            mine[...] = arrays[name]

    def tables(self) -> dict[str, TableStats]:
        """Keys of both scopes, resources refused to several, and the current generation of pairs."""
        found = {
            name: TableStats(t.used, t.capacity, int(t.head.stats[0]), int(t.head.stats[1]), t.nbytes)
            for name, t in self._all_tables().items()
        }
        common = self._common[0]
        found["pairs"] = TableStats(
            int(common["added"]), 4 * self._pairs.shape[1], int(common["turns"]), 0, self._pairs.nbytes
        )
        return found

    def _all_tables(self) -> dict[str, KeyTable]:
        return {**{scope.value: t for scope, t in self._tables.items()}, "shared": self._shared}

    def _own_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"pairs": self._pairs, "common": self._common, "looked_at": self._looked_at}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 10 s once, then 50 ms from the cache on disk."""
        detector = cls(Config(keys_total=8, pairs_total=96), Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0))
        detector._scan(Columns(*(_frozen(np.zeros(0, dtype)) for dtype in _DTYPES)))


_DTYPES = (
    np.float64, np.uint8, np.int32, np.int8, np.int8, np.int8, *(np.uint64,) * 6, np.int64,
)  # of Columns, in order  # fmt: skip
_CODES = ("status", "auth", "denied", "blocked_by_us")
_KEYS = ("k_principal", "k_ip", "k_endpoint", "k_path", "k_model")


def _columns(batch: Batch, feature: npt.NDArray[np.uint64], feature_from: npt.NDArray[np.int64]) -> Columns:
    numbers = (batch.column(name) for name in (*_CODES, *_KEYS))
    return Columns(*(_frozen(a) for a in (batch.ts, batch.role, *numbers, feature, feature_from)))


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read-only, as Arrow's own views are: else each mixture of present and absent columns would compile anew."""
    view = array.view()
    view.flags.writeable = False
    return view


def _hand_over(found: npt.NDArray[np.void], hits: Hits) -> None:
    """Findings of the kernel into :class:`Hits`."""
    n = len(found)
    hits.count[0] = n
    for name in ("row", "scope", "reason", "nats", "observed", "expected", "window_s", "since", "detail"):
        getattr(hits, name)[:n] = found[name]
    hits.threshold_nats[:n] = found["threshold"]
    hits.warm[:n] = 1  # nothing is learned


def _params(config: Config, context: Context) -> Params:
    def salt(scope: Scope) -> np.uint64:
        return np.uint64(hash_text(f"restricted_probe/{scope.value}", context.seed))

    listed = len(config.restricted)
    return Params(
        threshold=math.log(0.99 / config.alpha),
        up=math.log((1.0 - config.theta1) / (1.0 - config.theta0)),
        missing_weight=config.missing_weight,
        down=math.log(config.theta0 / config.theta1),
        expected_share=1.0 - config.theta0,
        decay_s=(config.decay_days * k.DAY_S, min(config.decay_days, k.IP_DECAY_DAYS) * k.DAY_S),
        refused_per_hour=float(config.refused_per_hour),
        refused_per_week=float(config.refused_per_week),
        never_served=math.inf if config.never_served is None else float(config.never_served),
        covered=max(float(k.LEAST_COVERED), math.ceil(config.coverage * listed)) if listed else math.inf,
        refresh_s=REFRESH_S,
        salts=(salt(Scope.PRINCIPAL), salt(Scope.IP)),
        no_features=np.uint64(hash_text("restricted_probe/features", context.seed)),
    )
