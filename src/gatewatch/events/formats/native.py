"""Gatewatch's own format: an :class:`~gatewatch.events.event.AccessEvent` as JSON, or any other JSON by a ``map``.

Extra inputs ``body`` and ``response_body`` (any JSON, or text) give the shape and are dropped. Unknown fields are
ignored. This is the fast path: one msgspec call an event and nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Decoded, Format
from gatewatch.events.formats.mapping import Mapper
from gatewatch.events.shape import add_output, shape_of

# Epoch seconds reach this in the year 5138; milliseconds passed it in 1973.
LATEST_S = 1e11
FIELDS = frozenset(AccessEvent.__struct_fields__)


class _WithBody(AccessEvent, kw_only=True, omit_defaults=True, gc=False):
    """What a producer may send besides: only to take its shape."""

    body: msgspec.Raw | None = None
    response_body: msgspec.Raw | None = None


_ONE = msgspec.json.Decoder(AccessEvent)
_MANY = msgspec.json.Decoder(list[AccessEvent])
# Value by value, numbers may stand in strings: it costs nothing there, and the fast path refuses them all the same
_LAX = msgspec.json.Decoder(AccessEvent, strict=False)
_BODY = msgspec.json.Decoder(_WithBody, strict=False)
_BODY_MARK = b'body"'


class Native(Format):
    """The native format, without a map."""

    name = "native"
    fields = FIELDS

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """All at once where every value is one plain event or one plain array; else value by value.

        Cost: 1.7 us an event of 450 bytes.
        """
        plain = [v for v in values if v]
        if len(plain) == len(values) and not any(_BODY_MARK in v for v in plain):
            try:
                return self._fast(plain)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecodeError):
                pass  # somebody is bad: find out who
        return super().decode(values)

    def element(self, raw: bytes) -> AccessEvent:
        """One event; its bodies become its shape."""
        event = _without_body(_BODY.decode(raw)) if _BODY_MARK in raw else _LAX.decode(raw)
        check_ts(event.ts)
        return event

    @staticmethod
    def _fast(values: Sequence[bytes]) -> Decoded:
        one, many = _ONE.decode, _MANY.decode
        if not any(v[:1] == b"[" for v in values):
            events = [one(v) for v in values]
            value_index = list(range(len(events)))
            element_index = [0] * len(events)
        else:
            lists = [many(v) if v[:1] == b"[" else [one(v)] for v in values]
            events = [event for part in lists for event in part]
            value_index = [at for at, part in enumerate(lists) for _ in part]
            element_index = [index for part in lists for index in range(len(part))]
        if events and max(e.ts for e in events) > LATEST_S:
            raise DecodeError(BadReason.TIME, "")
        return Decoded(events, value_index, element_index)


class Mapped(Format):
    """Any JSON object, by ``map:`` of our fields to JSON paths."""

    name = "native"

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._mapper = Mapper(fields)
        self.fields = frozenset(self._mapper.fields)

    def element(self, raw: bytes) -> AccessEvent:
        """One event."""
        event = self._mapper.event(msgspec.json.decode(raw))
        check_ts(event.ts)
        return event


def check_ts(ts: float) -> None:
    """Seconds, not something else.

    Raises:
        DecodeError: it looks like milliseconds or more, or is before 1970.
    """
    if ts > LATEST_S:
        raise DecodeError(
            BadReason.TIME, "ts is not in epoch seconds: use map: {ts: {path: $.ts, unit: ms}} in the source"
        )
    if ts < 0:
        raise DecodeError(BadReason.TIME, "ts is before 1970")


def _without_body(given: _WithBody) -> AccessEvent:
    fields = {name: getattr(given, name) for name in AccessEvent.__struct_fields__}
    event = AccessEvent(**fields)
    if given.body is not None and event.shape is None:
        event.shape = shape_of(bytes(given.body))
    if given.response_body is not None:
        event.shape = add_output(event.shape, bytes(given.response_body))
    return event
