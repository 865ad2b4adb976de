"""What a minute of logins is expected to bring, and how that is learned: plain numpy, all keys at once.

Failures keep pace with successes. People who forgot a password fail and then get in, and some of them give up; who has
a list of passwords does neither.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .cusum import LEARN_HALF_LIFE_MIN, WINDOW_MIN, F, winsorised
from .populations import FIRST, HOLD_MIN, Rows

WARM_SUCCESSES, WARM_S = 1000.0, 12 * 3600.0  # a failure ratio is worth something after so many, and a night
SUCCESS_TAU_MIN = 30.0  # a minute without a login must not make one failure look like an attack
FLOOR = 0.5  # of the usual failures: where few succeed, the ratio alone would call every failure an attack
LEAST = 0.01  # failures a minute that surprise nobody
OUTAGE = 0.3  # of the usual successes: with fewer, logins fail because something is broken
USUAL_TAU_MIN, FAST_TAU_MIN = 240.0, 5.0
BUSY = 10.0  # successes a minute from which a single minute tells an outage
FROZEN_S, RELEASE = 86_400.0, 1.05  # DESIGN section 2: after a day without a verdict 5 % a day
GIVE_UP = 1.0  # people who give up for each who recovers, at most: where more seem to, they are none
LATE = 0.1  # and so many more, of each who does: who takes longer is missing for a while, now more, now fewer of them
LATER, LATER_MIN = 0.4, 15.0  # people who will recover later than that for each more who does: a mail takes its time


def is_warm(r: Rows) -> npt.NDArray[np.bool_]:
    """(keys,) whether enough was seen of it for its failures to be judged."""
    return np.asarray((r["total"] >= WARM_SUCCESSES) & (r["seen"] - r["born"] >= WARM_S), np.bool_)


def take_successes(r: Rows) -> npt.NDArray[np.bool_]:
    """Count who got in during the open minute; returns (keys,) where so few did that something must be broken."""
    # A pair's first success can be bought with one account from many networks; an account's hour cannot.
    bought = np.minimum(r["firsts"], r["successes"])
    r["smooth"] += (np.stack([r["successes"], bought], axis=1) - r["smooth"]) / SUCCESS_TAU_MIN
    r["usual"] += (r["successes"] - r["usual"]) / USUAL_TAU_MIN
    r["fast"] += (r["successes"] - r["fast"]) / FAST_TAU_MIN
    r["total"] += r["successes"]
    for name, minutes in (("came_back", HOLD_MIN), ("came_usually", LATER_MIN)):
        r[name] += (r["recovered"] - r[name]) / minutes
    lately = np.where(r["usual"] >= BUSY, np.minimum(r["successes"], r["fast"]), r["fast"])
    return np.asarray(lately < OUTAGE * r["usual"], np.bool_)


def unrecovered(r: Rows) -> F:
    """(keys,) failed first contacts of :data:`HOLD_MIN` minutes ago that nobody made good since.

    Who recovers later than that is taken off what failed now, so it may be less than none.
    """
    waiting = np.concatenate([r["held"], r["x"][:, FIRST, None]], axis=1)
    left = np.clip(np.cumsum(waiting, axis=1) - r["recovered"][:, None], 0.0, waiting)
    r["held"] = left[:, 1:]
    late = np.maximum(r["recovered"] - waiting.sum(axis=1), 0.0)
    return np.asarray(left[:, 0] - late, np.float64)


def expected(r: Rows) -> F:
    """(keys, kinds) failures of this minute: by the ratio, and never far below what is usual at any hour.

    Where many recover, many forgot, and some of them give up: as many for each who recovers as is usual here.
    """
    usual = r["bad"] / np.maximum(r["minutes"], 1.0)[:, None]
    mean = np.maximum(r["bad"] / r["good"] * r["smooth"], FLOOR * usual)
    give_up = np.minimum(r["bad"][:, FIRST] / np.maximum(r["back"], 1.0), GIVE_UP)
    rising = np.maximum(r["came_back"] - r["came_usually"], 0.0)
    mean[:, FIRST] = np.maximum(mean[:, FIRST], (give_up + LATE) * r["came_back"] + LATER * rising)
    return np.asarray(mean + LEAST, np.float64)


def learn(r: Rows, x: F, mean: F, spread: F, *, threshold: F, broken: npt.NDArray[np.bool_], end: float) -> None:
    """What surprises nobody teaches, or what a person expects; a key frozen for a day rises by 5 % a day.

    Args:
        r: rows, changed in place.
        x: (keys, kinds) failures of the minute.
        mean: (keys, kinds) what was expected.
        spread: (keys, kinds) dispersion of an hour.
        threshold: (keys,) nats.
        broken: (keys,) see :func:`take_successes`: teaches nothing.
        end: of the minute, epoch seconds.
    """
    surprised = (r["s"] >= 0.5 * threshold[:, None, None]).any(axis=(1, 2)) & (end >= r["released_until"])
    r["frozen_since"] = np.where(surprised, np.where(r["frozen_since"] > 0, r["frozen_since"], end), 0.0)
    released = surprised & (end - r["frozen_since"] > FROZEN_S)
    teaches = (~surprised | released) & ~broken
    taught = np.where(released[:, None], np.minimum(x, RELEASE * mean), winsorised(x, mean, spread))
    fade = 0.5 ** (1.0 / LEARN_HALF_LIFE_MIN)
    r["minutes"] = np.where(teaches, r["minutes"] * fade + 1.0, r["minutes"])
    for name, value in (("bad", taught), ("good", r["smooth"])):
        r[name] = np.where(teaches[:, None], np.maximum(r[name] * fade + value, 0.0), r[name])
    r["back"] = np.where(teaches, r["back"] * fade + r["recovered"], r["back"])
    for name, value in (("hour_x", taught), ("hour_m", mean)):
        r[name] += np.where(teaches[:, None], value, 0.0)
    r["hour_min"] += teaches
    _learn_spread(r, r["hour_min"] >= WINDOW_MIN)


def _learn_spread(r: Rows, over: npt.NDArray[np.bool_]) -> None:
    """An hour is over for some keys: how far it was from what was expected."""
    fade = 0.5 ** (WINDOW_MIN / LEARN_HALF_LIFE_MIN)
    x, m = r["hour_x"], r["hour_m"]
    for name, value in (("excess", (x - m) ** 2 - m), ("square", m**2)):
        r[name] = np.where(over[:, None], r[name] * fade + value, r[name])
    r["hours"] = np.where(over, r["hours"] * fade + 1.0, r["hours"])
    r["hour_min"] = np.where(over, 0.0, r["hour_min"])
    for name in ("hour_x", "hour_m"):
        r[name] = np.where(over[:, None], 0.0, r[name])
