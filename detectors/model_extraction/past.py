"""A caller's own past on a model: mean and variance of each metric over its active hours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import kernel

from .constants import CAP_NATS, DAY_S, FIRST_HOURS, PAST_HOURS, RISE_A_DAY, SD_SHARE, SD_VOLUME
from .layout import CALLS, METRICS, OUT, SPREAD


@kernel
def own_surprise(pair: Any, metric: int, value: float) -> float:
    """-ln of the upper normal tail at ``value``; the cap while the past is too short to speak for the caller."""
    if pair.hours < FIRST_HOURS:
        return CAP_NATS
    least = SD_VOLUME if metric in (CALLS, OUT) else (1.0 if metric == SPREAD else SD_SHARE)
    spread = math.sqrt(max(pair.var[metric], least * least) * (1.0 + 1.0 / pair.hours))
    z = (value - pair.mean[metric]) / spread
    if z <= 0.0:
        return 0.0
    return min(CAP_NATS, -math.log(max(0.5 * math.erfc(z / math.sqrt(2.0)), 1e-30)))


@kernel
def learn_own(pair: Any, values: npt.NDArray[np.float64]) -> None:
    """Add an hour: a plain mean at first, then one that forgets over a week of active hours."""
    pair.hours += 1.0
    a = max(1.0 / pair.hours, 1.0 / PAST_HOURS)
    for m in range(METRICS):
        step = values[m] - pair.mean[m]
        pair.mean[m] += a * step
        pair.var[m] = (1.0 - a) * (pair.var[m] + a * step * step)


@kernel
def rise(pair: Any, values: npt.NDArray[np.float64], t: float) -> None:
    """An hour that was told of does not teach; after a day of them the past moves up by 5 % a day at most."""
    if t - pair.frozen_at < DAY_S:
        return
    for m in range(METRICS):
        most = math.log1p(RISE_A_DAY) if m in (CALLS, OUT) else RISE_A_DAY * max(pair.mean[m], SD_SHARE)
        pair.mean[m] += min(max(values[m] - pair.mean[m], 0.0), most / 24.0)
