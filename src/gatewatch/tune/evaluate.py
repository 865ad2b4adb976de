"""How good the detectors are on labelled events: what is caught, how soon, and what it costs in false alarms.

The events go through the real flow. Then each attack is held against what each detector said: it is *caught* where a
finding that may be sent (not shadow) names one of its keys, from its first event until a quarter of an hour after its
last: as its own key, or as who or where from its row was (a leaked key is found on the credential, and the label may
hold the principal). A finding about an endpoint, a project or everything counts for the attacks under way whose events
have that endpoint or project. An alert about no attack is a *false alarm*; those of medium severity or worse count
against the budget, and only they are counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gatewatch.decide import modes
from gatewatch.records import Alert, Finding, Mode, Scope, Severity
from gatewatch.registry import load_all
from gatewatch.settings import Settings, Source
from gatewatch.tune import evaluate_stats as st
from gatewatch.tune.evaluate_events import COARSE, DAY_S, Collector, Events, Floats, key_hash, scores
from gatewatch.tune.evaluate_labels import Attack, Truth, read, spelt
from gatewatch.tune.replay import Replayed, Unread, replay

GRACE_S = 900.0  # windows of an hour may still fill up when an attack is over; as in the demo's scoreboard
FPR = 1e-3
ANY = "any"  # all detectors together
# Of a finding's row: what a label may name in place of its key
WHO_AND_WHERE = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK)


@dataclass(frozen=True, slots=True)
class Caught:
    """What became of one attack with one detector."""

    attack: str
    kind: str
    events: int
    after_s: float | None = None  # from its first event to the first finding; None: missed
    after_events: int | None = None  # events of the attack until then, that one included


@dataclass(frozen=True, slots=True)
class KindReport:
    """One detector on one kind of attack."""

    kind: str
    attacks: int
    caught: int
    recall: st.Interval
    after_s: st.Interval  # median of those caught
    after_events: st.Interval
    hostile_events: int
    tpr: float  # share of their events that score above the threshold which FPR of the benign events pass


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """An alert about no attack, as much of it as it takes to look it up."""

    id: str
    detector: str
    scope: Scope
    key: str
    reason: str
    first_ts: float
    nats: float


@dataclass(slots=True)
class DetectorReport:
    """One detector on everything; ``any`` is all of them together."""

    detector: str
    alerts: int  # sent, medium or worse
    false_alarms: int
    false_per_day: st.Interval  # bootstrap over days
    false_per_key_day: st.Interval  # bootstrap over keys
    precision: st.Interval
    tpr: float
    threshold_nats: float  # behind ``tpr``: a matter of this file, not the detector's own
    kinds: list[KindReport] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)
    false: list[FalseAlarm] = field(default_factory=list)
    curve: tuple[Floats, Floats] = field(default_factory=lambda: (np.zeros(0), np.zeros(0)))  # FPR, TPR


@dataclass(slots=True)
class Report:
    """What an evaluation says."""

    events: int
    hostile_events: int
    unread: list[Unread]
    days: float
    attacks: int
    unseen: list[str]  # attacks of which no event is in the files
    detectors: list[DetectorReport] = field(default_factory=list)


def evaluate(
    files: Iterable[Path | str],
    source: Source,
    labels: Path,
    settings: Settings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run files through the flow and hold what came out against the labels.

    Raises:
        ConfigError: settings, format or labels are wrong.
        LogError: a file cannot be read.
    """
    truth = read(labels)
    collector = Collector(source)
    done = replay(files, source, settings, progress=progress, tap=collector.add)
    return judge(done, collector.events(truth), truth, settings)


def judge(done: Replayed, events: Events, truth: Truth, settings: Settings) -> Report:
    """The report on a replay. Pure."""
    entries = load_all()
    sent = [f for f in done.findings if modes.rank(modes.of(settings, entries, f)) > modes.rank(Mode.SHADOW)]
    alerts = [a for a in done.last_alerts() if a.mode is not Mode.SHADOW and a.severity.rank >= Severity.MEDIUM.rank]
    seen = [_Seen(n, attack, events) for n, attack in enumerate(truth.attacks)]
    days = max(float(np.ptp(events.ts)) / DAY_S, 1e-9) if len(events) else 0.0
    report = Report(
        events=len(events),
        hostile_events=int(events.hostile.sum()),
        unread=done.unread(),
        days=days,
        attacks=len(truth.attacks),
        unseen=[s.attack.name for s in seen if not len(s.times)],
    )
    present = [s for s in seen if len(s.times)]
    for name in (*entries, ANY):
        scopes = {s for n, e in entries.items() if name in (n, ANY) for s in e.scopes}
        mine = [f for f in sent if name in (f.detector, ANY)]
        told = [a for a in alerts if name in (a.detector, ANY)]
        report.detectors.append(_report(name, mine, told, present, events, scopes))
    return report


