"""The detector: what it sees, its options, its tables. The model itself is in ``kernel.py``."""

from __future__ import annotations

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
from .kernel import accept_accused, scan
from .layout import AGENT_ROW, FOUND, POP, ROW, Memory, Params

_PARTS = ("place", "agent", "model", "concurrent", "burst", "level", "days", "moves")
_UNIT = "requests from the new place"
_SEE_PLACE = "log the client's address, and give ingest a MaxMind-format file for operator and country"

REASONS = (
    Reason(
        k.NEW_PLACE, "new_place", "Key used where it never was", _UNIT, Severity.MEDIUM, learned=True, columns=_PARTS
    ),
    Reason(
        k.BURST, "new_place_burst", "Key used where it never was, and in a burst", _UNIT, Severity.HIGH,
        learned=True, columns=_PARTS,
    ),
    Reason(
        k.CONCURRENT, "concurrent_use", "Key used in two places at once", _UNIT, Severity.HIGH,
        learned=True, columns=_PARTS,
    ),
)  # fmt: skip


class Config(DetectorConfig):
    """Options; what each does is in :class:`LeakedKey`."""

    known_events: int = Field(50, ge=2)
    known_s: float = Field(3600.0, ge=0)
    probation_s: float = Field(3600.0, ge=60)
    release_after_hours: float = Field(24.0, gt=0)
    burst_ratio: float = Field(10.0, gt=1)
    min_nats: float = Field(7.0, gt=0)
    refresh_s: float = Field(300.0, ge=60)
    keys_total: int = Field(32_256, ge=8)


