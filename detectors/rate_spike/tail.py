"""How surprising a count is: the upper tail of a negative binomial, in nats.

A count with mean m and spread r has variance m + m^2/r; r is the number of Gamma "events" behind its rate, so small r
is bursty and r -> inf is Poisson. Counts are real numbers here (decayed sums), which the incomplete beta allows.
"""

from __future__ import annotations

import math

from gatewatch.sdk import kernel

# -ln P is above the Chernoff bound by ln(sqrt(2 pi) * s * theta) or so, where s is the standard deviation at x and
# theta the tilt: 2.5 to 4.5 nats where the bound is 10 to 30. Below the threshold by more than this, nothing is exact.
GATE_NATS = 5.0
_TERMS = 400  # of the continued fraction; far in the tail it converges within 30
_TINY = 1e-300


@kernel
def chernoff(x: float, mean: float, r: float) -> float:
    """Lower bound of -ln P(X >= x), 0 where x <= mean. Cost: two logarithms."""
    if x <= mean:
        return 0.0
    return x * math.log(x / mean) - (x + r) * math.log((x + r) / (mean + r))


@kernel
def tail_nats(x: float, mean: float, r: float) -> float:
    """-ln P(X >= x) for X ~ NB(mean, r), 0 where x <= mean. Cost: about 0.5 us.

    P(X >= x) is the regularised incomplete beta I_p(x, r) with p = m / (m + r) (Abramowitz and Stegun 26.5.26), here by
    its continued fraction (26.5.8, evaluated by the modified Lentz method), which converges for x beyond the mean.
    """
    if x <= mean:
        return 0.0
    p = mean / (mean + r)
    log_front = x * math.log(p) + r * math.log(r / (mean + r)) - math.log(x)
    log_front -= math.lgamma(x) + math.lgamma(r) - math.lgamma(x + r)
    return max(0.0, -(log_front + math.log(_fraction(x, r, p))))


@kernel
def _fraction(a: float, b: float, p: float) -> float:
    c = 1.0
    d = 1.0 - (a + b) * p / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for k in range(1, _TERMS):
        for odd in range(2):
            if odd == 0:
                term = k * (b - k) * p / ((a + 2 * k - 1.0) * (a + 2 * k))
            else:
                term = -(a + k) * (a + b + k) * p / ((a + 2 * k) * (a + 2 * k + 1.0))
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            value *= d * c
        if abs(d * c - 1.0) < 1e-12:
            break
    return value


@kernel
def count_at(nats: float, mean: float, r: float) -> float:
    """The smallest count whose tail reaches ``nats``: what would have fired. By bisection, about 60 tails."""
    low = mean
    high = 2.0 * mean + 1.0
    while tail_nats(high, mean, r) < nats and high < 1e15:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        if tail_nats(middle, mean, r) < nats:
            low = middle
        else:
            high = middle
    return high


@kernel
def winsor_cap(mean: float, r: float) -> float:
    """More than this does a bucket never teach: three standard deviations above the mean, and one (algorithms A)."""
    return mean + 3.0 * math.sqrt(mean + mean * mean / r) + 1.0
