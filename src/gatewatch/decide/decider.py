"""The findings log in, alerts and decisions out: a pure function.

No clock and no randomness: time is the tasks' watermarks, to each episode its own task's. Whoever applies the same
records in the same order, with people's orders at the same offsets, says the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatewatch.catalog import Catalog, Ownership
from gatewatch.decide import alerts, modes, own, said, severity
from gatewatch.decide.cases import Case
from gatewatch.decide.episodes import OPEN_MAX, Episode, EpisodeKey, Episodes, key_of
from gatewatch.decide.incidents import is_crowded
from gatewatch.decide.policy import Moment, Policy
from gatewatch.decide.revisions import Revisions
from gatewatch.decide.said import CLOSING, SEEN
from gatewatch.decide.state import SHAPE, State
from gatewatch.decide.turn import Decided, Turn
from gatewatch.records import (
    Decision,
    Effect,
    Finding,
    FindingBatch,
    Mode,
    Refusal,
    Release,
    Severity,
    Status,
    Verdict,
    VerdictKind,
)
from gatewatch.records.quantities import span
from gatewatch.registry import Entry
from gatewatch.sdk import Reason
from gatewatch.settings import Settings
from gatewatch.state.plans import nobody
from gatewatch.state.shapes import Copying, Parts
from gatewatch.verdicts import release_of
from gatewatch.watch import reasons as watch


class Decider:
    """All that decide knows.

    Args:
        settings: modes, block settings, guards.
        entries: the detector folders: default modes, severities, tags.
        catalog: owners and sensitivity.
        open_max: episodes that may be open at once.
    """

    def __init__(
        self, settings: Settings, entries: Mapping[str, Entry], catalog: Catalog, *, open_max: int = OPEN_MAX
    ) -> None:
        self._settings, self._entries = settings, entries
        self._revisions = Revisions(entries, catalog, settings.hash)
        self._reasons: dict[tuple[str, str], Reason] = {
            (name, reason.name): reason for name, entry in entries.items() for reason in entry.reasons
        }
        self._reasons |= {(watch.NAME, reason.name): reason for reason in watch.REASONS}
        policy = self._policy = Policy.of(settings, entries)
        # Everything that a finding or a person changes: what is not in it does not survive a restart
        self._state = State(Episodes(open_max), policy.orders, policy.offences, policy.known.breaker)
        self._episodes, self._incidents, self._said = self._state.episodes, self._state.incidents, self._state.said
        policy.known.expected = self._said.allowed

    @property
    def open_episodes(self) -> int:
        """How many there are, for metrics."""
        return len(self._episodes)

    @property
    def open_incidents(self) -> int:
        """How many there are, for metrics."""
        return len(self._incidents)

    @property
    def hashes(self) -> tuple[str, str]:
        """Of settings and catalog."""
        return self._revisions.hashes

    @property
    def watermarks(self) -> dict[int, float]:
        """Event time that each task has passed."""
        return {task: watermark for task, (_offset, watermark) in self._state.tasks.items()}

    @property
    def is_waiting_to_act(self) -> bool:
        """Whether something that people said takes effect only at the next record."""
        return self._state.orders.pending or self._said.pending

    def copy(self) -> Parts:
        """All that it knows. Cost: about 10 us an open episode."""
        return SHAPE.copy(self._state)

    def begin_copy(self) -> Copying:
        """The same, in steps between records: what it knows now, whatever comes meanwhile."""
        copying = SHAPE.begin(self._state, done=lambda: self._state.watch(nobody))
        self._state.watch(copying.before)
        return copying

    def become(self, parts: Parts) -> None:
        """Know what another one knew when it was copied; for one that knows nothing yet.

        Raises:
            StateError: it was of another version; this one is of no use then.
        """
        SHAPE.fill(self._state, parts)

    def use(self, catalog: Catalog) -> None:
        """Another catalog from now on: for findings to come. Alerts say which one held."""
        self._revisions.use(catalog)

    def order(self, decision: Decision, offset: int) -> None:
        """A person's order, or removal of one; it takes effect before the findings of ``offset``."""
        self._policy.orders.schedule(decision, offset)

    def hear(self, verdict: Verdict, offset: int) -> None:
        """What a person said; it takes effect before the findings of ``offset``."""
        self._said.schedule(verdict, offset)

    def apply(self, batch: FindingBatch, offset: int) -> Decided:
        """Apply one record of ``findings``.

        A record that its task had said before is dropped whole. The order of findings within a record does not matter.
        Cost: about 3 us, and about 200 us a finding.
        """
        turn = Turn(offset)
        self._policy.hear(offset)
        for verdict in self._said.take_effect(offset):
            self._judge(verdict, turn)
        applied, seen = self._state.tasks.get(batch.task, (-1, float("-inf")))
        moment = Moment(batch.task, seen, offset)
        if batch.routed_offset > applied or batch.task == watch.TASK:
            self._state.tasks[batch.task] = (batch.routed_offset, max(seen, batch.watermark))
            for effect in batch.effects:
                self._see(effect, moment.task, turn)
            for finding in _in_order(batch.findings):
                self._take(finding, moment, turn)
            self._end(moment.task, turn)
        for episode in turn.touched.values():
            self._tell(episode, turn)
        turn.decided.alerts.sort(key=lambda a: (-a.severity.rank, -a.nats, a.id))
        for case in self._incidents.touched():
            self._tell_case(case, batch.task, turn)
        self._incidents.forget(self._slowest())
        return turn.decided

    def _slowest(self) -> float:
        """Event time that every task of detect has passed. Watchers live by the wall clock, and hold nothing up."""
        passed = (watermark for task, (_offset, watermark) in self._state.tasks.items() if task != watch.TASK)
        return min(passed, default=float("-inf"))

    def _take(self, finding: Finding, moment: Moment, turn: Turn) -> None:
        """Put a finding into its episode, and order what it leads to."""
        mode = modes.of(self._settings, self._entries, finding)
        if mode is Mode.OFF:
            return
        ownership = self._revisions.ownership(finding)
        level = severity.level(finding, self._reasons.get((finding.detector, finding.reason)), ownership)
        episode = self._going(finding, level, turn)
        verdict = self._said.expected(key_of(finding), finding.ts, level)
        if verdict is not None and modes.rank(mode) > modes.rank(Mode.SHADOW):
            mode = Mode.SHADOW
        if episode is not None and episode.muted:
            episode.add(finding, mode, level, ownership)
            self._episodes.move(episode, moment.task)
            return
        began = episode is None
        if episode is None:
            episode = self._episodes.begin(finding, moment.task, mode, level, ownership)
            episode.verdict = None if verdict is None else said.words(verdict)
        episode.add(finding, mode, level, ownership)
        self._episodes.move(episode, moment.task)
        turn.touched[episode.id] = episode
        self._incidents.see(episode, finding, began=began)
        outcome = self._policy.judge(episode, finding, mode, moment)
        self._put(episode, outcome, turn)
        self._incidents.count_waiting(episode)
        if isinstance(outcome, Refusal) and outcome.guard == own.BREAKER:
            limit = self._settings.guards.blocks_per_minute
            self._tell_of_us(own.breaker(outcome, finding, limit), moment.task, turn)

    def _see(self, effect: Effect, task: int, turn: Turn) -> None:
        """What traffic shows of an order. A block that a gateway does not carry out is an alert until it does."""
        self._incidents.effect(effect)
        order = self._policy.orders.block(effect.decision_id)
        if order is None:
            return
        if effect.through:
            self._tell_of_us(own.not_effective(order, effect), task, turn)
        elif (episode := self._episodes.by_key(own.not_effective_key(order, effect.gateway))) is not None:
            self._episodes.end(episode)
            self._close(episode, turn, f"effective after {span(effect.after_s or 0.0)}")

    def _tell_of_us(self, finding: Finding, task: int, turn: Turn) -> None:
        """An alert of our own, and a page: one episode however often it is found."""
        episode = self._going(finding, Severity.HIGH, turn)
        began = episode is None
        if episode is None:
            episode = self._episodes.begin(finding, task, Mode.ALERT, Severity.HIGH, Ownership())
        episode.add(finding, Mode.ALERT, Severity.HIGH, Ownership())
        self._episodes.move(episode, task)
        if not episode.muted:
            self._incidents.see(episode, finding, began=began)
            turn.touched[episode.id] = episode

    def _put(self, episode: Episode, outcome: Decision | Refusal | None, turn: Turn) -> None:
        if outcome is not None:
            self._incidents.note(episode, outcome)
        if isinstance(outcome, Decision):
            turn.decided.decisions.append(outcome)
        elif outcome is not None:
            turn.decided.refusals.append(outcome)

    def _going(self, finding: Finding, level: Severity, turn: Turn) -> Episode | None:
        """The episode that a finding goes on with, if one does.

        One that is over ends here, and so does one that a person closed, when it gets graver than what they judged.
        """
        episode = self._episodes.get(finding)
        if episode is None:
            return None
        over = finding.ts - episode.last_ts > episode.cool_down_s
        if not over and not (episode.muted and level.rank > episode.severity.rank):
            return episode
        self._episodes.end(episode)
        self._close(episode, turn)
        return None

    def _judge(self, verdict: Verdict, turn: Turn) -> None:
        """Let a verdict take effect: on an alert's episode, or on an incident and all its episodes that go on."""
        case = None
        if verdict.alert_id is None and verdict.incident_id is not None:
            case = self._incidents.named(verdict.incident_id)
            episodes = [] if case is None else self._episodes.with_ids(self._incidents.episodes_of(case))
        else:
            episode = self._episodes.by_key(EpisodeKey(verdict.detector or "", verdict.scope.value, verdict.key))
            episodes = [episode] if episode is not None and episode.id == verdict.alert_id else []
            if verdict.kind is VerdictKind.EXPECTED:
                self._said.expect(EpisodeKey(verdict.detector or "", verdict.scope.value, verdict.key), verdict)
            if episodes and (of := self._incidents.of(episodes[0])) is not None and of.size == 1:
                case = of
        if case is not None:
            _note(case, verdict)
            self._incidents.touch(case)
        if (let_go := release_of(verdict)) is not None:
            keys = dict.fromkeys([let_go[:2], *((e.lead.scope, e.lead.key) for e in episodes)])
            said = turn.decided.releases
            for scope, key in keys:
                said.append(Release(scope=scope, key=key, until=let_go[2], place=(turn.offset, len(said))))
        for episode in episodes:
            self._judge_one(episode, verdict, turn)

    def _judge_one(self, episode: Episode, verdict: Verdict, turn: Turn) -> None:
        if episode.muted:
            return
        _note(episode, verdict)
        if verdict.kind is VerdictKind.APPROVE:
            now = self._state.tasks.get(episode.task, (-1, episode.last_ts))[1]
            outcome = self._policy.approve(episode, verdict.actor, Moment(episode.task, now, turn.offset))
            self._put(episode, outcome, turn)
        elif verdict.kind is VerdictKind.REJECT and episode.waiting:
            episode.rejected, episode.waiting = episode.severity, False
        elif verdict.kind is VerdictKind.TRUE:
            episode.asked_by = episode.asked_by or verdict.actor
        self._incidents.count_waiting(episode)
        if verdict.kind not in CLOSING:
            turn.touched[episode.id] = episode
            return
        if verdict.kind is VerdictKind.EXPECTED:
            self._said.expect(episode.key, verdict)
        for removal in self._policy.let_go(episode, verdict, turn.offset):
            self._put(episode, removal, turn)
        self._close(episode, turn, said.words(verdict))
        episode.muted = True
        if own.is_breaker(episode.lead):  # closed by a person, who is paged anew if it opens again
            self._policy.known.breaker.close()
            self._episodes.end(episode)

    def _tell(self, episode: Episode, turn: Turn) -> None:
        """A revision of an episode that goes on, where there is news."""
        case = self._incidents.of(episode)
        if episode.has_news(crowded=is_crowded(case)):
            status = Status.OPEN if episode.told is None else Status.UPDATED
            episode.tell()
            turn.decided.alerts.append(self._revisions.alert(episode, case, turn.offset, status))

    def _end(self, task: int, turn: Turn) -> None:
        """Resolve what the task's time has left behind, and what there is no room for.

        What was touched in this very record (a late row, or a catch-up that spans hours) has no other revision then.
        """
        for episode in self._episodes.over(task, self._state.tasks[task][1]):
            self._close(episode, turn)
        for episode in self._episodes.surplus():
            self._close(episode, turn, alerts.CLOSED_EARLY)

    def _close(self, episode: Episode, turn: Turn, note: str | None = None) -> None:
        """The last revision of an episode that is over, or closed by a person; of one that was closed there is none."""
        turn.touched.pop(episode.id, None)
        if episode.muted:
            return
        case = self._incidents.of(episode)
        turn.decided.alerts.append(self._revisions.alert(episode, case, turn.offset, Status.RESOLVED, note))
        self._incidents.leave(episode)

    def _tell_case(self, case: Case, task: int, turn: Turn) -> None:
        """A revision of an incident, where there is news. One that was never told is no news when it is merged."""
        merged = case.into is not None
        if (merged and case.told is not None) or (not merged and (case.open == 0 or case.has_news())):
            now = self._state.tasks[task][1]
            turn.decided.incidents.append(self._revisions.incident(case, turn.offset, now))
        if merged:
            case.drop()
        elif turn.decided.incidents and turn.decided.incidents[-1].id == case.id:
            case.tell()


def _note(about: Episode | Case, verdict: Verdict) -> None:
    """What was said stands in the next revision."""
    about.verdict = said.words(verdict)
    if verdict.kind in SEEN:
        about.acknowledged_by = verdict.actor
    if verdict.kind is VerdictKind.SNOOZE:
        about.held_until = verdict.until


def _in_order(findings: tuple[Finding, ...]) -> list[Finding]:
    """Each finding once, by time."""
    return sorted({finding.id: finding for finding in findings}.values(), key=lambda f: (f.ts, f.id))
