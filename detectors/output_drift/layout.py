"""What the detector remembers of a key: the open window, the windows of its reference, how much those differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Rollup

from .constants import KEPT, METRICS

BINS = (8, 2, 32, 32, 20, 16, 32)  # of METRICS: gatewatch.sdk.Rollup's, and two
STARTS = tuple(sum(BINS[:i]) for i in range(len(BINS)))
WIDTH = sum(BINS)
M = len(METRICS)
PRINCIPALS, VERSIONS = 64, 16

# One endpoint and model. 38 kB.
ROW = np.dtype(
    [
        ("key", "u8"),  # 0 is free
        ("seen", "f8"),  # event time of the newest bucket
        ("since", "f8"),  # when its learning began
        ("began", "f8"),  # of the open window
        ("answers", "f8"),  # in it
        ("next", "f8"),  # at so many answers the open window is looked at
        ("fitted_at", "f8"),  # inf where there is no reference yet
        ("told_at", "f8"),
        ("changed_at", "f8"),  # since when all windows differ; inf where they do not
        ("released_until", "f8"),  # so long a person expects changes
        ("n", "i8"),  # windows kept
        ("stride", "i8"),  # one in so many is kept
        ("skipped", "i8"),
        ("slow", "f8", (M,)),  # the slow test
        ("slow_since", "f8", (M,)),
        ("run", "f8", (M,)),  # how far it gets where nothing is wrong
        ("mean", "f8", (M,)),  # of the statistic among windows of the reference; 0 where the metric is silent
        ("sd", "f8", (M,)),  # of its cube root over the mean
        ("window", "f8", (WIDTH,)),
        ("callers", "f8", (PRINCIPALS,)),
        ("versions", "f8", (VERSIONS,)),
        ("reference", "f8", (WIDTH,)),
        ("usual_callers", "f8", (PRINCIPALS,)),
        ("usual_versions", "f8", (VERSIONS,)),
        ("kept", "f4", (KEPT, WIDTH)),
    ]
)


def bins_of(metric: int) -> slice:
    """Where a metric's bins stand."""
    return slice(STARTS[metric], STARTS[metric] + BINS[metric])


def measured(rollup: Rollup, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """(rows, WIDTH) what is added to the windows of these rows of a rollup."""
    found = np.zeros((len(rows), WIDTH))
    for metric, name in enumerate(METRICS):
        if name == "refusal":
            refused = np.maximum(rollup.column("refusals")[rows], 0.0)
            answered = np.maximum(rollup.column("outputs")[rows] - refused, 0.0)
            found[:, bins_of(metric)] = np.stack([refused, answered], axis=1)
        else:
            found[:, bins_of(metric)] = rollup.histogram(name)[rows]
    return found
