"""Codes of reasons, and the numbers of the tests, each with its source."""

from __future__ import annotations

# Reasons. The first five are plain limits, in the order of Params.limits.
BODY_BYTES, DEPTH, KEYS, ARRAY, STRING, STRUCTURE, CHARACTERS, SIZE, DRIFT, RELEASE, ONE_CALLER, SIZES = range(12)
LIMITS = 5
NOTHING = -1
LIMIT_NATS = 13.8  # a limit has no p-value; by convention what one in a million is, and ln(times over it) more

HOUR_S, DAY_S = 3600.0, 86400.0
LN2 = 0.6931471805599453
NOISE_NATS = 1.5  # of a size: what one value in five reaches is no surprise
MEMORY = 100_000.0  # rows after which an endpoint's counts are halved (algorithms C: memory of 1e5 events)
SIZE_MEMORY = 300.0  # bodies over which a size's mean and spread are averaged (algorithms C)
WINSOR = 3.0  # standard deviations beyond which a size teaches no more
LEAST_SIZES = 20.0  # bodies before a size is judged
PRIOR_SIZES = 5.0  # pseudo-bodies of the prior
PRIOR_VARIANCE = 1.0  # of the logarithm of a size (algorithms C)
LEAST_VARIANCE = 0.01  # 10 %: what a name or a number in a body varies by
TAIL_DF = 12.0  # sizes have longer tails than a normal distribution: Student's t
NEW_FIELD_NATS, NEW_FIELDS = 3.0, 4  # of each field that was never seen here; more than four tell nothing more
FAR, FAR_NATS = 0.35, 25.0  # distance (1 - Jaccard) from the nearest template at which it begins to count, and its nats
BIN_NATS = 2.0  # width of the histogram of distances
LEAST_BODIES = 20.0  # of an endpoint in a partition: one field more than that is rarer than 1 in 40
BUSY = 10.0  # times ``endpoint_bodies``, from which an hour is as good as ``warm_hours``
LEAST_NEW_NATS = 5.0  # of a structure that teaches nothing at an endpoint with few bodies yet
ADMIT_HITS = 3.0  # bodies before a structure is a template,
ADMIT_CALLERS = 2  # of so many callers, or for a day
ADMIT_SHARE = 0.01  # of the bodies since it was first seen, where callers are only addresses: anybody has many of them
RELEASE_CALLERS = 3  # so many established callers with one surprising structure: a release, and no probe
OPEN_SHARE = 0.3  # of an endpoint's bodies surprise: the API changed, so the gate opens
SHARE_MEMORY = 200.0  # bodies over which that share is averaged
FROZEN_S = DAY_S  # a caller that is odd for so long may teach its own row again
MOST = 4.0  # evidence beyond so many thresholds adds nothing
GROWTH = 1.5  # news: half as much evidence again as last told
CELL = 0.5  # added to a count before it becomes a share (Krichevsky and Trofimov 1981)
