"""What a key's counts say: the limit, the windows, the slow evidence, the ramp; and the one finding that comes of it.

A decayed count sum(exp(-age / tau)) of a plain stream has the mean of a Poisson count and half its variance, so twice
the count against twice the mean is tested as Poisson or wider. A window that is filled only partly lies between: the
factor is 2 / (2 - filled).
"""

from __future__ import annotations

import math
from typing import Any

from gatewatch.sdk import judged, kernel

from .habit import EXPLAINED_S, is_habit, note
from .layout import COST, DAY, DAY_S, HOUR, MEASURES, MINUTE, REQUESTS, SCALES, TAU_S
from .learn import EXCURSION_S, KNOWN_EVENTS, PRIOR_EVENTS, calls_of, own_rate, per_count, slow_spread
from .spread import believed, spread
from .tail import GATE_NATS, chernoff, tail_nats

# Kinds of finding; a reason's code is kind * MEASURES + measure
BURST, SUSTAINED, RAMP, NEW_KEY, LIMIT = 0, 1, 2, 3, 4
LIMIT_NATS = 12.0  # of a plain limit just reached, growing with the excess: as surprising as what freezes
KNOWN, YOUNG = True, False
LIKE_PEERS = 1.0
# How far over its threshold a burst must be, by the age of its key. Three tops of the hour: an hourly job has shown
# itself twice. Then the week is not known yet, which a simulated month shows to be worth 1.25.
FIRST_HOURS_S, FIRST_HOURS_RATIO, FIRST_WEEK_RATIO = 3 * 3600.0, 2.5, 1.25
GROSS = 4.0  # times over its threshold a young key is told of whatever its peers do
FAR_BELOW = -12.0  # nats under a threshold nobody needs to know
CALM_S = 3 * 3600.0  # so long the hour's window remembers what was told
PEERS_S = 2 * DAY_S  # so long a key is measured by its peers' sessions as well: its own were a dozen or two
MIN_CALLS = 5.0  # one huge call, or a few, are no burst of tokens or cost
SIZES = 3.0  # tokens and cost need more typical calls: a few huge ones come together more often than calls do
# Below a minute requests take more, too: one action of a person or a job is a clump of calls within seconds, and a
# key's spread is measured at the ends of minutes, where little is left of that.
CLUMP = 1.5
SESSION_R = 1.0  # what newcomers do in a window is described by an exponential, which is a Gamma of one event
SESSION_EVENTS = 20.0  # a key with fewer has had no more than one or two sessions
RAMP_WINDOWS = 5.0  # a day needs so many times what a window needs: a few sessions more than usual are no ramp
RAMP_AGE_S = 7 * DAY_S  # an anchor younger than this is the baseline itself
FIRST_DAY_R = 20.0  # before a whole day was seen, a daily cycle of a factor 3 must not be a burst (it has 8.6 nats)
REPEAT_RATIO = 1.5  # an excursion that grew by so much is told again after repeat_s


@kernel
def score(key: Any, pool: Any, m: int, season: float, closed: bool, p: Any, best: Any) -> None:
    """Put into ``best`` what this measure says, if it says more than what stands there."""
    _against_limit(key, m, p, best)
    if key.told_at[m] > 0 and key.last - key.told_at[m] < p.repeat_s:
        return
    unit = per_count(key, pool, m)
    least = least_events(m, p) * unit
    if unit <= 0.0 or (key.count[m, HOUR] < least and not closed):
        return  # the longest window holds the others
    rate, events = own_rate(key, pool, m, unit), key.a_base[m] / unit
    age = key.last - key.born
    if age >= p.young_s and events >= KNOWN_EVENTS:
        r_cap = min(events / key.clump + PRIOR_EVENTS, FIRST_DAY_R if age < DAY_S else math.inf)
        few = events < SESSION_EVENTS * key.clump
        _against_windows(key, pool, m, season, rate, _like_peers(age, few, p), r_cap, unit, KNOWN, p, best)
        if closed:
            if not few:
                _slow_evidence(key, pool, m, season, rate, unit, p, best)
            _against_anchor(key, pool, m, unit, p, best)
        return
    if m == REQUESTS and age < p.young_s:
        for j in range(SCALES):
            if key.count[m, j] >= least:
                note(key, j, key.count[m, j], p.young_s)
    if pool.known_keys >= p.min_peers and pool.peer_high[m] > 0.0:
        rate = max(rate if age >= p.young_s else 0.0, pool.peer_high[m] / unit)
        _against_windows(key, pool, m, season, rate, LIKE_PEERS, SESSION_R, unit, YOUNG, p, best)


