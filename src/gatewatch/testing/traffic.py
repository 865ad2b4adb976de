"""Synthetic traffic that any detector on keys can be held to the contract on: calm hours, then customers misbehave.

Not realistic; :mod:`gatewatch.simulate` is. What counts here is that it is small, the same every time, and has
something in it for every kind of detector: failures, denials, bursts, costs, shapes that change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import AuthCode, Batch
from gatewatch.testing.batches import batch_of_columns

START = 1_770_000_000.0  # any Monday
CUSTOMERS = 40
CALM_S = 3600.0
ATTACK_S = 600.0


def calm(rows: int = 2000, *, seed: int = 1, start: float = START, first_offset: int = 0) -> Batch:
    """An hour of customers who mostly succeed."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, CUSTOMERS, rows)
    ok = rng.random(rows) < 0.97
    ok[: 2 * CUSTOMERS] = True
    who[:CUSTOMERS] = np.arange(CUSTOMERS)  # everybody is known by a success
    return _batch(rng, np.sort(rng.random(rows)) * CALM_S + start, who, ok, first_offset)


def attack(*, seed: int = 2, start: float = START + CALM_S, first_offset: int = 0) -> Batch:
    """Ten minutes in which three customers go wrong: a list of accounts, one account over and over, a burst."""
    rng = np.random.default_rng(seed)
    stuffing = _rows(rng, 0, 120, [f"list{i}" for i in range(60)] * 2, ok=False)
    cracking = _rows(rng, 1, 200, ["root"] * 200, ok=False)
    burst = _rows(rng, 2, 3000, ["c2"] * 3000, ok=True)
    parts = [stuffing, cracking, burst]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n = len(columns["ip"])
    order = rng.permutation(n)
    columns = {name: values[order] for name, values in columns.items()}
    columns["ts"] = np.sort(rng.random(n)) * ATTACK_S + start
    columns["tokens_in"] = np.where(columns["principal"] == "c2", 50_000.0, 100.0)
    columns["cost_usd"] = columns["tokens_in"] * 1e-5
    columns["status"] = np.where(columns["auth"] == AuthCode.SUCCESS, 200, 401)
    return batch_of_columns(_nulls(columns), first_offset=first_offset)


def joined(*batches: Batch) -> Batch:
    """Their rows one after the other, as one batch."""
    table = pa.Table.from_batches([batch.arrow for batch in batches]).combine_chunks()
    return Batch(table.to_batches()[0])


def flood(keys: int, repeats: int, *, seed: int = 3, start: float = START + CALM_S, first_offset: int = 0) -> Batch:
    """That many keys of every scope, never seen before, each failing ``repeats`` times within a minute."""
    rng = np.random.default_rng(seed)
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in ("k_principal", "k_credential", "k_account", "k_ip", "k_network"):
        columns[name] = np.tile(rng.integers(1, 2**63, keys).astype(np.uint64), repeats)
    n = keys * repeats
    columns["ts"] = np.sort(rng.random(n)) * 60.0 + start
    columns["auth"] = np.full(n, int(AuthCode.FAILURE))
    columns["status"] = np.full(n, 401)
    return batch_of_columns(columns, first_offset=first_offset)


def _rows(rng: np.random.Generator, customer: int, n: int, accounts: list[str], *, ok: bool) -> dict[str, Any]:
    columns = _columns(np.full(n, customer), np.full(n, ok), rng)
    columns["account"] = np.array(accounts, object)
    if not ok:
        columns["principal"] = np.full(n, None, object)
    return columns


def _columns(who: npt.NDArray[np.int64], ok: npt.NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Any]:
    n = len(who)
    return {
        "principal": _names("c{}", who),
        "credential": np.full(n, None, object),
        "account": _names("c{}", who),
        "ip": _names("198.51.{}.9", who),
        "network": _names("198.51.{}.0/24", who),
        "endpoint": _names("/v1/models/{}", rng.integers(0, 5, n)),
        "model": _names("m{}", rng.integers(0, 3, n)),
        "project": _names("p{}", who % 4),
        "auth": np.where(ok, int(AuthCode.SUCCESS), int(AuthCode.FAILURE)),
        "latency_ms": rng.gamma(2.0, 100.0, n),
        "bytes_out": rng.gamma(2.0, 1000.0, n),
        "tokens_out": rng.gamma(2.0, 50.0, n),
    }


def _batch(
    rng: np.random.Generator,
    ts: npt.NDArray[np.float64],
    who: npt.NDArray[np.int64],
    ok: npt.NDArray[np.bool_],
    first_offset: int,
) -> Batch:
    columns = _columns(who, ok, rng)
    columns |= {
        "ts": ts,
        "status": np.where(ok, 200, 401),
        "tokens_in": rng.gamma(2.0, 50.0, len(ts)),
        "cost_usd": rng.gamma(2.0, 0.001, len(ts)),
    }
    return batch_of_columns(_nulls(columns), first_offset=first_offset)


def _names(pattern: str, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    return np.array([pattern.format(i) for i in numbers], object)


def _nulls(columns: dict[str, Any]) -> dict[str, Any]:
    """Object arrays as lists, for Arrow."""
    return {name: list(a) if a.dtype == object else a for name, a in columns.items()}
