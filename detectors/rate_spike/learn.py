"""What a key's row learns when a bucket of time closes: baseline, slow evidence, and the pool's share of both.

Learning is gated (algorithms, finding 1): a bucket that surprises by more than ``freeze_nats``, or that lies within an
excursion, teaches its mean and nothing more; any other is cut at three standard deviations. What a person expects of a
key, and what is its habit, teaches as it is.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .habit import OVER_S, is_habit
from .layout import DAY, DAY_S, HOUR, HOURS, MEASURES, MINUTE, REQUESTS, SCALES, TAU_S
from .pool import HOUR_S, add_peer, add_season, dispersion, season_mean
from .rhythm import learn_hour, rhythm
from .spread import LONG, add_count, add_empty, as_r, believed, close_slot, clump_of, in_sessions, own_factor, spread
from .tail import chernoff, winsor_cap

PRIOR_EVENTS = 0.5  # a0: half an event at the peers' rate stands before a key's own (algorithms A)
KNOWN_EVENTS = 5.0  # a baseline of fewer is no baseline (algorithms A)
CUSUM_RATIO = 3.0  # rho: tuned for a tripling, and still rising at a factor 1.7 (algorithms A)
SAMPLE_AGE_S = 900.0  # spreads are needed when the first keys become known; a poor mean only widens them
# Before a whole day was seen its daily cycle would be the evidence, and before the second is, what two days differ by.
CUSUM_AGE_S = 2 * DAY_S
SEASON_AGE_S = DAY_S  # the same: its mean would be that of a few hours
# A key's first day is believed as it is: people are told of next to nothing then, and a job that makes most of its
# calls in bursts would else be measured for ever against the calls between them.
TRUST_AGE_S = DAY_S
EXCURSION_S = 600.0  # a finding this recent (two refreshes) means that the key is in an excursion
FILLED = 0.9  # a window filled less says little about spread


@kernel
def per_count(key: Any, pool: Any, m: int) -> float:
    """Raw units that are worth one count: the mean call times its noise, so that a plain stream counts like Poisson.

    0 where nobody knows yet.
    """
    if m == REQUESTS:
        return 1.0
    return float(mean_call(key, pool, m) * pool.noise[m])


@kernel
def mean_call(key: Any, pool: Any, m: int) -> float:
    """Tokens or cost of this key's usual call, else of anybody's; 0 where nobody knows."""
    if key.a_base[REQUESTS] >= KNOWN_EVENTS and key.a_base[m] > 0.0:
        return float(key.a_base[m]) / float(key.a_base[REQUESTS])
    return float(pool.per_call[m])


@kernel
def calls_of(key: Any, pool: Any, m: int, raw: float) -> float:
    """How many of the key's usual calls that is, for one that is known (whose :func:`per_count` is not 0)."""
    return raw if m == REQUESTS else raw / mean_call(key, pool, m)


@kernel
def own_rate(key: Any, pool: Any, m: int, unit: float) -> float:
    """A key's own counts a second (of season 1), with half an event at its peers' rate before them."""
    events = key.a_base[m] / unit
    if pool.peer_rate[m] > 0.0:
        return float((events + PRIOR_EVENTS) / (key.e_base + PRIOR_EVENTS * unit / pool.peer_rate[m]))
    return float(events / key.e_base) if key.e_base > 0.0 else 0.0


@kernel
def close_bucket(key: Any, pool: Any, t: float, p: Any) -> None:
    """Close the bucket of the row's last event, and in closed form the empty ones between it and ``t``'s."""
    start = math.floor(key.last / p.bucket_s) * p.bucket_s
    end = start + p.bucket_s
    gap = max(0.0, math.floor(t / p.bucket_s) * p.bucket_s - end)
    width = end - max(start, key.born)
    seconds = width * season_mean(pool, start, end)
    gap_season = season_mean(pool, end, end + gap) if gap > 0.0 else 1.0
    close_slot(key, end - p.bucket_s, p)
    gap_rhythm = _rhythm_within(key, pool, end, gap, p)
    e_day = _exposed(key.e_day, seconds, p.bucket_s, gap, gap_season, DAY_S)
    e_base = _exposed(key.e_base, seconds, p.bucket_s, gap, gap_season, p.base_s)
    e_anchor = _exposed(key.e_anchor, seconds, p.bucket_s, gap, gap_season, p.anchor_s)
    for m in range(MEASURES):
        if key.bucket[m] > 0.0 or key.a_anchor[m] > 0.0:
            taught = _learn(key, pool, m, end, seconds, width, gap, gap_season, gap_rhythm, p)
            rise = _rise(key, m, end, gap, p)
            key.a_day[m] = _taught(key.a_day[m], key.e_day, taught, e_day, gap, DAY_S, rise, p)
            key.a_base[m] = _taught(key.a_base[m], key.e_base, taught, e_base, gap, p.base_s, rise, p)
            key.a_anchor[m] = _taught(key.a_anchor[m], key.e_anchor, taught, e_anchor, gap, p.anchor_s, rise, p)
            key.bucket[m] = 0.0
    key.e_day, key.e_base, key.e_anchor = e_day, e_base, e_anchor
    key.starts *= math.exp(-(p.bucket_s + gap) / p.base_s)
    if t - key.last > OVER_S:
        key.starts += 1.0
        for j in range(SCALES):
            key.level[j] = 0
    key.clump = clump_of(key.a_base[REQUESTS], key.starts, own_rate(key, pool, REQUESTS, 1.0))
    if key.known_at == 0 and end - key.born >= p.young_s and key.a_base[REQUESTS] >= KNOWN_EVENTS:
        key.known_at = max(1.0, end)
        pool.known_keys += 1.0