class _Seen:
    """One attack, and the keys and times of its events."""

    def __init__(self, number: int, attack: Attack, events: Events) -> None:
        self.number, self.attack = number, attack
        mine = events.attack == number
        self.times = np.sort(events.ts[mine])
        self.start = float(self.times[0]) if len(self.times) else attack.start
        self.until = (float(self.times[-1]) if len(self.times) else attack.end) + GRACE_S
        self._labelled = {(scope, key_hash(scope, key)) for scope, key in spelt(attack.keys)}
        self._coarse = self._labelled | {
            (scope, int(k))
            for scope in (Scope.ENDPOINT, Scope.PROJECT)
            for k in np.unique(events.keys[scope][mine])
            if k
        }

    def named(self, about: Finding | Alert) -> bool:
        if about.scope in COARSE:
            return about.scope is Scope.ALL or (about.scope, key_hash(about.scope, about.key)) in self._coarse
        names = [(about.scope, about.key)]
        names += [(scope, text) for scope in WHO_AND_WHERE if (text := about.context.get(scope.value))]
        return any((scope, key_hash(scope, name)) in self._labelled for scope, name in names)

    def caught_by(self, findings: Sequence[Finding]) -> Caught:
        mine = [f.ts for f in findings if self.start <= f.ts <= self.until and self.named(f)]
        if not mine:
            return Caught(self.attack.name, self.attack.kind, len(self.times))
        first = min(mine)
        n = int(np.searchsorted(self.times, first, "right"))
        return Caught(self.attack.name, self.attack.kind, len(self.times), first - self.start, n)

    def explains(self, alert: Alert) -> bool:
        overlaps = alert.first_ts <= self.until and alert.last_ts >= self.start
        return overlaps and self.named(alert)


def _report(
    name: str,
    findings: Sequence[Finding],
    alerts: Sequence[Alert],
    attacks: Sequence[_Seen],
    events: Events,
    scopes: set[Scope],
) -> DetectorReport:
    false = [a for a in alerts if not any(seen.explains(a) for seen in attacks)]
    score, hostile = scores(events, findings), events.hostile
    tpr, threshold = st.tpr_at_fpr(score[~hostile], score[hostile], FPR)
    caught = [seen.caught_by(findings) for seen in attacks]
    return DetectorReport(
        detector=name,
        alerts=len(alerts),
        false_alarms=len(false),
        false_per_day=_per_day(false, events),
        false_per_key_day=_per_key_day(false, events, scopes),
        precision=st.share(len(alerts) - len(false), len(alerts)),
        tpr=tpr,
        threshold_nats=threshold,
        kinds=_kinds(caught, score, threshold, attacks, events),
        caught=caught,
        false=[FalseAlarm(a.id, a.detector, a.scope, a.key, a.reason, a.first_ts, a.nats) for a in false],
        curve=_curve(score[~hostile], score[hostile]),
    )


def _kinds(
    caught: Sequence[Caught], score: Floats, threshold: float, attacks: Sequence[_Seen], events: Events
) -> list[KindReport]:
    numbers: dict[str, list[int]] = {}
    for position, seen in enumerate(attacks):
        numbers.setdefault(seen.attack.kind, []).append(position)
    out = []
    for kind, positions in numbers.items():
        found = [c for i in positions if (c := caught[i]).after_s is not None]
        times = np.isin(events.attack, [attacks[i].number for i in positions])
        out.append(
            KindReport(
                kind=kind,
                attacks=len(positions),
                caught=len(found),
                recall=st.share(len(found), len(positions)),
                after_s=st.median(np.array([c.after_s for c in found], np.float64)),
                after_events=st.median(np.array([c.after_events for c in found], np.float64)),
                hostile_events=int(times.sum()),
                tpr=float((score[times] > threshold).mean()) if times.any() else np.nan,
            )
        )
    return out


def _per_day(false: Sequence[Alert], events: Events) -> st.Interval:
    """False alarms a day; days of the data (24 h from its first event), the last one in part, are resampled."""
    if not len(events):
        return st.NOTHING
    first, span = float(events.ts.min()), max(float(np.ptp(events.ts)), 1.0)
    exposure = np.minimum(1.0, span / DAY_S - np.arange(int(np.ceil(span / DAY_S))))
    day = [min(int((a.first_ts - first) / DAY_S), len(exposure) - 1) for a in false]
    return st.rate(np.bincount(day, minlength=len(exposure)).astype(np.float64), exposure)


def _per_key_day(false: Sequence[Alert], events: Events, scopes: set[Scope]) -> st.Interval:
    """False alarms a key and day on which it was active; keys are resampled."""
    ordered = sorted(scopes)
    keys, days = events.key_days(ordered)
    hashes = [1 if a.scope is Scope.ALL else key_hash(a.scope, a.key) for a in false]
    order = np.argsort(keys)
    at = np.searchsorted(keys[order], np.array(hashes, np.uint64))
    known = [int(order[i]) for i, h in zip(at, hashes, strict=True) if i < len(keys) and int(keys[order[i]]) == h]
    return st.rate(np.bincount(known, minlength=len(keys)).astype(np.float64), days)


def _curve(benign: Floats, hostile: Floats) -> tuple[Floats, Floats]:
    """False- and true-positive rate at each score that occurs, rising."""
    levels = np.unique(np.concatenate([benign, hostile]))[::-1]
    levels = levels[levels > 0.0]
    above = [len(a) - np.searchsorted(np.sort(a), levels, "left") for a in (benign, hostile)]
    return above[0] / max(len(benign), 1), above[1] / max(len(hostile), 1)
