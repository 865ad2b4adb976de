"""Detectors on keys."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from gatewatch.events.batch import Batch
from gatewatch.sdk.findings import Hits
from gatewatch.sdk.part import Part

Lane = Literal["fast", "slow"]


class Detector(Part):
    """Base of all detectors on keys.

    A subclass says in its docstring what attack it sees, what it misses, what each option does, its cost an event,
    its bytes a key, and where its method comes from.
    """

    lane: ClassVar[Lane] = "fast"  # slow ones run in a consumer group of their own and delay nobody else
    # Whether it learns from rows that are only shown (Role.SHOW); all others pass over what is neither WHO nor WHERE
    learns_from_shown: ClassVar[bool] = False

    @abstractmethod
    def process(self, batch: Batch) -> Hits:
        """Score each row, then learn from it. The batch must not be changed.

        Rows are in offset order of the routed partition; event times may go back. Cost must be linear in rows.
        """
