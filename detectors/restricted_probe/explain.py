"""Findings in words: what added up to the score, what it was compared with, what would not have fired."""

from __future__ import annotations

import math

from gatewatch.sdk import Contribution, Explanation, RawFinding

from .constants import CANARY, COVERAGE, HOUR_S, MANY, NEVER_SERVED, WITHOUT_KEY


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    special = {CANARY: _canary, COVERAGE: _coverage, MANY: _many, NEVER_SERVED: _never_served}
    return special.get(finding.reason.code, _first_contacts)(finding)


def _first_contacts(finding: RawFinding) -> Explanation:
    d = finding.detail
    locked = finding.reason.code == WITHOUT_KEY
    parts = [
        Contribution(name, d[nats], f"{text}: {_count(d[n], 'resources')}, each at the first try")
        for name, nats, n, text in (
            ("refused", "gain_refused", "refused", "refused"),
            (
                "locked" if locked else "not_there",
                "gain_missing",
                "missing",
                "asked for without a credential, or not found" if locked else "not found, or not allowed that way",
            ),
        )
        if d[nats] > 0.0
    ]
    if d["credit"] > 0.0:
        parts.append(Contribution("served", -d["credit"], f"served: {_count(d['served'], 'resources')}, between them"))
    rest = finding.nats - sum(part.nats for part in parts)  # rounding
    parts[0] = Contribution(parts[0].name, parts[0].nats + rest, parts[0].text)
    step = d["step"] if d["refused"] >= d["missing"] else d["gain_missing"] / d["missing"]
    fewer = math.floor((finding.nats - finding.threshold_nats) / step) + 1
    tried = d["refused"] + d["missing"] + d["served"]
    return Explanation(
        tuple(parts),
        f"callers who know what they may use are served at nearly every first try; "
        f"this one at {d['served']:.0f} of its last {tried:.0f}",
        f"would not have fired with {_count(fewer, 'resources')} fewer",
    )


def _coverage(finding: RawFinding) -> Explanation:
    n = finding.observed
    return Explanation(
        (Contribution("listed", finding.nats, f"refused {_count(n, 'names')} of the `restricted` list within a week"),),
        "no caller without a right to them has a reason to try them one after the other",
        f"would not have fired below {_count(finding.detail['least'], 'names')}",
    )


def _canary(finding: RawFinding) -> Explanation:
    text = "a name on the `canaries` list was asked for; nobody was ever told of it"
    return Explanation(
        (Contribution("canary", finding.nats, text),),
        "no caller ever asks for it",
        "would not have fired without this one request",
    )


def _many(finding: RawFinding) -> Explanation:
    within = "an hour" if finding.window_s <= HOUR_S else "7 days"
    return Explanation(
        (Contribution("refused", finding.nats, "what the first-contact test says, for the order of alerts"),),
        f"a plain limit of {finding.expected:g} different resources refused in {within}",
        f"would not have fired below {finding.expected:g} resources in {within}",
    )


def _never_served(finding: RawFinding) -> Explanation:
    limit = finding.detail["limit"]
    return Explanation(
        (
            Contribution(
                "refused", finding.nats, f"{finding.observed:.0f} refusals, repeats included, and never served"
            ),
        ),
        f"a plain limit of {limit:g} refusals; a new service without its permission looks the same",
        f"would not have fired below {limit:g} refusals, or after one request that was served",
    )


def _count(n: float, plural: str) -> str:
    return f"{n:.0f} {plural if round(n) != 1 else plural.removesuffix('s')}"
