"""How much a receiver is told at most: what is gravest goes first, what exceeds the limit is told in one message.

A revision takes the place of an older one of the same conversation that still waits: nobody needs the older text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gatewatch.notify.base import Traits
from gatewatch.notify.notice import Notice

WINDOW_S = 60.0
PATIENCE_S = 60.0  # so long a new message waits for its turn; then it goes into "and 41 more"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One revision that is to be told."""

    conversation: str
    notice: Notice
    place: tuple[str, int] | None  # topic and offset, which are not done before it is
    first: bool  # a new message
    since: float  # when it came first, seconds of the monotonic clock
    refresh: bool = False  # told again so that it does not end there; recorded by nobody

    @property
    def order(self) -> tuple[int, float, str]:
        """The gravest first, then the one that waits longest."""
        return (-self.notice.severity.rank, self.since, self.conversation)


@dataclass(slots=True)
class Bucket:
    """So many a minute, in bursts of so many. ``None``: no limit."""

    per_minute: int | None
    _left: float = field(init=False)
    _at: float = field(default=0.0, init=False)
    _started: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._left = float(self.per_minute or 0)

    def take(self, now: float) -> bool:
        """Whether one more may go now."""
        if self.per_minute is None:
            return True
        if self._started:
            self._left = min(self._left + (now - self._at) * self.per_minute / WINDOW_S, float(self.per_minute))
        self._at, self._started = now, True
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Outbox:
    """What waits for one receiver. One thread only."""

    def __init__(self, traits: Traits) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._new = Bucket(traits.per_minute)
        self._updates = Bucket(traits.updates_per_minute)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def put(self, waiting: Waiting) -> Waiting | None:
        """Queue a revision; returns the one whose place it takes, which is done."""
        older = self._waiting.pop(waiting.conversation, None)
        if older is not None and waiting.refresh and not older.refresh:
            self._waiting[older.conversation] = older  # it says more than a refresh does
            return waiting
        if older is not None:
            waiting = Waiting(
                waiting.conversation, waiting.notice, waiting.place, waiting.first, older.since, waiting.refresh
            )
        self._waiting[waiting.conversation] = waiting
        return older

    def release(self, now: float, room: int) -> tuple[list[Waiting], list[Waiting]]:
        """What may be sent now, at most ``room``, and what has waited too long for its turn."""
        go: list[Waiting] = []
        full = {True: False, False: False}
        for waiting in sorted(self._waiting.values(), key=lambda w: w.order):
            if len(go) == room or all(full.values()):
                break
            if full[waiting.first]:
                continue
            if (self._new if waiting.first else self._updates).take(now):
                go.append(waiting)
            else:
                full[waiting.first] = True
        for waiting in go:
            del self._waiting[waiting.conversation]
        over = [w for w in self._waiting.values() if w.first and full[True] and now - w.since >= PATIENCE_S]
        for waiting in over:
            del self._waiting[waiting.conversation]
        return go, over
