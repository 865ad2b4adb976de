"""Sizes of a detector's tables, for metrics and the memory test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewatch.state.keytable import KeyTable
from gatewatch.state.pairs import Pairs, room_of


@dataclass(frozen=True, slots=True)
class TableStats:
    """Size of one table of a detector, for metrics."""

    rows: int
    capacity: int
    evicted: int
    refused: int
    nbytes: int

    def __add__(self, other: TableStats) -> TableStats:
        return TableStats(
            self.rows + other.rows,
            self.capacity + other.capacity,
            self.evicted + other.evicted,
            self.refused + other.refused,
            self.nbytes + other.nbytes,
        )


def table_stats(tables: Mapping[str, KeyTable]) -> dict[str, TableStats]:
    """Sizes of key tables, by their names. Cost: one pass over the keys."""
    return {
        name: TableStats(t.used, t.capacity, int(t.head.stats[0]), int(t.head.stats[1]), t.nbytes)
        for name, t in tables.items()
    }


def pair_stats(pairs: Pairs, added: int, turns: int) -> TableStats:
    """Size of a set of pairs, to whose current generation so many were added, the so many-th after the first."""
    return TableStats(added, room_of(pairs), turns, 0, pairs.nbytes)