class LeakedKey(TableDetector):
    """Finds keys that somebody else uses too.

    Sees:
        * *new_place*: a use from a network, operator (AS number) or country where the key never was, with a user agent
          or model that it never had, and that is rare enough for this key and for keys like it;
        * *concurrent_use*: such a place, and uses from there in turn with uses from a known place (two changes to and
          fro within some 10 minutes), by another agent than the owner's; in the same country only if it goes on after
          half an hour: until then it may be a service that moves, and is told of as a new place;
        * *new_place_burst*: such a place, and from it alone ten times the rate that the key usually has.
        Keys are credentials; where a row names none, principals.

    Misses:
        * a thief in the owner's network; one with the owner's operator and user agent who comes one at a time (rate and
          cost see what they take); one who keeps quiet for ``probation_s``: the place is known then;
        * the owner's agent in turn with the owner: an office with a VPN, or a service that takes a second region, does
          the same. A service that moves to another country, with a new client, is told of as concurrent use if the
          two are in use in turn;
        * keys that move all the time (mobile users, runners in a cloud): moving is usual for them, so little is left
          that could surprise;
        * in an installation's first ten days a thief with another agent from another operator of the same country, and
          in its first weeks one with the owner's agent (a common SDK) from another country: how seldom keys move there
          is not known yet, and after ``probation_s`` below the threshold the place is the key's own;
        * keys used for less than an hour or 50 times, and a thief who was there from the start;
        * a thief whom nobody has stopped for a day: then the place is taken to be the owner's new one;
        * a credential used by several principals: each partition of ``routed`` sees its own principals' uses.

    Options:
        known_events, known_s: what a key must have done before anything of it can be new.
        probation_s: how long what happens at a new place is held against it, and teaches nothing.
        release_after_hours: how long a place that was told of must go on before it is known after all; and how long it
            must be silent to be forgotten.
        burst_ratio: times the key's usual rate (decayed over 7 days), and 20 requests in 10 minutes at least.
        min_nats: no finding below this surprise, whatever the budget would allow.
        refresh_s: what goes on is told again after so long, or when it has grown by half.
        keys_total: rows of each of the two tables, over all partitions.

    nats: -ln of the chance that a day brings a key like this one such a thing. Rates of new values are learned for each
    key by days (mobile users pay nothing for a new network a day), with all keys' before its own; what comes with a
    benign move is learned over all keys. The threshold is ln(keys in use a day / false alarms allowed a day), within
    ``min_nats`` and 16, and moved to where new places so far have it (:mod:`gatewatch.state.calibrator`). An agent that
    three keys began to use at home within a day is a release, and not new.

    Cost: about 0.15 us a use. Memory: 520 bytes a key, fixed at the start.

    Sources: Freeman, Jain, Duermuth, Biggio and Giacinto 2016 (likelihood ratio with back-off network, operator,
    country); Wiefling, Joergensen, Thunem and Lo Iacono 2022 (what attacks teach is left out); Elastic's concurrent
    session rule for the scale of "at once".
    """

    name = "leaked_key"
    version = 3
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.CREDENTIAL, Scope.PRINCIPAL)
    tests = 2  # one for each scope
    reasons = REASONS
    needs = (
        Need(Scope.CREDENTIAL, ("credential",), "log the id of the API key, or send a hash of it"),
        Need(Scope.CREDENTIAL, ("ip", "asn", "country"), _SEE_PLACE),
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("ip", "asn", "country"), _SEE_PLACE),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        rows = max(8, config.keys_total // context.partitions)
        self._params = _params(config, context)
        self._sides = {scope: _Side(rows, self._params) for scope in self.scopes}
        self._looked_at = np.zeros(1, np.int64)
        self._hits = Hits.empty(0)
        self._found = np.zeros(0, FOUND)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it. The two scopes share nothing, so one goes after the other."""
        self._hits = self._hits.fitting(batch.n)
        self._looked_at[0] += batch.n
        rows = rows_of(batch)
        for index, side in enumerate(self._sides.values()):
            found = self._scan(index, side, rows)
            if len(found):
                self._hits.add(found, scope=index)  # warm: only keys that are known are judged
        if len(self._hits):
            self._hits.sort()
        return self._hits

    def _scan(self, scope: int, side: _Side, rows: Rows) -> npt.NDArray[np.void]:
        """The findings of one scope, in a buffer that the next call fills again."""
        if len(self._found) < len(rows):
            self._found = np.zeros(2 * len(rows), FOUND)
        return self._found[: scan(rows, scope, side.memory, self._params, self._found)]

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """The key is known by the place it is accused of, from now on.

        Only by that one, whatever ``until`` says: who expects one move of a key has not let the next thief in.
        """
        side = self._sides[scope]
        at = side.keys.row_of(key)
        if at >= 0 and side.keys.rows[at]["t"] < until:
            accept_accused(side.keys.rows[at], side.memory.pop[0])

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rows came, but no use of such a key from anywhere; warming until the key is known."""
        side = self._sides.get(scope)
        if side is None:
            return Opinion.BLIND
        if side.memory.pop[0]["rows"] == 0:
            return Opinion.BLIND if self._looked_at[0] else Opinion.WARMING
        at = side.keys.row_of(key)
        if at < 0 or not np.isfinite(side.keys.rows[at]["known_at"]):
            return Opinion.WARMING
        return Opinion.FINDING if side.keys.rows[at]["accused"] else Opinion.QUIET

    def key_tables(self) -> dict[str, KeyTable]:
        """Keys of both scopes, and agents that keys began to use."""
        keys = {scope.value: side.keys for scope, side in self._sides.items()}
        return {**keys, **{f"{scope.value}_agents": side.agents for scope, side in self._sides.items()}}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What all keys have in common."""
        pops = {f"{scope.value}_pop": side.memory.pop for scope, side in self._sides.items()}
        return {**pops, "looked_at": self._looked_at}

    def shifts(self) -> dict[str, float]:
        """Of new places, for each scope."""
        return {scope.value: float(side.memory.pop[0]["calibrator"]["shift"]) for scope, side in self._sides.items()}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 10 s once, then 50 ms from the cache on disk."""
        detector = cls(Config(keys_total=8), Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0))
        detector._scan(0, detector._sides[Scope.CREDENTIAL], no_rows())
        side = detector._sides[Scope.CREDENTIAL]
        accept_accused(side.keys.rows[0], side.memory.pop[0])


class _Side:
    """All that one scope keeps."""

    def __init__(self, rows: int, params: Params) -> None:
        self.keys = KeyTable(rows, ROW, authenticated_only=True)
        self.agents = KeyTable(max(64, rows // 8), AGENT_ROW)
        pop = np.zeros(1, POP)
        pop["now"] = pop["tick"] = -np.inf
        pop["threshold"] = pop["model_threshold"] = params.min_nats
        pop["calibrator"] = fresh_calibrators(1)
        self.memory = Memory(self.keys.head, self.keys.rows, self.agents.head, self.agents.rows, pop)


def _params(config: Config, context: Context) -> Params:
    return Params(
        known_events=float(config.known_events),
        known_s=config.known_s,
        probation_s=config.probation_s,
        release_s=config.release_after_hours * 3600.0,
        burst_ratio=config.burst_ratio,
        min_nats=config.min_nats,
        refresh_s=config.refresh_s,
        alarms_per_day=context.alarms_per_day / len(LeakedKey.scopes),
    )
