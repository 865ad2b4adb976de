"""What is measured of outputs, and the numbers of the test, each with its source."""

from __future__ import annotations

DRIFT, RELEASE, ONE_CALLER, LATENCY = range(4)  # Reason.code

# Metrics, in order; ``refusal`` is of two bins: refused, not refused. Bytes speak only where no tokens are logged.
METRICS = ("finish", "refusal", "tokens_out", "bytes_out", "confidence", "entropy", "latency_ms")
TEXTS = (
    "how answers end", "how often the model refuses", "length of answers (tokens)", "length of answers (bytes)",
    "confidence", "entropy", "latency",
)  # fmt: skip

DAY_S, HOUR_S = 86400.0, 3600.0
KEPT = 64  # windows of the reference: 32 hours of half hours at first, then every 2nd, 4th and 8th: ten days
MOST_STRIDE = 8
SAMPLE = 1000.0  # answers that a window counts for at most: a large n finds every difference, also those of no matter
SHARE_OF_METRIC = 0.2  # of the answers must carry a metric, before it says something
SMOOTHING = 0.5  # of an answer, spread over the bins by the reference and evenly (Jeffreys)
K = 1.0  # drift of the slow test, in standard deviations
CAP_NATS = 40.0  # beyond this nobody needs to know how sure it is
LOOKS = 2.0  # the fast and the slow test share the false alarms
AGAIN_S = HOUR_S  # what began anew so soon is told of when a second look agrees
RELEASE_S = DAY_S  # a change that stays for a day is the new normal; its reference is learned anew
QUIET_S = DAY_S  # a key unseen for a day may give its place to another
NEW_VERSION = 0.2  # share of answers by versions that the reference hardly knows
ONE_SHARE, ONE_RATIO = 0.5, 2.0  # one caller makes half of the answers, and twice what it made
LEAST_SD = 0.15  # of the cube root of the statistic over its mean: chi2 of 10 degrees of freedom has 0.15
