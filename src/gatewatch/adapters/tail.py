"""How rare a score is, from the scores of the past: -ln p, without a belief about what the model's numbers mean.

The last ``RING`` scores stand in order, and p is the share of them that is at least as high (a conformal p-value). For
a score above all of them that share says too little: there the excesses over the 98th percentile follow a generalised
Pareto distribution, fitted by moments (Hosking and Wallis 1987), never lighter than an exponential. p is floored at
max(1e-6, 1 / (10 n)), n being the scores ever learned: what lies below is not known, and nats beyond it grow by a
logarithm only, to keep their order.

Cost: about 2 us a score, 20 us above the 98th percentile.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RING = 4096  # the 98th percentile leaves 82 excesses to fit by; a scale that changed is forgotten after as many scores
TAIL = 0.02  # share of the scores that the fit is about (Siffer et al. 2017 use as much)
LEAST = 100  # scores before any opinion: two excesses
SHAPE_MAX = 0.45  # the moments of a heavier tail do not exist
P_FLOOR = 1e-6  # DESIGN: nothing is known of rarer things


class Rarity(NamedTuple):
    """What is known of one score."""

    nats: float  # -ln p
    fitted: float  # the same by the fit alone: how far out it is, however many came before it


class Tail:
    """The scores of the past."""

    def __init__(self) -> None:
        self.n = 0
        self._ring: deque[float] = deque()
        self._order: list[float] = []

    @property
    def floor_nats(self) -> float:
        """-ln of the smallest p that so many scores can show."""
        return -math.log(max(P_FLOOR, 1.0 / (10.0 * max(self.n, 1))))

    def learn(self, score: float) -> None:
        """Count a score among the past."""
        self.n += 1
        if len(self._ring) == RING:
            del self._order[bisect_left(self._order, self._ring.popleft())]
        self._ring.append(score)
        insort(self._order, score)

    def rarity(self, score: float) -> Rarity:
        """How rare a score at least this high is; nothing while too few are known."""
        m = len(self._order)
        if m < LEAST:
            return Rarity(0.0, 0.0)
        above = m - bisect_left(self._order, score)
        ranked = math.log((m + 1.0) / (above + 1.0))
        if ranked <= -math.log(TAIL):
            return Rarity(ranked, ranked)
        edge, sigma, shape = self._fit()
        if sigma <= 0.0:  # all of the tail is one value: nothing says how far out this is
            return Rarity(ranked, ranked)
        fitted = _excess_nats(score - edge, sigma, shape) - math.log(TAIL)
        return Rarity(ranked if above else bounded(max(ranked, fitted), self.floor_nats), fitted)

    def edge_and_needed(self, nats: float) -> tuple[float, float]:
        """The score that 98 of 100 were below, and the highest one that is not as rare as ``nats`` say."""
        m = len(self._order)
        edge, sigma, shape = self._fit()
        fewer = math.ceil((m + 1.0) * math.exp(-nats) - 1.0)  # scores that may be as high
        if fewer > 0:
            return edge, self._order[-min(fewer, m)]
        return edge, max(self._order[-1], edge + _excess_of(nats + math.log(TAIL), sigma, shape))

    def _fit(self) -> tuple[float, float, float]:
        """The edge, scale and shape of the excesses over it; scale 0 where there are none."""
        at = len(self._order) - 1 - max(1, round(TAIL * len(self._order)))
        edge = self._order[at]
        excess = [score - edge for score in self._order[at + 1 :]]
        mean = math.fsum(excess) / len(excess)
        var = math.fsum((x - mean) ** 2 for x in excess) / len(excess)
        shape = 0.0 if var <= 0.0 else min(max(0.5 * (1.0 - mean * mean / var), 0.0), SHAPE_MAX)
        return edge, mean * (1.0 - shape), shape

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Scores in the order of their coming."""
        return {"scores": np.array(self._ring, np.float64), "scores_n": np.array([self.n], np.int64)}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved."""
        self._ring = deque(arrays["scores"].tolist())
        self._order = sorted(self._ring)
        self.n = int(arrays["scores_n"][0])


def bounded(nats: float, floor_nats: float) -> float:
    """Nats beyond what can be known, in their order."""
    return nats if nats <= floor_nats else floor_nats + math.log1p(min(nats, 1e6) - floor_nats)


def _excess_nats(excess: float, sigma: float, shape: float) -> float:
    scaled = excess / sigma
    return scaled if shape == 0.0 else math.log1p(shape * scaled) / shape


def _excess_of(nats: float, sigma: float, shape: float) -> float:
    """The inverse of :func:`_excess_nats`."""
    nats = max(nats, 0.0)
    return sigma * (nats if shape == 0.0 else math.expm1(shape * nats) / shape)
