"""Findings in words: what added up to the score, what it was compared with, what would not have fired."""

from __future__ import annotations

from gatewatch.sdk import Contribution, Explanation, RawFinding

from .constants import LIMIT, SIGN_NATS, SWEEP, SWEEP_SHARE
from .judge import fisher

BEHAVIOUR = ("repeats", "spread", "asked")
_WITHOUT = {
    "repeats": "fewer requests of the same shape and size",
    "spread": "fewer different templates",
    "asked": "fewer requests for what an extraction needs",
    "newcomer": "a longer acquaintance",
}


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    d = finding.detail
    texts = {
        "volume": f"{finding.observed:.0f} {finding.reason.unit}, {finding.expected:.0f} in the middle",
        "repeats": f"{d['repeated']:.0%} of the requests have shape and size of another one just before",
        "spread": f"{d['shapes']:.0f} different templates",
        "asked": f"{d['asking']:.0%} of the requests ask for what an extraction needs",
        "newcomer": "first met within the last days",
    }
    plain = finding.reason.code in (LIMIT, SWEEP)
    if plain:
        texts["volume"] = f"{finding.observed:.0f} queries, measured against the hours of all callers of the model"
    parts = [Contribution(name, d[name], text) for name, text in texts.items() if d[name] > 0.0 or name == "volume"]
    chance = finding.nats - sum(part.nats for part in parts)
    parts.append(Contribution("chance", chance, "five things were looked at: one may be unusual by chance"))
    if plain:
        of = "" if finding.reason.code == LIMIT else f", {SWEEP_SHARE:.0%} of one kind, that are new for the caller"
        return Explanation(
            tuple(parts),
            f"a plain limit of {finding.expected:g} queries an hour on one model{of}",
            f"would not have fired below {finding.expected:g} queries an hour",
        )
    return Explanation(
        tuple(parts),
        "hours of all callers of this model, and the caller's own past hours where it has them",
        f"would not have fired with {_enough(finding)}",
    )


def _enough(finding: RawFinding) -> str:
    """The least that had to be otherwise: the largest signals of behaviour, until what is left says too little."""
    d = finding.detail
    left = {name: d[name] for name in ("volume", *BEHAVIOUR, "newcomer")}
    gone: list[str] = []
    while fisher(sum(left.values())) >= finding.threshold_nats and any(left[b] >= SIGN_NATS for b in BEHAVIOUR):
        largest = max(BEHAVIOUR, key=lambda name: left[name])
        left[largest] = 0.0
        gone.append(_WITHOUT[largest])
    return " and ".join(gone) or "less volume"
