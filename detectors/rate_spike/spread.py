"""How far a key's counts scatter: the scope's dispersion for counts of such a mean, times what the key itself shows.

A scope holds people who come in sessions, services that never rest and jobs that run on the hour; one number for all is
wrong for each. A key is believed by its own deviations as far as it has shown them, and only upwards: who was calm so
far gets no sharper a bound than its peers.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .layout import DAY_S, HOUR, MEASURES, MINUTE, REQUESTS
from .pool import add_moments, dispersion, empty_squares

R_MAX, R_MIN = 200.0, 1e-6  # algorithms A clamps at 0.3; visitors who come in sessions have 0.0003 a minute
BELIEVABLE = 5.0  # standard deviations at which a surprising count enters a dispersion
PAUSE_S = 1200.0  # that parts two sessions (habit.OVER_S: of jobs as well)
SLOT_S = 6 * 3600.0  # so long an attack explains nothing of itself
OWN_MAX = 100.0  # a key scatters so many times as much as its band at most
SHORT, LONG = 0, 1  # a key's own factor is kept for windows up to a minute (by MINUTE), and for longer ones (by HOUR)


@kernel
def own_factor(key: Any, kind: int) -> float:
    """How many times the band's variance the key has shown; six hours of being like all others stand before it."""
    return float(min(OWN_MAX, max(1.0, key.deviation[kind] / key.due[kind]))) if key.due[kind] > 0.0 else 1.0


@kernel
def _own_at(key: Any, j: int) -> float:
    """The same for a scale. Between a minute and an hour it is the larger: a job on the hour is calm by the hour."""
    if j <= MINUTE:
        return own_factor(key, SHORT)
    long = own_factor(key, LONG)
    return long if j >= HOUR else max(own_factor(key, SHORT), long)


@kernel
def spread(key: Any, pool: Any, m: int, j: int, mean: float) -> float:
    """The r of the negative binomial whose variance is that of the key's counts of such a mean: mean + mean^2 / r."""
    over_mean = _own_at(key, j) * dispersion(pool, m, j, mean)
    if j > MINUTE:
        over_mean = max(over_mean, in_sessions(key, pool, m))
    return as_r(over_mean, mean)


@kernel
def clump_of(events: float, starts: float, rate: float) -> float:
    """How many calls come together: those between two pauses, against a plain stream of that rate (1 a second: 1).

    A plain stream makes exp(rate * pause) calls between two pauses of that length. A key that never pauses comes in no
    sessions; one that makes fourteen calls and is silent for a day does, and has shown two of them in 28 calls.
    """
    return max(1.0, events / max(1.0, starts) * math.exp(-min(50.0, rate * PAUSE_S)))


@kernel
def in_sessions(key: Any, pool: Any, m: int) -> float:
    """Variance over mean of counts whose calls come in sessions of geometric length: 2 c - 1 (a compound Poisson)."""
    return float(2.0 * key.clump / pool.noise[m] - 1.0)


@kernel
def as_r(over_mean: float, mean: float) -> float:
    """The r at which variance over mean is ``over_mean``."""
    beyond = over_mean - 1.0
    return R_MAX if beyond * R_MAX <= mean else max(R_MIN, mean / beyond)


@kernel
def believed(r: float, events: float) -> float:
    """A spread widened by what is not known of the rate: its own variance is that of a Gamma of so many events."""
    return r * events / (r + events)


@kernel
def add_count(key: Any, pool: Any, m: int, j: int, y: float, mean: float, p: Any) -> None:
    """A window's count at the end of a bucket against its mean.

    A surprising count enters at five standard deviations: it must widen the spread, or bursty traffic is never
    believed, but one attack must not own it. What is too little to alarm anybody is always believed.
    """
    usual = dispersion(pool, m, j, mean) * mean
    seen = _believable(key, j, y, mean, usual, p)
    _add_squares(key, pool, m, j, (seen - mean) * (seen - mean), mean, usual, 1.0)


@kernel
def add_empty(key: Any, pool: Any, m: int, j: int, y: float, mean: float, n: float, keep: float, p: Any) -> None:
    """The same at the end of each of ``n`` empty buckets after that, in each of which the count falls to ``keep``."""
    usual = dispersion(pool, m, j, mean) * mean
    seen = _believable(key, j, y, mean, usual, p)
    _add_squares(key, pool, m, j, empty_squares(seen, mean, n, keep), mean, usual, n)


@kernel
def _believable(key: Any, j: int, y: float, mean: float, usual: float, p: Any) -> float:
    return float(min(y, max(mean + BELIEVABLE * math.sqrt(_own_at(key, j) * usual), 2.0 * p.min_events)))


@kernel
def _add_squares(key: Any, pool: Any, m: int, j: int, squares: float, mean: float, usual: float, n: float) -> None:
    """Squared deviations of ``n`` counts of one mean: the scope's, and the key's own, which is believed later."""
    add_moments(pool, m, j, squares, mean, n)
    if m == REQUESTS and j in (MINUTE, HOUR):
        kind = SHORT if j <= MINUTE else LONG
        key.late_deviation[kind] += squares
        key.late_due[kind] += usual * n


@kernel
def close_slot(key: Any, t: float, p: Any) -> None:
    """Believe what the last hours showed of the key's own scatter, unless it was told of in them.

    Not at once: six hours at twice the rate would explain themselves. On its first day a key is believed as it is, as
    its baseline is.
    """
    slot = math.floor(t / SLOT_S)
    if slot == key.slot:
        return
    told = 0
    for m in range(MEASURES):
        told = max(told, key.told_at[m])
    believe = told < key.slot * SLOT_S or t - key.born < DAY_S
    kept = math.exp((key.slot - slot) * SLOT_S / p.base_s)
    for kind in range(2):
        if key.due[kind] == 0.0:
            key.deviation[kind] = key.due[kind] = key.late_due[kind]
        key.deviation[kind] *= kept
        key.due[kind] *= kept
        if believe:
            key.deviation[kind] += key.late_deviation[kind]
            key.due[kind] += key.late_due[kind]
        key.late_deviation[kind] = key.late_due[kind] = 0.0
    key.slot = slot
