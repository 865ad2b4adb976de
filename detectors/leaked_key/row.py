"""One key's row: what the key is known by, and how often that changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import kernel, scale

from .constants import AGENT, ASN, COUNTRY, DAY_S, DECAY_STEP_S, MEMORY_S, MODEL, NETWORK, SHAPE, WEEK_S
from .layout import SLOTS, Use

U32 = np.uint32


@kernel
def clear(row: Any, t: float) -> None:
    """A new key's row, which may have been another's."""
    row.t = row.born = row.stepped_at = t
    row.known_at = np.inf
    row.home_at = row.told_at = -np.inf
    row.seen[:, :] = U32(0)
    row.weight[:, :] = np.float32(0.0)
    row.novel[:] = np.float32(0.0)
    row.novel_day[:] = np.uint16(0)
    row.events = row.seconds = row.days = 0.0
    row.home_agent = U32(0)
    row.level = 0
    row.accused = row.away = row.beside = 0
    row.told_n = 0.0
    row.told_reason = 0


@kernel
def holds(row: Any, kind: int, value: np.uint32) -> bool:
    """Whether the key is known by this value; what is absent is nothing new."""
    if value == U32(0):
        return True
    n = 0
    for j in range(SLOTS):
        n += row.seen[kind, j] == value
    return n > 0


@kernel
def keep(row: Any, kind: int, value: np.uint32, weight: float) -> bool:
    """Know the key by this value from now on; whether it was new. The lightest value makes room."""
    if value == U32(0):
        return False
    lightest = 0
    for j in range(SLOTS):
        if row.seen[kind, j] == value:
            row.weight[kind, j] += np.float32(weight)
            return False
        if row.weight[kind, j] < row.weight[kind, lightest]:
            lightest = j
    row.seen[kind, lightest] = value
    row.weight[kind, lightest] = np.float32(weight)
    return True


@kernel
def keep_place(row: Any, use: Use, weight: float) -> None:
    """Know the key by where it was used."""
    keep(row, NETWORK, use.network, weight)
    keep(row, ASN, use.asn, weight)
    keep(row, COUNTRY, use.country, weight)


@kernel
def keep_manner(row: Any, use: Use, weight: float) -> tuple[bool, bool]:
    """Know the key by how it was used; whether the agent was new, and the model."""
    return keep(row, AGENT, use.agent, weight), keep(row, MODEL, use.model, weight)


@kernel
def level_of(row: Any, use: Use) -> int:
    """How new the place is: 0 known, 1 the network, 2 the operator too, 3 the country.

    A known network is a known place, whatever the address database says of it now.
    """
    if use.network != U32(0) and holds(row, NETWORK, use.network):
        return 0
    if not holds(row, COUNTRY, use.country):
        return 3
    if not holds(row, ASN, use.asn):
        return 2
    return 1 if use.network != U32(0) else 0


@kernel
def note_novel(row: Any, kind: int, t: float) -> bool:
    """A new value of that kind; whether it is the first on that day: only such days count for all keys."""
    row.novel[kind] += np.float32(1.0)
    day = np.uint16(int(t / DAY_S) & 0xFFFF)
    if row.novel_day[kind] == day:
        return False
    row.novel_day[kind] = day
    return True


@kernel
def advance(row: Any, t: float) -> float:
    """Bring the row to ``t``, a later time; returns by how many days in use the key is older."""
    gap = float(t - row.t)
    row.t = t
    row.seconds += np.float32(gap)
    in_use = min(gap, DAY_S) / DAY_S  # an idle week brings one day on which something new could have come
    if t >= row.known_at:
        row.days += np.float32(in_use)
    step = t - row.stepped_at
    if step >= DECAY_STEP_S:
        row.stepped_at = t
        month, week = np.float32(math.exp(-step / MEMORY_S)), np.float32(math.exp(-step / WEEK_S))
        scale(row.weight, month)
        scale(row.novel, month)
        row.days *= month
        row.events *= week
        row.seconds *= week
    return in_use


@kernel
def daily_rate(row: Any, kind: int, others: float) -> float:
    """New values of that kind that a day brings this key: its own history, and the other keys' before it.

    Rates over keys are taken to be gamma distributed (posterior mean): a key that never moved is soon trusted not to,
    and one that moves every day is soon known for it.
    """
    return float((row.novel[kind] + SHAPE) / (row.days + SHAPE / others))
