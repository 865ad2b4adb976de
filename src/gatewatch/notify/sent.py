"""What each receiver was told, so that nobody is told twice: rebuilt from `actions` at the start."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from gatewatch.records import Alert, Mode

# Alerts remembered for each receiver; an older one that changes again is told as a new message.
CAPACITY = 50_000
OLD_S = 15 * 60.0  # DESIGN section 2: nobody wants to be woken for what is long over


class Why(StrEnum):
    """Why a revision was not sent; a closed set, for metrics and records."""

    SHADOW = "shadow"
    REPEATED = "repeated"  # this revision or a later one was delivered
    OLD = "old"
    UNWANTED = "unwanted"  # not this receiver's severity or project


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of `actions`: what was done about one revision at one receiver."""

    receiver: str
    alert_id: str
    revision: int
    status: str
    result: str  # delivered, never, given_up, or a Why
    ts: float
    detail: str = ""
    handle: str | None = None
    kind: str = "notify"


@dataclass(slots=True)
class Sent:
    """The last delivery of each alert at each receiver."""

    capacity: int = CAPACITY
    _last: dict[str, OrderedDict[str, tuple[int, str | None]]] = field(default_factory=dict)

    def note(self, action: Action) -> None:
        """A delivery that was recorded."""
        if action.result != "delivered":
            return
        told = self._last.setdefault(action.receiver, OrderedDict())
        told[action.alert_id] = (action.revision, action.handle)
        told.move_to_end(action.alert_id)
        if len(told) > self.capacity:
            told.popitem(last=False)

    def handle(self, receiver: str, alert: Alert) -> str | None:
        """What the receiver needs to change its message about this alert."""
        return self._told(receiver, alert)[1]

    def why_not(self, receiver: str, alert: Alert, now: float, *, wanted: bool) -> Why | None:
        """A reason not to send this revision, or ``None``."""
        revision = self._told(receiver, alert)[0]
        if alert.mode is Mode.SHADOW:
            return Why.SHADOW
        if revision >= alert.revision:
            return Why.REPEATED
        if revision >= 0:  # what was opened must be closed, whatever happened since
            return None
        if not wanted:
            return Why.UNWANTED
        return Why.OLD if now - alert.last_ts > OLD_S else None

    def _told(self, receiver: str, alert: Alert) -> tuple[int, str | None]:
        told = self._last.get(receiver)
        return (-1, None) if told is None else told.get(alert.id, (-1, None))
