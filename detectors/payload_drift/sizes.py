"""Mean and spread of the logarithm of a size, and how surprising a size is."""

from __future__ import annotations

import math

from gatewatch.sdk import kernel

from .constants import LEAST_SIZES, LEAST_VARIANCE, NOISE_NATS, SIZE_MEMORY, TAIL_DF, WINSOR


@kernel
def surprise(size: float, mean: float, var: float) -> float:
    """Nats of a size, either way: Student's t, less what is noise."""
    z2 = (size - mean) ** 2 / max(var, LEAST_VARIANCE)
    return max(0.0, 0.5 * (TAIL_DF + 1.0) * math.log1p(z2 / TAIL_DF) - NOISE_NATS)


@kernel
def learn(count: float, mean: float, var: float, size: float) -> tuple[float, float]:
    """The new mean and variance after ``count`` sizes before this one; outliers teach as much as 3 sd do."""
    if count < 1.0:
        return size, 0.0
    w = max(1.0 / (count + 1.0), 1.0 / SIZE_MEMORY)
    step = size - mean
    if count >= LEAST_SIZES:
        most = WINSOR * math.sqrt(max(var, LEAST_VARIANCE))
        step = min(max(step, -most), most)
    return mean + w * step, (1.0 - w) * (var + w * step * step)
