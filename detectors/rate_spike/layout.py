"""What a key's row, a scope's pool, the options and a finding hold: records that kernels take by reference.

(Passed as tuples of arrays, the same kernels took 14 times as long: a call copied some 150 numbers.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import CALIBRATOR, fresh_calibrators

MEASURES = 3
REQUESTS, TOKENS, COST = 0, 1, 2
SCALES = 4
# Decay times of the counts: a script's burst to an hour's abuse (algorithms A; 300 s for its 600 s, because between one
# minute and ten nothing saw a burst of five minutes well).
TAU_S = (10.0, 60.0, 300.0, 3600.0)
MINUTE, HOUR = 1, 3  # indices into TAU_S: of limits, buckets and baselines; of what is slow
DAY = 4  # a fifth scale that only spreads have, for the day's rate against the anchor
DAY_S = 86400.0
HOURS = 168
DAY_HOURS = 24
BANDS = 8  # classes of means that share a dispersion, each four times the last: below 1/4, ... 1,024 and more
LEVELS = 21  # powers of two up to a million requests in a window

_F8, _F4, _U4 = np.float64, np.float32, np.uint32
_M = (MEASURES,)
_SPREADS = (MEASURES, SCALES + 1, BANDS)

# One key: 560 bytes. Times and decayed counts are float64 (a busy key's hour passes 2^24, where float32 stops
# counting), baselines float32, moments of the past whole epoch seconds (0 is "never").
KEY = np.dtype(
    [
        ("last", _F8),  # event time of the counts, never going back
        ("born", _F8),  # first event
        ("count", _F8, (MEASURES, SCALES)),  # decayed sums at ``last``, raw units
        ("exposure", _F4, (SCALES,)),  # seconds of life, decayed as the counts are, weighted by the season
        ("e_day", _F4),  # the same for the baselines: a day, 7 days, 28 days
        ("e_base", _F4),
        ("e_anchor", _F4),
        ("bucket", _F4, _M),  # raw sum of the open bucket
        ("a_day", _F4, _M),  # decayed sums of closed buckets, as far as they were believed
        ("a_base", _F4, _M),
        ("a_anchor", _F4, _M),
        ("left_over", _F4, _M),  # of buckets that were cut, raw units, not learned yet
        ("cusum", _F4, _M),  # nats
        ("peak", _F4, (SCALES,)),  # most calls in a window of the excursion under way, and when it was seen last
        ("peak_at", _U4, (SCALES,)),
        ("habit", _F4, (SCALES, 2)),  # the two largest peaks of earlier excursions, decayed to ``habit_at``
        ("habit_at", _U4, (SCALES,)),
        ("deviation", _F4, (2,)),  # squared deviations of short and of long windows, decayed as the baseline is
        ("due", _F4, (2,)),  # what they would be for a key like all others of its band
        ("late_deviation", _F4, (2,)),  # the same of the slot of hours under way, which is not believed yet
        ("late_due", _F4, (2,)),
        ("starts", _F4),  # how often it began anew after a pause, decayed as the baseline is
        ("clump", _F4),  # calls that come together, as of the last closed bucket
        ("slot", _U4),  # its number since the epoch
        ("hourly", _F4, (DAY_HOURS,)),  # requests learned by hour of the day, decayed day by day
        ("hour_x", _F4),  # of the hour under way
        ("hour_at", _U4),  # its number since the epoch, and that of the first; 0 before the key is known
        ("hour_first", _U4),
        ("rhythm", _F4),  # factor on the season, as of the last closed bucket
        ("told_nats", _F4, _M),  # of the last learned finding, and of the last limit
        ("limit_nats", _F4, _M),
        ("known_at", _U4),
        ("cusum_since", _U4, _M),
        ("frozen_since", _U4, _M),
        ("released_until", _U4),  # so long a person expects what it does
        ("told_at", _U4, _M),
        ("told_since", _U4, _M),
        ("limit_at", _U4, _M),
        ("limit_since", _U4, _M),
        ("level", np.uint8, (SCALES,)),  # powers of two that each window has passed in the session under way
    ],
    align=True,
)

# What the keys of a scope have in common.
POOL = np.dtype(
    [
        ("now", _F8),  # largest event time, and smallest
        ("start", _F8),
        ("seen", _F8),  # rows
        ("renewed", _F8),  # last tick
        ("season_at", _F8),  # last hour at which the season was renewed
        ("known_keys", _F8),
        ("squares", _F8, _SPREADS),  # decayed sums over closed buckets: squared deviations, and means
        ("means", _F8, _SPREADS),
        ("dispersion", _F8, _SPREADS),  # variance over mean, as of the last tick; 1 is Poisson
        ("reached", _F8, (SCALES, LEVELS)),  # in how many sessions of young keys a window came to hold 1, 2, 4, ...
        ("session", _F8, (SCALES,)),  # mean of what such windows come to hold, as its 99 % point says
        ("threshold", _F8, (SCALES,)),  # nats, as of the last tick
        ("slow_threshold", _F8),
        ("ramp_threshold", _F8),
        ("bursts", CALIBRATOR),  # how much the scope's scores of two kinds differ from what the models claim
        ("sustained", CALIBRATOR),
        ("model_threshold", _F8, (SCALES,)),  # what the two kinds' thresholds are without
        ("model_slow", _F8),
        (
            "key_time",
            _F8,
            _M,
        ),  # decayed sums over known keys: their time, its product with ln(rate), and with its square
        ("ln_rate", _F8, _M),
        ("ln_rate_2", _F8, _M),
        ("value", _F8, _M),  # decayed sums over calls: values, calls, squares of (value / the key's mean)
        ("calls", _F8, _M),
        ("relative_2", _F8, _M),
        ("peer_rate", _F8, _M),  # what the sums say, as of the last tick: 0 is "nobody knows"
        ("peer_high", _F8, _M),
        ("per_call", _F8, _M),
        ("noise", _F8, _M),
        ("noise_before", _F8, _M),  # at the last full hour
        ("season_x", _F8, (HOURS,)),  # decayed sums by hour of the week: events, and events expected without a season
        ("season_m", _F8, (HOURS,)),
        ("season", _F8, (HOURS,)),  # factors of mean 1, and their sums up to each hour
        ("season_until", _F8, (HOURS + 1,)),
    ],
    align=True,
)

PARAMS = np.dtype(
    [
        (name, _F8)
        for name in (
            "bucket_s", "base_s", "anchor_s", "ramp_ratio", "freeze_nats", "release_per_day", "release_after_s",
            "handicap_nats", "young_s", "min_events", "min_nats", "warm_rows", "warm_s", "warm_days", "min_peers",
            "repeat_s",
            "refresh_s", "alarms_per_day",
        )
    ]
    + [("limit", _F8, _M)]
)  # fmt: skip

FOUND = np.dtype(
    [
        ("row", np.int32),
        ("scope", np.int8),
        ("reason", np.int8),
        ("warm", np.uint8),
        ("nats", _F8),
        ("threshold", _F8),
        ("observed", _F8),
        ("expected", _F8),
        ("window_s", _F8),
        ("since", _F8),
        ("detail", _F8, (8,)),
        ("ratio", _F8),  # nats / threshold: the largest is told
    ],
    align=True,
)


def fresh_pool(scopes: int) -> npt.NDArray[np.void]:
    """Nothing seen: no season, no peers, wide spreads, no threshold that anything reaches."""
    pool = np.zeros(scopes, POOL)
    for name in ("now", "renewed", "season_at"):
        pool[name] = -np.inf
    for name in ("start", "threshold", "slow_threshold", "ramp_threshold", "model_threshold", "model_slow"):
        pool[name] = np.inf
    for name in ("bursts", "sustained"):
        pool[name] = fresh_calibrators(scopes)
    for name in ("dispersion", "session", "noise", "noise_before", "season"):
        pool[name] = 1.0
    pool["season_until"] = np.arange(HOURS + 1.0)
    return pool
