"""``map:`` in a source: our fields from any JSON object.

A path is ``$.a.b``, ``$.list[0].x`` or ``$['key.with.dots']``; a field may be ``{path: ..., unit: ms}`` where it is a
time or a duration in another unit, or ``{value: ...}`` for a constant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gatewatch.errors import BadReason, ConfigError, DecodeError
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.values import epoch_s, truth
from gatewatch.events.shape import shape_of

_STEP = re.compile(r"""\.?([^.\[\]'"]+)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATIONS_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_TEXT = frozenset({
    "request_id", "method", "path", "endpoint", "principal", "credential", "account", "project", "session", "ip",
    "country", "user_agent", "ja4", "error", "model", "model_version", "provider",
})  # fmt: skip
_FLAGS = frozenset({"account_known", "denied", "blocked_by_us"})
_KNOWN = frozenset({*AccessEvent.__struct_fields__, "body"} - {"shape"})
Path = tuple[str | int, ...]


class Mapper:
    """Reads events out of JSON objects.

    Raises:
        ConfigError: a field, a path or a unit is wrong, or ``ts`` is missing.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._rules = {name: _rule(name, spec) for name, spec in fields.items()}
        if "ts" not in self._rules:
            raise ConfigError("map", "ts is required: the end of the request")
        self.fields = set(self._rules) - {"body"} | ({"shape"} if "body" in self._rules else set())

    def event(self, row: Any) -> AccessEvent:
        """One event.

        Raises:
            DecodeError: no time, or a field that cannot be converted.
        """
        if not isinstance(row, dict):
            raise DecodeError(BadReason.TYPE, "not a JSON object")
        found: dict[str, Any] = {}
        for name, (path, unit, constant) in self._rules.items():
            value = constant if path is None else _walk(row, path)
            if value not in (None, "", "-"):
                found[name] = _convert(name, value, unit)
        if "ts" not in found:
            raise DecodeError(BadReason.MISSING, "no ts at the mapped path")
        body = found.pop("body", None)
        try:
            event = msgspec.convert(found, AccessEvent, strict=False)
        except msgspec.ValidationError as error:
            raise DecodeError(BadReason.TYPE, str(error)) from error
        if body is not None:
            event.shape = shape_of(body)
        return event


def _rule(name: str, spec: Any) -> tuple[Path | None, str | None, Any]:
    if name not in _KNOWN:
        raise ConfigError(f"map.{name}", f"is no field of an event; there are: {', '.join(sorted(_KNOWN))}")
    if isinstance(spec, str):
        return _parse(name, spec), None, None
    if isinstance(spec, dict) and set(spec) == {"value"}:
        return None, None, spec["value"]
    if isinstance(spec, dict) and "path" in spec and set(spec) <= {"path", "unit"}:
        unit = spec.get("unit")
        if unit is not None and unit not in (*_TIMES, "iso8601"):
            raise ConfigError(f"map.{name}.unit", f"{unit!r} is none of s, ms, us, ns, iso8601")
        return _parse(name, str(spec["path"])), unit, None
    raise ConfigError(f"map.{name}", "give a path, {path: ..., unit: ...} or {value: ...}")


def _parse(name: str, text: str) -> Path:
    if not text.startswith("$"):
        raise ConfigError(f"map.{name}", f"{text!r} is no path: it begins with $")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or match.end() == at:
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


def _convert(name: str, value: Any, unit: str | None) -> Any:
    if name == "ts":
        return epoch_s(value) if unit == "iso8601" or isinstance(value, str) else float(value) * _TIMES[unit or "s"]
    if name.endswith("_ms") and unit is not None:
        return float(value) * _DURATIONS_MS[unit]
    if name in _TEXT:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if name in _FLAGS:
        return truth(value)
    if name == "features":
        return [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return value
