"""Findings in words: what added up to the score, what it was compared with, what would not have fired."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gatewatch.sdk import KINDS, Contribution, Explanation, RawFinding

from .constants import DRIFT, LIMIT_NATS, LIMITS, SIZE


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    if finding.reason.code < LIMITS:
        return _limit(finding)
    return _drift(finding) if finding.reason.code == DRIFT else _one(finding)


def _limit(finding: RawFinding) -> Explanation:
    over = finding.nats - LIMIT_NATS
    limit = f"{finding.expected:,.0f} {finding.reason.unit}"
    return Explanation(
        (
            Contribution("limit", LIMIT_NATS, f"more than {limit}"),
            Contribution("how_far", over, f"{finding.observed:,.0f}, {math.exp(min(over, 700.0)):.1f} times the limit"),
        ),
        f"a plain limit of {limit}, whoever calls",
        f"would not have fired at {limit} or less",
    )


def _one(finding: RawFinding) -> Explanation:
    d = finding.detail
    novel = "a structure that this caller did not have before"
    if d["nearest"] > 0.0 or d["new_fields"] > 0.0:
        novel = f"{_count(d['new_fields'], 'fields')} never seen here, {d['nearest']:.0%} like the nearest structure"
    texts = {
        "structure": novel,
        "characters": f"values hold {_kinds(d)}",
        "size": f"{finding.observed:,.0f} bytes, usually about {finding.expected:,.0f}"
        if finding.reason.code == SIZE
        else "a size that is unusual for this caller and structure",
    }
    return Explanation(
        _parts(finding, texts),
        f"the last {d['bodies']:,.0f} bodies of this endpoint, and this caller's own",
        f"would not have fired {_without(finding)}",
    )


def _without(finding: RawFinding) -> str:
    """The fewest parts without which the score is below the threshold."""
    d, left, parts = finding.detail, finding.nats, []
    words = {"structure": "its new structure", "characters": _kinds(d), "size": "that size"}
    for name in sorted(words, key=lambda name: -d[name]):
        parts.append(words[name])
        left -= d[name]
        if left < finding.threshold_nats:
            break
    return "without " + " and ".join(parts)


def _drift(finding: RawFinding) -> Explanation:
    d = finding.detail
    texts = {
        "structure": "structures that are new for this caller",
        "characters": f"kinds of characters that are rare here{f', such as {_kinds(d)}' if d['kind'] >= 0 else ''}",
        "size": "sizes that are unusual for this caller",
    }
    fewer = math.ceil((finding.nats - finding.threshold_nats) / max(finding.nats / max(finding.observed, 1.0), 1e-9))
    return Explanation(
        (*_parts(finding, texts), Contribution("ordinary", -d["credit"], "what so many bodies add up to by chance")),
        f"this caller's own last {d['bodies']:,.0f} bodies, and those of the endpoint",
        f"would not have fired with {_count(max(1, fewer), 'unusual bodies')} fewer",
    )


def _parts(finding: RawFinding, texts: dict[str, str]) -> tuple[Contribution, ...]:
    return tuple(
        Contribution(name, finding.detail[name], text) for name, text in texts.items() if finding.detail[name] > 0.0
    )


def _kinds(detail: Mapping[str, float]) -> str:
    names = [_name(int(detail[key])) for key in ("kind", "other_kind") if detail[key] >= 0.0]
    return " and ".join(names) or "kinds of characters that are rare here"


def _name(bit: int) -> str:
    return f'"{KINDS[bit]}"' if bit < len(KINDS) else f"characters of kind {bit}"


def _count(n: float, plural: str) -> str:
    return f"{n:.0f} {plural}"
