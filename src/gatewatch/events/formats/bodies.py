"""Bodies that a gateway logged: their shape, and nothing else."""

from __future__ import annotations

from typing import Any

from gatewatch.events.event import Shape
from gatewatch.events.shape import add_output, shape_of

_EMPTY: tuple[Any, ...] = (None, "", "-", [], {})


def shape_from(request: Any, response: Any) -> Shape | None:
    """The shape of a request's body, with what the response tells of itself; absent without either."""
    shape = shape_of(request) if request not in _EMPTY else None
    return add_output(shape, response) if response not in _EMPTY else shape
