"""What a key table notes of each key, and what follows from it: how heavy a row is, and whose.

See :mod:`gatewatch.state.keytable` for the rules. A note is a record of :data:`NOTE`; none of these looks at more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.state.jit import kernel

SUCCESS_KEEP_S = 7 * 86400.0  # a success this recent makes a row a customer's (DESIGN)
WEIGHT_TAU_S = 3600.0  # weight forgets over an hour: long enough to rank a batch job that runs hourly
LATEST = 4294967295.0  # that a second in a note can be
CUSTOMER = 2  # the rank of rows with a success; 1 that of suspicious ones, 0 of all others

_LN2 = math.log(2.0)
_SHORT_S = 60.0  # so short a gap needs no exponential: two terms of it are right to 1e-6

_U32 = np.uint32

# What the table itself notes of a key: together, since a look-up needs all of it. Whole seconds are enough for weights
# that fade over an hour.
NOTE = np.dtype(
    [
        ("last", np.uint32),  # second of event time of the last touch, never going back
        ("success", np.uint32),  # second of the last success, 0 for never
        ("weight", np.float32),  # decayed count of touches, as of ``last``; below 0 where a detector holds the row
    ]
)


@kernel(inline=True)
def second_of(now: float) -> np.uint32:
    """A time as a note keeps it: whole seconds, within what 32 bits hold."""
    return _U32(min(max(now, 0.0), LATEST))


@kernel(inline=True)
def weight_of(note: Any, now: float) -> float:
    """The decayed count of touches at ``now``; a time before the last touch does not raise it."""
    weight, gap = abs(float(note.weight)), float(second_of(now)) - float(note.last)
    if gap <= 0.0:
        return weight
    x = gap / WEIGHT_TAU_S
    return weight * (1.0 - x + 0.5 * x * x if gap <= _SHORT_S else float(np.exp(-x)))


@kernel(inline=True)
def is_suspicious(note: Any) -> bool:
    """Whether a detector holds the row."""
    return bool(note.weight < np.float32(0.0))


@kernel(inline=True)
def succeeded_after(note: Any, t: float) -> bool:
    """Whether the key has had a success after ``t``."""
    return bool(note.success > _U32(0) and float(note.success) > t)


@kernel
def rank_of(note: Any, now: float, third: float) -> int:
    """0, 1 or :data:`CUSTOMER`; suspicion counts where the row is heavier than ``third`` (below 0: in any case)."""
    if succeeded_after(note, now - SUCCESS_KEEP_S):
        return CUSTOMER
    return 1 if is_suspicious(note) and (third < 0.0 or weight_of(note, now) > third) else 0


@kernel
def order_of(note: Any, now: float) -> float:
    """What orders rows by their weight at ``now``: the second at which a row of one touch would weigh as much.

    weight * exp(-(now - last) / tau) grows as last + tau * ln(weight). The logarithm is that of the float's own
    exponent and fraction, right to 1 %: eight true ones would take most of an admission.
    """
    bits = np.float32(abs(note.weight)).view(np.int32)
    part = float(bits & 0x7FFFFF) * 2.0**-23
    log2 = float((bits >> 23) - 127) + part + 0.34 * part * (1.0 - part)
    return float(min(note.last, second_of(now))) + WEIGHT_TAU_S * _LN2 * log2
