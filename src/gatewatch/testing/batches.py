"""Batches for tests of detectors, without a log and without ingest.

:func:`batch_of` takes events as a gateway would send them, :func:`batch_of_columns` arrays (for simulated streams of
millions of rows). Both fill every column of ``ROUTED``; :func:`cut` gives the same rows in other batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ABSENT, KEY_OF, LISTS, ROUTED, STRINGS, AuthCode, Batch, Role
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.state.hashing import HashSeed, hash_column

SEED = HashSeed.from_secret("test")
BOTH = Role.WHO | Role.WHERE

_AUTH = {"success": AuthCode.SUCCESS, "failure": AuthCode.FAILURE, "none": AuthCode.NONE}
_NO_SHAPE = Shape()
# Where a column of ROUTED is not the event's field of the same name
_OF_SHAPE = {
    "shape_hash": "hash",
    "shape_fields": "fields",
    "shape_depth": "depth",
    "shape_keys": "keys",
    "shape_longest_array": "longest_array",
    "shape_longest_string": "longest_string",
    "shape_kinds": "kinds",
    "shape_body_size": "body_size",
    "finish_reason": "finish_reason",
    "refusal": "refusal",
    "label": "label",
    "confidence": "confidence",
    "entropy": "entropy",
}
_COMPUTED = {"src", "offset", "index", "role", "flags", "network", "auth", "denied", *KEY_OF}


def batch_of(
    events: Sequence[AccessEvent | Mapping[str, Any]],
    seed: HashSeed = SEED,
    *,
    role: Role = BOTH,
    first_offset: int = 0,
) -> Batch:
    """The events as one routed batch, in the order given, as ingest would have made it.

    ``auth`` and ``denied`` are inferred from ``status`` where the event does not say, ``network`` is the address's /24
    or /48. Every row has ``role``, so that detectors of both kinds of scope see it.

    Raises:
        msgspec.ValidationError: a mapping is not an :class:`AccessEvent`.

    >>> batch = batch_of([{"ts": 1.0, "principal": "alice", "ip": "203.0.113.7", "status": 200}])
    >>> batch.text("network", 0), int(batch.column("auth")[0])
    ('203.0.113.0/24', 1)
    """
    typed = [e if isinstance(e, AccessEvent) else msgspec.convert(e, AccessEvent) for e in events]
    shapes = [e.shape if e.shape is not None else _NO_SHAPE for e in typed]
    columns: dict[str, Any] = {}
    for name in ROUTED.names:
        if name in _OF_SHAPE:
            columns[name] = [getattr(shape, _OF_SHAPE[name]) for shape in shapes]
        elif name not in _COMPUTED:
            columns[name] = [getattr(e, name) for e in typed]
    columns["network"] = [_network(e.ip) for e in typed]
    columns["auth"] = [_auth(e) for e in typed]
    columns["denied"] = [e.denied if e.denied is not None else (True if e.status == 403 else None) for e in typed]
    return batch_of_columns(columns, seed, role=role, first_offset=first_offset)


def batch_of_columns(
    columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]],
    seed: HashSeed = SEED,
    *,
    role: Role = BOTH,
    first_offset: int = 0,
) -> Batch:
    """Columns by their names in ``ROUTED`` as a batch; those not given are absent. ``ts`` must be there.

    A key column that is not given is the hash of its string column.
    """
    n = len(columns["ts"])
    given: dict[str, Sequence[Any] | npt.NDArray[Any]] = {
        "src": np.zeros(n, np.uint16),
        "offset": np.arange(first_offset, first_offset + n),
        "index": np.zeros(n, np.int32),
        "role": np.full(n, int(role), np.uint8),
        "flags": np.zeros(n, np.uint16),
        **columns,
    }
    arrays = {field.name: _array(field, given.get(field.name), n) for field in ROUTED}
    for key, name in KEY_OF.items():
        if key not in given:
            arrays[key] = pa.array(hash_column(arrays[name], seed))
    return Batch(pa.RecordBatch.from_arrays([arrays[name] for name in ROUTED.names], schema=ROUTED))


def cut(batch: Batch, rows: int) -> Iterator[Batch]:
    """The same rows as batches of ``rows`` each, without a copy."""
    for low in range(0, batch.n, rows):
        yield Batch(batch.arrow.slice(low, rows))


def _array(field: pa.Field[Any], values: Sequence[Any] | npt.NDArray[Any] | None, n: int) -> Any:
    if field.name in STRINGS or field.name in LISTS:
        return pa.nulls(n, field.type) if values is None else pa.array(values, field.type)
    if values is None:
        return pa.array(np.full(n, ABSENT[field.name], field.type.to_pandas_dtype()))
    if not isinstance(values, np.ndarray):
        values = np.array([ABSENT.get(field.name) if v is None else v for v in values])
    return pa.array(values.astype(field.type.to_pandas_dtype(), copy=False))


def _network(ip: str | None) -> str | None:
    if ip is None:
        return None
    return str(ip_network(f"{ip}/{24 if ip_address(ip).version == 4 else 48}", strict=False))


def _auth(event: AccessEvent) -> AuthCode:
    if event.auth is not None:
        return _AUTH[event.auth]
    named = event.principal is not None or event.account is not None
    if event.status == 401:
        return AuthCode.FAILURE
    if named and event.status is not None and 200 <= event.status < 400:
        return AuthCode.SUCCESS
    return AuthCode.UNKNOWN
