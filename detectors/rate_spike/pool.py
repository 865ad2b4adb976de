"""What the keys of a scope have in common: spread, season, peers, size of a call; and the thresholds they pay for.

Sums grow row by row; what is read from them (``spread``, ``peer_*``, ``per_call``, ``noise``, ``threshold``,
``season``) is renewed when event time crosses a 10 s tick and stays as it is in between.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .layout import DAY_S, HOURS, LEVELS, MEASURES, SCALES, TAU_S

TICK_S = 10.0  # DESIGN: slow tables are renewed at 10 s ticks
# Pooled sums forget by half in 3 days: that is plenty of counts, and a season that was not yet known must not widen
# spreads for weeks.
POOL_TAU_S = 3 * DAY_S / math.log(2)
SEASON_TAU_S = 28 * DAY_S / math.log(2)  # four weeks (algorithms A): each hour of the week is seen four times
SEASON_SHRINK = 20.0  # key-hours at which a cell is believed by half: n / (n + 20) (algorithms A)
R_MAX = 200.0  # clamp of the spread (algorithms A)
R_MIN = 0.02  # algorithms A has 0.3; people come in sessions (a site's visitors: 0.02 to 0.1 over a minute)
R_PRIOR, R_PRIOR_WEIGHT = 1.0, 20.0  # before anything is known: as bursty as a geometric count, worth 20 buckets
NOISE_MAX = 50.0  # calls of one key differ by a factor 7 (one sigma) at most
CALL_MAX = 1000.0  # one call counts as so many usual ones at most
BELIEVABLE = 5.0  # standard deviations at which a surprising count enters the spread
HOUR_S = 3600.0


@kernel
def hour_of_week(t: float) -> int:
    """0 to 167; hour 0 is Thursday 00:00 UTC, as the epoch began. Only differences matter."""
    return math.floor(t / HOUR_S) % HOURS


@kernel
def season_mean(pool: Any, t0: float, t1: float) -> float:
    """Mean factor between two times, t1 > t0. Cost: constant, however far apart."""
    return (_season_integral(pool, t1) - _season_integral(pool, t0)) / (t1 - t0)


@kernel
def _season_integral(pool: Any, t: float) -> float:
    hours = t / HOUR_S
    weeks = math.floor(hours / HOURS)
    within = min(hours - weeks * HOURS, HOURS - 1e-9)
    cell = int(within)
    before = pool.season_until[cell]
    part = (within - cell) * (pool.season_until[cell + 1] - before)
    return float(HOUR_S * (weeks * pool.season_until[HOURS] + before + part))


@kernel
def advance_pool(pool: Any, t: float, used: int, p: Any) -> None:
    """Count a row, and renew what is read where its time crosses a tick."""
    pool.seen += 1.0
    pool.start = min(pool.start, t)
    if t <= pool.now:
        return
    pool.now = t
    tick = math.floor(t / TICK_S) * TICK_S
    if tick > pool.renewed:
        _renew(pool, tick, used, p)


@kernel
def _renew(pool: Any, tick: float, used: int, p: Any) -> None:
    """Let the sums decay and read them."""
    decay = math.exp((pool.renewed - tick) / POOL_TAU_S)
    pool.renewed = tick
    for m in range(MEASURES):
        for j in range(SCALES + 1):
            _read_spread(pool, m, j, decay)
        _read_peers(pool, m, decay)
        _read_calls(pool, m, decay)
    _read_session(pool, decay)
    _thresholds(pool, used, p)
    hour = math.floor(tick / HOUR_S) * HOUR_S
    if hour > pool.season_at:
        _renew_season(pool, hour)


@kernel
def _read_spread(pool: Any, m: int, j: int, decay: float) -> None:
    pool.excess[m, j] *= decay
    pool.squares[m, j] *= decay
    excess = pool.excess[m, j] + R_PRIOR_WEIGHT / R_PRIOR
    squares = pool.squares[m, j] + R_PRIOR_WEIGHT
    pool.spread[m, j] = R_MAX if excess <= 0.0 else min(R_MAX, max(R_MIN, squares / excess))
    pool.lump_sum[m, j] *= decay
    pool.lump_2[m, j] *= decay
    pool.lump[m, j] = max(1.0, (pool.lump_2[m, j] + R_PRIOR_WEIGHT) / (pool.lump_sum[m, j] + R_PRIOR_WEIGHT))


@kernel
def _read_session(pool: Any, decay: float) -> None:
    """The mean of an exponential whose 99 % point is that of unknown keys' minutes, to the next power of two."""
    level = 0
    for k in range(LEVELS):
        pool.reached[k] *= decay
        if pool.reached[k] > 0.01 * pool.reached[0] + 1.0:
            level = k + 1
    pool.session = max(1.0, 2.0**level / math.log(100.0))


@kernel
def _read_peers(pool: Any, m: int, decay: float) -> None:
    pool.key_time[m] *= decay
    pool.ln_rate[m] *= decay
    pool.ln_rate_2[m] *= decay
    if pool.key_time[m] > 0.0:
        mean = pool.ln_rate[m] / pool.key_time[m]
        sigma = math.sqrt(max(0.0, pool.ln_rate_2[m] / pool.key_time[m] - mean * mean))
        pool.peer_rate[m] = math.exp(mean)  # the geometric mean: of rates so skewed it is about the median
        pool.peer_high[m] = math.exp(mean + sigma)


@kernel
def _read_calls(pool: Any, m: int, decay: float) -> None:
    pool.value[m] *= decay
    pool.calls[m] *= decay
    pool.relative_2[m] *= decay
    if pool.calls[m] > 0.0:
        pool.per_call[m] = pool.value[m] / pool.calls[m]
        pool.noise[m] = min(NOISE_MAX, max(1.0, pool.relative_2[m] / pool.calls[m]))


