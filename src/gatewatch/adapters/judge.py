"""From events to nats: a model, the past of its scores, and the gate between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.adapters.gate import Gate
from gatewatch.adapters.generations import Generations
from gatewatch.adapters.tail import P_FLOOR, Rarity, Tail

DAY_S = 86400.0
SPAN_LEAST_S = 3600.0  # a rate over less than an hour says nothing about a day
# What is known of one event; ``edge``, ``needed``, ``floor`` and ``past`` only where nats reach the threshold
OPINION = np.dtype([(name, np.float64) for name in ("score", "nats", "threshold", "edge", "needed", "floor", "past")])


class Judge:
    """Scores events, learns from those that do not surprise.

    Args:
        generations: the models.
        freeze_nats: rarity from which on an event does not teach.
        threshold_nats: rarity that is told at least.
        alarms_per_day: budget of this partition.
        calibrated: the score is nats already, and ``threshold_nats`` alone is the limit; else nats come from the past
            of the scores, and where rows are many the budget asks for more.
        gated: whether surprises are kept from teaching (a drift test must see them).
    """

    def __init__(
        self,
        generations: Generations,
        *,
        freeze_nats: float,
        threshold_nats: float,
        alarms_per_day: float,
        calibrated: bool,
        gated: bool,
    ) -> None:
        self._generations = generations
        self._least, self._alarms_per_day = threshold_nats, alarms_per_day
        self._calibrated, self._gated = calibrated, gated
        self.tail, self._gate = Tail(), Gate(freeze_nats)
        self.rows = 0  # ever looked at
        self.taught = 0
        self._first, self._last = math.inf, -math.inf

    def judge(self, event: Any, row: np.void, *, served: bool) -> tuple[float, ...]:
        """What is known of an event, as a row of ``OPINION``; then learn it, if it may teach.

        ``served``: it shows a real customer. Who was refused never teaches. Score and nats are NaN where the model has
        no opinion; such an event teaches.
        """
        self.rows += 1
        self._first, self._last = min(self._first, event.ts), max(self._last, event.ts)
        score = self._generations.score(event)
        if score is None or not math.isfinite(score):
            if served:
                self._teach(event, row)
            return (math.nan, math.nan, math.inf, 0.0, 0.0, 0.0, 0.0)
        threshold = self.threshold()
        rarity = Rarity(score, score) if self._calibrated else self.tail.rarity(score)
        nats = rarity.nats
        opinion = (score, nats, threshold, 0.0, 0.0, 0.0, 0.0)
        if nats >= threshold:
            opinion = (score, nats, threshold, *self._against_the_past(threshold))
        if served:
            self._learn(event, row, score, rarity)
        return opinion

    def _against_the_past(self, threshold: float) -> tuple[float, float, float, float]:
        if self._calibrated:
            return threshold, threshold, threshold, float(self.taught)
        edge, needed = self.tail.edge_and_needed(threshold)
        return edge, needed, self.tail.floor_nats, float(self.tail.n)

    def _learn(self, event: Any, row: np.void, score: float, rarity: Rarity) -> None:
        verdict = self._gate.judge(rarity, self._last)
        if verdict.heard and not self._calibrated:
            self.tail.learn(score)
        if verdict.teach or not self._gated:
            self._teach(event, row)

    def _teach(self, event: Any, row: np.void) -> None:
        self.taught += 1
        self._generations.learn(event, row)

    def threshold(self) -> float:
        """Nats that are told now: ``threshold_nats``, or what the budget asks for, as far as the past can show it."""
        if self._calibrated:
            return self._least
        span_s = max(self._last - self._first, SPAN_LEAST_S)
        budget = math.log(max(self.rows * DAY_S / span_s / self._alarms_per_day, 1.0))
        return max(self._least, min(budget, self.tail.floor_nats, -math.log(P_FLOOR)))

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything known."""
        return {
            **self._generations.snapshot(),
            **self.tail.snapshot(),
            **self._gate.snapshot(),
            "counted": np.array([self.rows, self.taught], np.int64),
            "times": np.array([self._first, self._last]),
        }

    def check(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Refuse what :meth:`restore` could not become.

        Raises:
            StateError: another capacity or version.
        """
        self._generations.check(arrays)

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved."""
        self._generations.restore(arrays)
        self.tail.restore(arrays)
        self._gate.restore(arrays)
        self.rows, self.taught = arrays["counted"].tolist()
        self._first, self._last = arrays["times"].tolist()
