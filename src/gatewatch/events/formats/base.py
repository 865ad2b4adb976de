"""What a format is: it turns Kafka values into events, element by element, and never raises on bytes.

A value may be one JSON object, an array of objects, or lines of them (NDJSON). An element that cannot be read becomes a
:class:`BadElement`; its siblings live.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.event import AccessEvent

# An event without its body has some kilobytes; a body of a megabyte is beyond what any gateway logs by default.
ELEMENT_BYTES = 1 << 20
# APISIX batches 1,000, LiteLLM 512; a hundred times that is no log any more.
ELEMENTS = 100_000

_QUOTED = re.compile(r"'[^']*'")
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class BadElement:
    """An element that could not be read, with its place in the call. ``detail`` never quotes the element."""

    value_index: int
    element_index: int
    reason: BadReason
    detail: str
    raw: bytes


@dataclass(slots=True)
class Decoded:
    """Events of some values, in order, as parallel lists: which value, and which element within it."""

    events: list[AccessEvent] = field(default_factory=list)
    value_index: list[int] = field(default_factory=list)
    element_index: list[int] = field(default_factory=list)
    bad: list[BadElement] = field(default_factory=list)

    def add(self, event: AccessEvent, value_index: int, element_index: int) -> None:
        """One more event."""
        self.events.append(event)
        self.value_index.append(value_index)
        self.element_index.append(element_index)


class Format(ABC):
    """One gateway's way to write.

    Attributes:
        name: as it stands in ``sources``.
        fields: fields of ``AccessEvent`` that it can fill; a detector that needs others is blind on it.
    """

    name: str
    fields: frozenset[str]

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """All events of some values. Tombstones and empty values are skipped. Never raises."""
        out = Decoded()
        for at, value in enumerate(values):
            if value is not None:
                self._value(value, at, out)
        return out

    @abstractmethod
    def element(self, raw: bytes) -> AccessEvent | None:
        """One element as an event, or ``None`` where it is no request at all (a comment, a partial entry).

        Raises:
            DecodeError: it cannot be read.
        """

    def elements(self, value: bytes) -> Iterator[bytes]:
        """The elements of one value.

        Raises:
            DecodeError: the value as a whole cannot be taken apart.
        """
        return json_elements(value)

    def _value(self, value: bytes, at: int, out: Decoded) -> None:
        index = 0
        try:
            for index, raw in enumerate(islice(self.elements(value), ELEMENTS + 1)):
                _check_count(index)
                self._element(raw, at, index, out)
        except DecodeError as error:
            out.bad.append(BadElement(at, index, error.reason, error.detail, value))

    def _element(self, raw: bytes, at: int, index: int, out: Decoded) -> None:
        try:
            event = self._lenient(raw)
        except DecodeError as error:
            out.bad.append(BadElement(at, index, error.reason, error.detail, raw))
            return
        if event is not None:
            out.add(event, at, index)

    def _lenient(self, raw: bytes) -> AccessEvent | None:
        """Read an element; invalid UTF-8 (a hostile user agent is enough) is replaced, not refused."""
        if len(raw) > ELEMENT_BYTES:
            raise DecodeError(BadReason.SIZE, f"{len(raw):,} bytes, the limit is {ELEMENT_BYTES:,}")
        try:
            return self._guarded(raw)
        except UnicodeDecodeError:
            return self._guarded(raw.decode(errors="replace").encode())

    def _guarded(self, raw: bytes) -> AccessEvent | None:
        """Every error of reading as a ``DecodeError``, except the one that :meth:`_lenient` mends."""
        try:
            return self.element(raw)
        except UnicodeDecodeError:
            raise
        except RecursionError as error:
            raise DecodeError(BadReason.DEPTH, "nested too deeply") from error
        except msgspec.ValidationError as error:
            raise DecodeError(_reason(str(error)), _without_values(str(error))) from error
        except msgspec.DecodeError as error:
            raise DecodeError(BadReason.JSON, str(error)) from error
        except (ValueError, OverflowError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise DecodeError(BadReason.TYPE, f"{type(error).__name__} while reading") from error


def _check_count(index: int) -> None:
    if index >= ELEMENTS:
        raise DecodeError(BadReason.SIZE, f"more than {ELEMENTS:,} elements in one value: the rest was not read")


def json_elements(value: bytes) -> Iterator[bytes]:
    """Elements of a JSON value: an object, an array of objects, or lines.

    Raises:
        DecodeError: an array that does not end, or one nested too deeply.
    """
    head = value.lstrip()[:1]
    if not head:
        return
    if head == b"[":
        try:
            yield from map(bytes, _array(value))
        except RecursionError as error:
            raise DecodeError(BadReason.DEPTH, "nested too deeply") from error
        return
    if b"\n" not in value:
        yield value
        return
    # Lines, or one object written over several lines
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
        yield value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from (line for line in value.splitlines() if line.strip())


def _array(value: bytes) -> list[msgspec.Raw]:
    try:
        return _RAWS.decode(value)
    except UnicodeDecodeError:
        return _RAWS.decode(value.decode(errors="replace").encode())
    except msgspec.DecodeError as error:
        raise DecodeError(BadReason.JSON, f"an array that cannot be read: {error}") from error


def _without_values(message: str) -> str:
    """Msgspec quotes a wrong enum value; a stranger wrote it."""
    return _QUOTED.sub("'...'", message)


def _reason(message: str) -> BadReason:
    return BadReason.MISSING if "missing required" in message else BadReason.TYPE
