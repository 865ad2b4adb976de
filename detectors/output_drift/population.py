"""The detector: what it sees, its options, when it speaks. The test itself is in ``statistic.py``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gatewatch.sdk import (
    Context,
    DetectorConfig,
    Explanation,
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
    advance,
    fresh_calibrators,
    judged,
)

from . import constants as k
from .explain import COLUMNS, explain
from .layout import M, measured
from .memory import Memory, begin, fit, keep, open_window
from .statistic import divergence, slow_step, speaks, tail_nats, z_scores

_UNIT = "times the usual difference"
REASONS = (
    Reason(k.DRIFT, "drift", "The model answers differently", _UNIT, Severity.MEDIUM, learned=True, columns=COLUMNS),
    Reason(
        k.RELEASE, "release", "A new model version answers differently", _UNIT, Severity.MEDIUM,
        learned=True, columns=COLUMNS,
    ),
    Reason(
        k.ONE_CALLER, "one_caller", "One caller changed what the model answers", _UNIT, Severity.LOW,
        learned=True, columns=COLUMNS,
    ),
    Reason(
        k.LATENCY, "latency", "Answers take another time than usual", _UNIT, Severity.LOW,
        learned=True, columns=COLUMNS,
    ),
)  # fmt: skip
_LATENCY = k.METRICS.index("latency_ms")


class Config(DetectorConfig):
    """Options; what each does is in :class:`OutputDrift`."""

    window_minutes: float = Field(30.0, ge=1)
    least_answers: int = Field(100, ge=10)
    warm_windows: int = Field(24, ge=12, le=k.KEPT)
    warm_hours: float = Field(24.0, ge=0)
    least_nats: float = Field(9.2, ge=4.6)
    keys_total: int = Field(128, ge=8)


class OutputDrift(PopulationDetector):
    """Finds endpoints whose model no longer answers as it did: a swapped model, a broken prompt, a poisoned update.

    The answers of half an hour are a window; for each metric (finish reasons, refusals, length, confidence, entropy,
    latency) its histogram is compared with a frozen reference by the G statistic. How large that gets while all is well
    the windows of the reference have shown, each against the others: hours, callers and prompts differ, and a
    chi-square that knows nothing of it would alarm all day. A window that is much further off is told of at once, the
    open one too as soon as it is large enough; one that is a little off each time adds up (CUSUM of the z-scores, from
    one standard deviation on).

    Sees:
        * *drift*: another mix of finish reasons, refusals, lengths, confidence, entropy, over all callers;
        * *release*: the same while a version answers that the reference hardly knows (``model_version``);
        * *one_caller*: the same, but one caller makes half of the answers and twice what it used to: a new customer,
          abuse or a jailbreak rather than the model. Severity low;
        * *latency*: only the time to answer changed. Severity low.

    Misses:
        * other words in answers of the same length, end and confidence: it sees no content;
        * a change of less than about 5 % of the answers, or of an endpoint with fewer than ``least_answers`` a window:
          its windows last longer, and so does the delay;
        * a change that came while the reference was learned; one so slow that each reference takes it in;
        * errors: how many there are, and what they say; an answer is what was not refused and did not fail;
        * which of 64 groups of callers it is, only that it is one; versions that share one of 16 places;
        * what callers do not see: weights that were taken, a model that answers as before.

    Nothing is told before ``warm_windows`` (24) windows over ``warm_hours`` (24) hours of the endpoint are known; it
    warms again after a change that stayed for a day, which then is the new normal; one that a person expects is that at
    once. The reference grows for ten days, from windows that were in order, and is frozen between. What lasts is
    told of at each look, so that it is one alert; what began anew within an hour of the last word when a second look
    agrees.

    Options:
        window_minutes: least length of a window.
        least_answers: least answers of a window.
        warm_windows, warm_hours: of an endpoint, first.
        least_nats: least score of a finding; the threshold is ln(tests a day / false alarms allowed a day) where that
            is more, moved to where the scores of windows so far have it (:mod:`gatewatch.state.calibrator`).
        keys_total: endpoints with their models.

    Cost: 0.2 ms, and 2 us an endpoint, every ten seconds; 1 ms when a window is judged. Memory: 40 kB an endpoint.

    Sources: Lipton et al. 2018 (black-box shift detection); Chen, Zaharia and Zou 2023 (LLMDrift); Wilson and Hilferty
    1931; Page 1954 (CUSUM); algorithms E.
    """

    name: ClassVar[str] = "output_drift"
    version: ClassVar[int] = 3
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.ENDPOINT,)
    reasons: ClassVar[tuple[Reason, ...]] = REASONS
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.ENDPOINT, ("endpoint",), "log the path or the route"),
        Need(
            Scope.ENDPOINT,
            ("finish_reason", "refusal", "tokens_out", "bytes_out", "confidence", "entropy", "latency_ms"),
            "log how the answer ended, its tokens or bytes, or the time it took",
        ),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        self._options = config
        self._memory = Memory(config.keys_total)
        self._clock = np.array([-np.inf, 0.0])  # newest bucket; requests on endpoints seen
        self._calibrator = fresh_calibrators(1)  # how much scores of windows differ from what their model claims

    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Score the bucket, then learn from it."""
        now = rollup.start + rollup.span_s
        self._clock[0] = max(self._clock[0], now)
        advance(self._calibrator[0], self._clock[0], self.context.alarms_per_day, k.HOUR_S)
        self._clock[1] += float(rollup.column("requests").sum())
        rows = rollup.rows(Kind.ENDPOINT)
        if not len(rows):
            return ()
        found = measured(rollup, rows)
        tells = found.any(axis=1)
        rows, found = rows[tells], found[tells]
        # Together where no newcomer can move the threshold, which counts rows, for the endpoints before it.
        known = self._memory.full or all(self._memory.find(key) >= 0 for key in rollup.keys[rows].tolist())
        hits: list[PopulationHit] = []
        for part in (slice(None),) if known else (slice(i, i + 1) for i in range(len(rows))):
            hits += self._count(rollup, rows[part], found[part], now)
        return hits

    def _count(
        self, rollup: Rollup, rows: npt.NDArray[np.intp], found: npt.NDArray[np.float64], now: float
    ) -> Iterator[PopulationHit]:
        """Add rows of a bucket to the open windows of their endpoints, and judge those that are due."""
        memory = self._memory.rows
        seen = memory["seen"]
        at = np.full(len(rows), -1, np.int64)
        for i, key in enumerate(rollup.keys[rows].tolist()):
            place = at[i] = self._memory.admit(key, now)
            if place >= 0:
                seen[place] = max(float(seen[place]), now)  # at once: nobody who comes later may take its row
        there = at >= 0
        at, rows = at[there], rows[there]
        errors = rollup.column("client_errors") + rollup.column("server_errors")
        memory["answers"][at] += np.maximum((rollup.column("requests") - errors)[rows], 0.0)
        memory["window"][at] += found[there]
        memory["callers"][at] += rollup.histogram("principal")[rows]
        memory["versions"][at] += rollup.histogram("version")[rows]
        for place, i in zip(at.tolist(), rows.tolist(), strict=True):
            hit = self._look(memory[place], i, now)
            if hit is not None:
                yield hit

    def release(self, scope: Scope, key: int, until: float) -> None:
        """A change of the endpoint until then is the new normal at once, not after a day."""
        at = self._memory.find(key) if scope is Scope.ENDPOINT else -1
        if at >= 0:
            self._memory.rows[at]["released_until"] = until

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where requests came, but no answer of any endpoint said anything."""
        if scope is not Scope.ENDPOINT:
            return Opinion.BLIND
        if self._memory.used == 0:
            return Opinion.BLIND if self._clock[1] > 0.0 else Opinion.WARMING
        at = self._memory.find(key)
        if at < 0:
            return Opinion.WARMING
        row = self._memory.rows[at]
        if np.isfinite(row["changed_at"]):
            return Opinion.FINDING
        return Opinion.QUIET if np.isfinite(row["fitted_at"]) else Opinion.WARMING

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The rows that hold a key, and the clock."""
        return {
            "rows": self._memory.rows[: self._memory.used].copy(),
            "room": np.array([len(self._memory.rows)], np.int64),
            "counts": self._memory.counts.copy(),
            "clock": self._clock.copy(),
            "calibrator": self._calibrator.copy(),
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version or capacity.
        """
        rows = arrays.get("rows")
        fits = (
            rows is not None
            and rows.dtype == self._memory.rows.dtype
            and {"room", "counts", "clock", "calibrator"} <= set(arrays)
        )
        if rows is None or not fits or int(arrays["room"][0]) != len(self._memory.rows):
            raise StateError("output_drift: the snapshot does not fit (another capacity or version)")
        self._memory.rows[: len(rows)] = rows
        self._memory.rows["key"][len(rows) :] = 0
        self._memory.counts[...] = arrays["counts"]
        self._clock[...] = arrays["clock"]
        self._calibrator[...] = arrays["calibrator"]
        self._memory.index()

    def tables(self) -> dict[str, TableStats]:
        """Endpoints with their models."""
        evicted, refused = self._memory.counts.tolist()
        room = self._memory.rows
        return {"endpoints": TableStats(self._memory.used, len(room), evicted, refused, room.nbytes)}

    def shifts(self) -> dict[str, float]:
        """Of the windows of endpoints."""
        return {"windows": float(self._calibrator[0]["shift"])}

    def _look(self, row: Any, place: int, now: float) -> PopulationHit | None:
        """Judge the open window when it is whole, or large enough to be looked at before."""
        least = float(self._options.least_answers)
        if row["answers"] < least:
            return None
        whole = now - row["began"] >= 60.0 * self._options.window_minutes
        if not whole and row["answers"] < row["next"]:
            return None
        row["next"] = 2.0 * row["answers"]
        known = bool(np.isfinite(row["fitted_at"]))
        hit = self._judge(row, place, now, whole=whole) if known else None
        changed = bool(np.isfinite(row["changed_at"]))
        if changed and now < row["released_until"]:
            begin(row, now)
            return None
        if whole:
            self._close(row, now, changed=changed)
        return hit

    def _close(self, row: Any, now: float, *, changed: bool) -> None:
        """A window is over: keep it if it was in order, make the reference when there are enough."""
        known = bool(np.isfinite(row["fitted_at"]))
        if changed:
            if now - row["changed_at"] >= k.RELEASE_S:
                begin(row, now)
                return
        else:
            full = keep(row)
            warm = row["n"] >= self._options.warm_windows and now - row["since"] >= k.HOUR_S * self._options.warm_hours
            if (known and full) or (not known and warm):
                fit(row, self._least_of_metric(), now)
        open_window(row, now)

    def _least_of_metric(self) -> float:
        return k.SHARE_OF_METRIC * self._options.least_answers

    def _judge(self, row: Any, place: int, now: float, *, whole: bool) -> PopulationHit | None:
        """The score of a window, and whether to speak."""
        window = row["window"]
        statistic = divergence(window, row["reference"], self._least_of_metric())
        statistic[~speaks(window, float(row["answers"]))] = np.nan
        z = z_scores(statistic, row["mean"], row["sd"])
        heard = ~np.isnan(z)
        if not heard.any():
            return None
        fast = np.array([tail_nats(value) if there else 0.0 for value, there in zip(z, heard, strict=True)])
        if whole:
            _add_up(row, z)
        slow = 2.0 * k.K * np.maximum(row["slow"] - row["run"], 0.0)  # Wald: exp(-2 K S) bounds the tail of S
        score = np.minimum(np.maximum(fast, slow), k.CAP_NATS)
        looks = math.log(k.LOOKS * float(heard.sum()))
        model = max(self._options.least_nats, self._threshold())
        if np.isinf(row["changed_at"]):
            judged(self._calibrator[0], float(score[heard].max()) - looks - model)
        threshold = model + float(self._calibrator[0]["shift"])
        over = heard & (score - looks >= threshold)
        if not over.any():
            if whole:
                row["changed_at"] = np.inf
            return None
        lasts = bool(np.isfinite(row["changed_at"]))
        row["changed_at"] = min(float(row["changed_at"]), now)
        if not lasts and now - row["told_at"] < k.AGAIN_S:
            return None
        row["told_at"] = now
        best = _most_telling(score, over)
        return _hit(row, place, now, best, (statistic, fast, slow, score - looks, over), threshold)

    def _threshold(self) -> float:
        """ln(windows a day of all endpoints / false alarms allowed a day)."""
        tests = max(self._memory.used, 1) * 24.0 * 60.0 / self._options.window_minutes
        return math.log(tests / self.context.alarms_per_day)


def _add_up(row: Any, z: npt.NDArray[np.float64]) -> None:
    """The slow test after one more window; where a change was told of, an ordinary window ends it."""
    row["slow_since"] = np.where(row["slow"] > 0.0, row["slow_since"], row["began"])
    row["slow"] = np.maximum(0.0, row["slow"] + slow_step(z))
    if np.isfinite(row["changed_at"]):
        row["slow"] = np.where(z < k.K, 0.0, row["slow"])


def _most_telling(score: npt.NDArray[np.float64], over: npt.NDArray[np.bool_]) -> int:
    """The metric with the largest score; latency only where it is the only one."""
    ranked = np.where(over, score, -1.0)
    if over[: M - 1].any():
        ranked[_LATENCY] = -1.0
    return int(np.argmax(ranked))


def _hit(row: Any, place: int, now: float, metric: int, test: tuple[Any, ...], threshold: float) -> PopulationHit:
    statistic, fast, slow, nats, over = test
    fresh = _share_of_new_versions(row)
    one, before = _largest_caller(row)
    alone = one >= k.ONE_SHARE and one >= k.ONE_RATIO * before
    if fresh >= k.NEW_VERSION:
        code = k.RELEASE
    elif alone:
        code = k.ONE_CALLER
    else:
        code = k.LATENCY if metric == _LATENCY else k.DRIFT
    since = float(row["began"] if fast[metric] >= slow[metric] else row["slow_since"][metric])
    ratio = float(statistic[metric] / row["mean"][metric])
    detail = (metric, fast[metric], slow[metric], row["sd"][metric], over.sum(), fresh, one if alone else 0.0, before)
    return PopulationHit(
        row=place,
        scope=Scope.ENDPOINT,
        reason=REASONS[code],
        nats=float(nats[metric]),
        threshold_nats=threshold,
        observed=ratio,
        expected=1.0,
        window_s=now - since,
        since=since,
        warm=True,
        detail=dict(zip(COLUMNS, map(float, detail), strict=True)),
    )


def _share_of_new_versions(row: Any) -> float:
    """Share of the window's answers by versions that made less than 1 % of the reference; 0 where none is logged."""
    total, usual = float(row["versions"].sum()), row["usual_versions"]
    if total <= 0.0 or usual.sum() <= 0.0:
        return 0.0
    return float(row["versions"][usual < 0.01].sum() / total)


def _largest_caller(row: Any) -> tuple[float, float]:
    """Share of the answers of the largest group of callers, and what it was in the reference."""
    total = float(row["callers"].sum())
    if total <= 0.0:
        return 0.0, 0.0
    at = int(np.argmax(row["callers"]))
    return float(row["callers"][at] / total), float(row["usual_callers"][at])
