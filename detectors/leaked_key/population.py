"""What the keys of a scope have in common, and the clock that renews it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import Head, advance, find, find_or_admit, kernel

from .constants import (
    DAY_S,
    KINDS,
    MARKS,
    MEMORY_S,
    MOST_NATS,
    PLACES,
    PRIOR_DAILY,
    PRIOR_DAYS,
    PRIOR_MARKS,
    PRIOR_PLACES,
    RELEASED,
    TICK_S,
)
from .layout import Params

U32 = np.uint32


@kernel
def pass_time(pop: Any, t: float, p: Params) -> None:
    """Event time goes on; at each 10 s tick the numbers that are read are renewed."""
    pop.now = t
    tick = math.floor(t / TICK_S)
    if tick <= pop.tick:
        return
    gap = (tick - pop.tick) * TICK_S
    pop.tick = tick
    month, day = math.exp(-gap / MEMORY_S), math.exp(-gap / DAY_S)
    pop.days *= month
    pop.alive *= day
    for kind in range(KINDS):
        pop.novel[kind] *= month
        pop.daily[kind] = (pop.novel[kind] + PRIOR_DAILY[kind] * PRIOR_DAYS) / (pop.days + PRIOR_DAYS)
    for level in range(PLACES):
        pop.places[level] *= month
        for mark in range(MARKS):
            pop.marks[level, mark] *= month
            prior = PRIOR_MARKS[mark] * PRIOR_PLACES
            pop.share[level, mark] = (pop.marks[level, mark] + prior) / (pop.places[level] + PRIOR_PLACES)
    advance(pop.calibrator, tick * TICK_S, p.alarms_per_day, DAY_S)
    pop.model_threshold = min(MOST_NATS, max(p.min_nats, math.log(max(1.0, pop.alive / p.alarms_per_day))))
    pop.threshold = max(p.min_nats, pop.model_threshold + pop.calibrator.shift)


@kernel
def note_agent(head: Head, rows: Any, agent: np.uint64, who: np.uint32, t: float) -> None:
    """A key began to use this agent at home."""
    at, new = find_or_admit(head, agent, t, success=True, authenticated_only=False)
    if at < 0:
        return
    row = rows[at]
    if new:
        row.keys, row.t = 0.0, t
        row.who[:] = U32(0)
    if row.who[0] == who or row.who[1] == who:
        return
    row.keys = row.keys * math.exp(-max(0.0, t - row.t) / DAY_S) + math.exp(min(0.0, t - row.t) / DAY_S)
    row.t = max(row.t, t)
    row.who[1], row.who[0] = row.who[0], who


@kernel
def is_release(head: Head, rows: Any, agent: np.uint64, t: float) -> bool:
    """Whether several keys began with it lately, each at home: their owners took a new version of a client."""
    at = find(head, agent)
    return at >= 0 and rows[at].keys * math.exp(-max(0.0, t - rows[at].t) / DAY_S) >= RELEASED - 0.5
