"""What the keys of a scope have in common: spread, season, peers, size of a call; and the thresholds they pay for.

Sums grow row by row; what is read from them (``dispersion``, ``peer_*``, ``per_call``, ``noise``, ``threshold``,
``season``) is renewed when event time crosses a 10 s tick and stays as it is in between.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import advance, kernel

from .layout import BANDS, DAY_HOURS, DAY_S, HOURS, LEVELS, MEASURES, REQUESTS, SCALES, TAU_S

TICK_S = 10.0  # DESIGN: slow tables are renewed at 10 s ticks
# Pooled sums forget by half in 3 days: that is plenty of counts, and a season that was not yet known must not widen
# spreads for weeks.
POOL_TAU_S = 3 * DAY_S / math.log(2)
SEASON_TAU_S = 28 * DAY_S / math.log(2)  # four weeks (algorithms A): each hour of the week is seen four times
SEASON_SHRINK = 20.0  # key-hours at which a cell is believed by half: n / (n + 20) (algorithms A)
# Before anything is known: as bursty as a geometric count over a minute, ever less over longer windows (the design's
# real service had r = 4, 5, 8, 30, 97 at 1, 5, 20, 100, 333 minutes; a quarter of that), worth ten windows.
R_PRIOR, PRIOR_WINDOWS = (1.0, 1.0, 2.0, 5.0, 25.0), 10.0
SATURDAY = 2  # the epoch began on a Thursday; where weekends are others, the cells say so in time
BUCKET_S = 60.0  # a closed bucket is one look at a window, and longer windows are looked at more than once
NOISE_MAX = 50.0  # calls of one key differ by a factor 7 (one sigma) at most
CALL_MAX = 1000.0  # one call counts as so many usual ones at most
# What calls differ by may seem to grow by so much in an hour, and one call's square counts for so many times the mean
# square at most. Else twenty calls of a hundred times the usual size are a small site's noise, and hide themselves.
NOISE_GROWTH, CALL_OUTLIER = 2.0, 1000.0
HOUR_S = 3600.0
SLOW_BLOCK_S = 3 * HOUR_S  # blocks of calibration: a CUSUM that rose stays up for hours
# Looks at a window in its decay time, by a key that is watched all the time. With 2 (a plain window's share is half a
# decay time) such a stream of 400 keys gave 1.1 times the false alarms that were meant, with half of the budget unused.
LOOKS = 3.0
# Independent starts of the CUSUM in a day: with 2, a stream of 400 keys for a week, negative binomial and correlated as
# a real service, gave 37 alarms where 23 were meant, with 20 it gives 8.
SLOW_LOOKS = 20.0


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
            _read_dispersion(pool, m, j, decay)
        _read_peers(pool, m, decay)
        _read_calls(pool, m, decay)
    for j in range(SCALES):
        _read_session(pool, j, decay)
    _thresholds(pool, tick, used, p)
    hour = math.floor(tick / HOUR_S) * HOUR_S
    if hour > pool.season_at:
        for m in range(MEASURES):
            pool.noise_before[m] = pool.noise[m]
        _renew_season(pool, hour)


@kernel
def _read_dispersion(pool: Any, m: int, j: int, decay: float) -> None:
    """Variance over mean of each band, with a prior that weighs as much as so many windows of that length."""
    windows = PRIOR_WINDOWS * max(1.0, 2.0 * (TAU_S[j] if j < SCALES else DAY_S) / BUCKET_S)
    mean = 0.125
    for b in range(BANDS):
        pool.squares[m, j, b] *= decay
        pool.means[m, j, b] *= decay
        prior = windows * mean
        found = (pool.squares[m, j, b] + prior * (1.0 + mean / R_PRIOR[j])) / (pool.means[m, j, b] + prior)
        pool.dispersion[m, j, b] = max(1.0, found)
        mean *= 4.0


@kernel
def _read_session(pool: Any, j: int, decay: float) -> None:
    """The mean of an exponential whose 99 % point is that of young keys' windows, between two powers of two."""
    least = 0.01 * pool.reached[j, 0] * decay + 1.0
    level, above = 0.0, 0.0
    for k in range(LEVELS - 1, -1, -1):
        pool.reached[j, k] *= decay
        here = pool.reached[j, k]
        if level == 0.0 and here > least:
            level = k + math.log(here / least) / math.log(here / max(above, 0.5 * least))
        above = here
    shorter = pool.session[j - 1] if j > 0 else 1.0
    pool.session[j] = max(shorter, 2.0**level / math.log(100.0))


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
        most = min(NOISE_MAX, NOISE_GROWTH * pool.noise_before[m])
        pool.noise[m] = min(most, max(1.0, pool.relative_2[m] / pool.calls[m]))


@kernel
def _thresholds(pool: Any, tick: float, used: int, p: Any) -> None:
    """Share the budget out: half to windows, half to what is slow; then equally to measures, scales and keys.

    A key has about ``LOOKS * 86400 / tau`` independent looks a day at a scale, so p = budget / (keys * looks). The
    CUSUM starts anew now and then, and the ramp is one look a day. What the scope's scores have been moves the
    first two; a ramp lasts for days, so that its peaks say nothing of how often there is one.
    """
    share = p.alarms_per_day / 2.0
    advance(pool.bursts, tick, share, HOUR_S)
    advance(pool.sustained, tick, share / 2.0, SLOW_BLOCK_S)
    per_key = share / max(used, 1) / MEASURES
    for j in range(SCALES):
        pool.model_threshold[j] = _nats(per_key / SCALES / (LOOKS * DAY_S / TAU_S[j]), p)
        pool.threshold[j] = pool.model_threshold[j] + pool.bursts.shift
    pool.model_slow = _nats(per_key / 2.0 / SLOW_LOOKS, p)
    pool.slow_threshold = pool.model_slow + pool.sustained.shift
    pool.ramp_threshold = _nats(per_key / 2.0, p)


