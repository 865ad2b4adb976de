"""Which names an event of the native format may have, and where the values of each go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import ABSENT, CODES, FLOATS, STRINGS
from gatewatch.events.event import AccessEvent
from gatewatch.ingest.raw import AUTH_CODES
from gatewatch.ingest.scan_numbers import PLACES

TS = "ts"
FLOAT_NAMES = (TS, *(name for name in FLOATS if name in AccessEvent.__struct_fields__))
INT_NAMES = ("status", "asn")
_CODE_NAMES = tuple(name for name in CODES if name in AccessEvent.__struct_fields__)
_NESTED = ("features", "shape", "body", "response_body")
COLUMNS = (*FLOAT_NAMES, *INT_NAMES, *_CODE_NAMES)
NAMES = (*(name for name in STRINGS if name in AccessEvent.__struct_fields__), *COLUMNS, *_NESTED)
NOTHING = np.array([np.nan if name == TS else float(ABSENT[name]) for name in COLUMNS])

STRING, FLOAT, INT, BOOL, AUTH, NOT_PLAIN, UNKNOWN = range(7)  # kinds of fields
TEXT, DECIMAL, TRUTH = 1, 2, 4  # kinds of values
_TAKES = (TEXT, DECIMAL, DECIMAL, TRUTH, TEXT, 0, TEXT | DECIMAL | TRUTH)  # of each kind of field
LENGTH, KIND, TAKEN, SLOT = range(4)  # of a field's facts
OTHER = len(NAMES)  # every name that is none of ours
NONE = OTHER + 1  # before the first field
WORDS = OTHER + 1  # of auth
STOPS = len(STRINGS)  # row of the first stop in `Out.spans`
TS_BIT = np.uint64(1 << NAMES.index(TS))
_AUTHS = tuple(word for word in AUTH_CODES if word is not None)
_ROOM = 16  # of a name, two words of eight bytes; the longest is `response_body`


class Fields(NamedTuple):
    """What a name means: few arrays, since each call of a kernel's function hands all of them on.

    ``names`` are those of fields, then a place for every name that is none of ours, then words of ``auth``: two words
    of eight bytes, and masks of what counts of each. ``facts`` of each are its length, its kind, the kinds of values it
    takes and its row of the output (a word's code). ``guess`` is which field came after which the last time: producers
    keep their order.
    """

    names: npt.NDArray[np.uint64]  # (names, 4)
    facts: npt.NDArray[np.int64]  # (names, 4)
    guess: npt.NDArray[np.int64]
    tens: npt.NDArray[np.float64]


class Out(NamedTuple):
    """Where it goes: a column is a row of these."""

    spans: npt.NDArray[np.int32]  # starts of strings, then their stops
    numbers: npt.NDArray[np.float64]
    places: npt.NDArray[np.int64]  # (2, rows) value and element
    odd: npt.NDArray[np.bool_]  # (values,)
    seen: npt.NDArray[np.uint64]  # (1,) fields that some event has


def _fields() -> Fields:
    words = (*NAMES, "", *_AUTHS)
    names, facts = np.zeros((len(words), 2 * _ROOM), np.uint8), np.zeros((len(words), 4), np.int64)
    for at, name in enumerate(words):
        names[at, : len(name)] = np.frombuffer(name.encode(), np.uint8)
        names[at, _ROOM : _ROOM + len(name)] = 255
        facts[at] = len(name), *_facts(name)
    facts[OTHER] = -1, UNKNOWN, _TAKES[UNKNOWN], 0
    facts[WORDS:, SLOT] = [AUTH_CODES[word] for word in _AUTHS]
    tens = np.array([float(10**k) for k in range(PLACES + 1)])
    return Fields(names.view("<u8"), facts, np.full(NONE + 1, OTHER, np.int64), tens)


def _facts(name: str) -> tuple[int, int, int]:
    """Kind of a field, what it takes, and its row."""
    if name in STRINGS:
        return STRING, _TAKES[STRING], STRINGS.index(name)
    if name not in COLUMNS:
        return NOT_PLAIN, 0, 0
    kind = FLOAT if name in FLOAT_NAMES else INT if name in INT_NAMES else AUTH if name == "auth" else BOOL
    return kind, _TAKES[kind], COLUMNS.index(name)


THEIRS = _fields()
