"""How far a window's answers are from the reference, in a unit that its own windows have set. Pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .constants import CAP_NATS, LEAST_SD, METRICS, SAMPLE, SHARE_OF_METRIC, SMOOTHING, K
from .layout import M, bins_of

Floats = npt.NDArray[np.float64]


def divergence(window: Floats, reference: Floats, least: float) -> Floats:
    """(METRICS,) the G statistic of each metric: 2 n KL(window, reference), with n capped; NaN where one is silent.

    Args:
        window: (WIDTH,) counts.
        reference: (WIDTH,) counts.
        least: answers with the metric that the window needs.
    """
    found = np.full(M, np.nan)
    for metric in range(M):
        mine, usual = window[bins_of(metric)], reference[bins_of(metric)]
        n, total = float(mine.sum()), float(usual.sum())
        if n < least or total < least:
            continue
        expected = (usual + SMOOTHING * (1.0 / len(usual) + usual / total)) / (total + 2.0 * SMOOTHING)
        share = mine / n
        filled = share > 0.0
        kl = float((share[filled] * np.log(share[filled] / expected[filled])).sum())
        found[metric] = 2.0 * min(n, SAMPLE) * max(kl, 0.0)
    return found


def calibrated(kept: Floats, least: float) -> tuple[Floats, Floats, Floats, Floats]:
    """What windows that are in order differ by: each against the sum of the others.

    Returns:
        The reference (WIDTH,), the mean of the statistic (METRICS,), 0 where a metric is silent, and the standard
        deviation of the cube root of statistic over mean (METRICS,), which is near normal (Wilson and Hilferty 1931);
        and how far the slow test gets on these windows (METRICS,): days and nights make runs of it.
    """
    total = kept.sum(axis=0)
    each = np.array([divergence(window, total - window, least) for window in kept])
    mean, sd, run = np.zeros(M), np.full(M, LEAST_SD), np.zeros(M)
    for metric in range(M):
        told = each[:, metric][~np.isnan(each[:, metric])]
        if len(told) < 0.5 * len(kept):
            continue
        mean[metric] = max(float(told.mean()), 1.0)  # a metric that never moves still has a chance of one answer
        roots = np.cbrt(told / mean[metric])
        sd[metric] = max(LEAST_SD, float(roots.std()) * math.sqrt(1.0 + 2.0 / len(told)))
    at = np.zeros(M)
    for statistic in each:
        at = np.maximum(0.0, at + slow_step(z_scores(statistic, mean, sd)))
        run = np.maximum(run, at)
    return total, mean, sd, run


def slow_step(z: Floats) -> Floats:
    """(METRICS,) what one window adds to the slow test; one wild window is the fast test's."""
    return np.asarray(np.where(np.isnan(z), 0.0, np.clip(z, -3.0, 3.0) - K), np.float64)


def z_of(ratio: float, sd: float) -> float:
    """Standard deviations of one statistic over its mean."""
    return float((math.cbrt(ratio) - (1.0 - sd**2)) / sd)


def z_scores(statistic: Floats, mean: Floats, sd: Floats) -> Floats:
    """(METRICS,) how many standard deviations above the usual; NaN where a metric is silent."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (np.cbrt(statistic / mean) - (1.0 - sd**2)) / sd
    return np.where(mean > 0.0, z, np.nan)


def tail_nats(z: float) -> float:
    """-ln of the upper tail of Student's t of 10 degrees of freedom, by its normal approximation (Wallace 1959).

    The spread is estimated from few windows, and endpoints have bad hours: a normal tail would promise too much.

    >>> 0.68 < tail_nats(0.0) < 0.70 and 8.0 < tail_nats(5.5) < 9.5
    True
    """
    df = 10.0
    x = (8.0 * df + 1.0) / (8.0 * df + 3.0) * math.sqrt(df * math.log1p(z * z / df))
    p = 0.5 * math.erfc(math.copysign(x, z) / math.sqrt(2.0))
    return min(CAP_NATS, -math.log(max(p, 1e-30)))


def speaks(window: Floats, answers: float) -> npt.NDArray[np.bool_]:
    """(METRICS,) which metrics enough of the answers carry; bytes only where tokens do not."""
    n = np.array([window[bins_of(metric)].sum() for metric in range(M)])
    found: npt.NDArray[np.bool_] = n >= SHARE_OF_METRIC * max(answers, 1.0)
    if found[METRICS.index("tokens_out")]:
        found[METRICS.index("bytes_out")] = False
    return found
