"""Single values as gateways write them: numbers in strings, lists after retries, times in many spellings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from gatewatch.errors import BadReason, DecodeError

_ABSENT = frozenset({"", "-", "null", "None"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_SPLIT = re.compile(r"\s*[,:]\s+|\s+[,:]\s*|,")


def text(value: Any) -> str | None:
    """A string, or ``None`` where nothing stands: "-", "", null and a missing key are the same. Lists: the last."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, str):
        value = str(value)
    return None if value in _ABSENT else value


def number(value: Any) -> float | None:
    """A finite number that is not negative; of a list in text ("0.005, -") the last usable element."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if isfinite(value) and value >= 0 else None
    if isinstance(value, list):
        usable = [n for v in value if (n := number(v)) is not None]
        return usable[-1] if usable else None
    if not isinstance(value, str):
        return None
    for part in reversed(_SPLIT.split(value.strip())):
        try:
            found = float(part)
        except ValueError:
            continue
        return found if isfinite(found) and found >= 0 else None
    return None


def status(value: Any) -> int | None:
    """An HTTP status, or ``None``; 0 is kept: the client went away."""
    found = number(value)
    return int(found) if found is not None and found <= 999 else None


def truth(value: Any) -> bool | None:
    """Yes or no in the spellings that logs have."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def epoch_s(value: Any) -> float:
    """Epoch seconds of an ISO 8601 time, with or without a zone (UTC then), or of a number of seconds in text.

    Raises:
        DecodeError: it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        # fromisoformat reads at most microseconds before Python 3.12's successors agree on more
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value).strip()))
    except ValueError as error:
        raise DecodeError(BadReason.TIME, "the time is neither a number nor ISO 8601") from error
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
