"""What one row adds to each of its sums: amounts to the counts, and the bins that it fills."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import AuthCode
from gatewatch.events.rollup import BINS, COUNTS, ENTROPY_STEP, UNITS, bins_of
from gatewatch.state.hashing import mix
from gatewatch.state.jit import kernel
from gatewatch.state.pairs import Pairs, has_pair, meet, no_pairs

U64 = np.uint64
# Failed first contacts that count of one network in a week or two. What one source does is seen on its key, and must
# not look like a botnet; residential proxies give an address 1.2 tries (DataDome), a /24 seldom more than two or three.
VOICES = 3
_SUCCESS, _FAILURE = int(AuthCode.SUCCESS), int(AuthCode.FAILURE)
_HOUR_S = 3600.0
# A person who fails tries again, or has a mail sent for a new password: so long, and twice as long at most, that is
# waited for. Longer, and who guesses could save up failures of his own to be taken back during an attack.
RECOVERY_S = 1800.0
_FAILED, _RECOVERED = U64(0x9E3779B97F4A7C15), U64(0xC2B2AE3D27D4EB4F)  # other names for a pair: odd 64-bit constants
_ROOT_OF_HALF = math.sqrt(0.5)

(REQUESTS, CLIENT_ERRORS, SERVER_ERRORS, DENIED, BLOCKED, SUCCESSES, FAILURES, FIRST_FAILURES, FIRST_SUCCESSES,
 UNKNOWN_FAILURES, RECOVERED, ACCOUNT_HOURS, BYTES_IN, BYTES_OUT, TOKENS_IN, TOKENS_OUT, COST_USD, OUTPUTS,
 REFUSALS) = range(len(COUNTS))  # fmt: skip
_LATENCY_AT, _LATENCY_N = bins_of("latency_ms").start, BINS["latency_ms"]
_IN_AT, _IN_N = bins_of("bytes_in").start, BINS["bytes_in"]
_OUT_AT, _OUT_N = bins_of("bytes_out").start, BINS["bytes_out"]
_TOKENS_AT, _TOKENS_N = bins_of("tokens_out").start, BINS["tokens_out"]
_FINISH_AT = bins_of("finish").start
_CONFIDENCE_AT, _CONFIDENCE_N = bins_of("confidence").start, BINS["confidence"]
_ENTROPY_AT, _ENTROPY_N = bins_of("entropy").start, BINS["entropy"]
_TEMPLATE_AT, _TEMPLATE_N = bins_of("template").start, BINS["template"]
_PRINCIPAL_AT, _PRINCIPAL_N = bins_of("principal").start, BINS["principal"]
_VERSION_AT, _VERSION_N = bins_of("version").start, BINS["version"]
_BYTES_UNIT = UNITS["bytes_in"]
PER_ROW = 10  # histograms that one row may fill


class Seen(NamedTuple):
    """Which pairs have been met: two generations, the older forgotten in turn."""

    pairs: Pairs
    now: npt.NDArray[np.int64]  # (2,) the current generation, and how many pairs were added to it


def none_seen(pairs: int) -> Seen:
    """No pair met, with room for so many a generation."""
    return Seen(no_pairs(pairs), np.zeros(2, np.int64))


@kernel
def add_outcome(out: npt.NDArray[np.float64], status: int, denied: int, refusal: int, said: bool) -> None:
    """What the row's end adds to the counts, which begin anew."""
    out[:] = 0.0
    out[REQUESTS] = 1.0
    out[CLIENT_ERRORS] = 1.0 if 400 <= status < 500 else 0.0
    out[SERVER_ERRORS] = 1.0 if status >= 500 else 0.0
    out[DENIED] = 1.0 if denied == 1 else 0.0
    out[OUTPUTS] = 1.0 if said or refusal >= 0 else 0.0
    out[REFUSALS] = 1.0 if refusal == 1 else 0.0


@kernel
def add_sizes(
    out: npt.NDArray[np.float64], bytes_in: float, bytes_out: float, tokens_in: float, tokens_out: float, cost: float
) -> None:
    """What the row adds to the sums of sizes."""
    out[BYTES_IN], out[BYTES_OUT] = _or_zero(bytes_in), _or_zero(bytes_out)
    out[TOKENS_IN], out[TOKENS_OUT] = _or_zero(tokens_in), _or_zero(tokens_out)
    out[COST_USD] = _or_zero(cost)


@kernel
def who_of(account: np.uint64, credential: np.uint64, principal: np.uint64) -> np.uint64:
    """Who logs in; 0 where nobody is named."""
    if account != U64(0):
        return account
    return credential if credential != U64(0) else principal


