"""Answers that are far larger than those that a principal usually gets."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from gatewatch.adapters import EventModel, PerEventConfig, PerEventDetector
from gatewatch.sdk import DetectorConfig, Need, Reason, Scope, Severity

from .model import Sizes


class Options(PerEventConfig):
    """See :class:`NewDetector`."""

    least_events: int = Field(20, ge=1)


class NewDetector(PerEventDetector):
    """Finds answers that are far larger than those that a principal usually gets.

    Sees: a key of a client of small answers that takes away a store. Misses: the same in small pieces, and whoever is
    new.

    Options:
        least_events: events of a principal before there is an opinion on it.
        threshold_nats, freeze_nats, warm_events, remember_events, keys_total: see PerEventConfig.

    Cost: about 10 us a row, in the slow lane. Memory: 57 bytes a key, and what 10,000 remembered events hold.
    """

    name: ClassVar[str] = "new_detector"
    version: ClassVar[int] = 1
    Config: ClassVar[type[DetectorConfig]] = Options
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.PRINCIPAL,)
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(0, "size", "Answer of an unusual size", "nats", Severity.LOW, learned=True),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("bytes_out",), "log the size of the response"),
    )
    reads: ClassVar[tuple[str, ...]] = ("bytes_out",)
    calibrated: ClassVar[bool] = True
    config: Options

    def model(self) -> EventModel:
        """Sizes of each principal's answers."""
        return Sizes(self.config.least_events)
