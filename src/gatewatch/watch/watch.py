"""What holds now becomes findings, not too many of them: pure, with time given.

A condition is told at once, and again every :data:`REPEAT_S` while it holds, so that its episode in decide goes on; it
ends by itself, a cool-down after the last. Once a minute there is a sign of life, with or without findings: it moves
the time by which those episodes end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gatewatch.records import Contribution, Explanation, Finding, FindingBatch, Scope
from gatewatch.watch.reasons import NAME, TASK, VERSION, Blindness

REPEAT_S = 240.0  # twice within the shortest cool-down of an episode (600 s), so that one lost record ends none
SIGN_S = 60.0  # an alert is resolved at most so much later than it could be
MOST = 100  # conditions told at a look: a worker has that many only if everything is wrong, and then few say it all


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that cannot be seen now.

    ``thing`` completes the name of the blindness; ``observed`` and ``expected`` are in its reason's unit; ``says`` is
    the evidence in one line. Nothing here may come from an event: topics, tables, detectors and field names only.
    """

    blindness: Blindness
    thing: str
    observed: float
    expected: float
    says: str
    lasting_s: float = 0.0
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the alert is about; one episode each."""
        return self.blindness.thing.format(self.thing)


class Watch:
    """What one worker says.

    Args:
        member: of the worker, for the places of its findings.
    """

    def __init__(self, member: str) -> None:
        self._member = member
        self._told: dict[str, float] = {}  # by key: when, wall time
        self._sign_at = float("-inf")

    def look(self, conditions: Iterable[Condition], now: float) -> FindingBatch | None:
        """What is to be said at wall time ``now``, epoch seconds. Every condition that holds is given each time."""
        self._told = {key: at for key, at in self._told.items() if now - REPEAT_S < at <= now}
        hold = {condition.key: condition for condition in conditions}.values()
        grave = sorted(hold, key=lambda c: (-c.blindness.reason.severity.rank, c.key))[:MOST]
        new = [condition for condition in grave if condition.key not in self._told]
        if not new and now < self._sign_at <= now + SIGN_S:
            return None
        self._sign_at = now + SIGN_S
        self._told |= {condition.key: now for condition in new}
        findings = tuple(finding(condition, self._member, now) for condition in new)
        return FindingBatch(task=TASK, routed_offset=0, watermark=now, findings=findings)


def finding(condition: Condition, member: str, now: float) -> Finding:
    """A condition as decide reads it."""
    reason, setting = condition.blindness.reason, condition.blindness.setting
    place = f"{member}@{now:.3f}"
    identity = f"{NAME}\0{reason.name}\0{condition.key}\0{place}"
    return Finding(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        detector=NAME,
        version=VERSION,
        scope=Scope.ALL,
        key=condition.key,
        reason=reason.name,
        title=reason.title,
        ts=now,
        since=now - condition.lasting_s,
        nats=0.0,
        threshold_nats=0.0,
        observed=condition.observed,
        expected=condition.expected,
        unit=reason.unit,
        window_s=0.0,
        learned=False,
        warm=True,
        sample=place,
        explanation=Explanation(
            contributions=(Contribution(reason.name, 0.0, condition.says),),
            baseline=f"at most {condition.expected:.4g} {reason.unit}",
            counterfactual=f"would not have fired at {condition.expected:.4g} {reason.unit}; the limit is {setting}",
        ),
        context=dict(condition.context),
    )
