"""Gatewatch's own format: an :class:`~gatewatch.events.event.AccessEvent` as JSON, or any other JSON by a ``map``.

Extra inputs ``body`` and ``response_body`` (any JSON, or text) give the shape and are dropped. Unknown fields are
ignored. This is the fast path: one msgspec call an event and nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import ELEMENT_BYTES, ELEMENTS, LATEST_S, Decoded, Format
from gatewatch.events.formats.mapping import Mapper
from gatewatch.events.formats.values import epoch_s, json_object
from gatewatch.events.shape import add_output, shape_of

FIELDS = frozenset(AccessEvent.__struct_fields__)
_NAMES = frozenset(name for name, kind in AccessEvent.__annotations__.items() if kind == "str | None")


class NativeInput(AccessEvent, kw_only=True, omit_defaults=True, gc=False):
    """What a producer may send: an event, and bodies only to take their shape. In a union Raw would take nothing."""

    body: msgspec.Raw = msgspec.Raw()
    response_body: msgspec.Raw = msgspec.Raw()


_ONE = msgspec.json.Decoder(AccessEvent)
_MANY = msgspec.json.Decoder(list[AccessEvent])
# Value by value, numbers may stand in strings: it costs nothing there, and the fast path refuses them all the same
_LAX = msgspec.json.Decoder(AccessEvent, strict=False)
_BODY = msgspec.json.Decoder(NativeInput, strict=False)
_BODY_MARK = b'body"'
_NOTHING = frozenset({b"", b"null", b'""', b'"-"'})
# No smaller value can break a limit: the shortest event is {"ts":1} and a comma
FAST_BYTES = min(ELEMENT_BYTES, 9 * ELEMENTS)


class Native(Format):
    """The native format, without a map."""

    name = "native"
    fields = FIELDS

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """All at once where every value is one plain event or one plain array; else value by value.

        Cost: 1.7 us an event of 450 bytes.
        """
        plain = [v for v in values if v and len(v) <= FAST_BYTES]
        if len(plain) == len(values) and not any(_BODY_MARK in v for v in plain):
            try:
                return self._fast(plain)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecodeError):
                pass  # somebody is bad: find out who
        return super().decode(values)

    def element(self, raw: bytes) -> AccessEvent:
        """One event; its bodies become its shape."""
        try:
            return _event(raw)
        except msgspec.ValidationError:
            try:
                return _event(_plain(raw))
            except msgspec.ValidationError as error:
                if str(error).endswith("`$.ts`"):
                    raise DecodeError(BadReason.TIME, "ts is neither epoch seconds nor ISO 8601") from error
                raise

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
        times = [e.ts for e in events]
        if times and not 0 <= min(times) <= max(times) <= LATEST_S:  # JSON has no NaN
            raise DecodeError(BadReason.TIME, "")
        return Decoded(events, value_index, element_index)


class Mapped(Format):
    """Any JSON object, by ``map:`` of our fields to JSON paths."""

    name = "native"

    def __init__(self, fields: Mapping[str, Any], trusted_hops: int = 0) -> None:
        self._mapper = Mapper(fields, trusted_hops)
        self.fields = frozenset(self._mapper.fields)

    def element(self, raw: bytes) -> AccessEvent:
        """One event."""
        return self._mapper.event(json_object(raw))


def _event(raw: bytes) -> AccessEvent:
    if _BODY_MARK not in raw:
        return _LAX.decode(raw)
    given = _BODY.decode(raw)
    event = AccessEvent(**{name: getattr(given, name) for name in AccessEvent.__struct_fields__})
    body, response = bytes(given.body), bytes(given.response_body)
    if body not in _NOTHING and event.shape is None:
        event.shape = shape_of(body)
    if response not in _NOTHING:
        event.shape = add_output(event.shape, response)
    return event


def _plain(raw: bytes) -> bytes:
    """What a producer's habits left in our fields put right, on the slow path.

    That is "" and "-" for absent, ISO 8601 for ``ts``, ids that are numbers, one feature without a list, ``auth`` in
    capitals, ``AS64500`` for an ``asn``.
    """
    row = json_object(raw)
    plain = {name: value for name, value in row.items() if value not in ("", "-")}
    if isinstance(plain.get("ts"), str):
        plain["ts"] = epoch_s(plain["ts"])
    for name in _NAMES & plain.keys():
        if isinstance(plain[name], int) and not isinstance(plain[name], bool):
            plain[name] = str(plain[name])
    for name, put_right in _HABITS.items():
        if isinstance(plain.get(name), str):
            plain[name] = put_right(plain[name])
    return msgspec.json.encode(plain)


_HABITS: dict[str, Callable[[str], object]] = {
    "features": lambda value: [value],
    "auth": str.lower,
    "asn": lambda value: value.removeprefix("AS"),
}
