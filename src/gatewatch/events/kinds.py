"""Which kinds of characters stand in a body's strings: one bit each, and no character of them.

An injection has to write what its target's language is written in: quotes, brackets, separators, two dots and a slash.
Where values are names and numbers those kinds never occur, so their first occurrence is a surprise (Kruegel and Vigna
2003 compare the whole distribution of characters; which occur at all is most of it, and tells less of the content).
"""

from __future__ import annotations

from collections.abc import Iterable

# In the order of their bits: at most 53, for they travel as a float64. New kinds go to the end, so bits keep meaning.
KINDS = (
    "space", "line break or tab", "control character", "not ASCII",
    *"!\"#$%&'", "( )", *"*+,-./:;", "< >", *"=?@", "[ ]", "\\", *"^_`", "{ }", *"|~",
    "..", "//", "--", "/*",
)  # fmt: skip
_PAIRS = {"()": "( )", "<>": "< >", "[]": "[ ]", "{}": "{ }"}
_TWICE = tuple((pair.encode(), 1 << KINDS.index(pair)) for pair in ("..", "//", "--", "/*"))
_PLAIN = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PLAIN_AND_SPACE = _PLAIN + b" "
_BETWEEN = "a"  # parts two strings, so that no pair of characters spans them


def _bit(code: int) -> int:
    char = chr(code)
    if code >= 128:
        return 1 << KINDS.index("not ASCII")
    if char in "\t\n\r":
        return 1 << KINDS.index("line break or tab")
    if code < 32 or code == 127:
        return 1 << KINDS.index("control character")
    name = next((name for pair, name in _PAIRS.items() if char in pair), "space" if char == " " else char)
    return 1 << KINDS.index(name)


_BITS = [0 if bytes([code]) in _PLAIN else _bit(code) for code in range(256)]


def kinds_of(strings: Iterable[str]) -> int:
    """The bits of :data:`KINDS` for all these strings together. Cost: about 1 us, and 5 us for 1,000 characters.

    >>> [KINDS[bit] for bit in range(len(KINDS)) if kinds_of(["1' or 1=1", "--"]) >> bit & 1]
    ['space', "'", '-', '=', '--']
    """
    raw = _BETWEEN.join(strings).encode(errors="replace")
    kinds = _BITS[32] if b" " in raw else 0
    for code in set(raw.translate(None, _PLAIN_AND_SPACE)):  # a set of what is left, so most of it must not be
        kinds |= _BITS[code]
    for pair, bit in _TWICE:
        if pair in raw:
            kinds |= bit
    return kinds
