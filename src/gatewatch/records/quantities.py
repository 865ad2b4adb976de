"""Numbers with their units, as people write them: the same in a sentence, a message and a terminal."""

from __future__ import annotations

import re

_NO_COUNT = re.compile(r"\ban? (second|minute|hour|day)\b|/|USD")  # rates and money have fractions
_WHOLE_FROM = 10.0  # below it a decayed count says more with its fraction


def number(value: float) -> str:
    """A count or rate: three digits are enough below a thousand.

    >>> number(286.0), number(0.41234), number(1234567.8)
    ('286', '0.412', '1,234,568')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def usual(value: float) -> str:
    """What was expected: an estimate, of which two digits are known.

    >>> usual(0.2857), usual(21.6), usual(749.3)
    ('0.29', '22', '749')
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def span(seconds: float) -> str:
    """A duration with one unit, two where the second says something.

    >>> span(10), span(720), span(5400), span(86400 * 3)
    ('10 s', '12 min', '1 h 30 min', '3 d')
    """
    whole = round(seconds)
    if whole < 1:
        return f"{seconds * 1000:.0f} ms"
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120 and (minutes < 60 or minutes % 60 == 0):
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(seconds / 86400)} d"


def amount(value: float, unit: str) -> str:
    """A number with its unit; of things there is one, or a whole number.

    >>> amount(1.0, "accounts"), amount(63.5, "failures in a row"), amount(48.41, "requests a minute")
    ('1 account', '64 failures in a row', '48.4 requests a minute')
    """
    whole = _WHOLE_FROM <= value < float("inf") and not _NO_COUNT.search(unit)
    text = number(float(round(value)) if whole else value)
    return f"{text} {one_of(unit) if text == '1' else unit}" if unit else text


def one_of(unit: str) -> str:
    """A unit in the singular, by the English rule for the plural in ``s``.

    >>> one_of("failures in a row"), one_of("addresses"), one_of("queries"), one_of("of 100 bodies"), one_of("USD")
    ('failure in a row', 'address', 'query', 'of 100 bodies', 'USD')
    """
    for i, word in enumerate(words := unit.split(" ")):
        if word in _BEFORE_NUMBERS:
            return unit
        if word.endswith("s") and not word.endswith("ss"):
            words[i] = f"{word[:-3]}y" if word.endswith("ies") else word[: -2 if word.endswith("sses") else -1]
            return " ".join(words)
    return unit


_BEFORE_NUMBERS = frozenset({"of", "in", "a", "an"})  # what follows is not what is counted
