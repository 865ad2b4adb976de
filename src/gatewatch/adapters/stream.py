"""One model over the rows of a table, in order: score, then learn what did not surprise. For evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.adapters.gate import Gate
from gatewatch.adapters.surprisal import Surprisal
from gatewatch.adapters.tail import Tail

FREEZE_NATS = 5.3  # as in PerEventConfig


def score_stream(
    X: npt.NDArray[np.float64],  # noqa: N803 - what a table of features is called everywhere
    model: Any = None,
    *,
    freeze_nats: float = FREEZE_NATS,
) -> npt.NDArray[np.float64]:
    """Score each row before the model may learn from it, as a detector of :mod:`gatewatch.adapters` does.

    Args:
        X: shape (rows, features), in the order of their coming.
        model: with ``score_one`` and ``learn_one``, as River's; the default is a :class:`Surprisal` over -8 to 24,
            for features that are logarithms.
        freeze_nats: rarity of a score from which on it does not teach; infinity lets everything teach.

    Returns:
        The model's scores, shape (rows,), higher is stranger.
    """
    model = Surprisal(low=-8.0, high=24.0) if model is None else model
    tail, gate = Tail(), Gate(freeze_nats)
    names = [f"x{j}" for j in range(X.shape[1])]
    scores = np.empty(X.shape[0])
    for i, row in enumerate(X.tolist()):
        x = dict(zip(names, row, strict=True))
        score = scores[i] = model.score_one(x)
        verdict = gate.judge(tail.rarity(score), 0.0)
        if verdict.heard:
            tail.learn(score)
        if verdict.teach:
            model.learn_one(x)
    return scores
