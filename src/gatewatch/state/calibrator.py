"""From a model's surprise to alarms a day: what a class of scores has been, against what its model claims.

A detector puts its threshold where its model says that the budget's share of false alarms lies beyond it. Models are
wrong in their tails, either way. So each class (a test on a scope, say) also counts how high its scores come: the
highest of each block of event time, in alarms a day as the model claims them. Once it has seen some days, it moves the
thresholds of its class to where the counted rate is the budget's share.

The unit is the *place* of a score: ``-ln(alarms a day that the model expects of such scores or higher)``. At 0 it says
one a day, at 2.3 one in ten days. A threshold stands at the place ``-ln(share)``, and a score that is ``margin`` nats
above its threshold stands ``margin`` above that. So scores of all windows, measures and keys of a class can be
compared, and another budget does not change what was learned.

Peaks over a threshold with an exponential tail (Pickands 1975; Coles 2001, chapter 4), of the maxima of blocks, so that
an excursion of an hour is one. A right model has a tail of scale 1; that is the prior of the scale.

What alarms does not teach: a block whose highest score is above both the model's threshold and the calibrated one does
not count at all. (Above one of them it does, or what a lowered threshold lets through would be forgotten.) So nobody
lifts a threshold by being caught, and by keeping below it no further than ``MOST_NATS``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.state.jit import kernel

_F8 = np.float64
DAY_S = 86400.0
LOWEST, WIDTH, BINS = -10.0, 0.5, 50  # places -10 (22,000 a day) to 15 (one in 9,000 years), by half nats
ENOUGH = 20.0  # blocks above a point for its rate to be believed: within a quarter or so
PRIOR_PEAKS = 10.0  # that the prior scale 1 is worth
HALF_LIFE_DAYS = 28.0  # as the anchors of baselines (DESIGN section 4)
# Nothing is said before a daily cycle was seen. What lifts a threshold is believed by half after three days, what
# lowers it only from the second week on, by half after the second: what comes once a week has to have come.
FIRST_DAYS, DOUBT_DAYS, CALM_DAYS = 2.0, 3.0, 7.0
# Of so many blocks the peaks are above a point at most for its rate to be known: peaks of full blocks hide one another.
# Below that, blocks without one are exp(-rate * block) of all.
MOST_FULL = 0.8
# Two decades, which is what lies between two severities (algorithms F): what surprises by more is told, whatever went
# before; and no threshold falls further than this because all was quiet.
MOST_NATS = math.log(100.0)
# Beyond a tenth of one in all the days that were seen nothing can be said (DESIGN section 2: p has the floor
# 1 / (10 n)): from there on the model's own scale holds again.
BEYOND = 10.0
FAR_BELOW = -1e9  # nats, of a block in which nothing came near: it is a block all the same

CALIBRATOR = np.dtype(
    [
        ("block", _F8),  # number of the open block since the epoch
        ("peak", _F8),  # highest margin in it, nats; -inf where nothing was judged
        ("days", _F8),  # in closed blocks, decayed
        ("counts", _F8, (BINS,)),  # closed blocks by the place of their peak, decayed; lower ones are only in ``days``
        ("shift", _F8),  # nats that are added to the model's thresholds, as of the last closed block
    ],
    align=True,
)


def fresh_calibrators(n: int) -> Any:
    """(n,) records of classes that nothing is known of: thresholds are the model's."""
    made = np.zeros(n, CALIBRATOR)
    made["block"] = made["peak"] = -np.inf
    return made


@kernel(inline=True)
def judged(c: Any, margin: float) -> None:
    """A score was compared with its threshold: how far it is above the *model's* one, nats (mostly below 0).

    -inf is right for "looked at, far below": a class that was never looked at learns nothing. Cost: a comparison.
    """
    c.peak = max(c.peak, margin, FAR_BELOW)


@kernel(inline=True)
def advance(c: Any, t: float, share: float, block_s: float) -> None:
    """Event time has come to ``t``: close the open block where it is over, and calibrate anew.

    Args:
        c: a record of :data:`CALIBRATOR`.
        t: event time, epoch seconds, not going back (earlier ones do nothing).
        share: medium-or-worse alarms a day that this class may spend here.
        block_s: length of a block, seconds: about as long as one excursion is; the same for all of a class's life.

    Cost: a division; 1 us where a block is closed.
    """
    block = math.floor(t / block_s)
    if block > c.block:
        _close(c, block, share, block_s)


@kernel
def _close(c: Any, block: float, share: float, block_s: float) -> None:
    if c.peak > -np.inf and c.peak < max(0.0, c.shift):
        _count(c, c.peak - math.log(share), block_s / DAY_S)
    c.shift = _shift(c, share, block_s)
    c.block, c.peak = block, -np.inf


@kernel
def _count(c: Any, place: float, days: float) -> None:
    keep = math.exp(-days * math.log(2.0) / HALF_LIFE_DAYS)
    for b in range(BINS):
        c.counts[b] *= keep
    c.days = c.days * keep + days
    b = math.floor((place - LOWEST) / WIDTH)
    if b >= 0:
        c.counts[min(b, BINS - 1)] += 1.0


@kernel
def _shift(c: Any, share: float, block_s: float) -> float:
    """Where the counted rate is ``share``, against where the model has it; by as much as the days seen are worth."""
    if c.days < FIRST_DAYS:
        return 0.0
    blocks = c.days * DAY_S / block_s
    n, excess, rate, b = 0.0, 0.0, 0.0, BINS
    while b > 0 and (n < ENOUGH or rate < share) and n < MOST_FULL * blocks:
        b -= 1
        excess += WIDTH * n + 0.5 * WIDTH * c.counts[b]  # those further up now lie one bin further above
        n += c.counts[b]
        rate = -math.log(1.0 - min(MOST_FULL, n / blocks)) * DAY_S / block_s
    scale = (excess + PRIOR_PEAKS) / (n + PRIOR_PEAKS)
    # What was told is missing in the counts: of an exponential tail that is exp(-(where telling begins - here) / scale)
    here, told = LOWEST + WIDTH * b, max(0.0, c.shift) - math.log(share)
    rate /= 1.0 - math.exp(-max(told - here, WIDTH) / scale)
    rate, floor = max(rate, 1.0 / c.days), max(share, 1.0 / (BEYOND * c.days))
    place = here + scale * math.log(rate / floor) + math.log(floor / share)
    shift = place + math.log(share)
    if shift > 0.0:
        return float(min(MOST_NATS, shift * c.days / (c.days + DOUBT_DAYS)))
    return float(max(-MOST_NATS, shift * max(0.0, 1.0 - CALM_DAYS / c.days)))