@kernel
def _nats(chance: float, p: Any) -> float:
    return float(max(p.min_nats, -math.log(min(1.0, chance))))


@kernel
def _renew_season(pool: Any, hour: float) -> None:
    """Hour-of-week factors, shrunk to the hour of workdays or weekends, that to the hour of any day, that to 1.

    So a second Monday is no news, though hardly anybody saw the first.
    """
    decay = math.exp((pool.season_at - hour) / SEASON_TAU_S)
    pool.season_at = hour
    for h in range(HOURS):
        pool.season_x[h] *= decay
        pool.season_m[h] *= decay
    total = 0.0
    for h in range(DAY_HOURS):
        of_day = _shrunk(pool, h, 0, 7, 1.0)
        weekend = _shrunk(pool, h, SATURDAY, 2, of_day)
        workday = _shrunk(pool, h, SATURDAY + 2, 5, of_day)
        for d in range(7):
            cell = h + DAY_HOURS * d
            pool.season[cell] = _shrunk(pool, cell, 0, 1, weekend if SATURDAY <= d < SATURDAY + 2 else workday)
            total += pool.season[cell]
    until = 0.0
    for h in range(HOURS):
        pool.season[h] *= HOURS / total
        pool.season_until[h] = until
        until += pool.season[h]
    pool.season_until[HOURS] = until


@kernel
def _shrunk(pool: Any, h: int, first: int, days: int, towards: float) -> float:
    """The factor of hour ``h`` of so many days in a row."""
    x, m = 0.0, 0.0
    for d in range(first, first + days):
        x += pool.season_x[(h + DAY_HOURS * d) % HOURS]
        m += pool.season_m[(h + DAY_HOURS * d) % HOURS]
    return float((x + SEASON_SHRINK * towards) / (m + SEASON_SHRINK))


@kernel
def band(mean: float) -> int:
    """The class of a mean: 0 below 1/4, then one for each factor of 4.

    >>> [band.py_func(mean) for mean in (0.1, 0.25, 0.9, 1.0, 4.0, 1023.0, 1024.0, 1e9)]
    [0, 1, 1, 2, 3, 6, 7, 7]
    """
    _, exponent = math.frexp(mean)
    return int(min(BANDS - 1, max(0, (exponent + 3) >> 1)))


@kernel
def dispersion(pool: Any, m: int, j: int, mean: float) -> float:
    """Variance over mean of the scope's counts of such a mean: between the middles of two bands, by logarithms."""
    fraction, exponent = math.frexp(max(mean, 0.125))
    place = 0.5 * (exponent + 2.0 * fraction - 2.0 + 3.0) - 0.5  # in bands from the middle of the lowest, 1/8
    low = min(BANDS - 1, max(0, int(place)))
    high = min(BANDS - 1, low + 1)
    part = min(1.0, place - low)
    return float((1.0 - part) * pool.dispersion[m, j, low] + part * pool.dispersion[m, j, high])


@kernel
def add_moments(pool: Any, m: int, j: int, squares: float, mean: float, n: float) -> None:
    """``n`` counts of one mean, whose squared deviations add up to ``squares``.

    Dispersion is kept by bands of the mean, because it is not one number: people come in sessions of a dozen calls
    (variance a constant times the mean), and rates of services wander (variance as the mean's square).
    """
    b = band(mean)
    pool.squares[m, j, b] += squares
    pool.means[m, j, b] += n * mean


@kernel
def empty_squares(y: float, mean: float, n: float, keep: float) -> float:
    """Squared deviations of ``n`` empty buckets after a count ``y``, which falls to ``keep`` of itself in each."""
    if n <= 0.0:
        return 0.0
    once = keep * (1.0 - keep**n) / (1.0 - keep)
    squared = keep * keep * (1.0 - keep ** (2.0 * n)) / (1.0 - keep * keep)
    return float(y * y * squared - 2.0 * y * mean * once + n * mean * mean)


@kernel
def reach(pool: Any, key: Any, j: int) -> None:
    """What a young key's window holds went up: note each power of two that it passes for the first time in a session.

    Once a session, or a crawler would pass a level of its minute again and again, and be the measure of everybody.
    """
    _, high = math.frexp(key.count[REQUESTS, j])
    for k in range(key.level[j], min(LEVELS, high)):
        pool.reached[j, k] += 1.0
        key.level[j] = k + 1


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
    pool.relative_2[m] += min(ratio * ratio, CALL_OUTLIER * pool.noise[m])


@kernel
def add_peer(pool: Any, m: int, rate: float, buckets: float) -> None:
    """A known key's rate (raw units a second), weighted by how long it has lived."""
    ln = math.log(rate)
    pool.key_time[m] += buckets
    pool.ln_rate[m] += buckets * ln
    pool.ln_rate_2[m] += buckets * ln * ln
