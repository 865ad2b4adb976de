"""A detector folder held to its contract without pytest: every law with its outcome, and what a row costs.

What ``gatewatch detectors check`` shows, for teams whose folder is not in this repository.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from gatewatch.clock import stopwatch
from gatewatch.records import Opinion
from gatewatch.registry import Entry
from gatewatch.testing import traffic
from gatewatch.testing.batches import cut
from gatewatch.testing.detector_runs import build
from gatewatch.testing.detectors import laws_of
from gatewatch.testing.populations import build_population, stream

ROWS = (10, 100, 1000)  # rows a batch: a quiet site, a busy one, a backlog
TIMED_S = 0.5  # for each of them, at least


@dataclass(frozen=True, slots=True)
class Outcome:
    """One law, and how it ended."""

    law: str
    demands: str  # first sentence of what the law says about itself
    error: str | None  # what was broken, or None

    @property
    def ok(self) -> bool:
        """Whether it held."""
        return self.error is None


def outcomes(entry: Entry) -> Iterator[Outcome]:
    """Each law in turn; one that is broken does not keep the others from being tried."""
    for law in laws_of(entry):
        demands = " ".join((inspect.getdoc(law) or "").split())
        try:
            law(entry)
        except AssertionError as error:
            yield Outcome(law.__name__, demands, str(error) or "broken")
        except Exception as error:  # noqa: BLE001 - a team's own code may raise anything, and that is a finding, too
            yield Outcome(law.__name__, demands, f"raised {type(error).__name__}: {error}")
        else:
            yield Outcome(law.__name__, demands, None)


def sees_the_traffic(entry: Entry) -> bool:
    """Whether the kit's traffic has what it looks at. If not, the laws about traffic say little; its cases say more."""
    if entry.detector is None:
        return True
    detector = build(entry)
    detector.process(traffic.calm())
    return any(detector.opinion(scope, 1) is not Opinion.BLIND for scope in detector.scopes)


def cost_us(entry: Entry) -> dict[str, float]:
    """Microseconds a row on calm traffic, by rows a batch; for a part on populations a row of a rollup."""
    costs: dict[str, float] = {}
    if entry.detector is not None:
        for rows in ROWS:
            costs[f"{rows} rows a batch"] = _cost_of_rows(entry, rows)
    if entry.population is not None:
        population, rollups = build_population(entry), stream(entry)
        began = stopwatch()
        for rollup in rollups:
            population.process(rollup)
        costs["a row of a rollup"] = (stopwatch() - began) * 1e6 / max(sum(map(len, rollups)), 1)
    return costs


def _cost_of_rows(entry: Entry, rows: int) -> float:
    """The mean over whole rounds of traffic, once tables and models are warm: stalls of a model count."""
    detector = build(entry)
    batches = list(cut(traffic.calm(1000), rows))
    detector.process(traffic.calm(4000, seed=2, start=traffic.START - traffic.CALM_S))
    done, began = 0, stopwatch()
    while (spent := stopwatch() - began) < TIMED_S:
        for batch in batches:
            detector.process(batch)
        done += 1000
    return spent * 1e6 / done
