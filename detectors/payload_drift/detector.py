"""The detector: what it sees, its options, its tables. The tests themselves are in ``kernel.py``."""

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
    Role,
    Rows,
    Scope,
    Severity,
    TableDetector,
    hash_text,
    no_rows,
    rows_of,
)

from . import constants as k
from .explain import explain
from .facts import NO_FACTS, facts_of
from .kernel import scan
from .layout import COMMON, ENDPOINT, FACTS, FOUND, ROW, WORDS, Facts, Memory, Params

REFRESH_S = 300.0  # what goes on is told again after so long
GUESTS_TOTAL = 2048  # rows for callers of other partitions, over all partitions, of those of principals: a small site's
_ONE = ("structure", "characters", "size", "new_fields", "nearest", "kind", "other_kind", "bodies")
_MANY = ("structure", "characters", "size", "credit", "bodies", "kind", "other_kind")
_BODY = ("shape",)
_SEE_BODY = "log the request body (only its shape is kept), or send `shape`"

REASONS = (
    Reason(k.BODY_BYTES, "body_bytes", "Body larger than the limit", "bytes", Severity.MEDIUM, learned=False),
    Reason(k.DEPTH, "depth", "Body nested deeper than the limit", "levels", Severity.MEDIUM, learned=False),
    Reason(k.KEYS, "keys", "More keys than the limit", "keys", Severity.MEDIUM, learned=False),
    Reason(k.ARRAY, "array", "Array longer than the limit", "entries", Severity.MEDIUM, learned=False),
    Reason(k.STRING, "string", "String longer than the limit", "characters", Severity.MEDIUM, learned=False),
    Reason(
        k.STRUCTURE, "structure", "Body of a structure that is not used here", "fields never seen", Severity.MEDIUM,
        learned=True, columns=_ONE,
    ),
    Reason(
        k.CHARACTERS, "characters", "Characters that values here never hold", "kinds of characters", Severity.MEDIUM,
        learned=True, columns=_ONE,
    ),
    Reason(k.SIZE, "size", "Body of an unusual size", "bytes", Severity.LOW, learned=True, columns=_ONE),
    Reason(
        k.DRIFT, "drift", "Bodies unlike this caller's own", "unusual bodies", Severity.MEDIUM,
        learned=True, columns=_MANY,
    ),
    Reason(
        k.CHANGE, "change", "A caller's bodies have fields that are new here", "fields never seen", Severity.LOW,
        learned=True, columns=_ONE,
    ),
)  # fmt: skip


class Config(DetectorConfig):
    """Options; what each does is in :class:`PayloadDrift`."""

    max_body_bytes: float = Field(16e6, gt=0)
    max_depth: int = Field(12, ge=1)
    max_keys: int = Field(5000, ge=1)
    max_array: int = Field(20_000, ge=1)
    max_string: int = Field(8_000_000, ge=1)
    alpha: float = Field(1e-6, gt=0, lt=0.1)
    gate: float = Field(1e-4, gt=0, lt=0.1)
    endpoint_bodies: int = Field(200, ge=20)
    caller_bodies: int = Field(100, ge=20)
    warm_hours: float = Field(6.0, ge=0)
    decay_hours: float = Field(24.0, gt=0)
    reference_hours: float = Field(168.0, ge=24)
    least_index: float = Field(0.1, gt=0)
    keys_total: int = Field(32_256, ge=8)
    endpoints_total: int = Field(1056, ge=8)


