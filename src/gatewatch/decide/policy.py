"""From a finding to an order: whom to stop, how long, and whether the guards let it pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewatch.decide import guards, modes, own
from gatewatch.decide.candidate import Candidate
from gatewatch.decide.episodes import ORDERS_MAX, Episode, digest
from gatewatch.decide.evidence import healthy_principals
from gatewatch.decide.offences import Key, Offences, ttl_s
from gatewatch.decide.orders import Orders
from gatewatch.decide.text import clean, sentence
from gatewatch.records import Decision, Finding, Mode, Refusal, Scope, Verdict
from gatewatch.registry import Entry
from gatewatch.settings import BlockSettings, Settings
from gatewatch.watch.reasons import NAME

# A running order that goes on takes nobody by surprise: the breaker counts new ones.
_RENEWAL_GUARDS = tuple(g for g in guards.GUARDS if g[0] not in guards.OF_NEW)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the log we are.

    ``seen`` is the event time up to which the task had seen everything before this record. A row that is not late is
    newer, whatever the cut into batches, so an order starts when its finding happened; a late row's starts at ``seen``.
    """

    task: int
    seen: float
    offset: int


@dataclass(slots=True)
class Policy:
    """Orders of all episodes. State is bounded by its parts."""

    settings: Settings
    entries: Mapping[str, Entry]
    known: guards.Known
    orders: Orders
    offences: Offences = field(default_factory=Offences)

    @classmethod
    def of(cls, settings: Settings, entries: Mapping[str, Entry]) -> Policy:
        """With nothing ordered yet."""
        orders = Orders()
        known = guards.Known.of(settings)
        known.cleared, known.standing = orders.cleared, orders.standing
        return cls(settings, entries, known, orders)

    def hear(self, offset: int) -> None:
        """Let people's orders take effect that are due before the findings of ``offset``; a removal also forgives."""
        for removal in self.orders.take_effect(offset):
            self.offences.forgive((removal.scope, removal.value))

    def judge(self, episode: Episode, finding: Finding, mode: Mode, moment: Moment) -> Decision | Refusal | None:
        """The order or the refusal that a finding leads to, if it leads to a new one; it is noted in the episode."""
        block = self._block(finding)
        if block is None or episode.severity.rank < block.min_severity.rank:
            return None
        target = target_of(finding, block.scope)
        if target is None or (target not in episode.decisions and len(episode.decisions) >= ORDERS_MAX):
            return None
        if mode is Mode.BLOCK and block.approval and episode.approved_by is None:
            mode, episode.waiting = Mode.SHADOW, _asks_again(episode)
        candidate = _candidate(episode, finding, target, block, moment)
        running = episode.decisions.get(target)
        if running is not None and not _is_due(running, candidate.at, mode, block):
            return None
        renewal = running is not None and running.mode is mode and candidate.at < running.until
        refused = guards.check(candidate, self.known, _RENEWAL_GUARDS if renewal else guards.GUARDS)
        if refused is not None:
            if mode is not Mode.BLOCK:
                return None
            refusal = _refuse(episode, target, refused)
            if refusal is not None and refusal.guard == own.BREAKER:
                self.known.breaker.hold(candidate.at)
            return refusal
        episode.refused.pop(target, None)
        decision = self._order(candidate, finding, episode, block, mode, running if renewal else None, moment)
        episode.decisions[target] = decision
        return decision

    def approve(self, episode: Episode, actor: str, moment: Moment) -> Decision | Refusal | None:
        """A second person says that the orders of an episode may hold: the one on its gravest finding does at once.

        Who called the alert true asked for it, and is not the second.
        """
        if not episode.waiting or actor == episode.asked_by:
            return None
        episode.approved_by, episode.waiting = actor, False
        return self.judge(episode, episode.lead, episode.mode, moment)

    def let_go(self, episode: Episode, verdict: Verdict, offset: int) -> list[Decision]:
        """A person says that whom an episode stopped should not be: the removals of its orders."""
        gone: list[Decision] = []
        for target, decision in episode.decisions.items():
            if decision.removed is None and decision.mode is Mode.BLOCK:
                said = {"removed": verdict.ts, "removed_by": verdict.actor, "findings_offset": offset}
                removal = decision.model_copy(update=said)
                episode.decisions[target] = removal
                self.orders.clear(removal)
                self.offences.forgive(target)
                gone.append(removal)
        return gone

    def _block(self, finding: Finding) -> BlockSettings | None:
        """How to block, or ``None`` where the settings want no orders, not even recorded ones."""
        configured = modes.configured(self.settings, self.entries, finding.detector, finding.project)
        if finding.detector == NAME:  # what we cannot see is nobody's fault
            return None
        if configured not in (Mode.BLOCK, Mode.SHADOW):
            return None
        return modes.block_settings(self.settings, self.entries, finding.detector, finding.project)

    def _order(
        self,
        candidate: Candidate,
        finding: Finding,
        episode: Episode,
        block: BlockSettings,
        mode: Mode,
        running: Decision | None,
        moment: Moment,
    ) -> Decision:
        key = (candidate.scope, candidate.value)
        approved = episode.approved_by if mode is Mode.BLOCK else None
        offence = running.offence if running is not None else self.offences.number(key, candidate.at)
        until = candidate.at + ttl_s(block.ttl, block.max_ttl, offence)
        if mode is Mode.BLOCK:
            self.offences.note(key, offence, until)
            if running is None:
                self.known.breaker.add(candidate.at, candidate.share)
        decision = Decision(
            id=candidate.id,
            action=block.action,
            scope=candidate.scope,
            value=candidate.value,
            reason=sentence(finding) + ("" if approved is None else f"; approved by {clean(approved)}"),
            detector=finding.detector,
            alert_id=episode.id,
            start=running.start if running is not None else candidate.at,
            until=until,
            mode=mode,
            offence=offence,
            findings_offset=moment.offset,
        )
        if mode is Mode.BLOCK:
            self.orders.note(decision)
        return decision


