"""A detector's memory as named arrays: its key tables, each field as ``table/field``, and arrays of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from gatewatch.errors import StateError
from gatewatch.state.keytable import KeyTable

Arrays = Mapping[str, npt.NDArray[Any]]


def snapshot_parts(tables: Mapping[str, KeyTable], own: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Copies of all tables and arrays, by name."""
    saved = {f"{name}/{field}": a for name, table in tables.items() for field, a in table.snapshot().items()}
    return {**saved, **{name: a.copy() for name, a in own.items()}}


def restore_parts(detector: str, tables: Mapping[str, KeyTable], own: Arrays, arrays: Arrays) -> None:
    """Fill tables and arrays with what :func:`snapshot_parts` saved.

    Raises:
        StateError: another version or capacity; the detector's own arrays are as they were then.
    """
    for name, mine in own.items():
        theirs = arrays.get(name)
        if theirs is None or theirs.shape != mine.shape or theirs.dtype != mine.dtype:
            raise StateError(f"{detector}: {name!r} in the snapshot does not fit (capacity or version)")
    for name, table in tables.items():
        prefix = f"{name}/"
        table.restore({field.removeprefix(prefix): a for field, a in arrays.items() if field.startswith(prefix)})
    for name, mine in own.items():
        mine[...] = arrays[name]
