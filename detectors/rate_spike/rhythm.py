"""A key's own day: how much more than the scope's season it asks for at each hour.

The scope's hour-of-week factor is the mean over machines that never rest, offices and evenings; an office would be a
slow attack every morning. So each key counts what it learned by hour of the day, forgets as its baseline does, and is
believed as far as its counts go. The hour under way stays out, so no attack can explain itself.
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import kernel

from .layout import DAY_HOURS, DAY_S, HOUR, HOURS, REQUESTS
from .pool import HOUR_S, dispersion, hour_of_week

# Events at which an hour is believed by half, where they come singly; where they come together, as many times more:
# n / (n + 20), as the scope's season is (algorithms A).
SHRINK = 20.0
LEAST, MOST = 0.25, 8.0  # a night without calls is no reason to be surprised by a few; no key works one hour a day


@kernel
def rhythm(key: Any, pool: Any, t: float, rate: float, base_s: float) -> float:
    """Factor on the season at ``t`` for a key of ``rate`` requests a second; 1 until a whole day was seen.

    Neighbouring hours count by half: a day's edge moves by minutes, and counts are few.
    """
    if key.hour_first == 0:
        return 1.0
    hour = math.floor(t / HOUR_S)
    keep = math.exp(-DAY_S / base_s)
    x, mean = 0.0, 0.0
    for near in range(-1, 2):
        weight = 0.5 if near == 0 else 0.25
        passed = math.floor((hour + near - key.hour_first) / DAY_HOURS) + (1 if near < 0 else 0)
        if passed < 1:
            return 1.0
        x += weight * key.hourly[int(hour + near) % DAY_HOURS]
        mean += weight * _seasons_of(pool, hour_of_week(t + near * HOUR_S), passed, keep)
    mean *= rate * HOUR_S
    shrink = SHRINK * dispersion(pool, REQUESTS, HOUR, 2.0 * rate * HOUR_S)
    return float(min(MOST, max(LEAST, (x + shrink) / (mean + shrink))))


@kernel
def _seasons_of(pool: Any, hour: int, days: int, keep: float) -> float:
    """The scope's factors at this hour of the last ``days`` days, each kept as what was learned then is.

    Not ``days`` times the present one: on a workday a key would be short of what it did not do at the weekend.
    """
    total, weight = 0.0, 1.0
    for d in range(1, min(days, 7) + 1):
        total += weight * pool.season[(hour - DAY_HOURS * d) % HOURS]
        weight *= keep
    whole = min(days, 7)
    return total * (1.0 - keep**days) / (1.0 - keep**whole)


@kernel
def learn_hour(key: Any, t: float, x: float, base_s: float) -> None:
    """``x`` more counts of the bucket that began at ``t``; close the hours that ended before it."""
    hour = math.floor(t / HOUR_S)
    if key.hour_first == 0:
        key.hour_first = key.hour_at = hour
    passed = hour - key.hour_at
    if passed > 0:
        keep = math.exp(-DAY_S / base_s)
        days = math.floor(passed / DAY_HOURS)
        if days > 0:
            _forget(key, keep**days)
        at = int(key.hour_at)
        for h in range(at, at + int(passed) - days * DAY_HOURS):
            key.hourly[h % DAY_HOURS] *= keep
        key.hourly[at % DAY_HOURS] += key.hour_x * keep**days
        key.hour_x = 0.0
        key.hour_at = hour
    key.hour_x += x


@kernel
def _forget(key: Any, keep: float) -> None:
    for h in range(DAY_HOURS):
        key.hourly[h] *= keep
