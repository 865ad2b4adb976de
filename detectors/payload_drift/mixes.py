"""Whether two samples of bins can be of one mixture: the population stability index, scaled by the samples' sizes.

The usual limits of the index (.1 and .25) say nothing without the sizes: for two samples of one mixture its mean is
(bins - 1) (1/n + 1/m), and divided by (1/n + 1/m) it is chi-square (Yurdakul 2018). Here it is also divided by what the
reference itself varied by from hour to hour, since callers come and go together.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]

LEAST_SHARE = 0.01  # bins that hold less of the reference are one bin together
CELL = 0.5


def pooled(reference: Counts, other: Counts) -> tuple[Counts, Counts]:
    """(bins,) of both: the bins that hold a share of the reference, and all others together as the last one."""
    total = reference.sum()
    kept = reference >= LEAST_SHARE * total if total > 0.0 else np.zeros(len(reference), bool)
    p = np.append(reference[kept], reference[~kept].sum())
    q = np.append(other[kept], other[~kept].sum())
    return p, q


def stability(reference: Counts, other: Counts) -> tuple[float, float, int]:
    """The index, the same scaled to chi-square, and its degrees of freedom."""
    p, q = pooled(reference, other)
    m, n = float(p.sum()), float(q.sum())
    p = (p + CELL) / (m + CELL * len(p))
    q = (q + CELL) / (n + CELL * len(q))
    index = float(np.sum((q - p) * np.log(q / p)))
    return index, index / (1.0 / max(n, 1.0) + 1.0 / max(m, 1.0)), max(1, len(p) - 1)


def tail_nats(x: float, df: int) -> float:
    """-ln P(chi-square > x), by Wilson and Hilferty's cube root; within a few per cent where it matters."""
    if x <= 0.0:
        return 0.0
    spread = 2.0 / (9.0 * df)
    z = (math.cbrt(x / df) - 1.0 + spread) / math.sqrt(spread)
    if z < 20.0:
        return -math.log(0.5 * math.erfc(z / math.sqrt(2.0)))
    return 0.5 * z * z + math.log(z * math.sqrt(2.0 * math.pi))


def moved(reference: Counts, other: Counts) -> float:
    """Share of the bodies that would have to change for one mixture to become the other (total variation)."""
    m, n = float(reference.sum()), float(other.sum())
    if m <= 0.0 or n <= 0.0:
        return 0.0
    return float(0.5 * np.abs(other / n - reference / m).sum())
