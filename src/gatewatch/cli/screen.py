"""Where commands print: a terminal, or a pipe into which nothing may be lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

PIPE_COLUMNS = 1000  # of a table that no terminal bounds: a line a record, as grep and awk want it
_NARROW = 130  # columns of a terminal in which a sentence beside four short columns would be a pillar


def console(*, stderr: bool = False) -> Console:
    """Standard output (or error): as wide as the terminal; in a pipe without a width, unless COLUMNS sets one."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty() or "COLUMNS" in os.environ:
        return Console(stderr=stderr)
    return Console(stderr=stderr, width=PIPE_COLUMNS)


def listing(heads: Sequence[str], rows: Iterable[Sequence[str]], on: Console) -> Table:
    """Short fields, and last a sentence, which gets the room that is left.

    In a narrow terminal the short ones stand in pairs, one above the other, so that none is cut and the sentence is not
    a pillar. A column that no row fills is left out.
    """
    cells = [list(row) for row in rows]
    kept = [i for i in range(len(heads)) if i == len(heads) - 1 or any(row[i] for row in cells)]
    each = 2 if on.width < _NARROW else 1
    short = [kept[i : i + each] for i in range(0, len(kept) - 1, each)]
    groups = [[i for i in group if i != kept[-1]] for group in short] + [kept[-1:]]
    table = Table(show_edge=False)
    for group in groups:
        table.add_column("\n".join(heads[i] for i in group), no_wrap=group != groups[-1], overflow="fold")
    for row in cells:
        table.add_row(*("\n".join(row[i] for i in group) for group in groups))
    return table
