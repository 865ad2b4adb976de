"""What kernels found, as the arrays that everybody else reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Hits
from gatewatch.sdk.findings import DETAIL

NUMBERS = ("nats", "threshold", "observed", "expected", "window_s", "since")
FOUND = [("row", "i4"), ("reason", "i1"), *((name, "f8") for name in NUMBERS), ("detail", "f8", (DETAIL,))]


def _found(rows: list[int], *, more: tuple[tuple[str, str], ...] = ()) -> npt.NDArray[np.void]:
    found = np.zeros(len(rows), [*FOUND, *more])
    found["row"], found["nats"], found["threshold"] = rows, [10.0 + row for row in rows], 9.2
    found["detail"][:, 0] = rows
    return found


def test_findings_of_two_scopes_stand_in_the_order_of_rows() -> None:
    """Numbers of one finding would stand beside another's key: the wrong customer is accused."""
    hits = Hits.empty(6)
    hits.add(_found([4, 7]), scope=0)
    hits.add(_found([2, 4, 9]), scope=1, warm=False)
    hits.sort()

    assert hits.row[: len(hits)].tolist() == [2, 4, 4, 7, 9]
    assert hits.scope[:5].tolist() == [1, 0, 1, 0, 1]
    assert hits.warm[:5].tolist() == [0, 1, 0, 1, 0]
    assert (hits.nats[:5] - hits.row[:5]).tolist() == [10.0] * 5
    assert hits.detail[:5, 0].tolist() == hits.row[:5].tolist()
    assert hits.threshold_nats[:5].tolist() == [9.2] * 5


def test_what_a_kernel_says_of_each_finding_holds_for_that_one() -> None:
    """A finding of a cold baseline would page somebody, or one on an address would accuse a principal."""
    found = _found([1, 2], more=(("scope", "i1"), ("warm", "u1")))
    found["scope"], found["warm"] = [2, 1], [0, 1]
    hits = Hits.empty(2)
    hits.add(found)

    assert (hits.scope[:2].tolist(), hits.warm[:2].tolist()) == ([2, 1], [0, 1])
