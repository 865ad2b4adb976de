"""A case: all episodes that belong together, as decide knows them while they last.

What a person reads of it is an :class:`~gatewatch.records.Incident` (``story.py``); who belongs to which case is
settled in ``incidents.py``. Everything here is bounded: what comes beyond a limit is counted and not kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from gatewatch.catalog import Ownership
from gatewatch.decide import modes
from gatewatch.decide.alerts import severity_of
from gatewatch.decide.episodes import COOL_DOWN_S, UPDATE_S, Episode
from gatewatch.decide.evidence import ACTORS
from gatewatch.decide.offences import Key
from gatewatch.decide.severity import at_least
from gatewatch.records import Action, Decision, Effect, Finding, Mode, Scope, Severity

T = TypeVar("T")

# A botnet of tens of thousands is one line in an incident; what is kept of it must fit beside 50,000 open episodes.
MEMBERS_MAX = 5_000
ORDERS_MAX = 5_000
VICTIMS_MAX = 1_000
NAMES_MAX = 16  # projects, detectors, titles
EVIDENCE_MAX = 8
# So many members make a case graver than the worst of them, and its alerts quieter: the incident tells how it grows.
MANY = 10
CROWD = 50


@dataclass(slots=True)
class Member:
    """One key of a case."""

    severity: Severity
    nats: float
    alert_id: str
    detectors: dict[str, None] = field(default_factory=dict)
    count: int = 0

    @property
    def weight(self) -> tuple[int, float]:
        """Graver ones first."""
        return self.severity.rank, self.nats


@dataclass(slots=True)
class Told:
    """How a case stood in its last revision."""

    ts: float
    count: int
    members: int
    severity: Severity
    mode: Mode
    orders: int
    closed: bool
    words: tuple[str | None, ...]


@dataclass(slots=True, eq=False)
class Case:
    """One case. ``lead`` is its gravest finding; ``open`` counts episodes that go on."""

    id: str
    lead: Finding
    lead_alert: str
    severity: Severity
    mode: Mode
    ownership: Ownership
    first_ts: float
    last_ts: float
    storm: bool = False
    cool_down_s: float = COOL_DOWN_S
    open: int = 0
    count: int = 0
    members: dict[Key, Member] = field(default_factory=dict)
    scopes: Counter[Scope] = field(default_factory=Counter)  # of all members, those that are not kept too
    alerts: dict[str, tuple[int, float]] = field(default_factory=dict)  # id: how grave
    alerts_total: int = 0
    orders: dict[str, Decision] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)  # guard: keys
    effective: dict[str, float] = field(default_factory=dict)  # order: seconds until the first request was refused
    # Orders in spite of which requests are served, and at which gateway
    through: set[tuple[str, str]] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)  # open episodes whose orders wait for a second person
    victims: set[str] = field(default_factory=set)  # accounts
    projects: dict[str, None] = field(default_factory=dict)
    detectors: dict[str, None] = field(default_factory=dict)
    titles: dict[str, None] = field(default_factory=dict)
    evidence: dict[str, None] = field(default_factory=dict)
    acknowledged_by: str | None = None
    verdict: str | None = None
    held_until: float | None = None
    into: Case | None = None  # it turned out to be part of that one
    told: Told | None = None

    @property
    def size(self) -> int:
        """Members, also those that are not kept. A key that left and came back after the limit may count twice."""
        return sum(self.scopes.values())

    @property
    def has_actors(self) -> bool:
        """Whether anybody is accused, beside those it is done to."""
        return any(scope in ACTORS for scope in self.scopes)

    @property
    def due(self) -> float:
        """Event time up to which a finding still belongs to it."""
        return self.last_ts + self.cool_down_s

    def overlaps(self, ts: float) -> bool:
        """Whether something at ``ts`` happened while the case went on."""
        return self.first_ts - self.cool_down_s <= ts <= self.due

    def take(self, episode: Episode, finding: Finding, *, began: bool) -> None:
        """One more finding of one of its episodes, the first with ``began``; the episode knows of it already."""
        severity, key = severity_of(episode), (finding.scope, finding.key)
        if (severity.rank, finding.nats) > (self.severity.rank, self.lead.nats):
            self.lead, self.lead_alert, self.ownership = finding, episode.id, episode.ownership
        self.severity = at_least(self.severity, severity)
        self.mode = max(self.mode, episode.mode, key=modes.rank)
        self.first_ts, self.last_ts = min(self.first_ts, episode.first_ts), max(self.last_ts, episode.last_ts)
        self.cool_down_s = max(self.cool_down_s, episode.cool_down_s)
        self.count += 1
        self._member(key, Member(severity, finding.nats, episode.id, {finding.detector: None}, 1), began=began)
        self.alerts_total += began
        self._alert(episode.id, (severity.rank, finding.nats))
        if account := (finding.key if finding.scope is Scope.ACCOUNT else finding.context.get("account")):
            _keep(self.victims, account, VICTIMS_MAX)
        for names, name in (
            (self.projects, finding.project),
            (self.detectors, finding.detector),
            (self.titles, finding.title),
        ):
            if name is not None and len(names) < NAMES_MAX:
                names.setdefault(name)

    def order(self, decision: Decision) -> None:
        """An order, or a new revision of one, that one of its episodes led to."""
        if decision.id in self.orders or len(self.orders) < ORDERS_MAX:
            self.orders[decision.id] = decision

    def effect(self, effect: Effect) -> None:
        """What traffic shows of one of its orders; what is seen later holds."""
        order = self.orders.get(effect.decision_id)
        if order is None:
            return
        if effect.after_s is not None:
            self.effective[order.id] = effect.after_s
            self.through.discard((order.id, effect.gateway))
        if effect.through and order.action is Action.BLOCK:  # who is throttled, or has solved a challenge, is served
            self.through.add((order.id, effect.gateway))

    def wait(self, episode_id: str) -> None:
        """Orders of that episode wait for a second person."""
        _keep(self.waiting, episode_id, ORDERS_MAX)

    def join(self, why: str) -> None:
        """Remember by what evidence somebody belongs to it."""
        if len(self.evidence) < EVIDENCE_MAX:
            self.evidence.setdefault(why)

    def absorb(self, other: Case) -> None:
        """Take over everything of a case that turned out to be part of this one."""
        if (other.severity.rank, other.lead.nats) > (self.severity.rank, self.lead.nats):
            self.lead, self.lead_alert, self.ownership = other.lead, other.lead_alert, other.ownership
        self.severity = at_least(self.severity, other.severity)
        self.mode = max(self.mode, other.mode, key=modes.rank)
        self.first_ts, self.last_ts = min(self.first_ts, other.first_ts), max(self.last_ts, other.last_ts)
        self.cool_down_s = max(self.cool_down_s, other.cool_down_s)
        self.open += other.open
        self.count += other.count
        unkept = other.scopes - Counter(scope for scope, _key in other.members)
        for key, member in other.members.items():
            self._member(key, member, began=True)
        self.scopes += unkept
        for alert_id, weight in other.alerts.items():
            self._alert(alert_id, weight)
        self.alerts_total += other.alerts_total
        for decision in other.orders.values():
            self.order(decision)
        self.refused += other.refused
        self.waiting |= other.waiting
        self.effective |= other.effective
        self.through |= other.through
        self.victims |= other.victims
        for mine, theirs in (
            (self.projects, other.projects), (self.detectors, other.detectors), (self.titles, other.titles)
        ):  # fmt: skip
            for name in theirs:
                if len(mine) < NAMES_MAX:
                    mine.setdefault(name)
        for why in other.evidence:
            self.join(why)
        self.acknowledged_by = self.acknowledged_by or other.acknowledged_by
        other.into = self

    def drop(self) -> None:
        """It is over and told: what is large about it goes, whoever still points to it."""
        for large in (self.members, self.alerts, self.orders, self.waiting, self.victims, self.effective, self.through):
            large.clear()

    def has_news(self) -> bool:
        """Whether a person should hear of it again: it grew, or goes on, or what is done or said about it changed."""
        told = self.told
        return (
            told is None
            or told.closed
            or self.grade.rank > told.severity.rank
            or modes.rank(self.mode) > modes.rank(told.mode)
            or self.size >= 2 * told.members
            or self.count >= 2 * told.count
            or len(self.orders) >= max(2 * told.orders, 1)
            or self.last_ts - told.ts >= UPDATE_S
            or self._words() != told.words
        )

    def tell(self) -> None:
        """A revision goes out now."""
        orders, closed = len(self.orders), self.open == 0
        self.told = Told(self.last_ts, self.count, self.size, self.grade, self.mode, orders, closed, self._words())

    @property
    def grade(self) -> Severity:
        """How soon a person must look: as the gravest alert; one step more, to high at most, where there are many."""
        if self.size < MANY:
            return self.severity
        up = list(Severity)[min(self.severity.rank + 1, Severity.HIGH.rank)]
        return at_least(self.severity, up)

    def _words(self) -> tuple[str | None, ...]:
        until = None if self.held_until is None else f"{self.held_until:.0f}"
        seen = "through" if self.through else "effective" if self.effective else None
        return self.acknowledged_by, self.verdict, until, seen, "waiting" if self.waiting else None

    def _member(self, key: Key, new: Member, *, began: bool) -> None:
        member = self.members.get(key)
        if member is None:
            room = len(self.members) < MEMBERS_MAX
            self.scopes[key[0]] += room or began
            if room:
                self.members[key] = new
            return
        if new.weight > member.weight:
            member.severity, member.nats, member.alert_id = new.severity, new.nats, new.alert_id
        member.count += new.count
        for detector in new.detectors:
            if len(member.detectors) < NAMES_MAX:
                member.detectors.setdefault(detector)

    def _alert(self, alert_id: str, weight: tuple[int, float]) -> None:
        before = self.alerts.get(alert_id)
        if before is not None or len(self.alerts) < MEMBERS_MAX:
            self.alerts[alert_id] = weight if before is None else max(weight, before)


def _keep(values: set[T], value: T, most: int) -> None:
    if len(values) < most:
        values.add(value)