def target_of(finding: Finding, scope: Scope | None) -> Key | None:
    """Whom an order on this finding stops.

    With no configured scope, or the finding's own, the key that the finding accuses. With another one: nobody, with
    one exception. A principal's finding may stop the credential of its row: that is less than the accused, and nobody
    else. An address inside an accused network, or an address that tried an accused account, is somebody who was not
    accused himself; and what is wider than the accused is not on offer.
    """
    if scope is None or scope is finding.scope:
        return finding.scope, finding.key
    if finding.scope is Scope.PRINCIPAL and scope is Scope.CREDENTIAL and finding.context.get("credential"):
        return scope, finding.context["credential"]
    return None


def decision_id(alert_id: str, block: BlockSettings, target: Key) -> str:
    """16 hex digits: one order for each episode, action and key."""
    return digest(alert_id, block.action.value, target[0].value, target[1])


def _candidate(episode: Episode, finding: Finding, target: Key, block: BlockSettings, moment: Moment) -> Candidate:
    return Candidate(
        id=decision_id(episode.id, block, target),
        scope=target[0],
        value=target[1],
        at=max(finding.ts, moment.seen),
        context={**finding.context, finding.scope.value: finding.key},
        share=_share(finding),
        healthy=healthy_principals(finding),
        action=block.action,
    )


def _asks_again(episode: Episode) -> bool:
    """Whether its orders wait for somebody: also after a no, once it is graver than what that was about."""
    return episode.rejected is None or episode.severity.rank > episode.rejected.rank


def _share(finding: Finding) -> float | None:
    """The key's share of live traffic, where the detector says it."""
    try:
        share = float(finding.context["share"])
    except (KeyError, ValueError):
        return None
    return share if math.isfinite(share) else None


def _is_due(running: Decision, at: float, mode: Mode, block: BlockSettings) -> bool:
    """Whether a running order needs another revision: half of its time is gone, or shadow becomes real."""
    if modes.rank(mode) != modes.rank(running.mode):
        return modes.rank(mode) > modes.rank(running.mode)
    ttl = ttl_s(block.ttl, block.max_ttl, running.offence)
    return running.until - at < ttl / 2


def _refuse(episode: Episode, target: Key, refused: tuple[str, str]) -> Refusal | None:
    """The refusal, the first time that this guard says it of this key in the episode."""
    guard, reason = refused
    before = episode.refused.get(target)
    if target not in episode.refused and len(episode.refused) >= ORDERS_MAX:
        return None
    episode.refused[target] = refused
    if before is not None and before[0] == guard:
        return None
    return Refusal(scope=target[0], value=target[1], guard=guard, reason=reason, alert_id=episode.id)