class PayloadDrift(TableDetector):
    """Finds bodies that are not what an endpoint and a caller are used to; of the content nothing is looked at.

    Sees:
        * *body_bytes*, *depth*, *keys*, *array*, *string*: plain limits, from the first event on, by no baseline moved.
        * *structure*: a body of a structure (its fields and their types) that nobody sends to this endpoint, the more
          so the more fields were never seen and the less it is like any that was.
        * *characters*: values with kinds of characters (quotes, brackets, separators, "../") that values here never
          hold: SQL, script and command injection, path traversal, forged log lines.
        * *size*: much more or less than this caller sends in this structure; of a newcomer, than the endpoint gets.
        * *drift*: none of these alone, but many from one caller: structures that are new for it, though others send
          them; a newcomer with one structure after the other; ten times its sizes. First contacts count.
        * *change*: a structure with fields that are new here, in a body that has all that bodies here have, served, of
          an established principal, with ordinary characters and size: a new version of its client. Told once; more
          than three such changes within a day are a probe.

        What was told and goes on is no news: it is told again when it grows or others join, or after a day without it.

    Misses:
        * everything in words: prompt injection in plain prose has the structure, characters and size of any prompt;
        * injections into values that hold code or markup anyway (chat prompts), so that no kind of character is rare;
        * values that Gatewatch does not see: a query string or header that the gateway does not log within the body;
        * an endpoint's first ``endpoint_bodies`` bodies, a caller's first ``caller_bodies``: limits only;
        * one odd body at an endpoint with few hundred bodies: what is rare there cannot be told from what is not known
          yet, and each surprise has ln(2 n) nats at most. What only addresses send (no principal) each partition
          learns from its own alone;
        * one odd structure of a newcomer where callers are few: it may have a client of its own;
        * fields added to ordinary bodies (mass assignment), up to three times a day, are told as a *change* only;
        * the same again within a day of what was told and called nothing;
        * one caller that changes by a structure or a kind at a time, each below the gate, over weeks;
        * attacks by more than 3 in 10 of an endpoint's bodies for long: they become what is usual (and the population
          part tells of the change); bodies beyond the first 256 nodes, or larger than a megabyte: only their size.

    Options:
        max_body_bytes, max_depth, max_keys, max_array, max_string: the plain limits. Shapes are walked 16 levels deep.
        alpha: chance of a false alarm a body; nats beyond ln(1 / alpha) are told of. It is also the bound of *drift*.
        gate: a body rarer than this teaches nothing; nor does a structure rarer than one in all bodies so far.
        endpoint_bodies, caller_bodies: how many are learned from before anything is told of. Those of an endpoint over
            all partitions; each learns it from its own part and what it is shown of the others', from 20 at least.
        warm_hours: age of an endpoint's row before what was learned may alert; before, it is recorded as shadow. Of a
            busy one, with ten times ``endpoint_bodies``, an hour is enough.
        decay_hours: how fast evidence against a caller fades.
        reference_hours, least_index: of the part on populations.
        keys_total: rows of callers for each scope, over all partitions; of those of principals 2,048, an eighth at
            most, are for callers of other partitions.
        endpoints_total: rows of endpoints for each scope, over all partitions.

    A structure from three established principals is a release and becomes a template; from one it is a
    probe. A caller who authenticated is looked at as a principal, all others by address.

    Ingest shows some bodies of principals to all partitions. They are learned from as if their caller were one of here,
    but for this: nothing is told of them, and an odd structure of a caller that is new teaches nothing.

    Cost: about 0.1 us a row without a body, 0.5 us with one. Memory: 384 bytes a caller and 6 KB an endpoint, fixed.

    Sources: Kruegel and Vigna 2003 (length, characters and structure of parameters); Vovk and Wang 2021 (e-values);
    Lorden 1971 (CUSUM); Whang 1990 (counting by a bitmap). Weights of fields and distances
    were measured on mixed client payloads.
    """

    name = "payload_drift"
    version = 3
    learns_from_shown = True
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PRINCIPAL, Scope.IP)
    tests = 0  # its alphas are options
    reasons = REASONS
    needs = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, _BODY, _SEE_BODY),
        Need(Scope.IP, ("ip",), "log the client's address"),
        Need(Scope.IP, _BODY, _SEE_BODY),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._sides = {scope: _Side(config, context, scope) for scope in self.scopes}
        self._looked_at = np.zeros(1, np.int64)
        self._hits = Hits.empty(0)
        self._found = np.zeros(0, FOUND)

    def process(self, batch: Batch) -> Hits:
        """Score each body, then learn from it. The two scopes share nothing, so one goes after the other."""
        self._hits = self._hits.fitting(batch.n * len(self.scopes))
        self._looked_at[0] += batch.n
        rows, facts = rows_of(batch), facts_of(batch)
        for index, (scope, side) in enumerate(self._sides.items()):
            found = self._scan(side, rows, facts, _ROLES[scope])
            if len(found):
                self._hits.add(found, scope=index)
        if len(self._hits):
            self._hits.sort()
        return self._hits

    def _scan(self, side: _Side, rows: Rows, facts: Facts, role: int) -> npt.NDArray[np.void]:
        """The findings of one scope, in a buffer that the next call fills again."""
        if len(self._found) < len(rows):
            self._found = np.zeros(2 * len(rows), FOUND)
        return self._found[: scan(rows, facts, role, side.memory, side.params, self._found)]

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """What the caller sends until then teaches its own row; endpoints learn of it as before."""
        callers = self._sides[scope].callers
        at = callers.row_of(key)
        if at >= 0:
            callers.rows[at]["released_until"] = until

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came, but none with a body; warming until the caller's own structures are known."""
        side = self._sides.get(scope)
        if side is None:
            return Opinion.BLIND
        common = side.memory.common[0]
        if common["bodies"] == 0:
            return Opinion.BLIND if self._looked_at[0] else Opinion.WARMING
        at = side.callers.row_of(key)
        if at < 0:
            return Opinion.WARMING
        row = side.callers.rows[at]
        weight = row["structure"] + row["characters"] + row["size"] - row["credit"]
        recent = row["rank"] == 1 and common["now"] - row["told_at"] < REFRESH_S
        if recent or weight >= side.params.threshold:
            return Opinion.FINDING
        return Opinion.QUIET if row["n"] >= side.params.caller_rows else Opinion.WARMING

    def key_tables(self) -> dict[str, KeyTable]:
        """Callers and endpoints of each scope."""
        callers = {scope.value: side.callers for scope, side in self._sides.items()}
        endpoints = {f"{scope.value}_endpoints": side.endpoints for scope, side in self._sides.items()}
        return {**callers, **endpoints, "guests": self._sides[Scope.PRINCIPAL].guests}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Counts of each scope."""
        counts = {f"{scope.value}_common": side.memory.common for scope, side in self._sides.items()}
        return {**counts, "looked_at": self._looked_at}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 15 s once, then 50 ms from the cache on disk."""
        context = Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0)
        detector = cls(Config(keys_total=8, endpoints_total=8), context)
        detector._scan(detector._sides[Scope.PRINCIPAL], no_rows(), NO_FACTS, _ROLES[Scope.PRINCIPAL])


