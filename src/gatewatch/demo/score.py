"""How well it went: each simulated attack against the alerts and decisions that came out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import numpy as np
import numpy.typing as npt

from gatewatch.demo.coverage import COVERAGE
from gatewatch.records import Alert, Decision, Finding, Mode, Scope, Severity
from gatewatch.records.words import RESERVED
from gatewatch.simulate.labels import Episode, keys_of
from gatewatch.simulate.rows import Rows
from gatewatch.simulate.world import World

# A finding later than this after the last event of an attack is about something else. Windows of an hour may still
# fill up when it is over.
GRACE_S = 900.0
Key = tuple[Scope, str]
Spoke = dict[tuple[str, Scope, str], list[float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one attack. Times are seconds of event time since its first event."""

    attack: str
    first_ts: float
    events: int
    needs: str  # the detector that is meant to see it
    covered: bool  # and whether that is here
    detector: str | None = None  # the first that caught it
    title: str | None = None
    alert_id: str | None = None
    after_s: float | None = None
    events_named: int = 0  # events that carry a key which an alert names
    blocked_after_s: float | None = None
    events_after_block: int = 0  # which a gateway would have refused
    others: tuple[str, ...] = ()  # detectors that named one of its keys meanwhile, made for something else

    @property
    def caught(self) -> bool:
        """The detector that is meant to see it sent an alert, not a shadow, that names one of its keys, in time."""
        return self.detector is not None


@dataclass(slots=True)
class Scoreboard:
    """Everything that the last page says."""

    verdicts: list[Verdict] = field(default_factory=list)
    false_alarms: list[Alert] = field(default_factory=list)  # medium or worse: these count against the budget
    about_us: list[Alert] = field(default_factory=list)  # what Gatewatch said of itself: no detector accused anybody
    notes: list[Alert] = field(default_factory=list)  # about no attack either, but of lower severity
    wrong_blocks: list[Decision] = field(default_factory=list)
    days: float = 0.0

    @property
    def passed(self) -> bool:
        """Every attack was caught that a detector on the search path is made for."""
        return all(verdict.caught for verdict in self.verdicts if verdict.covered)


class Truth:
    """One attack, and what an alert or a decision has to do with it."""

    def __init__(self, world: World, episode: Episode, rows: Rows) -> None:
        self.episode = episode
        self._rows = rows
        self._world = world
        self._keys = {(scope, name) for scope, found in episode.keys.items() for name in _spelt(scope, found)}

    def names(self, scope: Scope, key: str) -> bool:
        """Whether the attack has this key."""
        return (scope, key) in self._keys

    def times(self, alert: Alert, spoke: Spoke) -> list[float]:
        """When, as event times, the findings behind an alert told of this attack."""
        if not self.names(alert.scope, alert.key):
            return []
        high = self.episode.last_ts + GRACE_S
        found = spoke.get((alert.detector, alert.scope, alert.key), [])
        return [ts for ts in found if self.episode.first_ts <= ts <= high and ts <= alert.last_ts]

    def carrying(self, keys: Iterable[Key]) -> npt.NDArray[np.bool_]:
        """Which of the attack's events (n,) carry one of ``keys``."""
        found = np.zeros(len(self._rows), np.bool_)
        for scope in {scope for scope, _ in keys}:
            wanted = {key for other, key in keys if other is scope}
            found |= np.array([not wanted.isdisjoint(_spelt(scope, [k])) if k else False
                               for k in keys_of(self._world, scope, self._rows)])  # fmt: skip
        return found

    def after(self, ts: float) -> npt.NDArray[np.bool_]:
        """Which of the attack's events (n,) end later than ``ts``."""
        later: npt.NDArray[np.bool_] = self._rows["ts"] > ts
        return later


def score(
    truths: Sequence[Truth],
    alerts: Sequence[Alert],
    decisions: Sequence[Decision],
    findings: Sequence[Finding],
    covered: set[str],
    days: float,
) -> Scoreboard:
    """Match every revision of every alert, and every decision, with the attacks.

    Args:
        truths: the attacks.
        alerts: all revisions, in the order they came.
        decisions: in the order they came.
        findings: what led to the alerts; they say to the event when a detector spoke up.
        covered: names of the attacks that a detector on the search path is made for.
        days: of event time, for false alarms a day.
    """
    sent = [alert for alert in alerts if alert.mode is not Mode.SHADOW]
    blocks = [d for d in decisions if d.mode is not Mode.SHADOW and d.removed is None]
    spoke = _spoke(findings)
    about = [[alert for alert in sent if truth.times(alert, spoke)] for truth in truths]
    board = Scoreboard(days=days)
    for truth, mine in zip(truths, about, strict=True):
        board.verdicts.append(_judge(truth, mine, blocks, spoke, covered=truth.episode.attack in covered))
    explained = {alert.id for mine in about for alert in mine}
    for alert in _last(alert for alert in sent if alert.id not in explained):
        if alert.detector == RESERVED:
            board.about_us.append(alert)
        else:
            (board.false_alarms if alert.severity.rank >= Severity.MEDIUM.rank else board.notes).append(alert)
    wrong = [d for d in blocks if not any(truth.names(d.scope, d.value) for truth in truths)]
    board.wrong_blocks = list({(d.scope, d.value): d for d in wrong}.values())
    return board


def _judge(truth: Truth, about: Sequence[Alert], blocks: Sequence[Decision], spoke: Spoke, *, covered: bool) -> Verdict:
    """The verdict on one attack, from the alerts ``about`` it; caught is what the detector made for it has caught."""
    episode, meant = truth.episode, COVERAGE[truth.episode.attack]
    mine = [alert for alert in about if alert.detector == meant.detector] if covered else []
    others = {alert.detector for alert in about} - {alert.detector for alert in mine}
    first = min(mine, key=lambda alert: truth.times(alert, spoke)[0], default=None)
    block = min((d for d in blocks if truth.names(d.scope, d.value)), key=lambda d: d.start, default=None)
    stopped = 0
    if block is not None:
        stopped = int((truth.carrying({(block.scope, block.value)}) & truth.after(block.start)).sum())
    return Verdict(
        attack=episode.attack,
        first_ts=episode.first_ts,
        events=episode.events,
        needs=str(meant),
        covered=covered,
        detector=first.detector if first else None,
        title=first.title if first else None,
        alert_id=first.id if first else None,
        after_s=truth.times(first, spoke)[0] - episode.first_ts if first else None,
        events_named=int(truth.carrying({(alert.scope, alert.key) for alert in mine}).sum()),
        blocked_after_s=max(0.0, block.start - episode.first_ts) if block else None,
        events_after_block=stopped,
        others=tuple(sorted(others)),
    )


def _spoke(findings: Iterable[Finding]) -> Spoke:
    """When each detector spoke up about each key, other than in shadow; event times, rising."""
    spoke: Spoke = {}
    for finding in findings:
        if finding.warm or not finding.learned:
            spoke.setdefault((finding.detector, finding.scope, finding.key), []).append(finding.ts)
    return {key: sorted(times) for key, times in spoke.items()}


def _last(alerts: Iterable[Alert]) -> list[Alert]:
    """The last revision of each."""
    return list({alert.id: alert for alert in alerts}.values())


def _spelt(scope: Scope, keys: Iterable[str]) -> Iterator[str]:
    """Keys as alerts may write them: an IPv6 address may stand for its /64, which one household has."""
    for key in keys:
        yield key
        if scope is Scope.IP and ":" in key:
            yield str(ip_network(f"{key}/64", strict=False))
