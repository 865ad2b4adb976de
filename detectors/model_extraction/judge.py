"""The score of an open hour: five p-values, combined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import find, judged, kernel

from .constants import (
    AGAIN_NATS,
    FIRST_HOURS,
    HARVEST,
    LIMIT,
    REFRESH_S,
    SIGN_NATS,
    SWEEP,
    SWEEP_SHARE,
    TOKENS,
)
from .layout import ASKED, CALLS, OUT, REPEATS, SPREAD, Found, Memory, Params
from .past import own_surprise
from .peers import bits_in, is_warm, middle, profile, rarity_of_newcomers, surprise


@kernel
def judge(
    pair: Any, target: np.uint64, newcomer: bool, t: float, memory: Memory, values: npt.NDArray[np.float64],
    p: Params, found: Found, n: int,
) -> bool:  # fmt: skip
    """Score the open hour; whether a finding was written."""
    common = memory.common[0]
    at = find(memory.models, target)
    peers = memory.model_rows[at] if at >= 0 and is_warm(memory.model_rows[at], p) else memory.pool[0]
    warm = is_warm(peers, p) and common.now - common.began >= p.warm_s
    if warm:
        judged(common.calibrator, -math.inf)
    profile(pair, values)
    calls, out = _volume(pair, peers, values, CALLS), _volume(pair, peers, values, OUT)
    sweeps = pair.calls >= p.sweep and _sweeps(pair, values, newcomer)
    if max(calls, out) < SIGN_NATS and pair.calls < p.limit and not sweeps:
        return False  # nearly every hour of nearly every caller ends here
    detail = found.detail[n]
    detail[0] = max(calls, out)
    _behaviour(pair, peers, newcomer, values, detail)
    nats = fisher(detail[0] + detail[1] + detail[2] + detail[3] + detail[4])
    model = max(p.least_nats, math.log(max(common.day, 1.0) / p.alarms_per_day))
    threshold = model + common.calibrator.shift
    behaves = max(detail[1], detail[2], detail[3]) >= SIGN_NATS
    learned = pair.calls >= p.least_calls and detail[0] >= SIGN_NATS and behaves
    if learned and warm:
        judged(common.calibrator, nats - model)
    # A rule that holds now says more than a baseline that is not known yet
    learned = learned and nats >= threshold and (warm or not sweeps)
    if not (learned or sweeps or pair.calls >= p.limit) or not _is_news(pair, nats, t):
        return False
    reason = (HARVEST if calls >= out else TOKENS) if learned else (LIMIT if pair.calls >= p.limit else SWEEP)
    found.reason[n], found.nats[n] = reason, nats
    found.threshold[n] = threshold if learned else min(threshold, nats)
    found.observed[n] = pair.out if reason == TOKENS else pair.calls
    if learned:
        found.expected[n] = middle(peers, OUT if reason == TOKENS else CALLS)
    else:
        found.expected[n] = p.limit if reason == LIMIT else p.sweep
    found.window_s[n], found.since[n] = max(0.0, t - pair.began), pair.began
    found.warm[n] = warm or not learned
    if learned and warm:
        pair.frozen_at = min(pair.frozen_at, t)
        pair.told_hour = pair.hour
    return True


@kernel
def _sweeps(pair: Any, values: npt.NDArray[np.float64], newcomer: bool) -> bool:
    """Whether nearly all requests are of one kind, and that is new: of a newcomer, or much more than its own past."""
    if max(values[REPEATS], values[ASKED]) < SWEEP_SHARE:
        return False
    if pair.hours < FIRST_HOURS:
        return newcomer
    return own_surprise(pair, CALLS, values[CALLS]) >= SIGN_NATS


@kernel
def _volume(pair: Any, peers: Any, values: npt.NDArray[np.float64], metric: int) -> float:
    """Surprise at one of the two volumes; twice the p, as the smaller one counts."""
    peers_say = surprise(peers, metric, values[metric])
    nats = peers_say if peers_say == 0.0 else min(peers_say, own_surprise(pair, metric, values[metric]))
    return max(0.0, nats - math.log(2.0))


@kernel
def _behaviour(pair: Any, peers: Any, newcomer: bool, values: npt.NDArray[np.float64], detail: Any) -> None:
    """Fill what ``Reason.columns`` names after the volume."""
    for m, place in ((REPEATS, 1), (SPREAD, 2), (ASKED, 3)):
        detail[place] = min(surprise(peers, m, values[m]), own_surprise(pair, m, values[m]))
    detail[4] = rarity_of_newcomers(peers) if newcomer else 0.0
    detail[5], detail[6], detail[7] = values[REPEATS], values[ASKED], bits_in(pair.shapes)


@kernel
def fisher(total: float) -> float:
    """-ln of the p-value of a sum of five -ln p: the upper tail of a Gamma(5) distribution (Fisher 1925)."""
    return total - math.log1p(total * (1.0 + total / 2.0 * (1.0 + total / 3.0 * (1.0 + total / 4.0))))


@kernel
def _is_news(pair: Any, nats: float, t: float) -> bool:
    """The first time in an hour, a good deal more, or ten minutes later."""
    if pair.told_nats > 0.0 and nats < pair.told_nats + AGAIN_NATS and t < pair.told_at + REFRESH_S:
        return False
    if pair.told_nats == 0.0 and t < pair.told_at + REFRESH_S:
        return False
    pair.told_at = max(pair.told_at, t)
    pair.told_nats = max(pair.told_nats, nats, 1e-9)
    return True
