"""``map:`` in a source: our fields from any JSON object.

A path is ``$.a.b``, ``$.list[0].x`` or ``$['key.with.dots']``; a field may be ``{path: ..., unit: ms}`` where it is a
time or a duration in another unit, or ``{value: ...}`` for a constant. Extra fields ``body`` and ``response_body`` give
the shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewatch.errors import BadReason, ConfigError, DecodeError
from gatewatch.events.address import client_of
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.headers import SECRET_HEADERS
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import epoch_s, number, status, text, truth
from gatewatch.events.secrets import hash_secret
from gatewatch.events.shape import add_output, shape_of

_STEP = re.compile(r"""\.?([^.\[\]'"]+)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_BODIES = ("body", "response_body")
_KNOWN = frozenset({*AccessEvent.__struct_fields__, *_BODIES} - {"shape"})
_NUMBERS = frozenset({"bytes_in", "bytes_out", "tokens_in", "tokens_out", "cost_usd"})
_TIMED = frozenset({"ts", "latency_ms", "ttft_ms"})
_AUTH = {
    "success": "success", "true": "success", "failure": "failure", "false": "failure", "none": "none",
}  # fmt: skip
_NOTHING = (None, "", "-")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Where one field comes from, and what is done to it."""

    path: Path | None
    constant: Any
    convert: Callable[[Any], Any]

    def find(self, row: dict[str, Any]) -> Any:
        found = self.constant if self.path is None else _walk(row, self.path)
        return None if found in _NOTHING else self.convert(found)


class Mapper:
    """Reads events out of JSON objects.

    Args:
        fields: our field: a path, ``{path: ..., unit: ...}`` or ``{value: ...}``.
        trusted_hops: proxies of ours in a chain of addresses.

    Raises:
        ConfigError: a field, a path or a unit is wrong, or ``ts`` is missing.
    """

    def __init__(self, fields: Mapping[str, Any], trusted_hops: int = 0) -> None:
        self._rules = {name: _rule(name, spec, trusted_hops) for name, spec in fields.items()}
        if "ts" not in self._rules:
            raise ConfigError("map", "ts is required: the end of the request")
        self.fields = {"shape" if name in _BODIES else name for name in self._rules}

    def event(self, row: dict[str, Any]) -> AccessEvent:
        """One event.

        Raises:
            DecodeError: no time, or one that cannot be read; ``auth`` in words that are not ours.
        """
        found = {name: value for name, rule in self._rules.items() if (value := rule.find(row)) is not None}
        if "ts" not in found:
            raise DecodeError(BadReason.MISSING, "no ts at the mapped path")
        body, response = (found.pop(name, None) for name in _BODIES)
        event = AccessEvent(**found)
        if body is not None:
            event.shape = shape_of(body)
        if response is not None:
            event.shape = add_output(event.shape, response)
        return event


def _rule(name: str, spec: Any, trusted_hops: int) -> _Rule:
    if name not in _KNOWN:
        raise ConfigError(f"map.{name}", f"is no field of an event; there are: {', '.join(sorted(_KNOWN))}")
    if isinstance(spec, str):
        path = _parse(name, spec)
        return _Rule(path, None, _converter(name, path, None, trusted_hops))
    if isinstance(spec, dict) and set(spec) == {"value"}:
        return _Rule(None, spec["value"], _converter(name, (), None, trusted_hops))
    if isinstance(spec, dict) and "path" in spec and set(spec) <= {"path", "unit"}:
        path = _parse(name, str(spec["path"]))
        return _Rule(path, None, _converter(name, path, _unit(name, spec.get("unit")), trusted_hops))
    raise ConfigError(f"map.{name}", "give a path, {path: ..., unit: ...} or {value: ...}")


def _unit(name: str, unit: Any) -> str | None:
    known = [*_UNITS_S, "iso8601"] if name == "ts" else list(_UNITS_S)
    if unit is None or (name in _TIMED and unit in known):
        return None if unit is None else str(unit)
    problem = f"{unit!r} is none of {', '.join(known)}" if name in _TIMED else f"goes with {', '.join(sorted(_TIMED))}"
    raise ConfigError(f"map.{name}.unit", problem)


def _parse(name: str, text: str) -> Path:
    if not text.startswith("$"):
        raise ConfigError(f"map.{name}", f"{text!r} is no path: it begins with $")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ConfigError(f"map.{name}", f"{text!r} cannot be read from character {at} on")
        plain, index, single, double = match.groups()
        steps.append(int(index) if index is not None else next(s for s in (plain, single, double) if s is not None))
        at = match.end()
    return tuple(steps)


def _walk(row: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, int):
            if not isinstance(row, list) or step >= len(row):
                return None
            row = row[step]
        elif isinstance(row, dict):
            row = row.get(step)
        else:
            return None
    return row


def _converter(name: str, path: Path, unit: str | None, trusted_hops: int) -> Callable[[Any], Any]:
    """How a field is read: leniently, as other gateways' entries are. Only ``ts`` and ``auth`` refuse an event."""
    if name in _TIMED:
        return _timed(name, unit)
    if name == "ip":
        return lambda value: client_of(text(value) or "", trusted_hops)
    if name == "credential" and path and str(path[-1]).lower() in SECRET_HEADERS:
        return lambda value: hash_secret(found) if (found := text(value)) is not None else None
    return _CONVERTERS.get(name, number if name in _NUMBERS else text)


def _timed(name: str, unit: str | None) -> Callable[[Any], Any]:
    if name == "ts":
        unit_s = _UNITS_S.get(unit or "s", 1.0)
        return lambda value: epoch_s(value, unit_s)
    factor = _UNITS_S[unit or "ms"] * 1e3
    return lambda value: found * factor if (found := number(value)) is not None else None


def _auth(value: Any) -> str:
    known = _AUTH.get(str(value).lower())
    if known is None:
        raise DecodeError(BadReason.TYPE, "auth is none of success, failure, none: map another field, or leave it out")
    return known


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None else None


def _words(value: Any) -> list[str] | None:
    found = [word for v in (value if isinstance(value, list) else [value]) if (word := text(v)) is not None]
    return found or None


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "auth": _auth,
    "status": status,
    "asn": _whole,
    "features": _words,
    "path": lambda value: path_of(text(value)),
    **dict.fromkeys(("account_known", "denied", "blocked_by_us"), truth),
    **dict.fromkeys(_BODIES, lambda value: value),
}
