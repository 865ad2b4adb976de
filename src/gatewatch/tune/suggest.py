"""What thresholds cost on a file of one's own: budgets and limits with their price, and the settings that follow.

Nothing is extrapolated: for each step of a ladder the file is replayed with that budget and those limits, so a price
is what would have happened. The file is taken as benign unless labels say what was an attack.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from gatewatch.decide import modes
from gatewatch.decide.episodes import cool_down_s
from gatewatch.errors import ConfigError
from gatewatch.records import Finding, Mode, Scope, Severity
from gatewatch.registry import Entry, active, load_all
from gatewatch.settings import Settings, Source, parse
from gatewatch.tune.evaluate import GRACE_S
from gatewatch.tune.evaluate_events import DAY_S
from gatewatch.tune.evaluate_labels import Truth, read, spelt
from gatewatch.tune.replay import Replayed, replay

# Of what is set now. A factor of three is a nat: less is no difference that a person would notice.
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)
BUDGETS = (0.1, 0.3, 1.0, 3.0, 10.0)  # false alarms a day
NOISY_SHARE = 0.5  # of a detector's alarms by one key: then that key is the matter, not the threshold
LEAST_DAYS = 1.0  # of data, for advice: less has not seen a whole cycle of anything

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Price:
    """What one value costs on this file."""

    value: float
    alarms: int
    alarms_per_day: float
    keys: int


@dataclass(slots=True)
class LimitPrices:
    """One limit of a detector, at each step."""

    detector: str
    option: str
    now: float
    steps: list[Price] = field(default_factory=list)
    suggested: float | None = None


@dataclass(slots=True)
class Noisy:
    """A key that makes most of a detector's alarms."""

    detector: str
    scope: str
    key: str
    alarms: int
    of: int


@dataclass(slots=True)
class Advice:
    """Everything that a run says."""

    events: int
    days: float
    budget_now: float
    budgets: list[Price] = field(default_factory=list)
    by_detector: dict[str, list[Price]] = field(default_factory=dict)
    limits: list[LimitPrices] = field(default_factory=list)
    noisy: list[Noisy] = field(default_factory=list)
    suggested_budget: float | None = None

    def changes(self) -> dict[str, Any]:
        """The settings that differ, as they would stand in the file."""
        out: dict[str, Any] = {}
        if self.suggested_budget is not None and self.suggested_budget != self.budget_now:
            out["budget"] = {"false_alarms_per_day": self.suggested_budget}
        for limit in self.limits:
            if limit.suggested is not None and limit.suggested != limit.now:
                detectors = out.setdefault("detectors", {})
                detectors.setdefault(limit.detector, {}).setdefault("limits", {})[limit.option] = limit.suggested
        return out

    def diff(self) -> str:
        """The same as a unified diff against what holds now; empty where nothing is to be changed."""
        changes = self.changes()
        before: dict[str, Any] = {}
        if "budget" in changes:
            before["budget"] = {"false_alarms_per_day": self.budget_now}
        now = {(limit.detector, limit.option): limit.now for limit in self.limits}
        for detector, options in changes.get("detectors", {}).items():
            limits = {option: now[detector, option] for option in options["limits"]}
            before.setdefault("detectors", {})[detector] = {"limits": limits}
        old, new = (yaml.safe_dump(tree).splitlines() if tree else [] for tree in (before, changes))
        return "\n".join(difflib.unified_diff(old, new, "settings now", "settings suggested", lineterm="", n=10))


def suggest(
    files: Sequence[Path | str],
    source: Source,
    settings: Settings,
    *,
    labels: Path | None = None,
    progress: Callable[[int, int], Progress | None] | None = None,
) -> Advice:
    """Replay files at each step of budgets and limits, and say what follows. Cost: five replays.

    ``progress(step, steps)`` is asked before each replay for what :func:`gatewatch.tune.replay.replay` reports to.

    Raises:
        ConfigError: settings or labels are wrong, or the files come from stdin, which can be read only once.
        LogError: a file cannot be read.
    """
    if any(str(file) == "-" for file in files):
        raise ConfigError("files", "stdin can be read once, and this reads five times: write it to a file")
    truth = read(labels) if labels is not None else Truth()
    entries = active(load_all(), settings.detectors)
    limits = _limits(entries, settings)
    advice: Advice | None = None
    for step, (budget, factor) in enumerate(zip(BUDGETS, FACTORS, strict=True)):
        tried = _with(settings, budget, factor, limits)
        done = replay(files, source, tried, progress=progress(step, len(BUDGETS)) if progress is not None else None)
        if advice is None:
            days = max((done.last_ts or 0.0) - (done.first_ts or 0.0), 1.0) / DAY_S
            advice = Advice(done.events, days, settings.budget.false_alarms_per_day, limits=limits)
        _price(advice, done, truth, tried, budget, factor)
    assert advice is not None
    _conclude(advice)
    return advice


