"""A finding in words and numbers: parts that add up to its nats, what is usual, what would not have fired."""

from __future__ import annotations

import math

from gatewatch.sdk import Contribution, Explanation, RawFinding

from .layout import MEASURES, TAU_S
from .learn import CUSUM_RATIO
from .score import LIMIT, NEW_KEY, RAMP, SUSTAINED
from .tail import count_at, tail_nats

QUARTER = 1.2816  # standard deviations to the 10 % and 90 % points: "usually" is four times in five


def explain(finding: RawFinding) -> Explanation:
    """By the kind of the finding's reason."""
    kind = finding.reason.code // MEASURES
    if kind == LIMIT:
        return _limit(finding)
    if kind == SUSTAINED:
        return _sustained(finding)
    if kind == RAMP:
        return _ramp(finding)
    return _window(finding, new=kind == NEW_KEY)


def _window(finding: RawFinding, *, new: bool) -> Explanation:
    d, unit = finding.detail, finding.reason.unit
    count, mean, r = d["count"], d["mean"], d["r"]
    plain = tail_nats(count, mean / d["season"], r)
    window = _duration(finding.window_s)
    usual_mean = _number(mean / d["season"] * d["rate_per_count"])
    parts = [
        Contribution("window", plain, f"{_number(finding.observed)} {unit} over {window}, the mean is {usual_mean}"),
        Contribution(
            "season",
            finding.nats + d["handicap_nats"] - plain,
            f"this hour of the week has {d['season']:.2f} times the mean",
        ),
    ]
    if d["handicap_nats"] > 0.0:
        parts.append(Contribution("peers", -d["handicap_nats"], "a new key, held against its peers: less certain"))
    least = max(count_at(finding.threshold_nats + d["handicap_nats"], mean, r), d["least_count"])
    usual = _usual(mean, r, d["rate_per_count"], unit)
    whose = "it, and young keys like it, usually have" if new else "usually"
    return Explanation(
        contributions=tuple(parts),
        baseline=f"{whose} {usual} over {window} at this hour ({_baseline(d['age_days'])})",
        counterfactual=f"would not have fired below {_number(least * d['rate_per_count'])} {unit} over {window}",
    )


def _sustained(finding: RawFinding) -> Explanation:
    d, unit = finding.detail, finding.reason.unit
    mean, r = d["bucket_mean"], d["r"]
    log_ratio = math.log((r + CUSUM_RATIO * mean) / (r + mean))
    neutral = r * log_ratio / (math.log(CUSUM_RATIO) - log_ratio)  # where cusum_step is 0
    usual = _number(finding.expected)
    text = f"{_number(finding.observed)} {unit} in the last hour, usually {usual}: for {_duration(finding.window_s)}"
    return Explanation(
        contributions=(Contribution("excess", finding.nats, text),),
        baseline=f"usually {usual} {unit} at this hour ({_baseline(d['age_days'])})",
        counterfactual=f"would not have fired had it stayed below {_number(neutral * d['rate_per_count'])} {unit}",
    )


def _ramp(finding: RawFinding) -> Explanation:
    d, unit = finding.detail, finding.reason.unit
    least = max(count_at(finding.threshold_nats, d["mean"], d["r"]), d["ratio"] * d["mean"])
    text = f"{_number(finding.observed)} {unit} in the last day, {_number(finding.expected)} in the weeks before"
    return Explanation(
        contributions=(Contribution("anchor", finding.nats, text),),
        baseline=f"{_number(finding.expected)} {unit} ({min(28.0, d['age_days']):.0f}-day anchor)",
        counterfactual=f"would not have fired below {_number(least * d['rate_per_count'])} {unit} over the day",
    )


def _limit(finding: RawFinding) -> Explanation:
    limit, unit = finding.detail["limit"], finding.reason.unit
    text = f"{_number(finding.observed)} {unit}, the limit is {_number(limit)}"
    return Explanation(
        contributions=(Contribution("limit", finding.nats, text),),
        baseline=f"a plain limit of {_number(limit)} {unit}, which no baseline moves",
        counterfactual=f"would not have fired below {_number(limit)} {unit}",
    )


def _usual(mean: float, r: float, rate_per_count: float, unit: str) -> str:
    spread = QUARTER * math.sqrt(mean + mean * mean / r)
    return f"{_number(max(0.0, mean - spread) * rate_per_count)}-{_number((mean + spread) * rate_per_count)} {unit}"


def _baseline(age_days: float) -> str:
    return f"{min(7.0, age_days):.0f}-day baseline" if age_days >= 1.0 else f"baseline of {age_days * 24.0:.1f} hours"


def _number(value: float) -> str:
    """Three digits; no exponent for what people count."""
    if value >= 100.0:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-3 or value == 0.0 else f"{value:.1e}"


def _duration(seconds: float) -> str:
    if seconds < 2 * TAU_S[1]:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
