"""The third stage: nobody is told twice, and each revision that is not sent has a named reason.

What was told is rebuilt from `actions` at the start, so a restart repeats nothing that was recorded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from gatewatch.notify.base import Traits
from gatewatch.notify.notice import Notice
from gatewatch.notify.record import Action
from gatewatch.records import Mode, Severity, Status

T = TypeVar("T")

# Conversations and revisions remembered for each receiver; an older one that changes again is told as a new message.
CAPACITY = 50_000
OLD_S = 15 * 60.0  # DESIGN section 2: nobody wants to be woken for what is long over


class Why(StrEnum):
    """Why a revision was not sent as a message of its own; a closed set, for metrics and records."""

    SHADOW = "shadow"
    REPEATED = "repeated"  # this revision or a later one was told
    UNCHANGED = "unchanged"  # nothing in it that this receiver must hear
    SUPERSEDED = "superseded"  # a later one took its place while it waited
    UNROUTED = "unrouted"  # no route leads there
    UNWANTED = "unwanted"  # below the receiver's severity
    SILENCED = "silenced"  # by a silence, a snooze or a verdict
    LISTED = "listed"  # it stands in a bulletin already
    DIGEST = "digest"  # these four: it will stand in a bulletin
    QUIET = "quiet"
    CAPPED = "capped"
    LATE = "late"


LISTS = frozenset({Why.DIGEST, Why.QUIET, Why.CAPPED, Why.LATE})
# After these the revision need not be looked at again
_SETTLED = frozenset({"delivered", Why.UNCHANGED.value, *(why.value for why in LISTS)})


@dataclass(frozen=True, slots=True)
class Told:
    """The last delivery of one conversation at one receiver."""

    handle: str | None
    news: str
    ts: float


@dataclass(slots=True)
class _Receiver:
    told: OrderedDict[str, Told] = field(default_factory=OrderedDict)  # by conversation
    seen: OrderedDict[str, int] = field(default_factory=OrderedDict)  # by alert or incident: its last revision
    listed: OrderedDict[str, int] = field(default_factory=OrderedDict)  # by conversation: rank of its severity


class Sent:
    """What each receiver was told. Thread-safe."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._by_receiver: dict[str, _Receiver] = {}

    def note(self, action: Action) -> None:
        """Something that was recorded."""
        if action.kind != "notify" or action.result not in _SETTLED:
            return
        key = action.group or action.alert_id
        with self._lock:
            at = self._by_receiver.setdefault(action.receiver, _Receiver())
            revision = max(action.revision, at.seen.get(action.alert_id, -1))
            self._put(at.seen, action.alert_id, revision)
            if action.result == "delivered":
                first = at.told[key].ts if key in at.told else action.ts
                self._put(at.told, key, Told(action.handle, action.news, first))
                at.listed.pop(key, None)
            elif action.line:
                rank = Severity(action.severity).rank if action.severity else 0
                self._put(at.listed, key, max(rank, at.listed.get(key, 0)))

    def told(self, receiver: str, key: str) -> Told | None:
        """The last delivery of a conversation at a receiver; ``ts`` is that of the first."""
        with self._lock:
            at = self._by_receiver.get(receiver)
            return None if at is None else at.told.get(key)

    def first_ts(self, key: str, receivers: Collection[str]) -> float | None:
        """When one of these receivers was told first of a conversation."""
        with self._lock:
            ats = [at for name in receivers if (at := self._by_receiver.get(name)) is not None]
            return min((at.told[key].ts for at in ats if key in at.told), default=None)

    def seen(self, receiver: str, about: str) -> int:
        """The last revision that was settled, or -1."""
        with self._lock:
            at = self._by_receiver.get(receiver)
            return -1 if at is None else at.seen.get(about, -1)

    def listed(self, receiver: str, key: str) -> int:
        """Rank of the severity with which it stands in a bulletin, or -1."""
        with self._lock:
            at = self._by_receiver.get(receiver)
            return -1 if at is None else at.listed.get(key, -1)

    def _put(self, into: OrderedDict[str, T], key: str, value: T) -> None:
        into[key] = value
        into.move_to_end(key)
        if len(into) > self._capacity:
            into.popitem(last=False)


def conversation(notice: Notice, traits: Traits) -> str:
    """What the receiver sees as one thing: people an incident, programs an alert."""
    return notice.key if traits.people else notice.alert.id


def why_not(
    sent: Sent, receiver: str, traits: Traits, notice: Notice, now: float, *, routed: bool, wanted: bool, held: bool
) -> Why | None:
    """A reason not to send this revision as a message, or ``None``.

    What was opened must be closed: a conversation that was told is told of its end, whatever routes and silences say.
    """
    if _mode(notice, traits) is Mode.SHADOW:
        return Why.SHADOW
    if sent.seen(receiver, notice.about) >= notice.revision >= 0:
        return Why.REPEATED
    told = sent.told(receiver, conversation(notice, traits))
    over = (notice.status if traits.people else notice.alert.status) is Status.RESOLVED
    if held and not (over and told is not None):
        return Why.SILENCED
    if told is not None:
        return Why.UNCHANGED if not traits.every_revision and told.news == notice.news else None
    first = (
        (Why.UNROUTED, not routed),
        (Why.UNWANTED, not wanted),
        (Why.LISTED, sent.listed(receiver, notice.key) >= notice.severity.rank),
        (Why.LATE, traits.people and not (over and traits.by_key) and (over or now - notice.alert.last_ts > OLD_S)),
    )
    return next((why for why, holds in first if holds), None)


def _mode(notice: Notice, traits: Traits) -> Mode:
    if traits.people and notice.incident is not None:
        return notice.incident.mode
    return notice.alert.mode
