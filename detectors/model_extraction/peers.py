"""What callers do in an hour: histograms of five metrics, and how unlikely a value is in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import kernel

from .constants import CAP_NATS, LEAST_CALLS, PEERS_TAU_S
from .layout import ASKED, BINS, CALLS, METRICS, OUT, REPEATS, SPREAD, Params

U64 = np.uint64


@kernel
def bits_in(word: np.uint64) -> int:
    """How many bits are set."""
    n = 0
    while word != U64(0):
        word &= word - U64(1)
        n += 1
    return n


@kernel
def profile(pair: Any, values: npt.NDArray[np.float64]) -> None:
    """The open hour in five numbers: ln of calls and of what they got, two shares, distinct shapes."""
    values[CALLS] = math.log(max(pair.calls, 1.0))
    values[OUT] = math.log(max(pair.out, 1.0))
    values[REPEATS] = pair.repeats / max(pair.sized, 1.0)
    values[SPREAD] = bits_in(pair.shapes)
    values[ASKED] = pair.asked / max(pair.calls, 1.0)


@kernel
def bin_of(metric: int, value: float) -> int:
    """Which bin of its histogram a value falls into."""
    if metric in (CALLS, OUT):
        place = value * (2.0 / math.log(2.0))
    elif metric == SPREAD:
        place = value - 1.0
    else:
        place = 60.0 * value
    return int(min(max(place, 0.0), BINS - 1.0))


@kernel
def forget(peers: Any, t: float) -> None:
    """A new model's row, which may have been another's."""
    peers.t = t
    peers.n = peers.newcomers = peers.shared = 0.0
    peers.who = U64(0)
    peers.count[:] = 0.0


@kernel
def learn(
    peers: Any, values: npt.NDArray[np.float64], calls: float, caller: np.uint64, newcomer: bool, t: float
) -> None:
    """Add one hour of one caller. Cost: .5 us, and once an hour at most that to let everything fade."""
    gap = t - peers.t
    if gap > 3600.0:
        keep = math.exp(-gap / PEERS_TAU_S)
        peers.n *= keep
        peers.newcomers *= keep
        peers.shared *= keep
        for m in range(METRICS):
            for b in range(BINS):
                peers.count[m, b] *= keep
        peers.t = t
    peers.n += 1.0
    peers.newcomers += newcomer
    peers.who |= U64(1) << (caller >> U64(58))
    peers.count[CALLS, bin_of(CALLS, values[CALLS])] += 1.0
    peers.count[OUT, bin_of(OUT, values[OUT])] += 1.0
    if calls >= LEAST_CALLS:
        peers.shared += 1.0
        for m in (REPEATS, SPREAD, ASKED):
            peers.count[m, bin_of(m, values[m])] += 1.0


@kernel
def surprise(peers: Any, metric: int, value: float) -> float:
    """-ln of the share of hours with as much or more, counting this one among them (a conformal p)."""
    n = peers.n if metric in (CALLS, OUT) else peers.shared
    above = 0.0
    for b in range(bin_of(metric, value), BINS):
        above += peers.count[metric, b]
    return min(CAP_NATS, max(0.0, math.log((n + 1.0) / (above + 1.0))))


@kernel
def rarity_of_newcomers(peers: Any) -> float:
    """-ln of the share of hours that are newcomers'."""
    return min(CAP_NATS, max(0.0, math.log((peers.n + 1.0) / (peers.newcomers + 1.0))))


@kernel
def middle(peers: Any, metric: int) -> float:
    """The median of a volume, in its own unit (not its logarithm)."""
    below = 0.0
    for b in range(BINS):
        below += peers.count[metric, b]
        if below >= 0.5 * peers.n:
            return math.exp((b + 0.5) * math.log(2.0) / 2.0)
    return 0.0


@kernel
def is_warm(peers: Any, p: Params) -> bool:
    """Whether enough hours of enough callers are known."""
    return peers.n >= p.warm_hours and bits_in(peers.who) >= p.warm_callers