class _Side:
    """All that one scope keeps."""

    def __init__(self, config: Config, context: Context, scope: Scope) -> None:
        anonymous = scope is Scope.IP
        rows = max(8, config.keys_total // context.partitions)
        guests = 0 if anonymous or context.partitions == 1 else min(GUESTS_TOTAL // context.partitions, rows // 8)
        self.callers = KeyTable(rows - guests, ROW, authenticated_only=not anonymous)
        self.guests = KeyTable(guests, ROW, authenticated_only=True)
        self.endpoints = KeyTable(max(8, config.endpoints_total // context.partitions), ENDPOINT)
        self.params = Params(
            threshold=-math.log(config.alpha),
            gate=-math.log(config.gate),
            endpoint_rows=max(k.LEAST_BODIES, config.endpoint_bodies / context.partitions),
            caller_rows=float(config.caller_bodies),
            warm_s=config.warm_hours * k.HOUR_S,
            refresh_s=REFRESH_S,
            decay_s=config.decay_hours * k.HOUR_S,
            anonymous=anonymous,
            salt=np.uint64(hash_text("payload_drift/fields", context.seed)),
        )
        common = np.zeros(1, COMMON)
        common["now"] = -np.inf
        limits = (config.max_body_bytes, config.max_depth, config.max_keys, config.max_array, config.max_string)
        self.memory = Memory(
            self.callers.head, self.callers.rows, self.guests.head, self.guests.rows,
            self.endpoints.head, self.endpoints.rows, common,
            np.array(limits, np.float64), np.zeros(FACTS + WORDS, np.uint64),
        )  # fmt: skip


_ROLES = {Scope.PRINCIPAL: int(Role.WHO), Scope.IP: int(Role.WHERE)}
