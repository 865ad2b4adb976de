"""What Gatewatch has to say of itself: alerts of the detector "gatewatch"."""

from __future__ import annotations

from gatewatch.decide.episodes import EpisodeKey, digest
from gatewatch.decide.evidence import NO_EFFECT
from gatewatch.records import Contribution, Decision, Effect, Explanation, Finding, Refusal, Scope
from gatewatch.watch.reasons import NAME

BREAKER = "blocks_per_minute"  # the guard whose refusals mean that we stop nobody any more


def is_breaker(finding: Finding) -> bool:
    """Whether it says that blocks are held back."""
    return finding.detector == NAME and finding.reason == "breaker"


def breaker(refusal: Refusal, cause: Finding, limit: int) -> Finding:
    """So many blocks in a minute are a mistake of ours or a diversion: from here on people decide, so page them."""
    return Finding(
        id=digest(NAME, "breaker", refusal.alert_id, refusal.value, cause.id),
        detector=NAME,
        version=1,
        scope=Scope.ALL,
        key="blocks",
        reason="breaker",
        title="Blocks are held back",
        ts=cause.ts,
        since=cause.ts,
        nats=0.0,
        threshold_nats=0.0,
        observed=float(limit + 1),
        expected=float(limit),
        unit="blocks a minute",
        window_s=60.0,
        learned=False,
        warm=True,
        sample=cause.sample,
        explanation=Explanation(
            contributions=(Contribution("limit", 0.0, f"guards.blocks_per_minute is {limit}"),),
            baseline=f"at most {limit} new blocks in a minute",
            counterfactual="would not have fired with fewer attackers at once, or a larger guards.blocks_per_minute",
        ),
        context={"detector": cause.detector, "first refused": f"{refusal.scope.value} {refusal.value}"},
    )


def not_effective_key(order: Decision, gateway: str) -> EpisodeKey:
    """One episode for each block and gateway."""
    return EpisodeKey(NAME, Scope.ALL.value, f"{order.scope.value} {order.value} at gateway {gateway}")


def not_effective(order: Decision, effect: Effect) -> Finding:
    """A gateway serves whom it was told to refuse: nobody but a person can stop them, so page them."""
    return Finding(
        id=digest(NAME, NO_EFFECT, order.id, effect.gateway, f"{effect.ts!r}"),
        detector=NAME,
        version=1,
        scope=Scope.ALL,
        key=not_effective_key(order, effect.gateway).key,
        reason=NO_EFFECT,
        title="Block not effective",
        ts=effect.ts,
        since=order.start,
        nats=0.0,
        threshold_nats=0.0,
        observed=float(effect.through),
        expected=0.0,
        unit="requests served since the block",
        window_s=0.0,
        learned=False,
        warm=True,
        sample="",
        explanation=Explanation(
            contributions=(
                Contribution("served", 0.0, f"{effect.through} requests served that began after the block"),
            ),
            baseline="a block holds at each gateway within seconds",
            counterfactual="would not have fired had the gateway refused the key with 403 or 429",
        ),
        context={
            "gateway": effect.gateway,
            "decision": order.id,
            "alert": order.alert_id or "",
            "detector": order.detector or order.actor or "",
        },
    )
