"""The sequential test behind distributed stuffing, a minute a step, for all keys at once: plain numpy, no loop.

Failures that a site's own people cause keep pace with their successes; those of an attack do not (Herley and Schechter,
NDSS 2019; Javed and Paxson, CCS 2013). So failures are compared with ratio times successes by a CUSUM of
negative-binomial log-likelihood ratios against a rise by ``RHO``. A CUSUM of likelihood ratios reaches h by chance at
most once in exp(h) steps (Lorden 1971).

The ratio itself wanders, and not from minute to minute but over an hour or so: sixty minutes at twice the failures are
one surprise, not sixty. So all minutes of a window of up to an hour share one gamma-distributed factor, which makes the
failures of the window as a whole negative-binomial, whatever minutes they fell into.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F = npt.NDArray[np.float64]

RHO = np.array([1.5, 2.5, 5.0])  # a slow attack hides below 2.5; a fast one is proved sooner by a high one
WINDOW_MIN = 60.0
LEARN_HALF_LIFE_MIN = 7 * 1440.0  # algorithms for baselines of people: a week
PRIOR_RATIO = 0.05  # failures per success before anything is known; worth PRIOR_WEIGHT successes
PRIOR_WEIGHT = 50.0
R_MIN, R_MAX = 0.5, 200.0
R_PRIOR = 8.0  # of an hour's failures, before a site's own dispersion is known: they wander by a third
R_PRIOR_WEIGHT = 12.0  # hours
WINSOR_SD = 3.0
CAP_NATS = 10.0  # above the threshold: an attack that is over must not go on accusing for hours


def dispersion(excess: F, square: F, hours: F) -> F:
    """R of a negative binomial by pooled moments.

    Args:
        excess: (keys, kinds) sum over hours of (x - m)^2 - m.
        square: (keys, kinds) sum of m^2.
        hours: (keys,) how many there were.
    """
    prior = R_PRIOR_WEIGHT * np.where(square > 0.0, square / np.maximum(hours, 1.0)[:, None], 1.0)
    e = np.maximum(excess + prior / R_PRIOR, 1e-9)
    return np.asarray(np.clip((square + prior) / e, R_MIN, R_MAX), np.float64)


def evidence(x: F, mean: F, r: F) -> F:
    """Nats of a window's failures for a rise by each of ``RHO``, against none.

    Args:
        x: (keys, kinds, len(RHO)) failures of the window so far.
        mean: (keys, kinds, len(RHO)) expected.
        r: (keys, kinds) dispersion of an hour.
    """
    r_ = r[..., None]
    return np.asarray(x * np.log(RHO) - (x + r_) * np.log((r_ + RHO * mean) / (r_ + mean)), np.float64)


def winsorised(x: F, mean: F, r: F) -> F:
    """What a minute may teach: no more than three standard deviations above what was expected, and one."""
    return np.asarray(np.minimum(x, mean + WINSOR_SD * np.sqrt(mean + mean**2 / r) + 1.0), np.float64)
