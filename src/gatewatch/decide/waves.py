"""Waves: many new keys with the same trait in a short time, where usually there are few.

A trait such as a user agent is shared by strangers, so two keys that have it have nothing in common. But when six of
them begin the same thing within ten minutes, and usually it is one in a day, that is one hand. What is usual is learned
from the findings themselves, for each trait and detector apart.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from gatewatch.decide.evidence import Token, Trait
from gatewatch.state.plans import UNSAVED, Before, nobody
from gatewatch.state.recent import Recent

WINDOW_S = 600.0  # a campaign's machines are started together; as long as an episode's shortest pause
KEPT_S = 3600.0  # tasks may be so far apart in event time, and their keys still meet
TIMES_USUAL = 8.0  # three doublings: a busy day is no campaign
USUAL_HALF_LIFE_S = 86400.0
# What was seen once in a short life is no rate yet: as if it had been watched for this long at least.
LEAST_WATCHED_S = 6 * 3600.0
RECENT_MAX = 64  # new keys remembered of one trait; more are only a larger wave
TRAITS_MAX = 20_000  # least recently seen ones are forgotten; about 1 kB each where they are busy, 20 MB


@dataclass(slots=True)
class _Seen:
    """New keys with one trait."""

    first_ts: float
    newest_ts: float
    recent: deque[tuple[float, str, str]] = field(default_factory=deque)  # ts, key, episode
    usual: float = 0.0  # older ones, faded; as of ``usual_ts``
    usual_ts: float = 0.0
    wave: float = -math.inf  # the trait's last wave

    def expected(self) -> float:
        """New keys in a window, as is usual."""
        watched = min(max(self.newest_ts - self.first_ts, LEAST_WATCHED_S), USUAL_HALF_LIFE_S / math.log(2.0))
        return self.usual * WINDOW_S / watched

    def retire(self) -> None:
        """Let what is old, or too much, become part of what is usual. A wave is not usual."""
        while self.recent and (self.newest_ts - self.recent[0][0] > KEPT_S or len(self.recent) > RECENT_MAX):
            ts, _key, _episode = self.recent.popleft()
            if abs(ts - self.wave) > WINDOW_S:
                fade = 0.5 ** (max(ts - self.usual_ts, 0.0) / USUAL_HALF_LIFE_S)
                self.usual, self.usual_ts = self.usual * fade + 1.0, max(ts, self.usual_ts)


@dataclass(slots=True)
class Waves:
    """All traits. Cost: a look-up a trait and new key, and a scan of at most 64."""

    capacity: int = field(default=TRAITS_MAX, metadata=UNSAVED)
    before: Before = field(default=nobody, metadata=UNSAVED)  # told of each trait that is about to change
    _traits: Recent[Token, _Seen] = field(default_factory=Recent)

    def __len__(self) -> int:
        return len(self._traits)

    def add(self, trait: Trait, key: str, ts: float, episode: str) -> list[str]:
        """A new key has the trait; returns the episodes of its wave, this one too, or nothing."""
        seen = self._traits.get(trait.token)
        if seen is None:
            seen = _Seen(ts, ts)
        else:
            self.before(seen)
        self._traits.put(trait.token, seen, most=self.capacity)
        seen.newest_ts = max(seen.newest_ts, ts)
        if all(key != other for _ts, other, _episode in seen.recent):
            seen.recent.append((ts, key, episode))
        seen.retire()
        near = [other for at, _key, other in seen.recent if abs(at - ts) <= WINDOW_S]
        if len(near) < trait.least or len(near) < TIMES_USUAL * seen.expected():
            return []
        seen.wave = max(seen.wave, ts)
        return near
