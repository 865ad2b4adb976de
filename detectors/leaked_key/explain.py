"""Findings in words: what made a use of the key unusual, for a key like this one."""

from __future__ import annotations

from collections.abc import Mapping

from gatewatch.sdk import Contribution, Explanation, RawFinding

_LEVELS = ("network", "network operator", "country")


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    d = finding.detail
    what = _LEVELS[int(d["level"]) - 1]
    parts = [
        Contribution(name, d[name], text)
        for name, text in (
            ("place", f"used from a {what} that this key was never used from" + _often(d)),
            ("agent", "by a user agent that this key never had"),
            ("model", "for a model that this key never asked for"),
            ("concurrent", "in turn with uses from known places, within minutes"),
            ("burst", "at ten times the key's usual rate or more, from there alone"),
        )
        if name == "place" or d[name] > 0.0
    ]
    parts[0] = Contribution(
        parts[0].name, finding.nats - sum(part.nats for part in parts[1:]), parts[0].text
    )  # rounding
    return Explanation(tuple(parts), _baseline(d, what), _counterfactual(finding, parts))


def _often(d: Mapping[str, float]) -> str:
    """A key that moves more than once a day pays for it with evidence."""
    return ", as happens with it every day" if d["place"] < 0.0 else ""


def _baseline(d: Mapping[str, float], what: str) -> str:
    days = f"{d['days']:.0f} days" if d["days"] >= 2.0 else f"{24 * d['days']:.1f} hours"
    moved = "not once" if d["moves"] < 0.5 else "once" if d["moves"] < 1.5 else f"{d['moves']:.0f} times"
    return f"in use for {days}, and {moved} from a new {what} before"


def _counterfactual(finding: RawFinding, parts: list[Contribution]) -> str:
    spare = finding.nats - finding.threshold_nats
    enough = [part.name for part in parts[1:] if part.nats > spare]
    alone = {"agent": "its usual user agent", "model": "its usual models"}
    steps = {"concurrent": "without the uses in turn", "burst": "at a lower rate"}
    ways = [f"with {alone[name]}" if name in alone else steps[name] for name in enough]
    return "would not have fired from a known place" + "".join(f", or {way}" for way in ways)
