"""What a key does again and again is its habit, however bursty: an hourly batch job is no news the third time.

Excursions teach the baseline nothing (learn.py), so without this a job would be reported at every run for ever. A key
remembers how high its two largest earlier excursions were, as count over mean at each scale (nats would not do: they
change with what is known of spreads). What goes on is one excursion, so an attack that lasts does not become a habit,
only one that stops and comes back. Whoever pulses is reported twice, and then held against the plain limits, the slow
evidence and the ramp, which know no habits.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .layout import DAY_S

OVER_S = 1200.0  # a pause this long ends an excursion: jobs pause longer, an attacker who backs off does not
NOTED = 2.0  # times the mean at which a window is an excursion at all
HABIT_RATIO = 1.5  # half as much again as the second highest excursion is news
HABIT_TAU_S = 7 * DAY_S / math.log(2)  # forgotten by half in a week, as the baseline is


@kernel
def note(key: Any, j: int, height: float) -> None:
    """Take note of a window that holds ``height`` times its mean, whether or not that is told.

    Requests, tokens and cost rise together, so they are one excursion and one habit; scales are not, because a long
    window remembers for hours what a short one has long forgotten.
    """
    now = key.last
    if key.peak_at[j] > 0 and now - key.peak_at[j] > OVER_S:
        _end(key, j)
    key.peak[j] = max(key.peak[j], height)
    key.peak_at[j] = max(1.0, now)


@kernel
def is_habit(key: Any, j: int, height: float) -> bool:
    """Whether the key was about as high twice before."""
    if key.habit[j, 1] <= 0.0:
        return False
    kept = math.exp((key.habit_at[j] - key.last) / HABIT_TAU_S)
    return bool(height < HABIT_RATIO * key.habit[j, 1] * kept)


@kernel
def _end(key: Any, j: int) -> None:
    """The excursion is over: its peak joins the two that are remembered."""
    at = float(key.peak_at[j])
    kept = math.exp((key.habit_at[j] - at) / HABIT_TAU_S) if key.habit_at[j] > 0 else 1.0
    first, second, peak = key.habit[j, 0] * kept, key.habit[j, 1] * kept, key.peak[j]
    key.habit[j, 0] = max(first, peak)
    key.habit[j, 1] = max(second, min(first, peak))
    key.habit_at[j] = key.peak_at[j]
    key.peak[j] = 0.0
