"""JSON that gateways write and that is none, made readable: an attacker must not get out of sight with one odd byte.

Mended are bytes that are no UTF-8 (NGINX passes them on), lone surrogates (Python escapes what it could not decode),
``NaN`` and ``Infinity`` (Python writes them), numbers beyond a double, and values that are missing altogether
(``{"urt":,"st":204}``, an empty NGINX variable). Only after a first reading failed, so it costs nothing otherwise.
"""

from __future__ import annotations

import re

# Strings as a whole, so that nothing within one is taken for a token. Possessive, and an unfinished one reaches to the
# end instead of being tried again from each escaped quote in it: so that no input takes quadratic time.
_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?|:(?=\s*+[,}])|-?\b(?:NaN|Infinity)\b|-?\b\d++(?:\.\d++)?(?:[eE][+-]?\d++)?', re.DOTALL
)
# An escaped backslash, a pair of surrogates (both stay), or half a pair
_ESCAPE = re.compile(rb"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u[dD][89a-fA-F]\w\w")
_HALF = 6  # bytes of \ud800
_DIGITS = 300  # a double ends at 1.8e308


def mended(raw: bytes) -> bytes:
    r"""The same JSON with what cannot be read replaced: U+FFFD within strings, null for values.

    >>> mended(b'{"urt":,"n":NaN,"ua":"NaN \\udcff"}')
    b'{"urt":null,"n":null,"ua":"NaN \\ufffd"}'
    """
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode(errors="replace").encode()
    return _TOKEN.sub(_token, raw)


def _token(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found.startswith(b'"'):
        return _ESCAPE.sub(_escape, found) if b"\\u" in found else found
    if found == b":":
        return b":null"
    return found if _is_number(found) else b"null"


def _escape(match: re.Match[bytes]) -> bytes:
    found = match[0]
    return rb"\ufffd" if len(found) == _HALF else found


def _is_number(text: bytes) -> bool:
    """A number that a double holds, so neither NaN nor 1e999."""
    if len(text) > _DIGITS:
        return False
    return text[-1:].isdigit() and abs(float(text)) != float("inf")
