"""The last stage: what was done is written to `actions`, in a chain of hashes (:mod:`gatewatch.notify.chain`)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from gatewatch.log.base import Producer
from gatewatch.notify.chain import Link, seal


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of `actions`: what was done about one revision at one receiver."""

    receiver: str
    alert_id: str  # of the alert or incident whose revision it was
    revision: int
    status: str
    result: str  # delivered, never, or a Why
    ts: float
    detail: str = ""
    handle: str | None = None
    group: str = ""  # the conversation: what the receiver sees as one thing
    severity: str = ""
    news: str = ""  # Notice.news when it was delivered
    line: str = ""  # what a bulletin will say of it
    count: int = 0  # lines of a bulletin
    kind: str = "notify"  # one of KINDS


class _Kind(msgspec.Struct):
    kind: str = "notify"


KINDS = frozenset({"notify", "bulletin", "escalation", "press"})


def read(value: bytes) -> Action | None:
    """A record of notify, or ``None``: others write to `actions`, too."""
    try:
        if msgspec.json.decode(value, type=_Kind).kind not in KINDS:
            return None
        return msgspec.json.decode(value, type=Action)
    except msgspec.DecodeError:
        return None


class Recorder:
    """Writes records in order. Thread-safe: the chain moves on under one lock.

    Args:
        producer: of the log.
        topic: `actions`.
        writer: of this life of the role; no other had the same.
        tail: the last record of the topic that is in a chain.
    """

    def __init__(self, producer: Producer, topic: str, writer: str, tail: Link | None) -> None:
        self._producer, self._topic, self._writer, self._tail = producer, topic, writer, tail
        self._lock = threading.Lock()

    def write(self, action: Action, on_ack: Callable[[int], None] | None = None) -> None:
        """Send one record.

        Raises:
            SendError: an earlier one was not acknowledged; the worker must end.
        """
        fields = {"kind": action.kind, **msgspec.to_builtins(action)}
        with self._lock:
            value, link = seal(fields, self._writer, self._tail)
            self._producer.send(self._topic, value, partition=0, key=action.alert_id.encode(), on_ack=on_ack)
            self._tail = link
