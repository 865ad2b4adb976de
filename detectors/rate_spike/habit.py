"""What a key does again and again is its habit, however bursty: a nightly batch job is no news the third time.

A baseline is a mean, and says nothing of how calls come: a job that makes all of its calls in twenty minutes a day is a
burst against it at every run. So a key remembers how high its two largest earlier excursions were, in calls, at each
scale. (Not as count over mean, nor in nats: both change with what is known of the mean and of spreads.) What is no
higher than the lower of the two, with some room, is not told and teaches like any other traffic (learn.py); it is no
slow evidence for six hours, and no ramp for a day.

What a key does when it is first seen, and then stops, is its habit at once: it had no other ways that this could be
news against, and a site that begins to watch would be told of each of its jobs in the first nights.

What goes on is one excursion, so an attack that lasts does not become a habit, only one that stops and comes back.
Whoever pulses is reported twice, and then held against the plain limits, and against slow evidence of more than six
hours, which know no habits.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .layout import DAY_S
from .spread import PAUSE_S

OVER_S = PAUSE_S  # ends an excursion: jobs pause longer, an attacker who backs off does not
EXPLAINED_S = 6 * 3600.0  # so long a job may run: what lasts longer is slow evidence, however high others were before
HABIT_RATIO = 2.0  # twice the second highest excursion is news: runs of one job differ by half
# Forgotten by half in six weeks: of a weekly job the last run but one still counts for four fifths.
HABIT_TAU_S = 42 * DAY_S / math.log(2)


@kernel
def note(key: Any, j: int, calls: float, young_s: float) -> None:
    """Take note of a window of so many calls that is surprising enough to be told, whether or not it is.

    Requests, tokens and cost rise together, so they are one excursion and one habit; scales are not, because a long
    window remembers for hours what a short one has long forgotten.
    """
    now = key.last
    if key.peak_at[j] > 0 and now - key.peak_at[j] > OVER_S:
        _end(key, j, young_s)
    key.peak[j] = max(key.peak[j], calls)
    key.peak_at[j] = max(1.0, now)


@kernel
def is_habit(key: Any, j: int, calls: float) -> bool:
    """Whether the key made about as many calls twice before."""
    if key.habit[j, 1] <= 0.0:
        return False
    kept = math.exp((key.habit_at[j] - key.last) / HABIT_TAU_S)
    return bool(calls < HABIT_RATIO * key.habit[j, 1] * kept)


@kernel
def _end(key: Any, j: int, young_s: float) -> None:
    """The excursion is over: its peak joins the two that are remembered.

    What a key did when it was first seen, and then paused, counts for both: it came with its habit.
    """
    at = float(key.peak_at[j])
    kept = math.exp((key.habit_at[j] - at) / HABIT_TAU_S) if key.habit_at[j] > 0 else 1.0
    first, second, peak = key.habit[j, 0] * kept, key.habit[j, 1] * kept, key.peak[j]
    key.habit[j, 0] = max(first, peak)
    key.habit[j, 1] = peak if at < key.born + young_s - OVER_S else max(second, min(first, peak))
    key.habit_at[j] = key.peak_at[j]
    key.peak[j] = 0.0
