"""Bare secrets in what clients and gateways write become hashes, in every column of text, before anything is kept.

Three rules, because what a column is for differs:

- a *name* (who it is) that is a secret as a whole becomes its whole hash: still one key, and nobody's secret;
- a *text* of the client's (path, user agent) loses each word that has the form of a secret, or is long and random;
- a *label* (a model, a project) loses words that have the form of a secret: model names are long, and must stay.

Most strings are beyond suspicion, which :func:`beyond_suspicion` sees in one pass over their bytes.
"""

from __future__ import annotations

import string
from functools import cache

import numpy as np
import numpy.typing as npt

from gatewatch.events.secrets import hide_secrets
from gatewatch.state.jit import kernel

# What the forms of secrets in `events.secrets` end with, or hold: a text with none of these pairs of characters has
# none of the forms. A test holds them to the rules.
_PAIRS = (
    ("kytpix", "-"),  # sk- key- glpat- xapp- nvapi- pplx-, and so on
    ("kypousrtf8m1c", "_"),  # sk_ key_ ghp_ shpat_ hf_ r8_ npm_ dop_v1_ whsec_
    ("x", "o"),  # xoxb-
    ("I", "z"),  # AIza
    ("9G", "."),  # ya29. SG.
    ("y", "J"),  # eyJ
    ("rRcCnNyY", " \t\n\v\f\r\x1c\x1d\x1e\x1f"),  # bearer, basic, token, key and a blank
)
_ANYWHERE = "%?#"  # an escape may hide a form, and what follows the other two is no part of a path

_ALNUM, _HEX, _TOKEN = 1, 2, 4
RUN = 16  # letters and digits in a row from which on a word may be random: `events.secrets`
LENGTH = 24  # and from which on a name may be


def hide_in_text(text: str) -> str:
    """A client's text without secrets."""
    return hide_secrets(text, random=True)


def hide_in_label(text: str) -> str:
    """A label without secrets."""
    return hide_secrets(text, random=False)


@cache
def pairs() -> npt.NDArray[np.bool_]:
    """(65536,) whether two bytes in a row may be part of a secret's form; the first of the two counts 256-fold."""
    found = np.zeros((256, 256), np.bool_)
    found[:, 128:] = True  # looked at as text
    for first, second in _PAIRS:
        found[np.ix_([ord(c) for c in first], [ord(c) for c in second])] = True
    found[:, [ord(c) for c in _ANYWHERE]] = True
    return found.reshape(-1)


@cache
def kinds() -> npt.NDArray[np.uint8]:
    """(256,) what a byte is: a letter or digit, of a hexadecimal number, of a token."""
    found = np.zeros(256, np.uint8)
    for bit, characters in (
        (_ALNUM, string.ascii_letters + string.digits),
        (_HEX, string.hexdigits + "-"),
        (_TOKEN, string.ascii_letters + string.digits + "_-+/=.~"),
    ):
        found[[ord(c) for c in characters]] |= np.uint8(bit)
    return found


@kernel(inline=True)
def beyond_suspicion(
    data: npt.NDArray[np.uint8],
    start: int,
    stop: int,
    run: int,
    length: int,
    odd: npt.NDArray[np.bool_],
    kinds_of: npt.NDArray[np.uint8],
) -> bool:
    """Whether none of the rules can change ``data[start:stop]``, which is plain ASCII then.

    ``run``: so many letters and digits in a row are suspicious; ``length``: so is a token of so many characters that is
    no hexadecimal number. Cost: 1 ns a byte.
    """
    before = 0
    alnum = 0
    common = 255
    for at in range(start, stop):
        byte = data[at]
        if odd[before * 256 + byte]:
            return False
        kind = kinds_of[byte]
        alnum = alnum + 1 if kind & _ALNUM else 0
        if alnum >= run:
            return False
        common &= kind
        before = byte
    return stop - start < length or common & _HEX != 0 or common & _TOKEN == 0