@kernel
def _rhythm_within(key: Any, pool: Any, end: float, gap: float, p: Any) -> float:
    """The key's own factor in the middle of a gap; 1 over a day or more."""
    if gap <= 0.0 or gap >= DAY_S:
        return 1.0
    return float(rhythm(key, pool, end + 0.5 * gap, own_rate(key, pool, REQUESTS, 1.0), p.base_s))


@kernel
def _taught(old: float, e_old: float, new: float, e_new: float, gap: float, tau: float, rise: float, p: Any) -> float:
    """A baseline's sum after the bucket and the gap. Of one that is frozen the rate stays, or rises by ``rise``."""
    free = (old * math.exp(-p.bucket_s / tau) + new) * math.exp(-gap / tau)
    if rise < 0.0 or e_old <= 0.0:
        return free
    kept = old / e_old * e_new
    return min(max(free, kept), kept * (1.0 + rise))


@kernel
def _rise(key: Any, m: int, end: float, gap: float, p: Any) -> float:
    """By how much of itself a frozen baseline may rise; -1 where it is not frozen.

    Frozen is frozen: it does not fall either, for a key with a call now and then has next to nothing in most buckets,
    and would be left with no baseline by its own attack.
    """
    if key.frozen_since[m] == 0:
        return -1.0
    if end - key.frozen_since[m] < p.release_after_s:
        return 0.0
    return float(p.release_per_day * (p.bucket_s + gap) / DAY_S)


@kernel
def _exposed(old: float, seconds: float, bucket_s: float, gap: float, gap_season: float, tau: float) -> float:
    keep = math.exp(-gap / tau)
    return (old * math.exp(-bucket_s / tau) + seconds) * keep + gap_season * tau * (1.0 - keep)


@kernel
def _learn(
    key: Any,
    pool: Any,
    m: int,
    end: float,
    seconds: float,
    width: float,
    gap: float,
    gap_season: float,
    gap_rhythm: float,
    p: Any,
) -> float:
    """What the bucket teaches, in raw units; and everything else that follows from it.

    A young key is believed as it is, for there is nothing to hold against it; an old one with hardly an event is
    believed as far as its peers go, so that it becomes known.
    """
    raw = float(key.bucket[m])
    unit = per_count(key, pool, m)
    age = end - key.born
    if unit <= 0.0:
        return raw
    rate, events = own_rate(key, pool, m, unit), key.a_base[m] / unit
    told = in_excursion(key, m, end) and age >= p.warm_days * DAY_S  # a younger key's bursts may be its ways
    if events >= KNOWN_EVENTS and age >= SAMPLE_AGE_S and not told:
        _sample(key, pool, m, end, gap, gap_season * gap_rhythm, rate, unit, p)
    if age <= p.young_s:
        return raw
    if events < KNOWN_EVENTS:
        mean = max(max(rate, pool.peer_high[m] / unit) * seconds, pool.session[MINUTE])
        most = unit * winsor_cap(mean, spread(key, pool, m, MINUTE, mean))
        return min(raw, most) if pool.peer_high[m] > 0.0 else raw
    x, mean = raw / unit, rate * seconds * key.rhythm
    r = believed(spread(key, pool, m, MINUTE, mean), events + PRIOR_EVENTS)
    if age >= CUSUM_AGE_S:
        empty = rate * gap_season * gap_rhythm * p.bucket_s
        _accumulate(key, pool, m, x, mean, rate, empty, end, gap, p)
    taught = _gate(key, pool, m, x, mean, r, unit, 1.0 + gap / p.bucket_s, end, p)
    add_peer(pool, m, rate * unit, 1.0 + gap / p.bucket_s)
    if m == REQUESTS:
        learn_hour(key, end - p.bucket_s, taught, p.base_s)
        if age >= SEASON_AGE_S:
            _teach_season(pool, end, taught, rate, width, gap, p)
    return float(unit * taught)


