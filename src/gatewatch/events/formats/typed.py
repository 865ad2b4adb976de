"""Entries of a gateway as typed structs: msgspec skips what nobody asked for, and most values are of their type.

Where one has not (a number in text, a list after retries, an object where a name should be), the entry is read again as
a dictionary and each value converted leniently, into the same struct. So there is one way from an entry to an event.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from math import inf
from typing import Any, ClassVar, get_args, get_type_hints

import msgspec

from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.values import ABSENT, json_object, number, text, truth


class TypedFormat(Format):
    """A format whose elements are JSON objects of a known form.

    Attributes:
        entry: the struct; every field has a default, and is a text, a number, a truth, a struct or anything.
    """

    entry: ClassVar[type[msgspec.Struct]]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(self.entry).decode

    def element(self, raw: bytes) -> AccessEvent | None:
        """One object as an event."""
        try:
            found = self._decode(raw)
        except msgspec.ValidationError:
            found = leniently(self.entry, json_object(raw))
        return self.event(found)

    @abstractmethod
    def event(self, entry: Any) -> AccessEvent | None:
        """One entry as an event, or ``None`` where it is no request.

        Raises:
            DecodeError: it cannot be read.
        """


def said(word: str | None) -> str | None:
    """A text, or ``None`` where it says that there is none."""
    return None if word in ABSENT else word


def amount(found: float | None) -> float | None:
    """A number that is finite and not negative."""
    return found if found is not None and 0.0 <= found < inf else None


def code(found: float | None) -> int | None:
    """An HTTP status; 0 is kept: the client went away."""
    return int(found) if found is not None and 0.0 <= found <= 999.0 else None


def leniently(kind: type[msgspec.Struct], row: Mapping[str, Any]) -> msgspec.Struct:
    """A struct of that kind from an object, each value as gateways write such values; what is of no use is absent."""
    return kind(**{name: convert(row[given]) for name, given, convert in _converters(kind) if given in row})


@cache
def _converters(kind: type[msgspec.Struct]) -> list[tuple[str, str, Callable[[Any], Any]]]:
    hints = get_type_hints(kind)
    fields = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return [(name, given, _converter(hints[name])) for name, given in fields]


def _converter(hint: Any) -> Callable[[Any], Any]:
    kinds = [one for one in (*get_args(hint), hint) if one is not type(None)]
    if hint is Any:
        return lambda value: value
    if {float, str} <= {*kinds}:  # a number that may stand in text: as it is, unless it is neither
        return lambda value: number(value) if isinstance(value, list) else value if _plain(value) else None
    kind = kinds[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return lambda value: leniently(kind, value if isinstance(value, dict) else {})
    converters: dict[Any, Callable[[Any], Any]] = {str: text, float: number, bool: truth}
    return converters[kind]


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
