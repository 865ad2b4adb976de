"""The detector: what it sees, its options, its tables. The tests themselves are in ``kernel.py`` and ``row.py``."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

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
    TableStats,
    hash_text,
    no_pairs,
    no_rows,
    pair_stats,
    rows_of,
)

from . import constants as k
from .explain import explain
from .kernel import scan
from .layout import COMMON, FOUND, NAMES, NOTHING_ASKED, ROW, SHARED, Asked, Memory, Params
from .names import Families, FeatureHashes, table

REFRESH_S = 300.0  # what goes on is told again after so long
_TRIED = (
    "gain_refused", "gain_missing", "credit", "refused", "missing", "served", "step", "missing_weight",
)  # fmt: skip
_SEE_OUTCOME = "log the status (401, 403, 404 as meant: docs/formats.md), or whether policy refused the request"
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
        k.WITHOUT_KEY, "without_credentials", "Walk without credentials", "resources", Severity.MEDIUM,
        learned=False, columns=_TRIED,
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
    keys_total: int = Field(28_672, ge=8)
    pairs_total: int = Field(1_250_000, ge=96)

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


class RestrictedProbe(TableDetector):
    """Finds callers who try what they may not use, guess names that do not exist, or touch a canary.

    Sees:
        * *probe*: different resources refused (denied, 403, or 401 to a named caller), each at the first try, with few
          first tries served between: after 5, however slowly within a week; after 2 or 1 if they are restricted.
        * *enumeration*: the same for names that are not there (404, 405, 410, 422, 444), at half the weight: after 9.
          Without routes in the log a further id under one template counts a quarter of that: after 30 or so, if hardly
          any is served; and what is served a moment later (a client that looks before it creates) counts not at all.
        * *without credentials*: the same for 401 to requests that name nobody and show nothing: a walk over names
          without a key. After 9; what others are served counts a quarter (who guesses knows not what is there),
          what is served a moment later with a token not at all. Who asks for the same again takes a little of it back.
        * *coverage*: a fifth of the ``restricted`` list refused, three names at least.
        * *canary*: any request for a name that nobody was ever told of, even a served one.
        * *many_refusals*: 5 different resources refused in an hour or 12 in a week, whatever was served between.
        * *never_served*: a principal that was refused 5 times, on one resource even, and never served: a stolen role,
          or a new service without its permission. Severity low.
        The first four also of a network (/24, /48): what three addresses of it or more ask for, each a few things, none
        of them accused itself; on half as much evidence again (13 names that are not there). There each address that is
        served something for the first time speaks for all of them.
        A resource is route (else path), model and the set of features asked for, together.

    Misses:
        * fewer than 5 resources a week by one key, if they are not on the list; many keys with fewer each, unless they
          are addresses of one network;
        * who was served on a resource in the last 7 to 14 days and is refused now: a permission changed, that is no
          probe; likewise what more than three customers of this partition are refused within an hour (but never what
          is on the list);
        * sequential ids behind one route template: one resource, unless the gateway logs no template; without one, ids
          that are not there, if every third of them or more is served;
        * an address with as many new resources served as missing, such as a crawler with old links;
        * sources behind one address for longer than a day: an address forgets in a day, a principal in a week;
        * a walk without credentials of fewer than 27 names that is over within ten seconds (a page whose session is
          over looks the same), one over ids of a few templates, and one over nothing but what others are served (33 of
          it). A client with a dead token and nine names of its own, never served, is told of as a walk;
        * refusals inside a 200, by a redirect to the login, as a 400 (docs/formats.md says how to send what was meant),
          or by a gateway that logs no status.

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
        keys_total: rows of each of the tables of principals and addresses, over all partitions; of networks a
            quarter.
        pairs_total: (key, resource) pairs remembered a generation, for each of them, likewise.

    No baseline is learned, so it works from the first row. The threshold is Wald's bound ln(.99 / alpha) = 11.5 nats.

    Cost: about 0.05 us a row for each of the three scopes. Memory: 470 bytes a key, 4 bytes a pair, fixed at the start.

    Sources: Jung, Paxson, Berger and Balakrishnan 2004 (Threshold Random Walk); Lorden 1971 (false alarms of CUSUM);
    Prowler's share of a known catalogue and Elastic's "denied models" rule for the scale of the plain numbers.
    """

    name = "restricted_probe"
    version = 4
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PRINCIPAL, Scope.IP, Scope.NETWORK)  # in the order of constants.PRINCIPAL, IP, NETWORK
    tests = 0  # its alpha is an option
    reasons = REASONS
    needs = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("denied", "status"), _SEE_OUTCOME),
        Need(Scope.PRINCIPAL, ("endpoint", "path", "model"), _SEE_RESOURCE),
        Need(Scope.IP, ("ip",), "log the client's address"),
        Need(Scope.IP, ("denied", "status"), _SEE_OUTCOME),
        Need(Scope.IP, ("endpoint", "path", "model"), _SEE_RESOURCE),
        Need(Scope.NETWORK, ("ip",), "log the client's address"),
        Need(Scope.NETWORK, ("denied", "status"), _SEE_OUTCOME),
        Need(Scope.NETWORK, ("endpoint", "path", "model"), _SEE_RESOURCE),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        rows = max(8, config.keys_total // context.partitions)
        n_pairs = max(8, config.pairs_total // context.partitions)
        self._served = np.zeros(k.OPEN, np.uint64)
        self._said = np.zeros(0, np.uint8)
        self._sides = {}
        for scope in self.scopes:
            part = 4 if scope is Scope.NETWORK else 1  # there are fewer networks than addresses
            params = _params(config, context, scope)
            side = _Side(max(8, rows // part), max(8, n_pairs // part), self._served, params)
            self._sides[scope] = side
        self._looked_at = np.zeros(1, np.int64)
        self._names = table(config.restricted, config.canaries, context.seed)
        self._features = FeatureHashes(context.seed)
        self._families = Families(context.seed)
        self._hits = Hits.empty(0)
        self._found = np.zeros(0, FOUND)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it, a scope after the other: an accused address is no part of its network."""
        self._hits = self._hits.fitting(batch.n * len(self.scopes))
        self._looked_at[0] += batch.n
        rows, asked = rows_of(batch), Asked(*self._features.of(batch), self._families.of(batch))
        for index, side in enumerate(self._sides.values()):
            found = self._scan(side, rows, asked, index)
            if len(found):
                self._hits.add(found, scope=index)  # warm: nothing is learned
        if len(self._hits):
            self._hits.sort()
        return self._hits

    def _scan(self, side: _Side, rows: Rows, asked: Asked, scope: int) -> npt.NDArray[np.void]:
        """The findings of one scope, in a buffer that the next call fills again."""
        if len(self._found) < len(rows):
            self._found = np.zeros(2 * len(rows), FOUND)
            self._said = np.zeros(2 * len(rows), np.uint8)
        if scope == k.PRINCIPAL:
            self._said[: len(rows)] = 0
        memory = side.memory._replace(said=self._said)
        n = scan(rows, asked, scope, memory, self._names, side.params, self._found)
        return self._found[:n]

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came, but none with such a key, an outcome and something that was asked for."""
        side = self._sides.get(scope)
        if side is None:
            return Opinion.BLIND
        common = side.memory.common[0]
        if common["rows"] == 0:
            return Opinion.BLIND if self._looked_at[0] else Opinion.WARMING
        at = side.keys.row_of(key)
        if at < 0:
            return Opinion.WARMING
        row = side.keys.rows[at]
        recent = common["now"] - max(row["told_at"], row["canary_at"]) < REFRESH_S
        over = row["refused"] + row["missing"] - row["credit"] >= side.params.threshold
        return Opinion.FINDING if recent or over else Opinion.QUIET

    def tables(self) -> dict[str, TableStats]:
        """Of each scope: keys, resources refused to several, and the current generation of pairs."""
        found = super().tables()
        for scope, side in self._sides.items():
            common = side.memory.common[0]
            found[f"{scope.value}_pairs"] = pair_stats(side.memory.pairs, int(common["added"]), int(common["turns"]))
        return found

    def key_tables(self) -> dict[str, KeyTable]:
        """Of each scope: keys, and resources refused to several."""
        keys = {scope.value: side.keys for scope, side in self._sides.items()}
        return {**keys, **{f"{scope.value}_shared": side.shared for scope, side in self._sides.items()}}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Of each scope: pairs and clock."""
        pairs = {f"{scope.value}_pairs": side.memory.pairs for scope, side in self._sides.items()}
        clocks = {f"{scope.value}_common": side.memory.common for scope, side in self._sides.items()}
        return {**pairs, **clocks, "looked_at": self._looked_at, "served": self._served}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 10 s once, then 50 ms from the cache on disk."""
        detector = cls(Config(keys_total=8, pairs_total=96), Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0))
        detector._scan(detector._sides[Scope.PRINCIPAL], no_rows(), NOTHING_ASKED, k.PRINCIPAL)


class _Side:
    """All that one scope keeps."""

    def __init__(self, rows: int, n_pairs: int, served: npt.NDArray[np.uint64], params: Params) -> None:
        self.keys = KeyTable(rows, ROW)
        self.shared = KeyTable(max(8, rows // 8), SHARED)
        self.params = params
        common = np.zeros(1, COMMON)
        common["now"] = common["since"] = -np.inf
        self.memory = Memory(
            self.keys.head,
            self.keys.rows,
            self.shared.head,
            self.shared.rows,
            no_pairs(n_pairs),
            served,
            common,
            np.zeros(0, np.uint8),
        )


def _params(config: Config, context: Context, scope: Scope) -> Params:
    listed = len(config.restricted)
    network = scope is Scope.NETWORK
    named = scope is Scope.PRINCIPAL  # behind an address may stand many people: plain counts say nothing there
    return Params(
        threshold=math.log(0.99 / config.alpha) * (k.NETWORK_MARGIN if network else 1.0),
        up=math.log((1.0 - config.theta1) / (1.0 - config.theta0)),
        missing_weight=config.missing_weight,
        down=math.log(config.theta0 / config.theta1),
        expected_share=1.0 - config.theta0,
        decay_s=(config.decay_days if named else min(config.decay_days, k.IP_DECAY_DAYS)) * k.DAY_S,
        refused_per_hour=float(config.refused_per_hour) if named else math.inf,
        refused_per_week=float(config.refused_per_week) if named else math.inf,
        never_served=float(config.never_served) if named and config.never_served is not None else math.inf,
        covered=max(float(k.LEAST_COVERED), math.ceil(config.coverage * listed)) if listed else math.inf,
        least_addresses=k.LEAST_ADDRESSES if network else 0,
        refresh_s=REFRESH_S,
        salt=np.uint64(hash_text("restricted_probe/features", context.seed)),
    )
