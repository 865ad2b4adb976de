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
SLOT_S = 6 * 3600.0  # so long an attack explains nothing of itself
OWN_MAX = 100.0  # a key scatters so many times as much as its band at most
SHORT, LONG = 0, 1  # a key's own factor is kept for windows up to a minute (by MINUTE), and for longer ones (by HOUR)


@kernel
def own_factor(key: Any, kind: int) -> float:
    """How many times the band's variance the key has shown; six hours of being like all others stand before it."""
    return float(min(OWN_MAX, max(1.0, key.deviation[kind] / key.due[kind]))) if key.due[kind] > 0.0 else 1.0


@kernel
def spread(key: Any, pool: Any, m: int, j: int, mean: float) -> float:
    """The r of the negative binomial whose variance is that of the key's counts of such a mean: mean + mean^2 / r."""
    own = own_factor(key, SHORT if j <= MINUTE else LONG)
    return as_r(own * dispersion(pool, m, j, mean), mean)


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
def add_count(key: Any, pool: Any, m: int, j: int, y: float, mean: float, n: float, keep: float, p: Any) -> None:
    """A window's count against its mean, and ``n`` empty buckets after it, in each of which it falls to ``keep``.

    A surprising count enters at five standard deviations: it must widen the spread, or bursty traffic is never
    believed, but one attack must not own it. What is too little to alarm anybody is always believed.
    """
    kind = SHORT if j <= MINUTE else LONG
    usual = dispersion(pool, m, j, mean) * mean
    seen = min(y, max(mean + BELIEVABLE * math.sqrt(own_factor(key, kind) * usual), 2.0 * p.min_events))
    squares = (seen - mean) * (seen - mean) + empty_squares(seen, mean, n, keep)
    add_moments(pool, m, j, squares, mean, 1.0 + n)
    if m == REQUESTS and j in (MINUTE, HOUR):
        key.late_deviation[kind] += squares
        key.late_due[kind] += usual * (1.0 + n)


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
