"""What a finding says."""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .constants import CHANGE, CHARACTERS, DRIFT, LIMIT_NATS, SIZE, STRUCTURE
from .layout import Body, Params, Score


@kernel
def write_limit(hit: Any, i: int, t: float, limit: int, value: float, most: float) -> None:
    """Fill one finding on a plain limit."""
    hit.row, hit.reason, hit.warm = i, limit, 1
    hit.nats = LIMIT_NATS + math.log(value / most)
    hit.threshold, hit.observed, hit.expected = LIMIT_NATS, value, most
    hit.window_s, hit.since = 0.0, t
    hit.detail[:] = 0.0


@kernel
def write(hit: Any, body: Body, row: Any, e: Any, score: Score, reason: int, warm: bool, p: Params) -> None:
    """Fill one finding on what was learned: for a given reason, or for that of most of the body's nats.

    What ``detail`` holds is in ``Reason.columns``.
    """
    hit.row, hit.warm, hit.threshold = body.i, 1 if warm else 0, p.threshold
    hit.detail[:] = 0.0
    if reason == DRIFT:
        parts = (row.structure, row.characters, row.size)
        hit.nats = parts[0] + parts[1] + parts[2] - row.credit
        hit.reason, hit.observed, hit.expected = DRIFT, row.odd, 0.0
        hit.since, hit.window_s = row.since, max(0.0, body.t - row.since)
        hit.detail[3], hit.detail[4] = row.credit, row.n
    else:
        parts = (score.structure, score.characters, score.size)
        hit.nats = parts[0] + parts[1] + parts[2]
        hit.since, hit.window_s = body.t, 0.0
        hit.detail[3], hit.detail[4] = score.new_fields, score.nearest
        hit.detail[7] = e.n
        if reason == CHANGE:
            hit.reason, hit.observed, hit.expected = CHANGE, score.new_fields, 0.0
        elif parts[1] >= parts[0] and parts[1] >= parts[2]:
            hit.reason = CHARACTERS
            hit.observed = 1.0 if score.other < 0 else 2.0
            hit.expected = 0.0
        elif parts[0] >= parts[2]:
            hit.reason, hit.observed, hit.expected = STRUCTURE, score.new_fields, 0.0
        else:
            hit.reason, hit.observed, hit.expected = SIZE, math.exp(body.size), math.exp(min(score.expected, 700.0))
    hit.detail[0], hit.detail[1], hit.detail[2] = parts[0], parts[1], parts[2]
    hit.detail[5], hit.detail[6] = score.kind, score.other
