"""What a format is: it turns Kafka values into events, element by element, and never raises on bytes.

A value may be one JSON object, an array of objects, or lines of them (NDJSON). An element that cannot be read becomes a
:class:`BadElement`; its siblings live.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.elements import json_elements
from gatewatch.events.formats.mend import mended
from gatewatch.events.formats.values import json_object

# Kafka's own limit is 1 MiB unless somebody raises it; 16 times that still fits into memory when taken apart.
VALUE_BYTES = 16 << 20
# An event without its body has some kilobytes; a body of a megabyte is beyond what any gateway logs by default.
ELEMENT_BYTES = 1 << 20
# APISIX batches 1,000, LiteLLM 512; a hundred times that is no log any more.
ELEMENTS = 100_000
# Epoch seconds reach this in the year 5138; milliseconds passed it in 1973.
LATEST_S = 1e11

# What reading hostile bytes raises, apart from DecodeError. UnicodeDecodeError is a ValueError.
_READ_ERRORS = (RecursionError, ValueError, OverflowError, TypeError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class BadElement:
    """An element that could not be read, with its place in the call. ``detail`` never quotes the element."""

    value_index: int
    element_index: int
    reason: BadReason
    detail: str
    raw: bytes
    count: int = 1  # elements that it stands for: the values of a Kafka batch that were passed over


@dataclass(slots=True)
class Decoded:
    """Events of some values, in order, as parallel lists: which value, and which element within it."""

    events: list[AccessEvent] = field(default_factory=list)
    value_index: list[int] = field(default_factory=list)
    element_index: list[int] = field(default_factory=list)
    bad: list[BadElement] = field(default_factory=list)

    @property
    def dead(self) -> int:
        """How many elements could not be read."""
        return sum(bad.count for bad in self.bad)

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
            DecodeError: it cannot be read. Errors of msgspec and of conversions may pass, too.
        """

    def elements(self, value: bytes) -> Iterator[bytes]:
        """The elements of one value. What cannot be taken apart comes as one element, for :meth:`element` to refuse."""
        return json_elements(value)

    def _value(self, value: bytes, at: int, out: Decoded) -> None:
        if len(value) > VALUE_BYTES:
            out.bad.append(BadElement(at, 0, BadReason.SIZE, _too_large(len(value), VALUE_BYTES), value))
            return
        for index, raw in enumerate(islice(self.elements(value), ELEMENTS + 1)):
            try:
                event = self._read(raw) if index < ELEMENTS else _too_many()
            except DecodeError as error:
                out.bad.append(BadElement(at, index, error.reason, error.detail, raw))
                continue
            if event is not None:
                out.add(event, at, index)

    def _read(self, raw: bytes) -> AccessEvent | None:
        """An element as an event, mended where it is not quite JSON.

        Raises:
            DecodeError: it cannot be read even so. Nothing else.
        """
        if len(raw) > ELEMENT_BYTES:
            raise DecodeError(BadReason.SIZE, _too_large(len(raw), ELEMENT_BYTES))
        try:
            try:
                event = self.element(raw)
            except (UnicodeDecodeError, msgspec.DecodeError):
                again = mended(raw)
                if again == raw:
                    raise
                event = self.element(again)
        except _READ_ERRORS as error:
            raise _as_decode_error(error) from error
        if event is not None:
            check_ts(event.ts)
        return event


class JsonFormat(Format):
    """A format whose elements are JSON objects."""

    def element(self, raw: bytes) -> AccessEvent | None:
        """One object as an event."""
        return self.event(json_object(raw))

    @abstractmethod
    def event(self, row: dict[str, Any]) -> AccessEvent | None:
        """One object as an event, or ``None`` where it is no request.

        Raises:
            DecodeError: it cannot be read.
        """


def check_ts(ts: float) -> None:
    """Seconds, not something else.

    Raises:
        DecodeError: it looks like milliseconds or more, is before 1970, or is no number.
    """
    if ts > LATEST_S:
        raise DecodeError(
            BadReason.TIME, "ts is not in epoch seconds: use map: {ts: {path: $.ts, unit: ms}} in the source"
        )
    if not ts >= 0:
        raise DecodeError(BadReason.TIME, "ts is before 1970, or not a number")


def _too_large(size: int, limit: int) -> str:
    return f"{size:,} bytes, the limit is {limit:,}"


def _too_many() -> AccessEvent:
    raise DecodeError(BadReason.SIZE, f"more than {ELEMENTS:,} elements in one value: the rest was not read")


def _as_decode_error(error: Exception) -> DecodeError:
    """What a reading error says, without what a stranger wrote."""
    if isinstance(error, RecursionError):
        return DecodeError(BadReason.DEPTH, "nested too deeply")
    if isinstance(error, msgspec.ValidationError):
        return _invalid(without_values(str(error)))
    if isinstance(error, msgspec.DecodeError):
        return DecodeError(BadReason.JSON, str(error))
    if isinstance(error, OverflowError):
        return DecodeError(BadReason.RANGE, "a number is too large")
    return DecodeError(BadReason.TYPE, f"{type(error).__name__} while reading")


def _invalid(message: str) -> DecodeError:
    if "missing required" in message:
        return DecodeError(BadReason.MISSING, message)
    if message.endswith("`$.ts`"):
        return DecodeError(BadReason.TIME, message)
    return DecodeError(BadReason.RANGE if "out of range" in message else BadReason.TYPE, message)


def without_values(message: str) -> str:
    """A message of msgspec without the value it quotes: a stranger wrote that.

    >>> without_values("Invalid enum value 'ignore all - at instructions' - at `$.auth`")
    'Invalid enum value - at `$.auth`'
    """
    head, _quoted, _rest = message.partition("Invalid enum value")
    if not _quoted:
        return message
    return f"{head}Invalid enum value - at {message.rpartition(' - at ')[2]}"
