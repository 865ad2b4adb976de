"""Findings about one key by one detector, as one story with an end.

An episode opens with the first finding and ends when none came for its cool-down of event time
(:func:`cool_down_s`). The time is that of the detect task which sees the key, not a common one:
all rows of a key pass through one task, so its watermark says exactly that nothing more will come, however far the
other tasks are ahead or behind (in a replay, by hours).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

from gatewatch.catalog import Ownership
from gatewatch.decide import modes
from gatewatch.decide.offences import Key
from gatewatch.records import Decision, Finding, Mode, Severity
from gatewatch.state.plans import UNSAVED, Before, nobody

COOL_DOWN_S = 600.0  # shorter pauses belong to one attack: tools that back off wait for minutes, not longer
# A detector that judges whole windows speaks once in each, and one that waits for enough events may take longer for the
# next: what lasts must not be news at each.
COOL_DOWN_WINDOWS = 1.5
UPDATE_S = 300.0  # an episode that goes on says so this often
# About 2 kB each, 100 MB; a site with more open episodes than this has one problem, not 50,000.
OPEN_MAX = 50_000
SAMPLES = 4  # kept from the beginning, and as many from the end
ORDERS_MAX = 8  # keys that one episode may stop (a principal's credentials)


class EpisodeKey(NamedTuple):
    """What an episode is about."""

    detector: str
    scope: str
    key: str


def cool_down_s(window_s: float) -> float:
    """How long nothing may come after a finding of such a window before its episode is over, seconds of event time."""
    return max(COOL_DOWN_S, COOL_DOWN_WINDOWS * window_s)


@dataclass(slots=True)
class Told:
    """How an episode stood in its last revision."""

    ts: float
    count: int
    severity: Severity
    mode: Mode
    orders: tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
    words: tuple[str | None, ...]


@dataclass(slots=True)
class Episode:
    """An open episode. ``lead`` is its gravest finding: what the alert shows."""

    id: str
    lead: Finding
    lead_severity: Severity
    severity: Severity
    mode: Mode
    ownership: Ownership
    task: int  # that its latest finding came from: whose time it ends by
    first_ts: float
    last_ts: float
    cool_down_s: float
    count: int = 0
    first_samples: list[str] = field(default_factory=list)
    last_samples: deque[str] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    series: tuple[float, ...] = ()  # of its latest finding that had one
    decisions: dict[Key, Decision] = field(default_factory=dict)
    refused: dict[Key, tuple[str, str]] = field(default_factory=dict)  # guard and reason
    acknowledged_by: str | None = None
    verdict: str | None = None
    held_until: float | None = None
    muted: bool = False  # a person closed it: it goes on in silence, so that it does not open again at once
    asked_by: str | None = None  # who called it true first: not the one who may approve
    approved_by: str | None = None
    rejected: Severity | None = None  # how grave it was when somebody said that its orders shall not hold
    waiting: bool = False  # orders wait for somebody who approves them
    told: Told | None = None

    @property
    def key(self) -> EpisodeKey:
        """What it is about."""
        return EpisodeKey(self.lead.detector, self.lead.scope.value, self.lead.key)

    @property
    def due(self) -> float:
        """Event time at which it ends, if nothing comes."""
        return self.last_ts + self.cool_down_s

    @property
    def valid_until(self) -> float:
        """Until when a revision speaks: the next one, or the end, comes before that."""
        return self.due + UPDATE_S

    @property
    def samples(self) -> tuple[str, ...]:
        """Places of its first and last findings' rows."""
        return (*self.first_samples, *self.last_samples)

    def add(self, finding: Finding, mode: Mode, severity: Severity, ownership: Ownership) -> None:
        """Take one more finding in."""
        if (severity.rank, finding.nats) > (self.lead_severity.rank, self.lead.nats):
            self.lead, self.lead_severity, self.ownership = finding, severity, ownership
        if severity.rank > self.severity.rank:
            self.severity = severity
        if modes.rank(mode) > modes.rank(self.mode):
            self.mode = mode
        self.last_ts = max(self.last_ts, finding.ts)
        self.cool_down_s = max(self.cool_down_s, cool_down_s(finding.window_s))
        self.count += 1
        self.series = finding.series or self.series
        if len(self.first_samples) < SAMPLES:
            self.first_samples.append(finding.sample)
        else:
            self.last_samples.append(finding.sample)

    def has_news(self, *, crowded: bool = False) -> bool:
        """Whether a person should hear of it again: it grew, or goes on, or what we do about it changed.

        With ``crowded`` it is one of many, and its incident tells how they grow.
        """
        told = self.told
        return (
            told is None
            or self.severity.rank > told.severity.rank
            or modes.rank(self.mode) > modes.rank(told.mode)
            or (self.count >= 2 * told.count and not crowded)
            or self.last_ts - told.ts >= UPDATE_S
            or self._orders() != told.orders
            or self._words() != told.words
        )

    def tell(self) -> None:
        """A revision goes out now."""
        self.told = Told(self.last_ts, self.count, self.severity, self.mode, self._orders(), self._words())

    def _words(self) -> tuple[str | None, ...]:
        held = None if self.held_until is None else str(self.held_until)
        return self.acknowledged_by, self.verdict, held

    def _orders(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        made = tuple(f"{d.id}/{d.mode}" for d in self.decisions.values())
        refused = tuple((value, guard) for (_scope, value), (guard, _reason) in self.refused.items())
        return made, refused


@dataclass(slots=True)
class Episodes:
    """All open episodes, found by key and by when they end. Cost a finding: a look-up, and log n once an episode."""

    open_max: int = field(default=OPEN_MAX, metadata=UNSAVED)
    before: Before = field(default=nobody, metadata=UNSAVED)  # told of each episode that is given out
    _open: dict[EpisodeKey, Episode] = field(default_factory=dict)
    _dues: dict[int, list[tuple[float, EpisodeKey]]] = field(default_factory=dict)  # by task; early ones are put right

    def __len__(self) -> int:
        return len(self._open)

    def get(self, finding: Finding) -> Episode | None:
        """The open episode of a finding's key."""
        return self.by_key(key_of(finding))

    def by_key(self, key: EpisodeKey) -> Episode | None:
        """The open episode on a key."""
        episode = self._open.get(key)
        if episode is not None:
            self.before(episode)
        return episode

    def with_ids(self, ids: Container[str]) -> list[Episode]:
        """Those of these ids, in the order in which they were opened. Cost: one pass over all."""
        found = [episode for episode in self._open.values() if episode.id in ids]
        for episode in found:
            self.before(episode)
        return found

    def begin(self, finding: Finding, task: int, mode: Mode, severity: Severity, ownership: Ownership) -> Episode:
        """Open an episode with its first finding (which is not counted yet)."""
        episode = Episode(
            id=episode_id(finding),
            lead=finding,
            lead_severity=severity,
            severity=severity,
            mode=mode,
            ownership=ownership,
            task=task,
            first_ts=min(finding.since, finding.ts),
            last_ts=finding.ts,
            cool_down_s=COOL_DOWN_S,
        )
        self.keep(episode)
        return episode

    def keep(self, episode: Episode) -> None:
        """It is open, and ends by its task's time."""
        self._open[episode.key] = episode
        heappush(self._dues.setdefault(episode.task, []), (episode.due, episode.key))

    def move(self, episode: Episode, task: int) -> None:
        """Another task found its key: an account, say, that is tried by strangers and used by its owner."""
        if episode.task != task:
            episode.task = task
            self.keep(episode)

    def end(self, episode: Episode) -> None:
        """It is over."""
        if self._open.get(episode.key) is episode:
            del self._open[episode.key]

    def over(self, task: int, watermark: float) -> list[Episode]:
        """Those of a task that have ended by its watermark, earliest first; they are removed."""
        ended: list[Episode] = []
        while (episode := self._next_due(task)) is not None and episode.due <= watermark:
            self.before(episode)
            self.end(episode)
            ended.append(episode)
        return ended

    def surplus(self) -> Iterator[Episode]:
        """Those beyond the limit, the ones longest without a finding first; each is removed as it is given."""
        while len(self._open) > self.open_max:
            tops = [top for task in self._dues if (top := self._next_due(task)) is not None]
            oldest = min(tops, key=lambda e: (e.due, e.key))
            self.before(oldest)
            self.end(oldest)
            yield oldest

    def _next_due(self, task: int) -> Episode | None:
        """The task's episode that ends first; the heap's top is put right on the way."""
        dues = self._dues.get(task, [])
        while dues:
            due, key = dues[0]
            episode = self._open.get(key)
            if episode is None or episode.task != task:
                heappop(dues)
            elif episode.due > due:
                heapreplace(dues, (episode.due, key))
            else:
                return episode
        return None


def key_of(finding: Finding) -> EpisodeKey:
    """What its episode is about."""
    return EpisodeKey(finding.detector, finding.scope.value, finding.key)


def episode_id(first: Finding) -> str:
    """16 hex digits of detector, scope, key and first finding: the same log gives the same id."""
    return digest(first.detector, first.scope.value, first.key, first.id)


def digest(*parts: str) -> str:
    """16 hex digits that name these parts. With their lengths: a stranger's key must not pass for another's."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
