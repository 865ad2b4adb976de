"""How well it went: each simulated attack against the alerts and decisions that came out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import numpy as np
import numpy.typing as npt

from gatewatch.demo.coverage import COVERAGE
from gatewatch.records import Alert, Decision, Finding, Mode, Scope, Severity
from gatewatch.simulate.labels import Episode, keys_of
from gatewatch.simulate.rows import Rows
from gatewatch.simulate.world import World

# An alert that begins so long after the last event of an attack is about something else. The widest window that a
# detector looks at is an hour; half of it is what may still fill up after the end.
GRACE_S = 1800.0
Key = tuple[Scope, str]
_Spoke = dict[tuple[str, Scope, str], list[float]]


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

    @property
    def caught(self) -> bool:
        """An alert, not a shadow, named one of its keys in time."""
        return self.detector is not None


@dataclass(slots=True)
class Scoreboard:
    """Everything that the last page says."""

    verdicts: list[Verdict] = field(default_factory=list)
    false_alarms: list[Alert] = field(default_factory=list)  # medium or worse: these count against the budget
    notes: list[Alert] = field(default_factory=list)  # about no attack either, but of lower severity
    wrong_blocks: list[Decision] = field(default_factory=list)
    days: float = 0.0

    @property
    def passed(self) -> bool:
        """Every attack was caught that a detector on the search path is made for."""
        return all(verdict.caught for verdict in self.verdicts if verdict.covered)


class Truth:
    """One attack: whether an alert or a decision is about it."""

    def __init__(self, world: World, episode: Episode, rows: Rows) -> None:
        self.episode = episode
        self._rows = rows
        self._world = world
        self._keys = {(scope, name) for scope, found in episode.keys.items() for name in _spelt(scope, found)}

    def names(self, scope: Scope, key: str) -> bool:
        """Whether the attack has this key."""
        return (scope, key) in self._keys

    def is_about(self, alert: Alert) -> bool:
        """Whether a revision of an alert tells of this attack."""
        in_time = alert.last_ts >= self.episode.first_ts and alert.first_ts <= self.episode.last_ts + GRACE_S
        return in_time and self.names(alert.scope, alert.key)

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
    about = [[alert for alert in sent if truth.is_about(alert)] for truth in truths]
    spoke = _spoke(findings)
    board = Scoreboard(days=days)
    for truth, mine in zip(truths, about, strict=True):
        board.verdicts.append(_judge(truth, mine, blocks, spoke, covered=truth.episode.attack in covered))
    explained = {alert.id for mine in about for alert in mine}
    for alert in _last(alert for alert in sent if alert.id not in explained):
        (board.false_alarms if alert.severity.rank >= Severity.MEDIUM.rank else board.notes).append(alert)
    board.wrong_blocks = [d for d in blocks if not any(truth.names(d.scope, d.value) for truth in truths)]
    return board


def _judge(
    truth: Truth, about: Sequence[Alert], blocks: Sequence[Decision], spoke: _Spoke, *, covered: bool
) -> Verdict:
    episode = truth.episode
    first = min(about, key=lambda alert: _when(alert, spoke, episode.first_ts), default=None)
    named = truth.carrying({(alert.scope, alert.key) for alert in about})
    block = min((d for d in blocks if truth.names(d.scope, d.value)), key=lambda d: d.start, default=None)
    stopped = 0
    if block is not None:
        stopped = int((truth.carrying({(block.scope, block.value)}) & truth.after(block.start)).sum())
    return Verdict(
        attack=episode.attack,
        first_ts=episode.first_ts,
        events=episode.events,
        needs=str(COVERAGE[episode.attack]),
        covered=covered,
        detector=first.detector if first else None,
        title=first.title if first else None,
        alert_id=first.id if first else None,
        after_s=_when(first, spoke, episode.first_ts) - episode.first_ts if first else None,
        events_named=int(named.sum()),
        blocked_after_s=max(0.0, block.start - episode.first_ts) if block else None,
        events_after_block=stopped,
    )


def _spoke(findings: Iterable[Finding]) -> _Spoke:
    """When each detector spoke up about each key, other than in shadow."""
    spoke: _Spoke = {}
    for finding in findings:
        if finding.warm or not finding.learned:
            spoke.setdefault((finding.detector, finding.scope, finding.key), []).append(finding.ts)
    return spoke


def _when(alert: Alert, spoke: _Spoke, from_ts: float) -> float:
    """Event time of the first finding behind an alert since ``from_ts``."""
    times = spoke.get((alert.detector, alert.scope, alert.key), [])
    return min((ts for ts in times if ts >= from_ts), default=max(alert.last_ts, from_ts))


def _last(alerts: Iterable[Alert]) -> list[Alert]:
    """The last revision of each."""
    return list({alert.id: alert for alert in alerts}.values())


def _spelt(scope: Scope, keys: Iterable[str]) -> Iterator[str]:
    """Keys as alerts may write them: an IPv6 address may stand for its /64, which one household has."""
    for key in keys:
        yield key
        if scope is Scope.IP and ":" in key:
            yield str(ip_network(f"{key}/64", strict=False))