@kernel
def _against_limit(key: Any, m: int, p: Any, best: Any) -> None:
    scale = HOUR if m == COST else MINUTE
    observed, limit = key.count[m, scale], p.limit[m]
    if observed < limit:
        return
    nats = LIMIT_NATS * observed / limit
    if nats / LIMIT_NATS <= best.ratio or quiet(key.last, key.limit_at[m], nats, key.limit_nats[m], p):
        return
    _offer(best, LIMIT * MEASURES + m, nats, LIMIT_NATS, observed, limit)
    best.window_s, best.since = TAU_S[scale], key.last
    best.detail[0] = limit


@kernel
def _against_windows(
    key: Any,
    pool: Any,
    m: int,
    season: float,
    rate: float,
    like_peers: float,
    r_cap: float,
    unit: float,
    known: bool,
    p: Any,
    best: Any,
) -> None:
    """The tails of the decayed counts, each scale against its own threshold; exact only past the gates.

    ``like_peers``: where the key's own baseline says too little, it may do this share of what young keys do in a
    session.
    """
    handicap = 0.0 if known else p.handicap_nats
    raw_rate = rate * unit
    age = key.last - key.born
    for j in range(SCALES):
        least = least_events(m, p) * (CLUMP if m == REQUESTS and j < MINUTE else 1.0)
        # A young key is held to what its peers do in a whole window, however short its life is
        exposure = key.exposure[j] if known else season * TAU_S[j]
        if key.count[m, j] < max(least * unit, raw_rate * exposure) or key.count[REQUESTS, j] < MIN_CALLS:
            continue
        factor = 2.0 / (2.0 - min(1.0, exposure / (season * TAU_S[j]))) if known else 1.0
        usual = factor * like_peers * pool.session[j]
        mean = factor * rate * exposure if known else max(factor * rate * exposure, usual)
        y = factor * key.count[m, j] / unit
        if y <= mean:
            continue
        r = believed(spread(key, pool, m, j, mean), r_cap)
        threshold = pool.threshold[j]
        gate = threshold + handicap - GATE_NATS
        look = _first_look(key, pool, m, j, gate, p) if known else gate
        # chernoff <= (y - mean)^2 / 2 V, as its second derivative falls from 1 / V: no logarithm for plain traffic
        if (y - mean) * (y - mean) < 2.0 * look * (mean + mean * mean / r):
            continue
        bound = chernoff(y, mean, r)
        if bound < look:
            continue
        nats = tail_nats(y, mean, r) - handicap
        if known:
            if _is_usual(key, pool, m, j, bound, nats, p) or bound < gate:
                continue
            threshold, mean, r, bound = _unexplained(pool, j, y, mean, r, bound, usual)
            nats = tail_nats(y, mean, r)
        if threshold <= 0.0 or quiet(key.last, key.told_at[m], bound, key.told_nats[m], p):
            continue
        if nats / threshold > best.ratio:
            rate_per_count = unit / (factor * exposure / season) * rate_s(m)
            low = not known or (age < PEERS_S and nats < _margin(age) * threshold)
            kind = NEW_KEY if low else BURST
            _offer(best, kind * MEASURES + m, nats, threshold, y * rate_per_count, mean * rate_per_count)
            best.window_s, best.since = TAU_S[j], max(key.born, key.last - TAU_S[j])
            best.detail[0], best.detail[1], best.detail[2], best.detail[3] = y, mean, r, season
            best.detail[4], best.detail[5], best.detail[6] = handicap, rate_per_count, factor * least
            best.detail[7] = age / DAY_S


@kernel
def _first_look(key: Any, pool: Any, m: int, j: int, gate: float, p: Any) -> float:
    """From how many nats on a known key's window is worth a tail: what may be told, or counts for the calibration."""
    if not counts(key, m, p):
        return gate
    return float(min(gate, pool.model_threshold[j] + max(pool.bursts.peak, FAR_BELOW) - GATE_NATS))


