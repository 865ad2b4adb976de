"""Why an adapter's finding fired, out of the numbers that it carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatewatch.adapters.tail import TAIL
from gatewatch.sdk import Contribution, Explanation, RawFinding

VALUES = ("value_1", "value_2", "value_3", "value_4")  # of the first columns that the model reads
COLUMNS = ("score", "needed", "floor_nats", "past", *VALUES)


def explain(finding: RawFinding, names: Sequence[str], *, calibrated: bool) -> Explanation:
    """Contributions that add up: how far out the score is, what lies beyond the past, or how far over a limit.

    Args:
        finding: with ``COLUMNS`` in its detail.
        names: of the values.
        calibrated: the score is nats; else it stands among past scores.
    """
    event = ", ".join(f"{name} {finding.detail[at]:g}" for name, at in zip(names, VALUES, strict=False))
    if calibrated:
        return _calibrated(finding, event)
    detail, nats = finding.detail, finding.nats
    at_edge = min(-math.log(TAIL), nats)
    within = min(nats, detail["floor_nats"]) - at_edge
    beyond = nats - at_edge - within
    parts = [
        Contribution("in the tail", at_edge, f"98 in 100 past scores are below {finding.expected:g}"),
        Contribution("how far out", within, f"a score of {detail['score']:g}" + (f" for {event}" if event else "")),
    ]
    if beyond > 0.0:
        parts.append(Contribution("beyond the past", beyond, f"farther out than {detail['past']:,.0f} scores can tell"))
    return Explanation(
        contributions=tuple(parts),
        baseline=f"{detail['past']:,.0f} past scores of this partition",
        counterfactual=f"would not have fired at a score of {detail['needed']:g} or less",
    )


def _calibrated(finding: RawFinding, event: str) -> Explanation:
    text = f"a score of {finding.observed:g}" + (f" for {event}" if event else "")
    over = finding.nats - finding.threshold_nats
    return Explanation(
        contributions=(
            Contribution("at the threshold", finding.threshold_nats, f"a score of {finding.threshold_nats:g} is told"),
            Contribution("how far over", over, text),
        ),
        baseline=f"what the model learned from {finding.detail['past']:,.0f} events of this partition",
        counterfactual=f"would not have fired at a score below {finding.threshold_nats:g}",
    )
