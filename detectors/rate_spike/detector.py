"""The detector: what it sees, its options, its tables. The method itself is in ``score.py`` and ``learn.py``."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

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
    no_rows,
    rows_of,
)

from .explain import explain
from .kernel import process
from .layout import DAY_S, FOUND, KEY, MEASURES, PARAMS, fresh_pool
from .learn import EXCURSION_S
from .score import BURST, LIMIT, NEW_KEY, RAMP, SUSTAINED

_LATEST = 2**32 - 1  # that a moment in a row can be, epoch seconds
_DECAY_TIME = DAY_S / math.log(2.0)  # of a half-life of one day

_WINDOW = ("count", "mean", "r", "season", "handicap_nats", "rate_per_count", "least_count", "age_days")
_SLOW = ("bucket_mean", "r", "rate_per_count", "age_days")
_RAMP = ("count", "mean", "r", "rate_per_count", "ratio", "age_days")
_CALIBRATED = ("bursts", "sustained")
_UNITS = ("requests a minute", "tokens a minute", "USD an hour")
_NAMES = ("requests", "tokens", "cost")
_KINDS = (
    (BURST, "burst", "Burst of {}", Severity.MEDIUM, True, _WINDOW),
    (SUSTAINED, "sustained", "More {} than usual for a long time", Severity.MEDIUM, True, _SLOW),
    (RAMP, "ramp", "Slow ramp of {}", Severity.MEDIUM, True, _RAMP),
    (NEW_KEY, "new_key", "More {} from a new key than its peers make", Severity.LOW, True, _WINDOW),
    (LIMIT, "limit", "More {} than the limit", Severity.MEDIUM, False, ("limit",)),
)
REASONS = tuple(
    Reason(kind * MEASURES + m, f"{_NAMES[m]}_{name}", title.format(_NAMES[m]), _UNITS[m], severity, learned, columns)
    for kind, name, title, severity, learned, columns in _KINDS
    for m in range(MEASURES)
)


class Limits(BaseModel):
    """Plain limits of one key. No baseline moves them; null switches one off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: float | None = Field(3000.0, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    cost_usd_per_hour: float | None = Field(None, gt=0)


class Config(DetectorConfig):
    """Options; what each does is in :class:`RateSpike`."""

    limits: Limits = Limits()
    keys_total: int = Field(63_488, ge=8)
    min_nats: float = Field(12.0, gt=0)
    min_events: float = Field(8.0, ge=1)
    bucket_s: float = Field(60.0, ge=10, le=60)
    baseline_half_life_days: float = Field(7.0, gt=0)
    anchor_half_life_days: float = Field(28.0, gt=0)
    ramp_ratio: float = Field(1.4, gt=1)
    freeze_nats: float = Field(12.0, gt=0)
    release_percent_per_day: float = Field(5.0, ge=0)
    release_after_hours: float = Field(24.0, ge=0)
    young_s: float = Field(3600.0, ge=60)
    handicap_nats: float = Field(3.0, ge=0)
    min_peers: int = Field(5, ge=1)
    warm_rows: int = Field(1000, ge=0)
    warm_s: float = Field(1800.0, ge=0)
    warm_days: float = Field(7.0, ge=0)
    repeat_s: float = Field(60.0, ge=1)
    refresh_s: float = Field(300.0, ge=1)


class RateSpike(TableDetector):
    """Finds principals and addresses that suddenly, or little by little, make more requests, tokens or cost.

    Sees, for each of the three measures:
        * *burst*: more in 10 s, a minute, 5 minutes or an hour than the key's own baseline explains. A window's count
          is held against a negative binomial: its mean from the key's 7-day baseline, the hour of the week and the
          key's own hours of the day, its spread from all keys of the scope with such a mean, for each window of its
          own, and from the key itself (bursty traffic is not a burst).
        * *sustained*: a rate that stays 1.7 times or more above the baseline, by a CUSUM over minutes; from the
          third day of a key's life.
        * *ramp*: the last day at 1.4 times the 28-day anchor or more, however slowly it came; from the eighth day, and
          from 40 requests a day.
        * *new_key*: severity low. A key younger than an hour, or with fewer than five events, against its peers; and
          in its first two days what is beyond its own baseline and beyond what young keys do in a session, by less
          than a quarter of the threshold, or beyond its own alone by four times the threshold (five are a burst).
        * *limit*: plain limits, from the first row.
        An address is judged by its requests; tokens and cost of an authenticated call are its principal's.
        Tokens and cost are counted in calls: divided by the key's mean call (times how much calls differ), so that
        one machinery serves all three.

    Misses:
        * a factor below 3 for less than 5 minutes, below 1.7 for any time short of a ramp; growth of 1-2 % a day;
        * in the first two runs of a job that makes its calls at once, that it is a job, unless the key was first seen
          in a run of it; and from then on, for hours, who has that job's key and makes no more than twice its calls, at
          whatever hour;
        * in a key's first two days, and less and less until its week is known, what is no more in a window than some
          four times what one in a hundred sessions of young keys comes to; among keys that run jobs that is a lot;
        * slow evidence on a key with fewer than twenty sessions so far (calls between two pauses of 20 minutes), and of
          such a key what is no more in a window than newcomers make;
        * fewer than ``min_events`` in a window, whatever the factor: of ten times the rate for five minutes, most of
          what is done to a key with less than one request in four minutes;
        * many keys that each stay within their own bounds (a botnet): that is for statistics over populations;
        * a key that was abused from its first hour on looks usual afterwards: peers and limits see it;
        * few huge calls of a new key: from its fifth call on they are counted in its own mean call, so that takes a
          limit on tokens or cost; and peers are those of its partition, five at least;
        * principals that have never authenticated (they get no row), and times that run backwards by more than an
          hour: such rows weigh what is left of them, so a file that is newest first shows only its newest hour.

    Options:
        limits: requests and tokens a minute (decayed count of 60 s: a steady stream counts its rate, N at once count
            N), USD an hour (decayed over an hour). Default 3,000 requests: DESIGN's example, ten times a busy service.
        keys_total: rows of each of the two tables, over all partitions.
        min_nats: no model's threshold is below this, whatever the budget would allow; calibration may lower it.
        min_events: no window speaks with a smaller decayed count of requests; one of 10 s takes half as many again,
            since one action is a clump of calls; of tokens and cost it takes three times as many typical calls.
        bucket_s: how often a baseline learns, seconds; also the step of the CUSUM.
        baseline_half_life_days, anchor_half_life_days: how fast the two forget. A short baseline lets a slow ramp
            through (algorithms, finding 6).
        ramp_ratio: day against anchor.
        freeze_nats: a bucket more surprising than this teaches only what was expected of it.
        release_percent_per_day, release_after_hours: how fast a baseline that has been frozen so long may rise.
        young_s, handicap_nats, min_peers: until when a key is held against its peers, what is taken off its score,
            and how many known keys it takes to speak of peers.
        warm_rows, warm_s: what the scope must have seen before a learned finding counts as warm; rows over all
            partitions, of which each waits for its share. (The key itself or its peers must be known for there to be
            one at all.)
        warm_days: from this age on a key is warm at its threshold, and measured by itself alone. Before, only what is
            1.25 times over its threshold is more than a new key, in its first three hours 2.5 times; from the third
            day on the rest is written down in shadow.
        repeat_s, refresh_s: an excursion is told again after refresh_s, or after repeat_s if it grew by half: at most
            13 findings an hour, measure and key, and growth.

    Threshold: half of ``alarms_per_day`` for windows, half for what is slow, shared by scopes, measures, windows and
    keys: ``-ln(share / tests a day)``, where a key has 3 x 86,400 s / window tests a day. For windows and for the CUSUM
    each scope counts how high the scores of warm keys came, hour by hour, and moves the threshold to where that says
    that the budget is: by two decades at most, downwards only from the second week on
    (:mod:`gatewatch.state.calibrator`).

    Warm-up costs nothing but honesty: in the first hour nothing learned is said, on a key's first day its counts are
    taken to spread by r = 20 at most, since nobody knows its daily cycle.

    Known false alarms: single minutes of jobs and retries. A simulated month (evaluation/month.py) says how many, at
    several budgets. On three negative binomial streams, .5 to 1.0 of the budget came out.

    Cost: 0.26 us (one busy key) to 0.43 us (2,000 keys) a row with both roles and all measures, at 1,000 rows a batch;
    1.4 us where each row closes a bucket. Memory: 584 bytes a key, fixed at the start.

    Sources: Gamma-Poisson tails and the re-weighting of past outbreaks (here the freeze) as in Farrington-Flexible
    surveillance (Noufaily et al. 2013); CUSUM of negative binomial counts (Hoehle and Paul 2008); Chernoff 1952;
    winsorising and pooled moments are textbook.
    """

    name = "rate_spike"
    version = 7
    Config: ClassVar[type[DetectorConfig]] = Config
    scopes = (Scope.PRINCIPAL, Scope.IP)  # in the order of kernel._visit
    tests = 6  # bursts, what is sustained, and ramps, of each scope
    reasons = REASONS
    needs = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.IP, ("ip",), "log the client's address"),
    )

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        super().__init__(config, context)
        assert isinstance(config, Config)
        rows = max(8, config.keys_total // context.partitions)
        self._tables = (KeyTable(rows, KEY, authenticated_only=True), KeyTable(rows, KEY))
        self._pools = fresh_pool(len(self.scopes))
        self._params = _params(config, context)
        self._rows = np.zeros(1, np.int64)  # rows of whatever kind, to tell "blind" from "warming"
        self._found = np.zeros(1, FOUND)
        self._hits = Hits.empty(0)

    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it."""
        self._rows[0] += batch.n
        room = batch.n * len(self.scopes)
        self._hits = self._hits.fitting(room)
        if len(self._found) <= room:
            self._found = np.zeros(2 * room + 1, FOUND)
        n = self._run(rows_of(batch))
        if n:
            _hand_over(self._found[:n], self._hits)
        return self._hits

    def _run(self, rows: Rows) -> int:
        who, where = self._tables
        return process(rows, who.head, who.rows, where.head, where.rows, self._pools, self._params, self._found)

    def explain(self, finding: RawFinding) -> Explanation:
        """See :mod:`.explain`."""
        return explain(finding)

    def release(self, scope: Scope, key: int, until: float) -> None:
        """What the key does until then is learned as it is; it still alerts as long as that is news."""
        table = self._tables[self.scopes.index(scope)]
        at = table.row_of(key)
        if at >= 0:
            table.rows[at]["released_until"] = min(max(math.ceil(until), 0), _LATEST)

    def opinion(self, scope: Scope, key: int) -> Opinion:
        """Blind where no row ever came with such a key; warming where neither the key nor its peers are known."""
        if scope not in self.scopes:
            return Opinion.BLIND
        index = self.scopes.index(scope)
        pool = self._pools[index]
        if pool["seen"] == 0:
            return Opinion.BLIND if self._rows[0] else Opinion.WARMING
        at = self._tables[index].row_of(key)
        if at < 0:
            return Opinion.WARMING
        row = self._tables[index].rows[at]
        told = np.concatenate([row["told_at"], row["limit_at"]])
        if ((told > 0) & (pool["now"] - told < EXCURSION_S)).any():
            return Opinion.FINDING
        p = self._params[0]
        warm = pool["seen"] >= p["warm_rows"] and pool["now"] - pool["start"] >= p["warm_s"]
        return Opinion.QUIET if warm and row["known_at"] > 0 else Opinion.WARMING

    def key_tables(self) -> dict[str, KeyTable]:
        """Principals and addresses."""
        return {scope.value: table for scope, table in zip(self.scopes, self._tables, strict=True)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The pools, and how many rows there were."""
        return {"pools": self._pools, "rows": self._rows}

    def shifts(self) -> dict[str, float]:
        """Of bursts and of the CUSUM, for each scope."""
        found = zip(self.scopes, self._pools, strict=True)
        return {f"{scope.value}_{kind}": float(pool[kind]["shift"]) for scope, pool in found for kind in _CALIBRATED}

    @classmethod
    def warm_up(cls) -> None:
        """Compile by running over no rows. Cost: about 12 s once, then 0.1 s from the cache on disk."""
        detector = cls(Config(keys_total=8), Context(HashSeed(0, 0), partitions=1, alarms_per_day=1.0))
        detector._run(no_rows())


def _hand_over(found: npt.NDArray[np.void], hits: Hits) -> None:
    """Findings of the kernel into :class:`Hits`."""
    n = len(found)
    hits.count[0] = n
    for name in ("row", "scope", "reason", "nats", "observed", "expected", "window_s", "since", "warm", "detail"):
        getattr(hits, name)[:n] = found[name]
    hits.threshold_nats[:n] = found["threshold"]


def _params(config: Config, context: Context) -> npt.NDArray[np.void]:
    """The options as the record that kernels read; a limit that is off is infinite."""
    p = np.zeros(1, PARAMS)
    same = (
        "bucket_s", "ramp_ratio", "freeze_nats", "handicap_nats", "young_s", "min_events", "min_nats",
        "warm_s", "warm_days", "min_peers", "repeat_s", "refresh_s",
    )  # fmt: skip
    for name in same:
        p[name] = getattr(config, name)
    p["warm_rows"] = config.warm_rows / context.partitions
    p["base_s"] = config.baseline_half_life_days * _DECAY_TIME
    p["anchor_s"] = config.anchor_half_life_days * _DECAY_TIME
    p["release_per_day"] = config.release_percent_per_day / 100.0
    p["release_after_s"] = config.release_after_hours * 3600.0
    p["alarms_per_day"] = context.alarms_per_day / len(RateSpike.scopes)
    limits = config.limits
    values = (limits.requests_per_minute, limits.tokens_per_minute, limits.cost_usd_per_hour)  # as measures are ordered
    p["limit"] = [math.inf if limit is None else limit for limit in values]
    return p
