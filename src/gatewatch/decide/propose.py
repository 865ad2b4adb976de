"""From verdicts to changes of the settings that a person may make, each with what it would have cost.

Nothing moves a threshold by itself: verdicts become a proposal, and the proposal says how many of the last days'
findings it would have removed or let through, and how many of those somebody had marked true.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from gatewatch.decide.episodes import EpisodeKey, key_of
from gatewatch.decide.text import clean
from gatewatch.records import Finding, Verdict, VerdictKind
from gatewatch.records.words import RESERVED
from gatewatch.settings import AllowEntry, Settings

# One key that is judged wrong says something of the key, three say something of the detector there.
KEYS_FOR_A_MODE = 3
# A hundredth of the budget is two severities of evidence (4.6 nats); beyond that the detector does not fit the traffic.
LEAST_BUDGET = 0.01


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change. ``path`` and ``value`` say what the settings would hold; a list is added to."""

    why: str
    path: tuple[str, ...]
    value: Any
    effect: str  # "removed": no longer found or sent; "free": found, and nobody is stopped for it
    hit: int  # findings that it would have had an effect on
    of: int
    true: int  # among them: of keys that somebody marked true


def propose(settings: Settings, verdicts: Sequence[Verdict], findings: Sequence[Finding], now: float) -> list[Proposal]:
    """Changes that the verdicts ask for. Cost: a pass over the findings for each.

    Args:
        settings: as they are; what they hold already is not proposed again.
        verdicts: all; of several on one key the last counts.
        findings: those of the last days.
        now: what is expected only until then is left out, epoch seconds.
    """
    last = {
        EpisodeKey(v.detector or "", v.scope.value, v.key): v
        for v in sorted(verdicts, key=lambda v: (v.ts, v.id))
        if v.kind in (VerdictKind.TRUE, VerdictKind.FALSE_ALARM, VerdictKind.EXPECTED)
    }
    marked = frozenset(key for key, v in last.items() if v.kind is VerdictKind.TRUE)
    found = [
        *_allow(settings, last, findings, marked, now),
        *_modes(settings, last, findings, marked),
    ]
    budget = _budget(settings, last, findings, marked)
    return [*found, *([budget] if budget is not None else [])]


def changed(raw: Mapping[str, Any], proposals: Iterable[Proposal]) -> dict[str, Any]:
    """The settings file with all proposals in it."""
    result: dict[str, Any] = copy.deepcopy(dict(raw))
    for proposal in proposals:
        place = result
        for name in proposal.path[:-1]:
            place = place.setdefault(name, {})
        if isinstance(proposal.value, list):
            place[proposal.path[-1]] = [*place.get(proposal.path[-1], ()), *proposal.value]
        else:
            place[proposal.path[-1]] = proposal.value
    return result


def diff(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    """The two as a unified diff of YAML. Comments and the order of sections are those of the parsed file."""
    old, new = (yaml.safe_dump(dict(d), sort_keys=False, allow_unicode=True).splitlines() for d in (before, after))
    return "\n".join(difflib.unified_diff(old, new, fromfile=name, tofile=name, lineterm=""))


def _allow(
    settings: Settings,
    last: Mapping[EpisodeKey, Verdict],
    findings: Sequence[Finding],
    marked: frozenset[EpisodeKey],
    now: float,
) -> Iterable[Proposal]:
    """What is expected for weeks belongs into the allow-list, where a review sees it."""
    known = {(entry.scope.value, entry.value) for entry in settings.guards.allow}
    for key, verdict in last.items():
        named = key.scope in AllowEntry.model_fields and (key.scope, key.key) not in known
        if verdict.kind is not VerdictKind.EXPECTED or verdict.until is None or verdict.until <= now or not named:
            continue
        known.add((key.scope, key.key))
        until = datetime.fromtimestamp(verdict.until, UTC).date()
        entry = {key.scope: key.key, "owner": verdict.actor, "reason": clean(verdict.reason, 256), "until": until}
        hit = [f for f in findings if (f.scope.value, f.key) == (key.scope, key.key)]
        true = sum(key_of(f) in marked for f in hit)
        why = f"{verdict.actor} expects {key.scope} {clean(key.key)}"
        yield Proposal(why, ("guards", "allow"), [entry], "free", len(hit), len(findings), true)


def _modes(
    settings: Settings, last: Mapping[EpisodeKey, Verdict], findings: Sequence[Finding], marked: frozenset[EpisodeKey]
) -> Iterable[Proposal]:
    """A detector that is wrong about several keys of a project, and right about none, is in shadow there."""
    keys: dict[tuple[str, str | None], dict[VerdictKind, int]] = {}
    for key, verdict in last.items():
        counts = keys.setdefault((key.detector, verdict.project), {})
        counts[verdict.kind] = counts.get(verdict.kind, 0) + 1
    for (detector, project), counts in sorted(keys.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        wrong = counts.get(VerdictKind.FALSE_ALARM, 0)
        if detector in ("", RESERVED) or wrong < KEYS_FOR_A_MODE or counts.get(VerdictKind.TRUE, 0):
            continue
        path = (
            ("detectors", detector, "mode") if project is None else ("projects", project, "detectors", detector, "mode")
        )
        hit = [f for f in findings if f.detector == detector and project in (None, f.project)]
        true = sum(key_of(f) in marked for f in hit)
        where = "without a project" if project is None else f"in {clean(project)}"
        why = f"{detector} was a false alarm on {wrong} keys {where}, and right on none"
        if _in(settings.model_dump(mode="json"), path) != "shadow":
            yield Proposal(why, path, "shadow", "removed", len(hit), len(findings), true)


def _budget(
    settings: Settings, last: Mapping[EpisodeKey, Verdict], findings: Sequence[Finding], marked: frozenset[EpisodeKey]
) -> Proposal | None:
    """A smaller budget raises every learned threshold by the logarithm of the ratio: as far as false alarms need."""
    wrong = {key for key, v in last.items() if v.kind is VerdictKind.FALSE_ALARM}
    learned = [f for f in findings if f.learned]
    margins = [f.nats - f.threshold_nats for f in learned if key_of(f) in wrong]
    if not margins:
        return None
    ratio = math.exp(-max(margins)) * 0.99  # the strongest of them just misses it
    if ratio < LEAST_BUDGET or ratio >= 1.0:
        return None
    hit = [f for f in learned if f.nats - f.threshold_nats < -math.log(ratio)]
    true = sum(key_of(f) in marked for f in hit)
    budget = float(f"{settings.budget.false_alarms_per_day * ratio:.2g}")
    why = f"{len(margins)} learned findings were false alarms, the strongest {max(margins):.1f} nats over its threshold"
    return Proposal(why, ("budget", "false_alarms_per_day"), budget, "removed", len(hit), len(findings), true)


def _in(data: Any, path: Sequence[str]) -> Any:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data
