"""Which user agent the failures share and the successes do not: a lead for people, never a verdict."""

from __future__ import annotations

import math

import numpy as np

from gatewatch.sdk import Kind, Rollup

TAU_S = 1800.0
CLIENTS_MAX = 512  # by far more than share the bulk of a site's failures; the least are forgotten first
MAJORITY, ODDS = 0.5, 10.0  # Herley and Schechter 2019: odds of a value among failures against successes


class Clients:
    """Decayed login failures and successes of each user agent."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, float]] = {}  # first failures, successes; as they weighed at _now
        self._now = -math.inf

    @classmethod
    def of(cls, state: list[tuple[str, float, float]]) -> Clients:
        """From :meth:`state`."""
        clients = cls()
        for name, bad, good in state:
            if name:
                clients._counts[name] = (bad, good)
            else:  # the clock, under no name
                clients._now = bad
        return clients

    def state(self) -> list[tuple[str, float, float]]:
        """Everything, as plain values."""
        clock = [("", self._now, 0.0)] if math.isfinite(self._now) else []
        return [*clock, *((name, bad, good) for name, (bad, good) in self._counts.items())]

    def add(self, rollup: Rollup) -> None:
        """Add a bucket."""
        bad, good = rollup.column("first_failures"), rollup.column("account_hours")
        at = np.flatnonzero((rollup.kinds == Kind.CLIENT) & (bad + good > 0))
        if not len(at):
            return
        fade = math.exp(-max(0.0, rollup.start - self._now) / TAU_S) if math.isfinite(self._now) else 1.0
        self._now = max(self._now, rollup.start)
        if fade < 1.0:
            self._counts = {n: (b * fade, g * fade) for n, (b, g) in self._counts.items() if b + g > 0.01}
        for i in at.tolist():
            name = rollup.labels[i].get("user_agent")
            if name:
                b, g = self._counts.get(name, (0.0, 0.0))
                self._counts[name] = (b + float(bad[i]), g + float(good[i]))
        if len(self._counts) > CLIENTS_MAX:
            kept = sorted(self._counts.items(), key=lambda item: (-sum(item[1]), item[0]))[:CLIENTS_MAX]
            self._counts = dict(sorted(kept))

    def suspect(self) -> dict[str, str]:
        """The user agent of more than half of the failures, if it is ten times rarer among successes; else nothing."""
        if not self._counts:
            return {}
        bad, good = (sum(pair[i] for pair in self._counts.values()) for i in (0, 1))
        name, (b, g) = max(self._counts.items(), key=lambda item: (item[1][0], item[0]))
        if bad > 0.0 and b >= MAJORITY * bad and (b / bad) >= ODDS * ((g + 1.0) / (good + 1.0)):
            return {"user_agent": name}
        return {}
