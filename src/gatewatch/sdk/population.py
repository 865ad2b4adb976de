"""Detectors on populations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatewatch.events.rollup import Rollup
from gatewatch.records import Scope
from gatewatch.sdk.findings import Reason
from gatewatch.sdk.part import Part


@dataclass(frozen=True, slots=True)
class PopulationHit:
    """One finding of a population detector about one row of a :class:`Rollup`. ``detail`` as ``Reason.columns``."""

    row: int
    scope: Scope
    reason: Reason
    nats: float
    threshold_nats: float
    observed: float
    expected: float
    window_s: float
    since: float  # event time at which the excursion began
    warm: bool
    detail: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)  # what else stands out: a user agent, a version


class PopulationDetector(Part):
    """Base of all detectors on what is coarser than a key: endpoints, projects, clients, everything.

    It gets one closed bucket of ten seconds at a time, in order of time, with the sums over all partitions; buckets
    in which nothing happened do not come. There is one of it in an installation, so plain numpy over a few hundred rows
    is fast enough. It must be a pure function of the rollups, as a :class:`Detector` is of its rows.
    """

    @abstractmethod
    def process(self, rollup: Rollup) -> Sequence[PopulationHit]:
        """Score the bucket, then learn from it. It must not be changed."""