@kernel
def _thresholds(pool: Any, used: int, p: Any) -> None:
    """Share the budget out: half to windows, half to what is slow; then equally to measures, scales and keys.

    A key has about ``86400 / tau`` independent tests a day at a scale, so p = budget / (keys * tests).
    """
    per_key = p.alarms_per_day / max(used, 1) / MEASURES / 2.0
    for j in range(SCALES):
        tests = DAY_S / TAU_S[j]
        pool.threshold[j] = max(p.min_nats, -math.log(min(1.0, per_key / SCALES / tests)))
    pool.ramp_threshold = max(p.min_nats, -math.log(min(1.0, per_key / 2.0)))
    pool.slow_threshold = max(p.min_nats, -math.log(min(1.0, per_key / 2.0 * p.bucket_s / DAY_S)))


@kernel
def _renew_season(pool: Any, hour: float) -> None:
    """Hour-of-week factors, shrunk towards their hour of the day, and that towards 1."""
    decay = math.exp((pool.season_at - hour) / SEASON_TAU_S)
    pool.season_at = hour
    for h in range(HOURS):
        pool.season_x[h] *= decay
        pool.season_m[h] *= decay
    total = 0.0
    for h in range(HOURS):
        x, m = 0.0, 0.0
        for d in range(7):
            x += pool.season_x[(h + 24 * d) % HOURS]
            m += pool.season_m[(h + 24 * d) % HOURS]
        of_day = (x + SEASON_SHRINK) / (m + SEASON_SHRINK)
        pool.season[h] = (pool.season_x[h] + SEASON_SHRINK * of_day) / (pool.season_m[h] + SEASON_SHRINK)
        total += pool.season[h]
    until = 0.0
    for h in range(HOURS):
        pool.season[h] *= HOURS / total
        pool.season_until[h] = until
        until += pool.season[h]
    pool.season_until[HOURS] = until


@kernel
def add_moment(pool: Any, m: int, j: int, y: float, mean: float) -> None:
    """One count against its mean: variance = lump * mean + mean^2 / r, by the method of moments.

    Counts of a mean below 1 say how many events come together (people come in sessions), those above it how much
    rates wander. Weighted so that the busiest key does not speak for all. A surprising count enters at five standard
    deviations: it must widen the spread, or bursty traffic is never believed, but one attack must not own it.
    """
    lump, y = pool.lump[m, j], _believable(pool, m, j, y, mean)
    if mean < 1.0:
        pool.lump_sum[m, j] += y
        pool.lump_2[m, j] += y * (y - mean)
    else:
        weight = 1.0 / ((1.0 + mean) * (1.0 + mean))
        pool.excess[m, j] += weight * ((y - mean) * (y - mean) - lump * mean)
        pool.squares[m, j] += weight * mean * mean


@kernel
def add_empty_moments(pool: Any, m: int, j: int, y: float, mean: float, n: float, keep: float) -> None:
    """The same for ``n`` empty buckets after a count ``y``, which falls to ``keep`` of itself in each: closed form."""
    lump, y = pool.lump[m, j], _believable(pool, m, j, y, mean)
    once = keep * (1.0 - keep**n) / (1.0 - keep)
    squared = keep * keep * (1.0 - keep ** (2.0 * n)) / (1.0 - keep * keep)
    if mean < 1.0:
        pool.lump_sum[m, j] += y * once
        pool.lump_2[m, j] += y * y * squared - mean * y * once
    else:
        weight = 1.0 / ((1.0 + mean) * (1.0 + mean))
        pool.excess[m, j] += weight * (y * y * squared - 2.0 * y * mean * once + n * (mean * mean - lump * mean))
        pool.squares[m, j] += weight * n * mean * mean


@kernel
def _believable(pool: Any, m: int, j: int, y: float, mean: float) -> float:
    """The count, cut at five standard deviations, or three lumps where those are more."""
    lump = pool.lump[m, j]
    deviation = math.sqrt(lump * mean + mean * mean / pool.spread[m, j])
    return float(min(y, mean + max(BELIEVABLE * deviation, 3.0 * lump)))


@kernel
def reach(pool: Any, before: float, after: float) -> None:
    """An unknown key's requests of this minute go up: note each power of two that they pass."""
    power = 1.0
    for k in range(LEVELS):
        if before < power <= after:
            pool.reached[k] += 1.0
        power *= 2.0


@kernel
def add_season(pool: Any, t: float, x: float, mean: float, buckets: float, width_s: float) -> None:
    """Events of equal buckets (``x`` in all) against the mean of one without a season; ``width_s`` in all.

    Weighted by 1 / (1 + mean), so that each key counts alike, by its hours.
    """
    weight = width_s / HOUR_S / (1.0 + mean)
    h = hour_of_week(t)
    pool.season_x[h] += weight * x / buckets
    pool.season_m[h] += weight * mean


@kernel
def add_call(pool: Any, m: int, value: float, mean: float) -> None:
    """One call's tokens or cost; ``mean`` is its key's usual one, 0 where nobody knows."""
    ratio = min(value / mean, CALL_MAX) if mean > 0.0 else 1.0
    most = CALL_MAX * pool.per_call[m]
    pool.value[m] += min(value, most) if most > 0.0 else value
    pool.calls[m] += 1.0
    pool.relative_2[m] += ratio * ratio


@kernel
def add_peer(pool: Any, m: int, rate: float, buckets: float) -> None:
    """A known key's rate (raw units a second), weighted by how long it has lived."""
    ln = math.log(rate)
    pool.key_time[m] += buckets
    pool.ln_rate[m] += buckets * ln
    pool.ln_rate_2[m] += buckets * ln * ln
