"""Columns of events, cleaned in one place for every format.

What is done to strings is done once for each string that was not seen before (:mod:`gatewatch.ingest.vocabulary`), and
what is done to numbers by numpy. That is where the microseconds of ingest go, so measure before adding to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ABSENT, CODES, FLOATS, KEY_OF, KEYS, LISTS, ROUTED, STRINGS, AuthCode, Flag
from gatewatch.events.event import AccessEvent
from gatewatch.ingest import vocabulary
from gatewatch.ingest.gather import gather
from gatewatch.ingest.hide import hide_in_label
from gatewatch.ingest.places import Locate
from gatewatch.ingest.raw import Lists, Numbers, Raw, columns_of
from gatewatch.ingest.vocabulary import Vocabulary
from gatewatch.state.hashing import HashSeed

_AT = {name: at for at, name in enumerate(STRINGS)}
_OF_SHAPE = frozenset({"shape_hash", "finish_reason", "label"})
_MARKED = [at for name, at in _AT.items() if name not in _OF_SHAPE and name != "network"]  # where a cut is told
_TYPES = {name: ROUTED.field(name).type.to_pandas_dtype() for name in ABSENT}


@dataclass(slots=True)
class Columns(Mapping[str, pa.Array]):
    """Clean columns of n events, good until the next are made. As a mapping: Arrow arrays of all columns but ``role``.

    ``numbers`` are numpy arrays; a column that no event has may be missing. Strings are ``codes`` of ``words``.
    """

    n: int
    numbers: Numbers
    codes: npt.NDArray[np.int32]  # (strings, n)
    lists: dict[str, pa.Array]
    raw: Raw
    words: Vocabulary

    def place(self, **numbers: npt.NDArray[Any]) -> Columns:
        """These columns with ``ts``, ``src``, ``offset`` and ``index``, as routing wants them."""
        self.numbers |= numbers
        return self

    def has(self, name: str) -> bool:
        """Whether any row has a string in that column."""
        return bool(self.codes[_AT[name]].any())

    def key(self, name: str) -> npt.NDArray[np.uint64]:
        """One column of keyed hashes."""
        hashes: npt.NDArray[np.uint64] = self.words.hashes[self.codes[_AT[KEY_OF[name]]]]
        return hashes

    def texts(self, names: Sequence[str], rows: npt.NDArray[np.int64]) -> list[pa.StringArray]:
        """Columns of strings at some rows."""
        return gather(self.raw, self.codes, self.words, [_AT[name] for name in names], rows)

    def __getitem__(self, name: str) -> pa.Array:
        """One column."""
        if name in _AT:
            return self.texts([name], np.arange(self.n))[0]
        if name in KEY_OF:
            return pa.array(self.key(name))
        if name in LISTS:
            return self.lists.get(name, pa.nulls(self.n, pa.list_(pa.string())))
        if name in self.numbers:
            return pa.array(self.numbers[name])
        return pa.array(np.full(self.n, ABSENT[name], _TYPES[name]))

    def __iter__(self) -> Iterator[str]:
        """Names of columns."""
        yield from (*STRINGS, *KEYS, *LISTS, *dict.fromkeys((*self.numbers, "status", "asn", *CODES, *FLOATS)))

    def __len__(self) -> int:
        """How many columns there are."""
        return sum(1 for _ in self)


@dataclass(slots=True)
class Cleaner:
    """Turns events into clean columns; remembers what it worked out for strings it has seen.

    Args:
        seed: for the keyed hashes.
        locate: (asn, country) of an address, where a MaxMind file is configured.
        field_names: keep the field names of shapes.
    """

    seed: HashSeed
    locate: Locate | None = None
    field_names: bool = True
    _words: Vocabulary = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been seen."""
        self._words = Vocabulary(self.seed, self.locate)

    def columns(self, events: Sequence[AccessEvent]) -> Columns:
        """All columns of ``ROUTED`` except src, offset, index, role and ts, from events.

        ``ts`` comes in ``ts_raw``: bounds are another module's. Cost: about 2 us an event, at 1,000 events.
        """
        return self.cleaned(columns_of(events))

    def cleaned(self, raw: Raw) -> Columns:
        """The same from raw columns."""
        codes = self._words.codes(raw.data, raw.starts, raw.stops)
        addresses = codes[_AT["ip"]]
        codes[_AT["network"]] = self._words.networks[addresses]
        flags = np.zeros(raw.n, np.uint16)
        if self._words.any_flags:
            for at in _MARKED:
                flags |= np.where(codes[at] > 0, self._words.flags[codes[at]], np.uint16(0))
        numbers = raw.numbers
        if self.locate is not None:
            unknown = numbers["asn"] == -1
            numbers["asn"] = np.where(unknown, self._words.asns[addresses], numbers["asn"])
            country = codes[_AT["country"]]
            codes[_AT["country"]] = np.where(self._words.sizes[country] > 0, country, self._words.countries[addresses])
        named = (codes[_AT["principal"]] > vocabulary.ABSENT) | (codes[_AT["account"]] > vocabulary.ABSENT)
        _infer_outcome(numbers, named)
        numbers["flags"] = flags | _in_range(numbers)
        return Columns(raw.n, numbers, codes, self._lists(raw.lists), raw, self._words)

    def _lists(self, lists: dict[str, Lists]) -> dict[str, pa.Array]:
        """Features asked for are labels; names of fields are cleaned where a body is looked at."""
        kept: dict[str, Lists] = {}
        if "features" in lists:
            kept["features"] = [[_label(v) for v in row] if row else row for row in lists["features"]]
        if "shape_fields" in lists and self.field_names:
            kept["shape_fields"] = lists["shape_fields"]
        return {name: pa.array(rows, pa.list_(pa.string())) for name, rows in kept.items()}


@lru_cache(maxsize=4096)  # there are a few dozen features; of strangers' words it holds some 400 kB
def _label(feature: str) -> str:
    return hide_in_label(feature)


def _infer_outcome(numbers: Numbers, named: npt.NDArray[np.bool_]) -> None:
    """Where the gateway did not say: 401 is a failure, 2xx or 3xx with somebody's name a success, 403 a denial."""
    status, auth, denied = numbers["status"], numbers["auth"], numbers["denied"]
    unknown = auth == AuthCode.UNKNOWN
    auth[unknown & (status == 401)] = AuthCode.FAILURE
    auth[unknown & named & (status >= 200) & (status < 400)] = AuthCode.SUCCESS
    denied[(denied == -1) & (status == 403)] = 1


def _in_range(numbers: Numbers) -> npt.NDArray[np.uint16]:
    """Numbers without sense (negative or endless sizes, a status of 9000) become absent; which rows had one."""
    bad = np.zeros(len(numbers["status"]), np.bool_)
    for name in FLOATS:
        if name not in numbers:
            continue
        values = numbers[name]
        wrong = (values < 0) | np.isinf(values) if name != "entropy" else np.isinf(values)
        if wrong.any():
            numbers[name] = np.where(wrong, np.nan, values)
            bad |= wrong
    status = numbers["status"]
    wrong = (status < -1) | (status > 999)
    numbers["status"] = np.where(wrong, -1, status).astype(np.int32)
    bad |= wrong
    return np.where(bad, np.uint16(Flag.OUT_OF_RANGE), np.uint16(0))
