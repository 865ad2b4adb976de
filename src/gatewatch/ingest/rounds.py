"""What was polled, in pieces that fit into memory while they are columns."""

from __future__ import annotations

from collections.abc import Sequence

from gatewatch.log.base import Chunk


def rounds(chunks: Sequence[Chunk], size: int) -> list[list[Chunk]]:
    """Chunks in groups of about ``size`` bytes of values; a chunk that alone is larger is cut between values."""
    groups: list[list[Chunk]] = [[]]
    room = size
    for chunk in chunks:
        whole = sum(map(len, filter(None, chunk.values)))
        if whole < room:  # as nearly all are: nothing to look at value by value
            room -= whole
            groups[-1].append(chunk)
            continue
        low = 0
        for at, value in enumerate(chunk.values):
            room -= len(value) if value is not None else 0
            if room <= 0 and at + 1 < len(chunk.values):
                groups[-1].append(chunk.values_between(low, at + 1))
                groups.append([])
                low, room = at + 1, size
        groups[-1].append(chunk.values_between(low) if low else chunk)
        if room <= 0:
            groups.append([])
            room = size
    return [group for group in groups if group]
