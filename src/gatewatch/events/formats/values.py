"""Single values as gateways write them: numbers in strings, lists after retries, times in many spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError

ABSENT = frozenset({"", "-", "null", "None"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_CLF = re.compile(r"\d+/\w+/\d+:")
_NANOS = re.compile(r"(\.\d{6})\d+")
_NO_TIME = "the time is neither a number, nor ISO 8601, nor as in 17/May/2015:10:05:03 +0000"
_SPLIT = re.compile(r"[,:]")  # blanks around are float's to take off: a pattern for them would take quadratic time


def json_object(raw: bytes) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DecodeError: it is JSON, but no object. Errors of msgspec pass.
    """
    row = msgspec.json.decode(raw)
    if not isinstance(row, dict):
        raise DecodeError(BadReason.TYPE, "not a JSON object")
    return row


def within(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The object at the end of a path of keys; an empty one where there is none."""
    found: Any = row
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else {}


def first(row: Mapping[str, Any], *names: str) -> Any:
    """The value of the first key that has one; absent in whatever spelling does not count."""
    return first_of(*map(row.get, names))


def first_of(*values: Any) -> Any:
    """The first value that there is; absent in whatever spelling does not count."""
    for value in values:
        if value is not None and not (isinstance(value, str) and value in ABSENT):
            return value
    return None


def text(value: Any) -> str | None:
    """A string, or ``None`` where nothing stands: "-", "", null and a missing key are the same. Lists: the last."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None  # an object where a name should be may hold anything
    if not isinstance(value, str):
        value = str(value)
    return None if value in ABSENT else value


def number(value: Any) -> float | None:
    """A finite number that is not negative; of a list, or one in text ("0.005, -"), the last usable element."""
    if value is None or value is True or value is False:
        return None
    if isinstance(value, (int, float)):
        return _finite(value)
    if isinstance(value, list):
        usable = [n for v in value if not isinstance(v, list) and (n := number(v)) is not None]
        return usable[-1] if usable else None
    if not isinstance(value, str):
        return None
    found = _finite(value)
    if found is not None or ("," not in value and ":" not in value):
        return found
    return next((n for part in reversed(_SPLIT.split(value.strip())) if (n := _finite(part)) is not None), None)


def _finite(value: float | str) -> float | None:
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) and found >= 0 else None


def status(value: Any) -> int | None:
    """An HTTP status, or ``None``; 0 is kept: the client went away."""
    found = number(value)
    return int(found) if found is not None and found <= 999 else None


def truth(value: Any) -> bool | None:
    """Yes or no in the spellings that logs have."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int, float)) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def times(value: float | None, factor: float) -> float | None:
    """A number in another unit, absent if it is absent."""
    return value * factor if value is not None else None


def epoch_s(value: Any, unit_s: float = 1.0) -> float:
    """Epoch seconds of a number in ``unit_s`` (also in text), or of a time in ISO 8601 or as in access logs.

    Without a zone it is UTC.

    >>> epoch_s("17/May/2015:10:05:03 +0000") == epoch_s("2015-05-17T10:05:03Z") == epoch_s(1431857103000, 1e-3)
    True

    Raises:
        DecodeError: it is none of these.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) * unit_s
    found = text(value)
    if found is None:
        raise DecodeError(BadReason.TIME, _NO_TIME)
    try:
        return float(found) * unit_s
    except ValueError:
        return _calendar_s(found.strip()[:64])


@lru_cache(maxsize=4096)  # lines of one second share theirs, and reading one costs 8 us
def _calendar_s(found: str) -> float:
    try:
        if _CLF.match(found):
            return datetime.strptime(found, "%d/%b/%Y:%H:%M:%S %z").timestamp()
        # Nanoseconds are more than Python's time holds
        at = datetime.fromisoformat(_NANOS.sub(r"\1", found))
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise DecodeError(BadReason.TIME, _NO_TIME) from error


def maybe_epoch_s(value: Any) -> float | None:
    """The same where a time may be missing or unreadable, and the event is worth having without it."""
    try:
        return epoch_s(value)
    except DecodeError:
        return None
