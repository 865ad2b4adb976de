"""What is normal at this site, and the clock that renews it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import forget_older, is_full, kernel

from .constants import (
    DAY_S,
    GOOD_S,
    HIGHEST_THETA0,
    LEAST_NATS,
    LEAST_SURE,
    LOWEST_THETA0,
    MOST_NATS,
    MOST_SURE,
    PRIOR_CONTACTS,
    PRIOR_THETA0,
    SEEN_S,
    THETA1,
    TICK_S,
    WEEK_S,
)


@kernel
def advance(
    common: Any,
    sites: npt.NDArray[np.void],
    seen: npt.NDArray[np.uint64],
    good: npt.NDArray[np.uint64],
    t: float,
) -> None:
    """Event time goes on; at each 10 s tick the site's numbers are renewed and old pairs forgotten."""
    if t <= common.now:
        return
    common.now = t
    tick = np.floor(t / TICK_S)
    if tick <= common.tick:
        return
    gap = (tick - common.tick) * TICK_S
    common.tick = tick
    for scope in range(sites.shape[0]):
        _renew(sites[scope], gap, common.alarms_per_day)
    # A generation goes when it is old, or full
    if t - common.seen_since >= SEEN_S or is_full(seen, common.seen_added):
        common.seen_now, common.seen_added, common.seen_since = forget_older(seen, common.seen_now), 0, t
        common.seen_turns += 1
    if t - common.good_since >= GOOD_S or is_full(good, common.good_added):
        common.good_now, common.good_added, common.good_since = forget_older(good, common.good_now), 0, t
        common.good_turns += 1


@kernel
def _renew(site: Any, gap: float, alarms_per_day: float) -> None:
    f = math.exp(-gap / WEEK_S)
    site.ok *= f
    site.bad *= f
    site.contacts *= math.exp(-gap / DAY_S)
    ratio = (site.ok + PRIOR_THETA0 * PRIOR_CONTACTS) / (site.ok + site.bad + PRIOR_CONTACTS)
    site.theta0 = min(HIGHEST_THETA0, max(LOWEST_THETA0, ratio))
    # 2: two learned tests share a scope's alarms
    wanted = math.log(max(1.0, 2.0 * site.contacts / alarms_per_day))
    site.threshold = min(MOST_NATS, max(LEAST_NATS, wanted))
    site.first = min(MOST_NATS, max(LEAST_NATS, wanted / sureness(ratio, site.theta0)))


@kernel
def sureness(ratio: float, theta0: float) -> float:
    """Of a nat of the first-contact test, where benign sources really succeed with ``ratio``.

    A CUSUM with steps Z passes h about once in exp(w h) steps, w being the root of E exp(w Z) = 1 (Lundberg's
    coefficient): 1 where theta0 is true, more where people do better than the test believes. Cost: 2 us.
    """
    up, down = math.log((1.0 - THETA1) / (1.0 - theta0)), math.log(theta0 / THETA1)
    low, high = LEAST_SURE, MOST_SURE
    for _ in range(30):
        w = 0.5 * (low + high)
        if (1.0 - ratio) * math.exp(w * up) + ratio * math.exp(-w * down) < 1.0:
            low = w
        else:
            high = w
    return 0.5 * (low + high)
