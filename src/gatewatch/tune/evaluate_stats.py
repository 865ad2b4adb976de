"""The figures of an evaluation: shares, rates and their intervals, and what is caught at a false-positive rate.

All intervals are two-sided, 95 %. Where nothing happened a resampled interval would be [0, 0], which is not true; the
exact one of a Poisson count stands there instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 999
_SEED = 1  # intervals are the same each time

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds between which the truth lies in 95 of 100 cases; NaN where nothing can be said."""

    value: float
    low: float
    high: float


NOTHING = Interval(np.nan, np.nan, np.nan)


def share(hits: int, n: int) -> Interval:
    """``hits`` of ``n``, with the exact interval of Clopper and Pearson (1934).

    >>> interval = share(9, 10)
    >>> round(interval.value, 2), round(interval.low, 3), round(interval.high, 4)
    (0.9, 0.555, 0.9975)
    """
    if n == 0:
        return NOTHING
    found = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, "exact")
    return Interval(hits / n, float(found.low), float(found.high))


def rate(counts: Floats, exposures: Floats) -> Interval:
    """Events per unit of exposure over units (days, keys) that are resampled whole.

    Args:
        counts: (n,) events of each unit.
        exposures: (n,) what each unit was exposed to: 1 for a day, its active days for a key.

    A bootstrap over units (Efron 1979; percentiles), since events of one unit come together.

    >>> round(rate(np.array([0.0, 0.0]), np.array([1.0, 1.0])).high, 6)  # two quiet days can have had 1.8 a day
    1.84444
    """
    exposure = float(exposures.sum())
    if exposure <= 0.0:
        return NOTHING
    total = float(counts.sum())
    if total == 0.0 or len(counts) < 2:
        return _poisson(total, exposure)

    def ratio(c: Floats, e: Floats, axis: int = -1) -> Floats:
        return np.asarray(c.sum(axis=axis) / e.sum(axis=axis))

    found = stats.bootstrap(
        (counts, exposures),
        ratio,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(counts)),
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(total / exposure, float(found.low), float(found.high))


def median(values: Floats) -> Interval:
    """The median of some delays, resampled; of one, only its value.

    >>> median(np.array([4.0]))
    Interval(value=4.0, low=nan, high=nan)
    """
    if len(values) == 0:
        return NOTHING
    if len(values) == 1 or np.ptp(values) == 0.0:
        bound = float(values[0]) if len(values) > 1 else np.nan
        return Interval(float(values[0]), bound, bound)
    found = stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=RESAMPLES, rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return Interval(float(np.median(values)), float(found.low), float(found.high))


def tpr_at_fpr(benign: Floats, hostile: Floats, fpr: float) -> tuple[float, float]:
    """The largest share of hostile scores above a threshold that at most ``fpr`` of the benign ones pass.

    A score of 0 is "nothing was said" and never passes. Equal scores pass together or not at all, so a score of few
    values is not flattered.

    Returns:
        the share, and the threshold: a score passes that is larger.

    >>> tpr_at_fpr(np.array([0.0, 0.0, 0.0, 5.0]), np.array([9.0, 5.0, 0.0, 7.0]), 0.1)
    (0.5, 5.0)
    """
    if len(benign) == 0 or len(hostile) == 0:
        return np.nan, np.nan
    allowed = int(np.floor(fpr * len(benign) + 1e-9))
    falling = np.sort(benign)[::-1]
    threshold = max(0.0, float(falling[allowed])) if allowed < len(falling) else 0.0
    return float((hostile > threshold).mean()), threshold


def roc_auc(benign: Floats, hostile: Floats) -> float:
    """The chance that a hostile score is larger than a benign one, ties counting half (Mann and Whitney 1947).

    >>> roc_auc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    ranks = stats.rankdata(np.concatenate([benign, hostile]))
    above = ranks[len(benign) :].sum() - len(hostile) * (len(hostile) + 1) / 2
    return float(above / len(benign) / len(hostile))


def _poisson(count: float, exposure: float) -> Interval:
    """The exact interval of a Poisson count (Garwood 1936)."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low = float(stats.chi2.ppf(tail, 2.0 * count)) / 2.0 if count > 0 else 0.0
    high = float(stats.chi2.ppf(1.0 - tail, 2.0 * count + 2.0)) / 2.0
    return Interval(count / exposure, low / exposure, high / exposure)
