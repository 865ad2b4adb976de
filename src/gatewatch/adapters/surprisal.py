"""A model of ours with River's interface: how rare each feature's value has been, added up.

One histogram a feature, decayed over events, smoothed with its neighbours. It has no trees to rebuild and no limits to
guess, costs 1 us a feature, and in file order keeps up with the best that is published for KDD99-HTTP. It sees values
that are rare one by one, not combinations of common ones: use half-space trees for those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_RESCALE = 1e100  # weights grow instead of old counts shrinking; now and then all are made small again


class Surprisal:
    """Surprise of a row of features, in nats of their marginal histograms; features are taken for independent.

    Args:
        low: lower end of the histograms; what lies outside falls into the outermost bins.
        high: upper end. The default suits features under ``log1p``: e ** 32 is 8e13.
        bins: of each histogram.
        memory_events: a count weighs 1/e after so many events.
        prior: weight of an empty bin, in events.
    """

    def __init__(
        self, *, low: float = 0.0, high: float = 32.0, bins: int = 128, memory_events: float = 1e5, prior: float = 0.05
    ) -> None:
        self._low, self._per_unit, self._last = low, bins / (high - low), bins - 1
        self._growth = math.exp(1.0 / memory_events)
        self._prior = prior
        self._weight = 1.0  # of the next event
        self._total = 0.0
        self._counts: dict[str, list[float]] = {}

    def score_one(self, x: Mapping[str, float]) -> float:
        """Nats; before the first event the surprise of one bin among all."""
        scale = 1.0 / self._weight
        norm = math.log(self._total * scale + self._prior * (self._last + 1))
        nats = 0.0
        for name, value in x.items():
            counts = self._counts.get(name)
            if counts is None:
                smooth = 0.0
            else:
                at = self._bin(value)  # counts have an empty bin at each end, for the neighbours
                smooth = 0.5 * counts[at + 1] + 0.25 * (counts[at] + counts[at + 2])
            nats += norm - math.log(smooth * scale + self._prior)
        return nats

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Count the values."""
        self._weight *= self._growth
        self._total += self._weight
        for name, value in x.items():
            counts = self._counts.setdefault(name, [0.0] * (self._last + 3))
            counts[self._bin(value) + 1] += self._weight
        if self._weight > _RESCALE:
            self._total /= self._weight
            for counts in self._counts.values():
                counts[:] = [count / self._weight for count in counts]
            self._weight = 1.0

    def _bin(self, value: float) -> int:
        at = (value - self._low) * self._per_unit
        return 0 if at < 0.0 else self._last if at >= self._last else int(at)
