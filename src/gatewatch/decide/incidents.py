"""Which episodes belong together: one incident for each attacker or campaign.

An episode joins the case that it shares an identity with (``evidence.py``), when the two overlap in time; a link
between two cases makes them one, and the larger keeps its name. A wave of a trait (``waves.py``) does the same. What
has nothing in common with anything is a case of its own, up to so many a minute; beyond that it is part of a *storm*,
so that a hundred thousand findings are a hundred incidents and not as many messages. Storms join nobody: strangers meet
in them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatewatch.decide.cases import CROWD, Case
from gatewatch.decide.episodes import Episode, digest
from gatewatch.decide.evidence import Token, identity, traits, words
from gatewatch.decide.guards import Breaker
from gatewatch.decide.waves import Waves
from gatewatch.records import Decision, Effect, Finding, Refusal, Severity
from gatewatch.state.plans import UNSAVED, Before, nobody
from gatewatch.state.recent import Recent

# People read so many in a minute at most; grave ones have room of their own, which a flood of others cannot take.
PER_MINUTE = 50
LINKS_MAX = 100_000  # a few for each open episode; those unheard of for longest are forgotten; 40 MB
# A case that is over is kept while a slower task may still find a part of it
ENDED_MAX = 10_000

Found = dict[str, tuple[Case, Token]]  # by id: a case, and what leads to it


@dataclass(slots=True)
class Incidents:
    """All cases. Cost a finding: some ten look-ups. State is bounded by open episodes, and the limits above."""

    per_minute: int = field(default=PER_MINUTE, metadata=UNSAVED)
    before: Before = field(default=nobody, metadata=UNSAVED)  # told of each case that is given out, or about to change
    _of: dict[str, Case] = field(default_factory=dict)  # open episode's id
    _links: Recent[Token, Case] = field(default_factory=Recent)
    _waves: Waves = field(default_factory=Waves)
    _ended: OrderedDict[str, Case] = field(default_factory=OrderedDict)
    _touched: dict[str, Case] = field(default_factory=dict)
    _merged: Recent[str, Case] = field(default_factory=Recent)  # what became part of another
    _orders: Recent[str, Case] = field(default_factory=Recent)  # by decision id
    _storm: Case | None = None
    _grave: Breaker = field(init=False)
    _other: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self._grave, self._other = Breaker(self.per_minute), Breaker(self.per_minute)

    def __len__(self) -> int:
        """Cases that go on. Cost: one pass over the open episodes."""
        return len({id(_root(case)) for case in self._of.values()})

    def of(self, episode: Episode) -> Case | None:
        """The case of an open episode."""
        case = self._of.get(episode.id)
        return None if case is None else self._claim(case)

    def episodes_of(self, case: Case) -> set[str]:
        """Ids of its open episodes. Cost: one pass over all of them."""
        return {episode for episode, one in self._of.items() if _root(one) is case}

    def watch(self, before: Before) -> None:
        """Tell of each case and trait before it changes."""
        self.before = self._waves.before = before

    def see(self, episode: Episode, finding: Finding, *, began: bool) -> None:
        """One more finding of an episode, the first with ``began``."""
        who = identity(finding)
        found = {case.id: (case, token) for token in who.look if (case := self._linked(token, finding.ts))}
        if began:
            found = self._surge(episode, finding) | found
            case = self._place(episode, finding, found, merge=who.accused)
        else:
            case = self._claim(self._of[episode.id])
            if who.accused or not case.has_actors:
                case = self._merge([case, *(other for other, _token in found.values())], found)
        case.take(episode, finding, began=began)
        self._touch(case)
        for token in who.put:
            self._links.put(token, case, most=LINKS_MAX)

    def note(self, episode: Episode, outcome: Decision | Refusal) -> None:
        """What a finding of the episode led to."""
        case = self.of(episode)
        if case is None:
            return
        if isinstance(outcome, Decision):
            case.order(outcome)
            self._orders.put(outcome.id, case, most=ENDED_MAX)
        else:
            case.refused[outcome.guard] += 1
        self._touch(case)

    def count_waiting(self, episode: Episode) -> None:
        """Whether orders of an episode wait for a second person may have changed."""
        case = self.of(episode)
        if case is None or (episode.id in case.waiting) is episode.waiting:
            return
        if episode.waiting:
            case.wait(episode.id)
        else:
            case.waiting.discard(episode.id)
        self._touch(case)

    def effect(self, effect: Effect) -> None:
        """What traffic shows of an order: that it is carried out, or that it is not."""
        case = self._orders.get(effect.decision_id)
        if case is not None and self._alive(case := self._claim(case)):
            case.effect(effect)
            self._touch(case)

    def leave(self, episode: Episode) -> None:
        """An episode is over; so is its case, when it was the last."""
        case = self.of(episode)
        if case is None:
            return
        del self._of[episode.id]
        case.open -= 1
        case.waiting.discard(episode.id)
        self._touch(case)
        if case.open == 0:
            self._ended[case.id] = case
            if len(self._ended) > ENDED_MAX:
                self._drop(next(iter(self._ended)))

    def touched(self) -> list[Case]:
        """Cases that something happened to since the last call, the gravest first; those that were merged last."""
        cases = sorted(self._touched.values(), key=lambda c: (c.into is not None, -c.grade.rank, -c.lead.nats, c.id))
        self._touched.clear()
        return cases

    def named(self, incident_id: str) -> Case | None:
        """The case of that id that goes on, or what it became part of. Cost: one pass over the open episodes."""
        if (merged := self._merged.get(incident_id)) is not None:
            return self._claim(merged)
        return next((self._claim(case) for case in self._of.values() if _root(case).id == incident_id), None)

    def touch(self, case: Case) -> None:
        """Somebody said something about it: it may have news."""
        self._touch(case)

    def forget(self, slowest: float) -> None:
        """Forget ended cases that no task can add to: ``slowest`` is the event time that every task has passed."""
        while self._ended:
            case = next(iter(self._ended.values()))
            if case.due >= slowest:
                return
            self._drop(case.id)

    def _place(self, episode: Episode, finding: Finding, found: Found, *, merge: bool) -> Case:
        """The case of a new episode. A victim goes to the largest one it is linked to; an actor joins them all."""
        cases = [case for case, _token in found.values()]
        firm = [case for case in cases if not case.storm]
        if firm:
            case = self._merge(firm, found) if merge else max(firm, key=_order)
            case.join(words(found[case.id][1] if case.id in found else next(iter(found.values()))[1]))
        elif cases:
            case = cases[0]
        else:
            case = self._new(episode, finding)
        case.open += 1
        self._ended.pop(case.id, None)
        self._of[episode.id] = case
        return case

    def _new(self, episode: Episode, finding: Finding) -> Case:
        """A case of its own, or the storm where there are too many."""
        allowance = self._grave if episode.severity.rank >= Severity.HIGH.rank else self._other
        ts = finding.ts
        storm = allowance.count(ts) >= allowance.limit
        if storm and (going := self._storm) is not None and self._alive(going) and going.overlaps(ts):
            return self._claim(going)
        case = Case(
            id=digest("incident", episode.id),
            lead=finding,
            lead_alert=episode.id,
            severity=episode.severity,
            mode=episode.mode,
            ownership=episode.ownership,
            first_ts=episode.first_ts,
            last_ts=episode.last_ts,
            storm=storm,
        )
        if storm:
            self._storm = case
            case.join(f"a storm: more than {allowance.limit} incidents began within a minute")
        else:
            allowance.add(ts)
        return case

    def _surge(self, episode: Episode, finding: Finding) -> Found:
        """The cases of a wave that a new episode is part of."""
        found: Found = {}
        for trait in traits(finding):
            for other in self._waves.add(trait, finding.key, finding.ts, episode.id):
                if (case := self._of.get(other)) is not None and not (case := self._claim(case)).storm:
                    found.setdefault(case.id, (case, trait.token))
        return found

    def _merge(self, cases: Iterable[Case], found: Found) -> Case:
        """One case of many: the largest, or else the earliest, takes the others in. Storms stay out, unless alone."""
        distinct = {case.id: case for case in map(self._claim, cases)}
        firm = [case for case in distinct.values() if not case.storm]
        first = next(iter(distinct.values()))
        if first.storm or len(firm) < 2:
            return first
        kept = max(firm, key=_order)
        for case in sorted(firm, key=_order, reverse=True):
            if case is kept:
                continue
            token = found.get(case.id, found.get(kept.id))
            if token is not None:
                kept.join(words(token[1]))
            kept.absorb(case)
            self._merged.put(case.id, case, most=ENDED_MAX)
            self._ended.pop(case.id, None)
            self._touch(case)
        if kept.open:
            self._ended.pop(kept.id, None)
        self._touch(kept)
        return kept

    def _linked(self, token: Token, ts: float) -> Case | None:
        """The case that a token leads to, if it goes on or might, and overlaps."""
        case = self._links.get(token)
        if case is None:
            return None
        case = self._claim(case)
        if not self._alive(case):
            del self._links[token]
            return None
        return case if case.overlaps(ts) else None

    def _claim(self, case: Case) -> Case:
        """The case that it is part of by now, for somebody who may change it."""
        case = _root(case)
        self.before(case)
        return case

    def _drop(self, ended: str) -> None:
        """Forget a case that is over."""
        case = self._ended.pop(ended)
        self.before(case)
        case.drop()

    def _alive(self, case: Case) -> bool:
        return case.open > 0 or case.id in self._ended

    def _touch(self, case: Case) -> None:
        self._touched[case.id] = case


def is_crowded(case: Case | None) -> bool:
    """Whether a case has so many members that its alerts need not say how each of them grows."""
    return case is not None and case.size >= CROWD


def _root(case: Case) -> Case:
    """The case that it is part of by now. Paths are short: a case is merged into one that is larger."""
    while case.into is not None:
        case = case.into
    return case


def _order(case: Case) -> tuple[int, float, str]:
    """The larger, the earlier, the one whose id comes first."""
    return case.size, -case.first_ts, case.id
