"""Who was stopped before: the time of a stop doubles each time it was not enough."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewatch.records import Scope
from gatewatch.state.plans import UNSAVED
from gatewatch.state.recent import Recent

MEMORY_S = 7 * 86400.0  # a week without an offence is forgiven
# At the default breaker (30 a minute) a flood needs 55 hours of nothing but new keys to push an offender out; 25 MB.
CAPACITY = 100_000
_CLIMB_MAX = 30  # doublings; any ttl has met max_ttl by then

Key = tuple[Scope, str]


@dataclass(slots=True)
class Offences:
    """The last stop of each key, least recent first."""

    capacity: int = field(default=CAPACITY, metadata=UNSAVED)
    _last: Recent[Key, tuple[int, float]] = field(default_factory=Recent)  # offence, until

    def number(self, key: Key, at: float) -> int:
        """Which offence in a row a stop that starts at ``at`` answers; one that is still running is the same one."""
        offence, until = self._last.get(key, (0, at))
        if offence == 0 or at - until > MEMORY_S:
            return 1
        return offence if at < until else offence + 1

    def note(self, key: Key, offence: int, until: float) -> None:
        """A stop was ordered. Where there is no more room those longest unheard of are forgotten."""
        latest = max(until, self._last.get(key, (0, until))[1])
        self._last.put(key, (offence, latest), most=self.capacity)

    def forgive(self, key: Key) -> None:
        """A person said that it was none."""
        self._last.pop(key, None)

    def __len__(self) -> int:
        return len(self._last)


def ttl_s(first_s: float, max_s: float, offence: int) -> float:
    """How long the ``offence``-th stop in a row lasts.

    >>> [ttl_s(600.0, 3000.0, n) for n in (1, 2, 3, 4)]
    [600.0, 1200.0, 2400.0, 3000.0]
    """
    return min(first_s * float(2 ** min(offence - 1, _CLIMB_MAX)), max_s)
