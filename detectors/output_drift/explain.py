"""Findings in words: what changed, against what, and what would not have fired."""

from __future__ import annotations

import math

from gatewatch.sdk import Contribution, Explanation, RawFinding

from .constants import TEXTS
from .statistic import tail_nats, z_of

COLUMNS = ("metric", "fast", "slow", "sd", "changed", "new_version", "one_caller", "from_share")


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    d = finding.detail
    what = TEXTS[int(d["metric"])]
    fast, slow = d["fast"], d["slow"]
    if fast >= slow:
        how = f"{what}: {finding.observed:.3g} times as far from the reference as its own windows are"
        instead = f"below {_enough(finding, fast - finding.nats):.3g} times"
    else:
        how = f"{what}: a little off in every window for {_spell(finding.window_s)}"
        instead = f"had it been so for {_spell(finding.window_s * finding.threshold_nats / finding.nats)} only"
    looks = max(fast, slow) - finding.nats
    parts = (
        Contribution("change", max(fast, slow), how),
        Contribution("looks", -looks, f"{math.exp(looks):.0f} tests were made of this window"),
    )
    facts = [f"{d['changed']:.0f} of the measures changed"]
    if d["new_version"] > 0.0:
        facts.append(f"{d['new_version']:.0%} of the answers come from a model version that was not there before")
    if d["one_caller"] > 0.0:
        facts.append(f"one caller makes {d['one_caller']:.0%} of them, {d['from_share']:.0%} before")
    else:
        facts.append("all callers see it")
    return Explanation(
        parts,
        "the frozen reference of this endpoint and model, and how much its own windows differ; " + "; ".join(facts),
        f"would not have fired {instead}",
    )


def _enough(finding: RawFinding, looks: float) -> float:
    """The largest statistic, over its mean, that says no more than the threshold: the inverse of the test."""
    low, high = 0.0, max(2.0, z_of(finding.observed, finding.detail["sd"]))
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if tail_nats(middle) - looks < finding.threshold_nats else (low, middle)
    sd = finding.detail["sd"]
    return float((1.0 - sd**2 + sd * low) ** 3)


def _spell(seconds: float) -> str:
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
