"""Codes of reasons, and the numbers of the tests, each with its source."""

from __future__ import annotations

# Reasons. The first five are plain limits, in the order of Params.limits.
BODY_BYTES, DEPTH, KEYS, ARRAY, STRING, STRUCTURE, CHARACTERS, SIZE, DRIFT, RELEASE, ONE_CALLER, SIZES, CHANGE = range(
    13
)
LIMITS = 5
NOTHING = -1
LIMIT_NATS = 13.8  # a limit has no p-value; by convention what one in a million is, and ln(times over it) more

HOUR_S, DAY_S = 3600.0, 86400.0
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
FORGET_S = DAY_S  # without anything odd, after which what was odd is news again
AGAIN_S = 600.0  # what was told and goes on without a pause of so long is one episode (decide's own pause)
CONTAINED = 0.9  # of a template's fields are in a body, and more: a new version of its client
MOST_CHANGES = 3  # new versions of a caller within a day; more are a probe
ORDINARY_NATS = 9.2  # of characters and size together: what teaches (``gate``) is ordinary enough for a new version
# The e-value of a body with p-value p: 1 - BET + BET * POWER * p ** (POWER - 1), whose mean is 1 (Vovk and Wang 2021).
# Half of an attacker's bodies are ordinary, of its key's owner. Of 5, 8 and 14 nats 1.6, 3.5 and 7.4 are evidence, and
# an ordinary body takes 0.4 away; with half the root of 1 / p it were 1.8, 3.3, 6.3 and 0.7.
BET, POWER = 0.5, 0.35
MOST = 4.0  # evidence beyond so many thresholds adds nothing
GROWTH = 1.5  # news: half as much evidence again as last told
CELL = 0.5  # added to a count before it becomes a share (Krichevsky and Trofimov 1981)
# The same of kinds of characters, by what values are. Text (a value in 50 has a line break) holds all kinds sooner or
# later; in other values those that queries, scripts and paths are written in come more seldom than others do.
TEXT_SHARE, TEXT_CELL, HOSTILE_CELL = 0.02, 2.0, 0.1
SEEN_HITS = 20.0  # bodies that did not surprise, after which a structure's fields are known though it is no template
