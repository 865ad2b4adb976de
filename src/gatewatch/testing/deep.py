"""Whether two objects are the same in all that they hold, and where they differ."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import MethodType
from typing import Any

from gatewatch.state.plans import never_changes


def differences(one: object, other: object, path: str = "", seen: dict[int, int] | None = None) -> Iterator[str]:
    """Places where they differ: in type, value, order, or in which objects are one and the same.

    Every attribute counts, so whoever adds one is told. Fields of a dataclass that are no part of its state
    (``metadata=UNSAVED``) do not.
    """
    if one is other:
        return
    if type(one) is not type(other):
        yield f"{path}: {type(one).__name__}, {type(other).__name__}"
        return
    if never_changes(type(one)) or isinstance(one, (set, frozenset)):
        if one != other or (not isinstance(one, (set, frozenset)) and repr(one) != repr(other)):  # 5 is not 5.0
            yield f"{path}: another value"
        return
    seen = {} if seen is None else seen
    if id(one) in seen:
        if seen[id(one)] != id(other):
            yield f"{path}: two objects, where there was one"
        return
    if not isinstance(one, tuple):  # which are made anew all the time
        seen[id(one)] = id(other)
    mine, theirs = _parts(one), _parts(other)
    if list(mine) != list(theirs):
        yield f"{path}: other keys, or another order"
        return
    for name, part in mine.items():
        yield from differences(part, theirs[name], f"{path}/{name}", seen)


def _parts(one: Any) -> dict[Any, Any]:
    """What an object holds, by name, key or place."""
    if isinstance(one, dict):
        return dict(one)
    if isinstance(one, (list, tuple)):
        return dict(enumerate(one))
    if isinstance(one, deque):
        return {"maxlen": one.maxlen, **dict(enumerate(one))}
    if isinstance(one, MethodType):
        return {"name": one.__name__, "self": one.__self__}
    if is_dataclass(one):
        return {f.name: getattr(one, f.name) for f in fields(one) if f.metadata.get("saved", True)}
    return dict(vars(one)) if hasattr(one, "__dict__") else {"is": repr(one)}
