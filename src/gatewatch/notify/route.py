"""Whom an alert is for: routes by project, severity, detector and time."""

from __future__ import annotations

from collections.abc import Sequence

from gatewatch.notify.notice import Notice
from gatewatch.settings import Route


def receivers_for(notice: Notice, routes: Sequence[Route], everybody: Sequence[str], now: float) -> set[str]:
    """Names of the receivers; where no route fits, everybody. Cost: a few comparisons a route."""
    found: set[str] = set()
    fitted = False
    for route in routes:
        if not _fits(route, notice, now):
            continue
        fitted = True
        found.update(route.receivers)
        if route.then == "stop":
            break
    return found if fitted else set(everybody)


def _fits(route: Route, notice: Notice, now: float) -> bool:
    alert = notice.alert
    return (
        (not route.projects or alert.project in route.projects)
        and (not route.detectors or alert.detector in route.detectors)
        and (not route.severities or notice.severity in route.severities)
        and route.holds(now)
    )
