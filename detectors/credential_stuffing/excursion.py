"""The CUSUM of each key, from minute to minute: where an excursion began, what it holds, when it is told again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .cusum import CAP_NATS, RHO, WINDOW_MIN, F, evidence
from .populations import MINUTE_S, Rows

BEGUN_NATS = 1.0  # an excursion begins where its evidence was last this small
REFRESH_S = 300.0
NEWS = 0.5  # of the threshold, in evidence since the last time


def step(r: Rows, x: F, mean: F, spread: F, *, threshold: F, scored: npt.NDArray[np.bool_], end: float) -> None:
    """Test a minute. Arguments as of :func:`.usual.learn`; where it is not ``scored``, the excursion is over."""
    new = (r["s"] <= 0.0) | (r["age"] >= WINDOW_MIN)
    r["before"] = np.where(new, r["s"], r["before"])
    for name, value in (("window_x", x[..., None]), ("window_m", mean[..., None]), ("age", 1.0)):
        r[name] = np.where(new, 0.0, r[name]) + value
    begun = r["s"] <= BEGUN_NATS
    for name in ("evidence", "sum_x", "sum_m", "sum_ok"):
        r[name][begun] = 0.0
    r["since"][begun] = end - MINUTE_S
    s = np.maximum(r["before"] + evidence(r["window_x"], r["window_m"], spread), 0.0)
    s = np.where(scored[:, None, None], np.minimum(s, (threshold + CAP_NATS)[:, None, None]), 0.0)
    r["fresh"] = np.where(scored[:, None, None], np.maximum(r["fresh"] + s - r["s"], 0.0), 0.0)
    r["s"] = s
    r["evidence"] += x[..., None] * np.log(RHO)
    r["sum_x"] += x[..., None]
    r["sum_m"] += mean[..., None]
    r["sum_ok"] += r["smooth"][..., None]


def due(r: Rows, *, threshold: F, end: float) -> npt.NDArray[np.intp]:
    """Places of the keys that are over their threshold and to be told of at ``end``; those that are over begin anew."""
    over = (r["s"] >= threshold[:, None, None]).any(axis=(1, 2))
    ended = np.isfinite(r["told"]) & ~over
    r["s"][ended] = 0.0  # what is left of an attack that is over must not, with a bad hour, be told again
    r["told"] = np.where(over, r["told"], -np.inf)
    # Once told it is told again only on new evidence: what is over must not go on accusing while it is forgotten.
    news = (r["fresh"] >= NEWS * threshold[:, None, None]).any(axis=(1, 2)) | np.isinf(r["told"])
    return np.flatnonzero(over & news & (end - r["told"] >= REFRESH_S))