@kernel
def _is_usual(key: Any, pool: Any, m: int, j: int, bound: float, nats: float, p: Any) -> bool:
    """Whether it is a habit of a known key; else its score counts for what benign scores are.

    What makes a habit is what the *model* finds worth telling: where thresholds are low, because all is calm, hardly an
    hour would be without an "excursion", and nothing would ever be news. (What is told below that counts here, and so
    lifts the threshold.)
    """
    calls = calls_of(key, pool, m, key.count[m, j])
    if bound >= pool.model_threshold[j] - GATE_NATS:
        note(key, j, calls, p.young_s)
    if is_habit(key, j, calls):
        return True
    if counts(key, m, p):
        judged(pool.bursts, nats - pool.model_threshold[j])
    return False


@kernel
def _unexplained(
    pool: Any, j: int, y: float, mean: float, r: float, bound: float, usual: float
) -> tuple[float, float, float, float]:
    """What peers do not explain of a known key's window: threshold (0: nothing is left), mean, r, bound.

    ``usual`` is the mean of an exponential that describes what peers do in a session, 0 where they have no say.
    """
    threshold = float(pool.threshold[j])
    if usual <= mean:
        return threshold, mean, r, bound
    peers = tail_nats(y, usual, SESSION_R)
    if peers >= bound:
        return threshold, mean, r, bound
    if peers >= threshold:
        return threshold, usual, SESSION_R, peers
    # Within ten seconds an action is a clump of calls, of which a young key has not shown how large it may be
    gross = j >= MINUTE and bound >= GROSS * threshold
    return (GROSS * threshold if gross else 0.0), mean, r, bound


@kernel
def _like_peers(age: float, few: bool, p: Any) -> float:
    """How far a known key may do what its peers do: wholly while it is young, less and less until its week is known."""
    if few or age < PEERS_S:
        return LIKE_PEERS
    return float(max(0.0, (p.warm_days * DAY_S - age) / max(1.0, p.warm_days * DAY_S - PEERS_S)))


@kernel
def _margin(age: float) -> float:
    """How many times over its threshold a burst must be, by the age of its key."""
    return FIRST_HOURS_RATIO if age < FIRST_HOURS_S else FIRST_WEEK_RATIO


@kernel
def _slow_evidence(key: Any, pool: Any, m: int, season: float, rate: float, unit: float, p: Any, best: Any) -> None:
    """The CUSUM, which has moved only if a bucket was closed."""
    nats, threshold = float(key.cusum[m]), pool.slow_threshold
    counted = counts(key, m, p)
    enough = key.count[m, HOUR] >= least_events(m, p) * unit
    if counted:
        judged(pool.sustained, nats - pool.model_slow if enough else -math.inf)
    if nats / threshold <= best.ratio or nats < threshold or not enough:
        return
    if key.count[m, HOUR] <= rate * unit * key.exposure[HOUR]:
        return  # it is over: the evidence takes hours to fall
    if key.last - key.cusum_since[m] < EXPLAINED_S and is_habit(key, HOUR, calls_of(key, pool, m, key.count[m, HOUR])):
        return
    if quiet(key.last, key.told_at[m], nats, key.told_nats[m], p):
        return
    observed = key.count[m, HOUR] / key.exposure[HOUR] * season * rate_s(m)
    _offer(best, SUSTAINED * MEASURES + m, nats, threshold, observed, rate * season * unit * rate_s(m))
    best.since = float(key.cusum_since[m])
    best.window_s = max(key.last - best.since, p.bucket_s)
    best.detail[0] = rate * season * p.bucket_s
    best.detail[1] = slow_spread(key, pool, m, rate, rate * season * p.bucket_s)
    best.detail[2] = unit / p.bucket_s * rate_s(m)
    best.detail[3] = (key.last - key.born) / DAY_S