@kernel
def _gate(
    key: Any, pool: Any, m: int, x: float, mean: float, r: float, unit: float, buckets: float, end: float, p: Any
) -> float:
    """How much of the bucket, and of what earlier ones left over, may be learned, in counts.

    What is cut off a bucket is not thrown away, but waits for the next ones, or the empty ones after it: a cut at three
    standard deviations takes half of a skewed stream (a call of a hundred times the usual cost, now and then), and a
    baseline that is half of the truth is an alarm without end. Nobody teaches faster by it than by being cut each time.
    """
    told = in_excursion(key, m, end)
    if end - key.born < TRUST_AGE_S or end <= key.released_until or (not told and is_all_habit(key, pool, m)):
        key.frozen_since[m] = 0
        return x
    slow = key.cusum[m] > pool.slow_threshold
    if not (slow or told or chernoff(x, mean, r) > p.freeze_nats):
        key.frozen_since[m] = 0
        taught = min(x + key.left_over[m] / unit, buckets * winsor_cap(mean, r))
        key.left_over[m] = max(0.0, key.left_over[m] + unit * (x - taught))
        return float(taught)
    if told or slow:
        key.left_over[m] = 0.0
    if key.frozen_since[m] == 0:
        key.frozen_since[m] = max(1.0, end)
    if end - key.frozen_since[m] < p.release_after_s:
        return float(min(x, mean))
    return float(min(x, winsor_cap(mean, r)))  # nobody has said anything for a day: see _rise


@kernel
def is_all_habit(key: Any, pool: Any, m: int) -> bool:
    """Whether there is an excursion, and all that there is of it, by the minute and by the hour, is a habit."""
    excursion = False
    for j in (MINUTE, HOUR):
        if key.peak_at[j] > 0 and key.last - key.peak_at[j] <= OVER_S:
            if not is_habit(key, j, calls_of(key, pool, m, key.count[m, j])):
                return False
            excursion = True
    return excursion


@kernel
def in_excursion(key: Any, m: int, now: float) -> bool:
    """Whether something learned was told about this measure of late."""
    return bool(key.told_at[m] > 0 and now - key.told_at[m] < EXCURSION_S)


@kernel
def _accumulate(
    key: Any, pool: Any, m: int, x: float, mean: float, rate: float, empty_mean: float, end: float, gap: float, p: Any
) -> None:
    """CUSUM of the log-likelihood ratio "three times the rate" over buckets (negative binomial increments).

    It stops rising at twice its threshold, so that it comes down within hours when the excess ends.
    """
    before = float(key.cusum[m])
    s = max(0.0, before + cusum_step(x, mean, slow_spread(key, pool, m, rate, mean)))
    if before == 0.0 and s > 0.0:
        key.cusum_since[m] = max(1.0, end - p.bucket_s)
    if gap > 0.0:
        s = max(0.0, s + gap / p.bucket_s * cusum_step(0.0, empty_mean, slow_spread(key, pool, m, rate, empty_mean)))
    key.cusum[m] = min(s, 2.0 * pool.slow_threshold)


@kernel
def slow_spread(key: Any, pool: Any, m: int, rate: float, mean: float) -> float:
    """The r of a minute's count as a part of the hour: neighbouring minutes are alike, so the hour's dispersion holds.

    Counts of one dispersion keep it when they are added up; the window of an hour decays over two (see score).
    """
    usual = own_factor(key, LONG) * dispersion(pool, m, HOUR, 2.0 * rate * TAU_S[HOUR])
    return as_r(max(usual, in_sessions(key, pool, m)), mean)


@kernel
def cusum_step(x: float, mean: float, r: float) -> float:
    """Evidence of one bucket, in nats, that the rate is three times the mean."""
    return x * math.log(CUSUM_RATIO) - (x + r) * math.log((r + CUSUM_RATIO * mean) / (r + mean))


@kernel
def _sample(
    key: Any, pool: Any, m: int, end: float, gap: float, gap_season: float, rate: float, unit: float, p: Any
) -> None:
    """Compare the decayed counts at the bucket's end, and at the end of each empty bucket, with their means.

    A decayed count has half the variance of a plain one of the same mean, so twice the count is Poisson (see score).
    """
    lag = end - key.last
    season = season_mean(pool, end - 1.0, end)
    for j in range(SCALES):
        tau = TAU_S[j]
        keep = math.exp(-lag / tau)
        exposure = key.exposure[j] * keep + season * tau * (1.0 - keep)
        if exposure > FILLED * season * tau:
            y = 2.0 * key.count[m, j] * keep / unit
            add_count(key, pool, m, j, y, 2.0 * rate * exposure, p)
            if gap > 0.0:
                keep = math.exp(-p.bucket_s / tau)
                add_empty(key, pool, m, j, y, 2.0 * rate * gap_season * tau, gap / p.bucket_s, keep, p)
    if key.e_day > 0.5 * DAY_S and key.e_anchor > DAY_S:
        y, mean = 2.0 * key.a_day[m] / unit, 2.0 * key.a_anchor[m] / key.e_anchor / unit * key.e_day
        add_count(key, pool, m, DAY, y, mean, p)
        if gap > 0.0:
            add_empty(key, pool, m, DAY, y, mean, gap / p.bucket_s, math.exp(-p.bucket_s / DAY_S), p)


@kernel
def _teach_season(pool: Any, end: float, x: float, rate: float, width: float, gap: float, p: Any) -> None:
    add_season(pool, end - 1.0, x, rate * width, 1.0, width)
    left = min(gap, HOURS * HOUR_S)
    t = end
    while left > 0.0:
        step = min(left, (math.floor(t / HOUR_S) + 1.0) * HOUR_S - t)
        add_season(pool, t, 0.0, rate * p.bucket_s, step / p.bucket_s, step)
        t += step
        left -= step