def _limits(entries: Mapping[str, Entry], settings: Settings) -> list[LimitPrices]:
    """Every limit that is set: numbers in the ``limits`` of a detector's options. One that is off has no ladder."""
    found = []
    for name, entry in entries.items():
        limits = getattr(entry.options(settings.detectors.get(name)), "limits", None)
        if isinstance(limits, BaseModel):
            values = limits.model_dump()
            found += [LimitPrices(name, k, float(v)) for k, v in values.items() if isinstance(v, (int, float))]
    return found


def _with(settings: Settings, budget: float, factor: float, limits: Iterable[LimitPrices]) -> Settings:
    """The settings with that budget, and each limit times the factor."""
    tree = settings.model_dump(mode="json", exclude_unset=True)
    tree["budget"] = {"false_alarms_per_day": budget}
    for limit in limits:
        options = tree.setdefault("detectors", {}).setdefault(limit.detector, {})
        options.setdefault("limits", {})[limit.option] = _rounded(limit.now * factor)
    return parse(tree, Settings)


def _price(advice: Advice, done: Replayed, truth: Truth, tried: Settings, budget: float, factor: float) -> None:
    """Add what one replay cost. What a plain limit said is that limit's price, everything else the budget's."""
    entries = load_all()
    grave = {
        (name, reason.name)
        for name, entry in entries.items()
        for reason in entry.reasons
        if reason.severity.rank >= Severity.MEDIUM.rank
    }
    limits = {(limit.detector, _rounded(limit.now * factor)): limit for limit in advice.limits}
    of_limit: dict[int, list[Finding]] = {id(limit): [] for limit in advice.limits}
    others: list[Finding] = []
    hostile = _Hostile(truth)
    for finding in done.findings:
        if hostile.is_about(finding) or modes.of(tried, entries, finding) in (Mode.OFF, Mode.SHADOW):
            continue
        limit = None if finding.learned else limits.get((finding.detector, finding.expected))
        if limit is not None:
            of_limit[id(limit)].append(finding)
        elif (finding.detector, finding.reason) in grave:
            others.append(finding)
    for limit in advice.limits:
        limit.steps.append(_priced(_rounded(limit.now * factor), of_limit[id(limit)], advice.days))
    advice.budgets.append(_priced(budget, others, advice.days))
    for name in entries:
        mine = [finding for finding in others if finding.detector == name]
        advice.by_detector.setdefault(name, []).append(_priced(budget, mine, advice.days))
    if budget == min(BUDGETS, key=lambda b: abs(math.log(b / advice.budget_now))):
        advice.noisy = list(_noisy(others))


def _priced(value: float, findings: Sequence[Finding], days: float) -> Price:
    alarms = sum(_alarms(findings).values())
    keys = len({(finding.scope, finding.key) for finding in findings})
    return Price(value, alarms, alarms / days, keys)


def _alarms(findings: Sequence[Finding]) -> Counter[tuple[str, str, str]]:
    """Alarms by detector, scope and key: findings with less than an episode's pause between them are one."""
    last: dict[tuple[str, str, str], float] = {}
    alarms: Counter[tuple[str, str, str]] = Counter()
    for finding in sorted(findings, key=lambda f: f.ts):
        key = (finding.detector, finding.scope.value, finding.key)
        if finding.ts - last.get(key, -math.inf) > cool_down_s(finding.window_s):
            alarms[key] += 1
        last[key] = finding.ts
    return alarms


def _noisy(findings: Sequence[Finding]) -> Iterator[Noisy]:
    """Keys that make most of a detector's alarms."""
    alarms = _alarms(findings)
    total: Counter[str] = Counter()
    for (detector, _, _), n in alarms.items():
        total[detector] += n
    for (detector, scope, key), n in alarms.most_common():
        if n > 1 and n >= NOISY_SHARE * total[detector]:
            yield Noisy(detector, scope, key, n, total[detector])


def _conclude(advice: Advice) -> None:
    """The most sensitive budget that costs no more than what is borne now; the lowest limits that hit nobody."""
    if advice.days < LEAST_DAYS:
        return
    bearable = [price.value for price in advice.budgets if price.alarms_per_day <= advice.budget_now]
    advice.suggested_budget = max(bearable, default=min(BUDGETS))
    for limit in advice.limits:
        limit.suggested = min((price.value for price in limit.steps if price.keys == 0), default=None)


class _Hostile:
    """Whether a finding is about a labelled attack."""

    def __init__(self, truth: Truth) -> None:
        self._spans: dict[tuple[Scope, str], list[tuple[float, float]]] = {}
        for attack in truth.attacks:
            for key in (*spelt(attack.keys), (Scope.ALL, "all")):
                self._spans.setdefault(key, []).append((attack.start, attack.end + GRACE_S))

    def is_about(self, finding: Finding) -> bool:
        """By its key and time."""
        spans = self._spans.get((finding.scope, finding.key), ())
        return any(low <= finding.ts <= high for low, high in spans)


def _rounded(value: float) -> float:
    """Two significant digits: a limit is a round number.

    >>> _rounded(3000 * 0.03), _rounded(617.0)
    (90.0, 620.0)
    """
    if value <= 0.0:
        return value
    digits = 1 - math.floor(math.log10(value))
    return round(value, digits)
