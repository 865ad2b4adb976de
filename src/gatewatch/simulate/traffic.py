"""Rows of the two things that happen: somebody calls a model, somebody signs in.

Every source, benign or hostile, makes its rows here; a source says who, when and how it ends, and nothing else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.simulate import rows as r
from gatewatch.simulate.rows import Codes, Floats, Rng, Rows, blank, lognormal
from gatewatch.simulate.world import EMBEDDINGS, LOGIN, MODELS, World

# Shares of calls that go wrong on an ordinary day, by status.
_FAILURES = ((500, 0.002, -1), (400, 0.004, -1), (429, 0.003, r.RATE_LIMITED), (504, 0.001, r.TIMEOUT))
_EMBED_MODEL = 2
_SCORERS = 3  # each third caller asks for log-probabilities too, with the rarest of its requests
_USD_IN = np.array([model.usd_in for model in MODELS]) / 1000.0
_USD_OUT = np.array([model.usd_out for model in MODELS]) / 1000.0
_MS_PER_TOKEN = np.array([model.ms_per_token for model in MODELS])
_FINISH_EDGES = np.array([0.90, 0.97])  # stop, length, tool calls


def calls(
    world: World,
    rng: Rng,
    who: Codes,
    ts: Floats,
    *,
    ip: Codes | None = None,
    agent: Codes | None = None,
    shape: Codes | None = None,
    session: Codes | None = None,
) -> Rows:
    """Calls of a model by callers ``who`` (n,) that end at ``ts`` (n,), from their usual places unless told."""
    n = len(ts)
    callers = world.callers
    rows = blank(ts)
    rows["principal"] = callers.principal[who]
    rows["credential"] = callers.credential[who]
    rows["ip"] = callers.ip[who, (rng.random(n) < 0.1).astype(np.int64)] if ip is None else ip
    rows["agent"] = callers.agent[who] if agent is None else agent
    rows["endpoint"] = callers.endpoint[who, (rng.random(n) < 0.15).astype(np.int64)]
    rows["shape"] = callers.shape[who, np.searchsorted([0.7, 0.95], rng.random(n))] if shape is None else shape
    rows["session"] = -1 if session is None else session
    scores = (callers.principal[who] % _SCORERS == 1) & (rows["shape"] == callers.shape[who, 2])
    rows["asked"][scores] = r.LOGPROBS
    rows["auth"] = r.SUCCESS
    rows["status"] = 200
    _size(world, rng, who, rows)
    _fail(world, rng, who, rows)
    return rows


def _size(world: World, rng: Rng, who: Codes, rows: Rows) -> None:
    """Model, tokens, bytes, times and cost."""
    n = len(rows)
    embeds = np.isin(rows["endpoint"], EMBEDDINGS)
    model = np.where(embeds, _EMBED_MODEL, world.callers.model[who])
    tokens_in = np.rint(lognormal(rng, world.callers.tokens_in[who], 0.8, n)) + 1
    tokens_out = np.where(embeds, 0.0, np.rint(lognormal(rng, world.callers.tokens_out[who], 0.7, n)) + 1)
    ttft = lognormal(rng, 180.0 + 0.05 * tokens_in, 0.5, n)
    rows["model"] = model
    rows["tokens_in"] = tokens_in
    rows["tokens_out"] = tokens_out
    rows["ttft_ms"] = np.round(np.where(embeds, np.nan, ttft), 1)
    rows["latency_ms"] = np.round(ttft + tokens_out * _MS_PER_TOKEN[model] * lognormal(rng, 1.0, 0.2, n), 1)
    rows["bytes_in"] = np.rint(380 + tokens_in * lognormal(rng, 4.2, 0.1, n))
    rows["bytes_out"] = np.rint(np.where(embeds, 6300.0, 240 + 4.4 * tokens_out))
    rows["cost_usd"] = np.round(tokens_in * _USD_IN[model] + tokens_out * _USD_OUT[model], 6)
    rows["finish"] = np.where(embeds, -1, np.searchsorted(_FINISH_EDGES, rng.random(n)))


def _fail(world: World, rng: Rng, who: Codes, rows: Rows) -> None:
    """Let the ordinary share of calls fail, and refuse those that policy refuses."""
    draw = rng.random(len(rows))
    low = 0.0
    for status, share, error in _FAILURES:
        end(rows, (draw >= low) & (draw < low + share), rng, status=status, error=error)
        low += share
    denied = rng.random(len(rows)) < world.callers.denied_share[who]
    refuse(rows, denied & (rows["status"] == 200), rng)


def refuse(rows: Rows, where: npt.NDArray[np.bool_], rng: Rng) -> None:
    """Let policy refuse these rows."""
    end(rows, where, rng, status=403, error=r.FORBIDDEN)
    rows["denied"][where] = 1


def end(rows: Rows, where: npt.NDArray[np.bool_], rng: Rng, *, status: int, error: int) -> None:
    """Let these rows end without an answer from the model."""
    n = int(where.sum())
    rows["status"][where] = status
    rows["error"][where] = error
    rows["latency_ms"][where] = np.round(lognormal(rng, 30_000.0 if status == 504 else 12.0, 0.4, n), 1)
    rows["bytes_out"][where] = np.rint(lognormal(rng, 190.0, 0.1, n))
    for name in ("ttft_ms", "tokens_out"):
        rows[name][where] = np.nan
    rows["cost_usd"][where] = 0.0
    rows["finish"][where] = -1


def logins(
    world: World, rng: Rng, account: Codes, ts: Floats, ok: npt.NDArray[np.bool_], *, ip: Codes, agent: Codes
) -> Rows:
    """Attempts to sign in as ``account`` (n,) that end at ``ts`` (n,), well where ``ok`` (n,)."""
    n = len(ts)
    rows = blank(ts)
    rows["endpoint"] = LOGIN
    rows["account"] = account
    rows["known"] = account < world.people
    rows["ip"] = ip
    rows["agent"] = agent
    rows["status"] = np.where(ok, 200, 401)
    rows["auth"] = np.where(ok, r.SUCCESS, r.FAILURE)
    rows["error"] = np.where(ok, -1, r.BAD_CREDENTIALS)
    rows["latency_ms"] = np.round(lognormal(rng, 140.0, 0.35, n), 1)  # hashing a password takes as long either way
    rows["bytes_in"] = np.rint(lognormal(rng, 410.0, 0.08, n))
    rows["bytes_out"] = np.rint(lognormal(rng, np.where(ok, 900.0, 180.0), 0.05, n))
    return rows


def bad_keys(rng: Rng, credential: Codes, ts: Floats, *, endpoint: Codes, ip: Codes, agent: Codes) -> Rows:
    """Calls with a key that the gateway does not accept; it says who sent the key only by the key's id."""
    n = len(ts)
    rows = blank(ts)
    rows["endpoint"] = endpoint
    rows["credential"] = credential
    rows["ip"] = ip
    rows["agent"] = agent
    rows["status"] = 401
    rows["auth"] = r.FAILURE
    rows["error"] = r.INVALID_KEY
    rows["latency_ms"] = np.round(lognormal(rng, 3.0, 0.4, n), 1)
    rows["bytes_in"] = np.rint(lognormal(rng, 2600.0, 0.7, n))
    rows["bytes_out"] = np.rint(lognormal(rng, 190.0, 0.05, n))
    return rows
