"""Principals that are active at an hour of the day at which they never were."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from gatewatch.adapters import EventModel, PerEventConfig, PerEventDetector
from gatewatch.sdk import DetectorConfig, Need, Reason, Scope, Severity

from .model import Hours


class Options(PerEventConfig):
    """See :class:`NightOwl`."""

    least_events: int = Field(30, ge=1)


class NightOwl(PerEventDetector):
    """Finds principals that are active at an hour of the day at which they never were.

    Sees: a key of somebody who works by day, used at night. Misses: abuse in the owner's own hours, and whoever is
    active around the clock. A principal's first night shift is told, too: a person must look.

    Options:
        least_events: events of a principal before there is an opinion on it.
        threshold_nats, freeze_nats, warm_events, remember_events, keys_total: see PerEventConfig.

    Cost: about 10 us a row, in the slow lane. Memory: 57 bytes a key, and what 10,000 remembered events hold.
    """

    name: ClassVar[str] = "night_owl"
    version: ClassVar[int] = 1
    Config: ClassVar[type[DetectorConfig]] = Options
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.PRINCIPAL,)
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(0, "hour", "Active at an unusual hour", "nats", Severity.LOW, learned=True),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
    )
    calibrated: ClassVar[bool] = True
    config: Options

    def model(self) -> EventModel:
        """Hours of each principal."""
        return Hours(self.config.least_events)
