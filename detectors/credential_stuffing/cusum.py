"""The sequential test behind distributed stuffing, a minute a step, for all keys at once: plain numpy, no loop.

Failures that a site's own people cause keep pace with their successes; those of an attack do not (Herley and Schechter,
NDSS 2019; Javed and Paxson, CCS 2013). So the failures of a minute are compared with ratio times successes by a CUSUM
of negative-binomial log-likelihood ratios against a rise by ``RHO``. A CUSUM of likelihood ratios reaches h by chance
at most once in exp(h) steps (Lorden 1971).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F = npt.NDArray[np.float64]

RHO = np.array([1.5, 3.0])  # a slow attack hides below 3; a fast one is proved sooner by it
LEARN_HALF_LIFE_MIN = 7 * 1440.0  # algorithms for baselines of people: a week
PRIOR_RATIO = 0.05  # failures per success before anything is known; worth PRIOR_WEIGHT successes
PRIOR_WEIGHT = 50.0
R_MIN, R_MAX = 0.3, 200.0
R_PRIOR = 5.0  # people's failures in a minute, before a site's own dispersion is known
R_PRIOR_WEIGHT = 20.0  # minutes
AUTOCORRELATED = 4.0  # failures come in runs, so the test believes in r / 4 (measured: x2 for 6 h .34 -> .69)
WINSOR_SD = 3.0
CAP_NATS = 10.0  # above the threshold: an attack that is over must not go on accusing for hours


def dispersion(excess: F, square: F) -> F:
    """R of a negative binomial by pooled moments: ``square`` is sum of m^2, ``excess`` of (x - m)^2 - m."""
    s = square + R_PRIOR_WEIGHT * R_PRIOR
    e = np.maximum(excess + R_PRIOR_WEIGHT, 1e-9)
    return np.asarray(np.clip(s / e, R_MIN, R_MAX), np.float64)


def step(x: F, mean: F, r: F) -> tuple[F, F]:
    """Evidence of one minute for and against a rise by each of ``RHO``, in nats.

    Args:
        x: (keys, kinds) failures.
        mean: (keys, kinds) expected.
        r: (keys, kinds) dispersion.

    Returns:
        Two arrays (keys, kinds, len(RHO)), both >= 0: the increment is their difference.
    """
    r_ = (r / AUTOCORRELATED)[..., None]
    m, n = mean[..., None], x[..., None]
    against = (n + r_) * np.log((r_ + RHO * m) / (r_ + m))
    return n * np.log(RHO), np.asarray(against, np.float64)


def winsorised(x: F, mean: F, r: F) -> F:
    """What a minute may teach: no more than three standard deviations above what was expected, and one."""
    return np.asarray(np.minimum(x, mean + WINSOR_SD * np.sqrt(mean + mean**2 / r) + 1.0), np.float64)
