"""Endpoints whose bodies as a whole are no longer what they were: a release, a new kind of use, or one caller."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import (
    Context,
    Contribution,
    DetectorConfig,
    Explanation,
    Head,
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
    StateError,
    TableStats,
    find_or_admit,
    kernel,
    table_stats,
)

from . import constants as k
from .detector import Config
from .mixes import moved, stability, tail_nats

ENDPOINTS = 512  # rows: 2.7 KB each
MIXES = ("template", "bytes_in")
STRUCTURES, SIZES = range(2)
WIDTH = 64
WINDOW_BODIES = 100.0  # a window is an hour, or as many hours as it takes for so many bodies
REFERENCE_WINDOWS = 24  # and at least so many of them are a reference
SETTLED = 6  # windows before the reference says how much a window varies from it
AGAIN_S = k.DAY_S  # what goes on is told again after so long
PROMOTED_S = 7 * k.DAY_S  # what has gone on for so long is what is usual: a new reference
_COLUMNS = ("index", "moved", "largest", "bodies", "reference", "varied", "least_index")

_SIZES_TEXT = "Sizes of an endpoint's bodies have changed"
REASONS = (
    Reason(
        k.RELEASE, "release", "Structures of an endpoint's bodies have changed, from many callers",
        "of 100 bodies", Severity.INFO, learned=True, columns=_COLUMNS,
    ),
    Reason(
        k.ONE_CALLER, "one_caller", "Structures of an endpoint's bodies have changed, perhaps from one caller",
        "of 100 bodies", Severity.LOW, learned=True, columns=_COLUMNS,
    ),
    Reason(k.SIZES, "sizes", _SIZES_TEXT, "of 100 bodies", Severity.LOW, learned=True, columns=_COLUMNS),
)  # fmt: skip

_ROW = np.dtype(
    [
        ("first", "f8"), ("hour", "i8"), ("windows", "i8"), ("frozen", "u1"),
        ("reference", "f8", (2, WIDTH)), ("now", "f8", (2, WIDTH)), ("callers", "f8", (WIDTH,)),
        ("varied", "f8", (2,)),  # largest chi-square a degree of freedom of a window of the reference
        ("since", "f8", (2,)), ("told_at", "f8", (2,)),
        ("released_until", "f8"),  # so long a person expects what changes
    ]
)  # fmt: skip


class PayloadMix(PopulationDetector):
    """Finds endpoints to which other bodies are sent than in a fixed reference.

    Sees:
        * *release*: the mixture of structures changed, by more than any single caller sends: a new client, a new use.
        * *one_caller*: the same, but one caller sends enough to have made the change alone.
        * *sizes*: the mixture of sizes changed.

    Misses:
        * changes of less than about a tenth of the bodies, or shorter than an hour;
        * structures that share a bin (64 of them) with a usual one; the first ``reference_hours``;
        * what grows within the reference's own variation from hour to hour: a busy, varied endpoint has much of it.

    Options:
        reference_hours: how long the reference is learned; it then stays as it is until a change has lasted a week, or
            a person expects it: then it is learned anew, and nothing is told meanwhile.
        least_index: population stability index below which a change is of no importance, however certain.
        The other options are those of the part on keys; ``alpha`` is the chance of a false alarm a window.

    Cost: 0.1 ms, and 2 us an endpoint, every ten seconds. Memory: 2.7 KB an endpoint, 512 of them at most.

    Sources: Yurdakul 2018 (the stability index is chi-square); Wilson and Hilferty 1931. A reference that follows the
    traffic would follow the attack too, so it is fixed (algorithms C).
    """

    name = "payload_drift"
    version = 3
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.ENDPOINT,)
    tests = 0  # its alpha is an option
    reasons = REASONS
    needs = (
        Need(Scope.ENDPOINT, ("endpoint", "path"), "log the route"),
        Need(Scope.ENDPOINT, ("shape", "bytes_in"), "log the request body (only its shape is kept), or its size"),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._table = KeyTable(ENDPOINTS, _ROW)
        self._reference_s = config.reference_hours * k.HOUR_S
        self._least_index = config.least_index
        self._threshold = -math.log(config.alpha)
        self._counts = np.zeros(3, np.int64)  # rollups, those with a body, the hour now

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Close windows that are over, then count."""
        self._counts[0] += 1
        hour = int(rollup.start // k.HOUR_S)
        self._counts[2] = hour
        mixes = [rollup.histogram(name) for name in MIXES]
        endpoints = rollup.rows(Kind.ENDPOINT)
        rows = endpoints[np.any([mix[endpoints].any(axis=1) for mix in mixes], axis=0)]
        self._counts[1] += len(rows)
        if not len(rows):
            return ()
        at, new = _admit(self._table.head, rollup.keys[rows], rollup.start)
        hits: list[PopulationHit] = []
        hours = self._table.rows["hour"]
        for i, place, is_new in zip(rows.tolist(), at.tolist(), new.tolist(), strict=True):
            if place < 0:
                continue
            if is_new:
                _clear(self._table.rows[place], rollup.start, hour)
            elif hours[place] != hour:
                hits += self._over(self._table.rows[place], i, rollup.start, hour)
        counted = _last_of_each(at)
        at, rows = at[counted], rows[counted]
        for which, mix in enumerate(mixes):
            self._table.rows["now"][at, which, : mix.shape[1]] += mix[rows]
        self._table.rows["callers"][at] += rollup.histogram("principal")[rows]
        return hits

    def _over(self, row: Any, i: int, now: float, hour: int) -> list[PopulationHit]:
        """An hour is over: judge what came, unless it is too little, and begin a new window."""
        if row["now"].sum(axis=1).max() < WINDOW_BODIES and hour - row["hour"] < 24:
            return []
        hits = []
        if row["frozen"]:
            judged = (self._judge(row, which, i, now) for which in range(len(MIXES)))
            hits = [hit for hit in judged if hit is not None]
        else:
            self._learn(row, now)
        row["now"] = 0.0
        row["callers"] = 0.0
        row["hour"] = hour
        began = row["since"][np.isfinite(row["since"])]
        expected = now < row["released_until"]
        if len(began) and (expected or now - began.min() >= PROMOTED_S):
            _learn_anew(row, now, hour)
        return [] if expected else hits

    def _learn(self, row: Any, now: float) -> None:
        """A window of the reference, and how much it varies from those before."""
        for which in range(len(MIXES)):
            new = row["now"][which]
            if row["windows"] >= SETTLED and new.sum() >= WINDOW_BODIES:
                _, scaled, df = stability(row["reference"][which], new)
                row["varied"][which] = max(row["varied"][which], scaled / df)
            row["reference"][which] += new
        row["windows"] += 1
        row["frozen"] = row["windows"] >= REFERENCE_WINDOWS and now - row["first"] >= self._reference_s

    def _judge(self, row: Any, which: int, i: int, now: float) -> PopulationHit | None:
        """One mixture of a window against the reference: as if its most unusual window had been an ordinary one."""
        reference, new = row["reference"][which], row["now"][which]
        if new.sum() < WINDOW_BODIES or reference.sum() < WINDOW_BODIES:
            return None
        index, scaled, df = stability(reference, new)
        varied = max(1.0, float(row["varied"][which]))
        nats = tail_nats(scaled / varied, df)
        if nats < self._threshold or index < self._least_index:
            row["since"][which], row["told_at"][which] = np.inf, -np.inf
            return None
        if not math.isfinite(row["since"][which]):
            row["since"][which] = row["hour"] * k.HOUR_S
        if now - row["told_at"][which] < AGAIN_S:
            return None
        row["told_at"][which] = now
        share = moved(reference, new)
        callers = row["callers"]
        largest = float(callers.max() / callers.sum()) if callers.any() else 1.0
        code = (k.RELEASE if share > largest else k.ONE_CALLER) if which == STRUCTURES else k.SIZES
        return PopulationHit(
            row=i, scope=Scope.ENDPOINT, reason=next(reason for reason in REASONS if reason.code == code),
            nats=nats, threshold_nats=self._threshold, observed=100.0 * share, expected=0.0,
            window_s=now - row["hour"] * k.HOUR_S, since=float(row["since"][which]), warm=True,
            detail={
                "index": index, "moved": share, "largest": largest, "bodies": float(new.sum()),
                "reference": float(reference.sum()), "varied": varied, "least_index": self._least_index,
            },
        )  # fmt: skip

    def release(self, scope: Scope, key: int, until: float) -> None:
        """What an endpoint is sent until then is taken for usual when the window is over, not after a week."""
        at = self._table.row_of(key) if scope is Scope.ENDPOINT else -1
        if at >= 0:
            self._table.rows[at]["released_until"] = until

    def explain(self, finding: RawFinding) -> Explanation:
        """Why: how much moved, against how much the reference varies."""
        d = finding.detail
        who = "more than any single caller sends" if d["moved"] > d["largest"] else "one caller sends as much"
        what = "sizes" if finding.reason.code == k.SIZES else "structures"
        text = f"{d['moved']:.0%} of {d['bodies']:,.0f} bodies are of other {what} ({who}); index {d['index']:.2f}"
        return Explanation(
            (Contribution(what, finding.nats, text),),
            f"a fixed reference of {d['reference']:,.0f} bodies, and {d['varied']:.1f} times what chance varies by",
            f"would not have fired at an index below {d['least_index']:g}, or with fewer bodies of other {what}",
        )

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where rollups came, but none with a body; warming until there is a reference."""
        if scope is not Scope.ENDPOINT:
            return Opinion.BLIND
        if self._counts[1] == 0:
            return Opinion.BLIND if self._counts[0] else Opinion.WARMING
        at = self._table.row_of(key)
        if at < 0 or not self._table.rows[at]["frozen"]:
            return Opinion.WARMING
        return Opinion.FINDING if np.isfinite(self._table.rows[at]["since"]).any() else Opinion.QUIET

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The table, and counts."""
        return {"counts": self._counts.copy(), **self._table.snapshot()}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version.
        """
        counts = arrays.get("counts")
        if counts is None or counts.shape != self._counts.shape or counts.dtype != self._counts.dtype:
            raise StateError("payload_drift: 'counts' in the snapshot does not fit (version)")
        self._table.restore({name: a for name, a in arrays.items() if name != "counts"})
        self._counts[...] = counts

    def tables(self) -> dict[str, TableStats]:
        """Endpoints."""
        return table_stats({"endpoint": self._table})

    @classmethod
    def warm_up(cls) -> None:
        """Compile the kernel."""
        _admit(KeyTable(8, _ROW).head, np.zeros(0, np.uint64), 0.0)


@kernel(allocates=True)
def _admit(head: Head, keys: npt.NDArray[np.uint64], now: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(rows,) the place of each key, or -1, and whether it is new. One call for all: each costs as much as ten rows."""
    at, new = np.empty(keys.shape[0], np.int64), np.empty(keys.shape[0], np.bool_)
    for i in range(keys.shape[0]):
        at[i], new[i] = find_or_admit(head, keys[i], now, success=False, authenticated_only=False)
    return at, new


def _last_of_each(at: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Which rows of a bucket count: those that have a place, and did not lose it to a later one of the same bucket."""
    last = {place: i for i, place in enumerate(at.tolist()) if place >= 0}
    return np.array(sorted(last.values()), np.intp)


def _clear(row: Any, now: float, hour: int) -> None:
    """A new endpoint's row."""
    for name in _ROW.names or ():
        row[name] = 0
    row["first"], row["hour"] = now, hour
    row["since"], row["told_at"] = np.inf, -np.inf


def _learn_anew(row: Any, now: float, hour: int) -> None:
    """What is sent now is what is usual."""
    released_until = float(row["released_until"])
    _clear(row, now, hour)
    row["released_until"] = released_until