@kernel
def _against_anchor(key: Any, pool: Any, m: int, unit: float, p: Any, best: Any) -> None:
    """The last day's rate against the anchor: a baseline that was led upwards step by step."""
    if key.last - key.born < RAMP_AGE_S:
        return
    x, mean = key.a_day[m] / unit, key.a_anchor[m] / key.e_anchor * key.e_day / unit
    if x < p.ramp_ratio * mean or x < RAMP_WINDOWS * least_events(m, p):
        return
    if key.last - key.peak_at[HOUR] < DAY_S and is_habit(key, HOUR, calls_of(key, pool, m, key.count[m, HOUR])):
        return  # what a job makes once a week is above the anchor for a day
    threshold, factor = pool.ramp_threshold, 2.0
    r = spread(key, pool, m, DAY, factor * mean)
    nats = tail_nats(factor * x, factor * mean, r)
    if nats < threshold or nats / threshold <= best.ratio:
        return
    if quiet(key.last, key.told_at[m], nats, key.told_nats[m], p):
        return
    rate_per_count = unit / factor / key.e_day * rate_s(m)
    _offer(best, RAMP * MEASURES + m, nats, threshold, factor * x * rate_per_count, factor * mean * rate_per_count)
    best.window_s, best.since = DAY_S, key.last - DAY_S
    best.detail[0], best.detail[1], best.detail[2] = factor * x, factor * mean, r
    best.detail[3], best.detail[4] = rate_per_count, p.ramp_ratio
    best.detail[5] = (key.last - key.born) / DAY_S


@kernel
def counts(key: Any, m: int, p: Any) -> bool:
    """Whether a score of this key says what benign scores are: it is warm, and nothing was told of it for hours."""
    now = key.last
    return bool(now - key.born >= p.warm_days * DAY_S and (key.told_at[m] == 0 or now - key.told_at[m] >= CALM_S))


@kernel
def least_events(m: int, p: Any) -> float:
    """Counts below which nothing speaks."""
    return float(p.min_events if m == REQUESTS else SIZES * p.min_events)


@kernel
def rate_s(m: int) -> float:
    """Seconds in the unit of a measure's rate: requests and tokens a minute, dollars an hour."""
    return 3600.0 if m == COST else 60.0


@kernel
def quiet(now: float, told_at: int, nats: float, told_nats: float, p: Any) -> bool:
    """Whether this was told already: within refresh_s, unless it grew by half and repeat_s have passed."""
    since = now - told_at
    if told_at == 0 or since >= p.refresh_s:
        return False
    return since < p.repeat_s or nats < REPEAT_RATIO * told_nats


@kernel
def _offer(best: Any, reason: int, nats: float, threshold: float, observed: float, expected: float) -> None:
    best.ratio = nats / threshold
    best.reason = reason
    best.nats = nats
    best.threshold = threshold
    best.observed = observed
    best.expected = expected
    for k in range(8):
        best.detail[k] = 0.0


@kernel
def tell(key: Any, pool: Any, p: Any, best: Any) -> None:
    """Remember that ``best`` is told, and fill in since when it lasts and whether it is warm.

    Limits have a memory of their own: a plain limit must not wait behind something learned that may be in shadow.
    """
    now = key.last
    m = best.reason % MEASURES
    if best.reason // MEASURES == LIMIT:
        if key.limit_at[m] == 0 or now - key.limit_at[m] > EXCURSION_S:
            key.limit_since[m] = max(1.0, best.since)
        key.limit_at[m] = max(1.0, now)
        key.limit_nats[m] = best.nats
        best.since = float(key.limit_since[m])
    else:
        if key.told_at[m] == 0 or now - key.told_at[m] > EXCURSION_S:
            key.told_since[m] = max(1.0, best.since)
        key.told_at[m] = max(1.0, now)
        key.told_nats[m] = best.nats
        best.since = float(key.told_since[m])
    best.warm = 1 if _is_warm(key, pool, p, best) else 0


@kernel
def _is_warm(key: Any, pool: Any, p: Any, best: Any) -> bool:
    """Whether enough has been seen to tell people: of the scope, and for its own baseline of the key.

    A key's weekly rhythm is known after a week. Before that only what is beyond its threshold by some margin is told,
    and in its first hours only the unmistakable.
    """
    if pool.seen < p.warm_rows or pool.now - pool.start < p.warm_s:
        return False
    age = key.last - key.born
    if best.reason // MEASURES == NEW_KEY or age >= p.warm_days * DAY_S:
        return True
    return bool(best.nats >= _margin(age) * best.threshold)