@kernel
def add_login(
    out: npt.NDArray[np.float64],
    blocked: int,
    auth: int,
    known: int,
    who: np.uint64,
    network: np.uint64,
    ts: float,
    seen: Seen,
) -> None:
    """What the row adds to the counts of logins."""
    if blocked == 1:  # our own refusals are nobody's failure
        out[BLOCKED] = 1.0
        return
    if auth not in (_FAILURE, _SUCCESS):
        return
    pair = mix(network, who)
    first = who != U64(0) and _is_new(seen, pair)
    turn = U64(np.int64(ts / RECOVERY_S))
    if auth == _FAILURE:
        out[FAILURES] = 1.0
        if first and _may_speak(seen, network):
            _is_new(seen, mix(pair ^ _FAILED, turn))
            out[FIRST_FAILURES] = 1.0
            out[UNKNOWN_FAILURES] = 1.0 if known == 0 else 0.0
        return
    out[SUCCESSES] = 1.0
    out[FIRST_SUCCESSES] = 1.0 if first else 0.0
    hour = U64(np.int64(ts / _HOUR_S))
    if not first and who != U64(0) and _failed_lately(seen, pair, turn):
        out[RECOVERED] = 1.0 if _is_new(seen, mix(who ^ _RECOVERED, hour)) else 0.0
    out[ACCOUNT_HOURS] = 1.0 if who != U64(0) and _is_new(seen, mix(who, hour)) else 0.0


@kernel
def _may_speak(seen: Seen, network: np.uint64) -> bool:
    """Whether a network has had fewer than :data:`VOICES` failed first contacts: one source is not a population."""
    voice = 1
    while voice <= VOICES and not _is_new(seen, mix(network, U64(voice))):
        voice += 1
    return voice <= VOICES


@kernel
def _failed_lately(seen: Seen, pair: np.uint64, turn: np.uint64) -> bool:
    """Whether the pair's first contact, in this turn or the one before, was a failure that counted."""
    for k in range(2):
        failed = mix(pair ^ _FAILED, turn - U64(k))
        if has_pair(seen.pairs, 0, failed) or has_pair(seen.pairs, 1, failed):
            return True
    return False


@kernel
def _is_new(seen: Seen, pair: np.uint64) -> bool:
    """Whether a pair was in neither generation; it is in the current one now."""
    known, added = meet(seen.pairs, seen.now[0], pair)
    seen.now[1] += added
    return not known


@kernel
def fill_bins(
    marks: npt.NDArray[np.int64], status: int, latency_ms: float, bytes_in: float, bytes_out: float, tokens_out: float,
    confidence: float, entropy: float, finish: int, shape: np.uint64, principal: np.uint64, version: int,
) -> int:  # fmt: skip
    """Which bins of the histograms the row fills; returns how many.

    An error is no answer: its length says nothing of the model's, nor the time in which a gateway refuses.
    """
    n = _octaves(marks, 0, bytes_in, _IN_AT, _IN_N, _BYTES_UNIT)
    if not 400 <= status < 500:
        n = _octaves(marks, n, latency_ms, _LATENCY_AT, _LATENCY_N, 1.0)
    if status < 400:
        n = _octaves(marks, n, bytes_out, _OUT_AT, _OUT_N, _BYTES_UNIT)
        n = _octaves(marks, n, tokens_out, _TOKENS_AT, _TOKENS_N, 1.0)
    n = _steps(marks, n, confidence, _CONFIDENCE_AT, _CONFIDENCE_N, 1.0 / _CONFIDENCE_N)
    n = _steps(marks, n, entropy, _ENTROPY_AT, _ENTROPY_N, ENTROPY_STEP)
    return _places(marks, n, finish, shape, principal, version)


@kernel
def _places(
    marks: npt.NDArray[np.int64], n: int, finish: int, shape: np.uint64, principal: np.uint64, version: int
) -> int:
    """Bins of what has no size; returns how many bins the row fills now."""
    if finish >= 0:
        marks[n] = _FINISH_AT + finish
        n += 1
    if shape != U64(0):
        marks[n] = _TEMPLATE_AT + np.int64(shape % U64(_TEMPLATE_N))
        n += 1
    if principal != U64(0):
        marks[n] = _PRINCIPAL_AT + np.int64(principal % U64(_PRINCIPAL_N))
        n += 1
    if version >= 0:
        marks[n] = _VERSION_AT + version % _VERSION_N
        n += 1
    return n


@kernel
def _octaves(marks: npt.NDArray[np.int64], n: int, value: float, at: int, room: int, unit: float) -> int:
    """The bin of a size: two to a doubling."""
    if not math.isfinite(value):
        return n
    half, power = math.frexp(1.0 + max(value, 0.0) / unit)  # half * 2 ** power, half from 1/2 to 1
    marks[n] = at + min(2 * (power - 1) + (half >= _ROOT_OF_HALF), room - 1)
    return n + 1


@kernel
def _steps(marks: npt.NDArray[np.int64], n: int, value: float, at: int, room: int, width: float) -> int:
    if np.isnan(value):
        return n
    marks[n] = at + int(min(max(value, 0.0) / width, room - 1.0))
    return n + 1


@kernel
def _or_zero(value: float) -> float:
    return 0.0 if np.isnan(value) else value
