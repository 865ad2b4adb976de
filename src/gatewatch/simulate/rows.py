"""Events before they are written: one numpy row each, with codes where the event has strings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.void]  # of ROW
Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

_NUMBERS = ("latency_ms", "ttft_ms", "bytes_in", "bytes_out", "tokens_in", "tokens_out", "cost_usd")
_CODES = (
    "endpoint", "status", "principal", "credential", "account", "known", "ip", "agent", "auth", "denied",
    "error", "model", "shape", "finish", "asked", "episode",
)  # fmt: skip
# Codes index the pools of gatewatch.simulate.world or the tuples below; -1 is "absent". Absent numbers are NaN.
# `episode` is the label (which attack, -1 none): it is never written into an event.
ROW = np.dtype(
    [("ts", np.float64), *((n, np.float64) for n in _NUMBERS), *((n, np.int32) for n in _CODES), ("session", np.int64)]
)

AUTH = ("success", "failure", "none")
SUCCESS, FAILURE, NO_AUTH = range(3)
ERRORS = ("bad_credentials", "invalid_key", "forbidden", "rate_limited", "upstream_unavailable", "upstream_timeout")
BAD_CREDENTIALS, INVALID_KEY, FORBIDDEN, RATE_LIMITED, UNAVAILABLE, TIMEOUT = range(6)
FEATURES = (["logprobs", "top_logprobs"],)  # what callers ask for besides the answer
LOGPROBS = 0
FINISH = ("stop", "length", "tool_calls")


def blank(ts: Floats) -> Rows:
    """Rows at these times (n,), epoch seconds, with everything else absent."""
    rows = np.empty(len(ts), ROW)
    rows["ts"] = ts
    for name in _NUMBERS:
        rows[name] = np.nan
    for name in (*_CODES, "session"):
        rows[name] = -1
    return rows


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows of all parts, in time order; equal times keep the order of the parts."""
    rows = np.empty(sum(map(len, parts)), ROW)
    low = 0
    for part in parts:  # np.concatenate copies field by field, which takes ten times as long
        rows[low : low + len(part)] = part
        low += len(part)
    order: Codes = np.argsort(rows["ts"], kind="stable")
    return rows[order]


def lognormal(rng: Rng, median: Floats | float, sigma: float, n: int) -> Floats:
    """Positive numbers with this median (a number or (n,)) and this spread of the logarithm."""
    return np.asarray(median * np.exp(sigma * rng.standard_normal(n)), np.float64)


def pick(rng: Rng, choices: npt.NDArray[np.integer], n: int) -> Codes:
    """``n`` of ``choices``, each as likely."""
    return choices[rng.integers(0, len(choices), n)].astype(np.int64)
