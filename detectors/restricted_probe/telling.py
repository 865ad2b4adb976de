"""When a key is told of again, and what a finding says."""

from __future__ import annotations

from typing import Any

from gatewatch.sdk import kernel

from .constants import (
    CANARY,
    CANARY_NATS,
    COVERAGE,
    ENUMERATION,
    GROWTH,
    HOUR_S,
    MANY,
    NEVER_SERVED,
    PROBE,
    WEEK_S,
    WITHOUT_KEY,
)
from .layout import Contact, Params
from .row import evidence, refused_within, touched


@kernel
def is_news(row: Any, reason: int, t: float, p: Params) -> bool:
    """The first finding, a graver one, half as much again, or five minutes later."""
    if reason == NEVER_SERVED:
        if row.run < GROWTH * row.run_told:
            return False
        row.run_told = row.run
        row.told_at = max(t, row.told_at)
        return True
    rank = 2 if reason == COVERAGE else 1
    n = row.n_refused + row.n_missing
    if rank <= row.told_rank and n < GROWTH * row.told_n and t - row.told_at < p.refresh_s:
        return False
    row.told_rank = max(rank, row.told_rank)
    row.told_n = n
    row.told_at = max(t, row.told_at)
    return True


@kernel
def write(hit: Any, reason: int, row: Any, contact: Contact, p: Params) -> None:
    """Fill one finding. What ``detail`` holds is in ``Reason.columns``."""
    t = contact.t
    hit.row, hit.reason = contact.i, reason
    hit.nats, hit.threshold, hit.since = evidence(row), 0.0, row.since
    hit.detail[:] = 0.0
    if reason == CANARY:
        hit.nats, hit.observed, hit.expected, hit.since = CANARY_NATS, 1.0, 0.0, t
    elif reason == COVERAGE:
        hit.observed, hit.expected = touched(row), 0.0
        hit.nats, hit.threshold = p.up * touched(row), p.up * p.covered
    elif reason == MANY:
        hour = refused_within(row, HOUR_S)
        short = hour >= p.refused_per_hour
        hit.observed = hour if short else refused_within(row, WEEK_S)
        hit.expected = p.refused_per_hour if short else p.refused_per_week
        hit.since = t - (HOUR_S if short else WEEK_S)
    elif reason == NEVER_SERVED:
        hit.observed, hit.expected = row.run, 0.0
        hit.detail[0] = p.never_served
    else:
        n = row.n_refused + row.n_missing + row.n_served
        hit.threshold = p.threshold
        hit.observed, hit.expected = row.n_refused + row.n_missing, p.expected_share * n
    if reason in (PROBE, ENUMERATION, WITHOUT_KEY):
        hit.detail[0], hit.detail[1], hit.detail[2] = row.refused, row.missing, row.credit
        hit.detail[3], hit.detail[4], hit.detail[5] = row.n_refused, row.n_missing, row.n_served
        hit.detail[6], hit.detail[7] = p.up, p.missing_weight
    elif reason == COVERAGE:
        hit.detail[0], hit.detail[1] = p.up, p.covered
    hit.window_s = max(0.0, t - hit.since)
