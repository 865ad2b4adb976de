"""Requests whose sizes do not fit together as those of others do."""

from __future__ import annotations

from typing import ClassVar

from gatewatch.adapters import RiverDetector
from gatewatch.sdk import Need, Reason, Scope, Severity


class OddSizes(RiverDetector):
    """Finds requests whose sizes lie where hardly any did, by River's half-space trees (Tan, Ting and Liu 2011).

    Sees: a call with a hundred times the tokens, a large answer to a small question. Misses: many ordinary calls, and
    what was there from the first day on.

    Options:
        model: River model by import path, with its parameters; several are a pipeline.
        features: numeric columns that the model sees.
        log1p: whether it sees their logarithms.
        each_key: one model for each principal, not one for all.
        threshold_nats, freeze_nats, warm_events, remember_events, keys_total: see PerEventConfig.

    Cost: about 300 us a row, in the slow lane. Memory: 57 bytes a key, 10,000 remembered events, two sets of trees.
    """

    name: ClassVar[str] = "odd_sizes"
    version: ClassVar[int] = 1
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.PRINCIPAL,)
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason(0, "sizes", "Request of an unusual size", "anomaly score", Severity.LOW, learned=True),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need(Scope.PRINCIPAL, ("principal",), "log the authenticated consumer, user or API key id"),
        Need(Scope.PRINCIPAL, ("tokens_in",), "log the tokens of the prompt"),
        Need(Scope.PRINCIPAL, ("tokens_out",), "log the tokens of the answer"),
    )
