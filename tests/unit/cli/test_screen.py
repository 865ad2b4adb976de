"""Tables in a terminal, and in a pipe."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from gatewatch.cli.screen import PIPE_COLUMNS, console, listing

HEADS = ("id", "last (UTC)", "severity", "owner", "what")
ROWS = [
    ("9d4ad99f8f6c0f57", "2026-03-03 06:25:00", "critical", "", "Password cracking by ip 2001:db8:975:ff79:2415:1:2:3"),
    ("6aeb9c80c0b5b96d", "2026-03-03 06:27:09", "low", "", "Expired key by ip 198.18.101.222"),
]


def _lines(width: int, rows: Sequence[tuple[str, ...]] = ROWS) -> list[str]:
    on = Console(file=io.StringIO(), width=width)
    on.print(listing(HEADS, rows, on))
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_cuts_nothing(width: int) -> None:
    """Else who is accused stands there as "ip 198.19.…" on the screen of the person who was woken up."""
    joined = "".join(line.rsplit("│", 1)[-1].strip() for line in _lines(width))
    assert "2001:db8:975:ff79:2415:1:2:3" in joined.replace(" ", "")
    assert any("9d4ad99f8f6c0f57" in line for line in _lines(width))
    assert all("…" not in line for line in _lines(width))


def test_a_pipe_gets_a_line_a_record() -> None:
    """Else `| grep 198.18` finds half a row, and a table in a mail is a pillar."""
    found = [line for line in _lines(PIPE_COLUMNS) if "6aeb9c80c0b5b96d" in line]
    assert len(found) == 1
    assert "198.18.101.222" in found[0]


def test_a_column_that_nothing_fills_is_left_out() -> None:
    """Else a quarter of a narrow screen says that there is no catalog."""
    assert "owner" not in "".join(_lines(160))
    owned = [(*ROWS[0][:3], "team-a", ROWS[0][4])]
    assert "team-a" in "".join(_lines(160, owned))


def test_what_is_no_terminal_is_as_wide_as_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else output in a file is cut at the 80 columns of a terminal that is not there; COLUMNS still decides."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == PIPE_COLUMNS
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 80
