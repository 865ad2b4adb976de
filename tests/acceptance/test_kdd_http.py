"""KDD99, HTTP only, in file order: where half-space trees that learn everything end below .74."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gatewatch.adapters import score_stream

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "kdd99_http.npz"


@pytest.mark.slow
def test_gated_surprisal_finds_the_attacks() -> None:
    """Otherwise the gate, or the model that we recommend, has lost what it is recommended for (AUC and TPR .99)."""
    with np.load(DATA) as data:
        rows, attack = data["X"].astype(np.float64), data["y"].ravel().astype(bool)
    scores = score_stream(rows)
    ranks = np.empty(scores.shape[0])
    _values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    n, m = attack.sum(), (~attack).sum()
    auc = (ranks[attack].sum() - n * (n + 1) / 2.0) / (n * m)
    assert auc >= 0.99
    assert (scores[attack] > np.quantile(scores[~attack], 0.99)).mean() >= 0.99
