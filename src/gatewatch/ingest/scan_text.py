"""Strings of JSON: where they end, whether they are UTF-8, and what their escapes stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.state.jit import kernel
from gatewatch.state.words import WORD, byte, put_byte, word, zeros

QUOTE, BACKSLASH, _U = b'"\\u'
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _BLANKS = (_ONES * np.uint64(b) for b in (QUOTE, BACKSLASH, ord(" ")))
_ESCAPED, _MEANT = b'"\\/bfnrt', b'"\\/\b\f\n\r\t'
_HEX_DIGITS = 4
_HIGH_SURROGATES, _LOW_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xDC00, 0xE000
_PLANE = 0x10000


@kernel(inline=True)
def string_end(data: npt.NDArray[np.uint8], at: int) -> int:
    """The next place of something that a plain string does not hold: its quote, if it is one.

    Eight bytes at a time: a byte that is zero, or smaller than another, is found by what it borrows ("Hacker's
    Delight" 6-1; the lowest one found is always right). Something must end it within ``data``.
    """
    while True:
        w = word(data, at)
        quotes, backslashes = w ^ _QUOTES, w ^ _BACKSLASHES
        found = ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes) | ((w - _BLANKS) & ~w) | w
        found &= _HIGHS
        if found == 0:
            at += WORD
            continue
        at += zeros(found) >> 3
        if byte(data, at) < 128:
            return at
        end = character_end(data, at)
        if end < 0:
            return at
        at = end


@kernel
def character_end(data: npt.NDArray[np.uint8], at: int) -> int:
    """Where a character of several bytes ends, or -1 where it is no UTF-8: overlong, a surrogate, or beyond Unicode.

    The Unicode Standard 15.0, table 3-7.
    """
    first, second = byte(data, at), byte(data, at + 1)
    size = 2 + (first >= 0xE0) + (first >= 0xF0)
    low, high = second_bytes(first)
    if first < 0xC2 or first > 0xF4 or second < low or second > high:
        return -1
    for j in range(2, size):
        if byte(data, at + j) & 0xC0 != 0x80:
            return -1
    return int(at + size)


@kernel
def second_bytes(first: int) -> tuple[int, int]:
    """The smallest and the largest byte that may come after a first one."""
    if first == 0xE0:
        return 0xA0, 0xBF
    if first == 0xED:
        return 0x80, 0x9F
    if first == 0xF0:
        return 0x90, 0xBF
    if first == 0xF4:
        return 0x80, 0x8F
    return 0x80, 0xBF


@kernel
def unescape(data: npt.NDArray[np.uint8], at: int) -> tuple[int, int]:
    """What stands from a backslash on, written over it as it is meant, up to the string's quote.

    It never grows. Returns where the text ends now, and where its quote is; (-1, -1) where it is no JSON or no UTF-8,
    lone surrogates among it.
    """
    to = at
    while True:
        end = string_end(data, at)
        for j in range(end - at):
            put_byte(data, to + j, byte(data, at + j))
        to += end - at
        if byte(data, end) == QUOTE:
            return to, end
        if byte(data, end) != BACKSLASH:
            return -1, -1
        if byte(data, end + 1) == _U:
            character, at = escaped_character(data, end)
            if at < 0:
                return -1, -1
            to = put_character(data, to, character)
        else:
            meant = plain_escape(byte(data, end + 1))
            if meant < 0:
                return -1, -1
            put_byte(data, to, meant)
            to += 1
            at = end + 2


@kernel
def plain_escape(letter: int) -> int:
    """What an escape of one letter stands for, or -1."""
    for j in range(len(_ESCAPED)):
        if letter == _ESCAPED[j]:
            return int(_MEANT[j])
    return -1


@kernel
def escaped_character(data: npt.NDArray[np.uint8], at: int) -> tuple[int, int]:
    r"""The character of ``\u1234``, or of a pair of surrogates, and where it ends, or -1."""
    first = hex_at(data, at + 2)
    at += 2 + _HEX_DIGITS
    if first < _HIGH_SURROGATES or first >= _AFTER_SURROGATES:
        return (first, at) if first >= 0 else (-1, -1)
    if first >= _LOW_SURROGATES or byte(data, at) != BACKSLASH or byte(data, at + 1) != _U:
        return -1, -1
    second = hex_at(data, at + 2)
    if second < _LOW_SURROGATES or second >= _AFTER_SURROGATES:
        return -1, -1
    return _PLANE + ((first - _HIGH_SURROGATES) << 10) + second - _LOW_SURROGATES, at + 2 + _HEX_DIGITS


@kernel
def hex_at(data: npt.NDArray[np.uint8], at: int) -> int:
    """The number of four hexadecimal digits, or -1; it does not read beyond the first byte that is none."""
    number = 0
    for j in range(_HEX_DIGITS):
        digit = byte(data, at + j)
        if 48 <= digit <= 57:
            number = number * 16 + digit - 48
        elif 97 <= digit | 32 <= 102:
            number = number * 16 + (digit | 32) - 87
        else:
            return -1
    return number


@kernel
def put_character(data: npt.NDArray[np.uint8], at: int, character: int) -> int:
    """Write a character as UTF-8; where it ends."""
    if character < 0x80:
        put_byte(data, at, character)
        return at + 1
    if character < 0x800:
        size, first = 2, 0xC0
    elif character < _PLANE:
        size, first = 3, 0xE0
    else:
        size, first = 4, 0xF0
    for j in range(size - 1, 0, -1):
        put_byte(data, at + j, 0x80 | (character & 0x3F))
        character >>= 6
    put_byte(data, at, first | character)
    return int(at + size)
