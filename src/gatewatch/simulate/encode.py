"""Rows become events: columns of strings are looked up, and each event is built and written by compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from gatewatch.events.event import AccessEvent, Shape
from gatewatch.simulate.rows import AUTH, ERRORS, FEATURES, FINISH, Rng, Rows
from gatewatch.simulate.world import ENDPOINTS, MODELS, World


def _positional(struct: type[msgspec.Struct]) -> Callable[..., Any]:
    """The same struct with positional fields, so that ``map`` fills it without any bytecode an event."""
    fields = msgspec.structs.fields(struct)
    spec = [(f.name, f.type) if f.required else (f.name, f.type, f.default) for f in fields]
    return cast("Callable[..., Any]", msgspec.defstruct(struct.__name__, spec, omit_defaults=True, gc=False))


_EVENT = _positional(AccessEvent)
_SHAPE = _positional(Shape)
_EVENT_FIELDS = msgspec.structs.fields(AccessEvent)
_SHAPE_FIELDS = msgspec.structs.fields(Shape)


class Writer:
    """Writes rows as events of the native format.

    Request ids are 128 random bits in hex, given in time order after merging, so they tell nothing.
    Cost: about 4 us an event.
    """

    def __init__(self, world: World, rng: Rng) -> None:
        self._world = world
        self._rng = rng
        self._encoder = msgspec.json.Encoder()
        self._endpoint = {
            "method": [e.method for e in ENDPOINTS],
            "path": [e.path for e in ENDPOINTS],
            "project": [e.project for e in ENDPOINTS],
        }

    def request_ids(self, n: int) -> list[str]:
        """``n`` new ids."""
        text = self._rng.bytes(16 * n).hex()
        return [text[i : i + 32] for i in range(0, 32 * n, 32)]

    def events(self, rows: Rows, request_ids: Sequence[str]) -> list[bytes]:
        """Each row as one JSON object."""
        nothing: list[None] = [None] * len(rows)
        columns = self._columns(rows)
        columns["request_id"] = list(request_ids)
        columns["shape"] = self._shapes(rows)
        made = map(_EVENT, *(columns.get(f.name, nothing) for f in _EVENT_FIELDS))
        encode = self._encoder.encode
        return [encode(event) for event in made]

    def _columns(self, rows: Rows) -> dict[str, list[Any]]:
        world = self._world
        columns: dict[str, list[Any]] = {
            "ts": np.round(rows["ts"], 3).tolist(),
            "status": rows["status"].tolist(),
            "principal": _looked_up(world.principals, rows["principal"]),
            "credential": _looked_up(world.credentials, rows["credential"]),
            "account": _looked_up(world.accounts, rows["account"]),
            "account_known": _looked_up([False, True], rows["known"]),
            "session": [f"{s:012x}" if s >= 0 else None for s in rows["session"].tolist()],
            "ip": _looked_up(world.addresses.names, rows["ip"]),
            "asn": _looked_up(world.addresses.asn, rows["ip"]),
            "country": _looked_up(world.addresses.country, rows["ip"]),
            "user_agent": _looked_up(world.agents, rows["agent"]),
            "auth": _looked_up(AUTH, rows["auth"]),
            "denied": _looked_up([False, True], rows["denied"]),
            "error": _looked_up(ERRORS, rows["error"]),
            "model": _looked_up([m.name for m in MODELS], rows["model"]),
            "model_version": _looked_up([m.version for m in MODELS], rows["model"]),
            "features": _looked_up(FEATURES, rows["asked"]),
            "provider": _looked_up([m.provider for m in MODELS], rows["model"]),
        }
        columns |= {name: _looked_up(values, rows["endpoint"]) for name, values in self._endpoint.items()}
        columns["endpoint"] = columns["path"]
        for name in ("latency_ms", "ttft_ms", "cost_usd"):
            columns[name] = _numbers(rows[name], np.float64)
        for name in ("bytes_in", "bytes_out", "tokens_in", "tokens_out"):
            columns[name] = _numbers(rows[name], np.int64)
        return columns

    def _shapes(self, rows: Rows) -> list[Any]:
        """The shape of each body that has one, with its own sizes."""
        has = rows["shape"] >= 0
        kinds = [self._world.shapes[code] for code in rows["shape"][has].tolist()]
        body = rows["bytes_in"][has] - 300.0  # the rest are headers
        columns: dict[str, list[Any]] = {
            "hash": [kind.hash for kind in kinds],
            "fields": [kind.fields for kind in kinds],
            "depth": [kind.depth for kind in kinds],
            "keys": [kind.keys for kind in kinds],
            "longest_array": [kind.longest_array for kind in kinds],
            "longest_string": np.maximum(body * 0.8, 1.0).astype(np.int64).tolist(),
            "body_size": np.maximum(body, 2.0).astype(np.int64).tolist(),
            "finish_reason": _looked_up(FINISH, rows["finish"][has]),
        }
        nothing: list[None] = [None] * len(kinds)
        shapes = np.full(len(rows), None, object)
        made = list(map(_SHAPE, *(columns.get(f.name, nothing) for f in _SHAPE_FIELDS)))
        for place, shape in zip(np.flatnonzero(has).tolist(), made, strict=True):
            shapes[place] = shape
        return shapes.tolist()


def _looked_up(pool: Sequence[Any], codes: Any) -> list[Any]:
    """The pool's entry for each code, ``None`` for -1."""
    table = [*pool, None]
    return [table[code] for code in codes.tolist()]


def _numbers(values: Any, kind: type[np.generic]) -> list[Any]:
    """Python numbers, ``None`` for NaN."""
    absent = np.isnan(values)
    boxed = np.where(absent, 0.0, values).astype(kind).astype(object)
    boxed[absent] = None
    return cast("list[Any]", boxed.tolist())
