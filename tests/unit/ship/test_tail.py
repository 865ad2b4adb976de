"""Every line of a log once, whatever happens to the file meanwhile."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.errors import ConfigError
from gatewatch.ship.place import Place, PlaceFile
from gatewatch.ship.tail import LAST_LOOKS, LINE_BYTES, Tail, end_of


def _read(tail: Tail, looks: int = LAST_LOOKS + 3) -> tuple[list[bytes], Place | None]:
    """All lines that come within some looks, and the last place."""
    lines: list[bytes] = []
    place = None
    for _ in range(looks):
        if (got := tail.read()) is not None:
            lines += got.lines
            place = got.place
    return lines, place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log file that does not exist yet."""
    return tmp_path / "access.log"


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_lines_come_once_and_only_when_they_are_whole(path: Path) -> None:
    """If this fails, half a line is shipped as an event, or one twice."""
    tail = Tail(path, None)
    assert _read(tail) == ([], None)
    _append(path, b"one\r\ntwo\nthr")
    assert _read(tail)[0] == [b"one", b"two"]
    _append(path, b"ee\n")
    assert _read(tail)[0] == [b"three"]
    tail.close()


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path: Path) -> None:
    """If this fails, each rotation loses what the gateway wrote last."""
    tail = Tail(path, None)
    _append(path, b"one\n")
    assert _read(tail)[0] == [b"one"]
    old = path.rename(path.with_name("access.log.1"))
    _append(old, b"two\n")
    _append(path, b"four\n")
    assert tail.read() is not None
    assert tail.read() is None  # the gateway may still write to the old one
    _append(old, b"three without an end")
    assert _read(tail)[0] == [b"three without an end", b"four"]
    tail.close()


def test_a_rotation_while_nobody_read_loses_nothing(path: Path) -> None:
    """If this fails, a shipper that was down over midnight begins with the new file."""
    _append(path, b"one\ntwo\n")
    tail = Tail(path, None)
    place = _read(tail)[1]
    tail.close()
    _append(path, b"three\n")
    path.rename(path.with_name("access.log.1"))
    _append(path, b"four\n")
    tail = Tail(path, place)
    assert _read(tail)[0] == [b"three", b"four"]
    tail.close()


def test_a_truncated_file_is_begun_again(path: Path) -> None:
    """If this fails, after `copytruncate` nothing is read until the file is as long as before."""
    tail = Tail(path, None)
    _append(path, b"one\ntwo\n")
    _read(tail)
    os.truncate(path, 0)
    _append(path, b"new\n")
    assert _read(tail)[0] == [b"new"]
    assert tail.truncations == 1
    tail.close()


def test_another_file_under_an_inode_that_was_used_before_is_read_from_its_start(path: Path) -> None:
    """If this fails, a new log that got the old one's inode is begun in the middle of a line."""
    _append(path, b"one\ntwo\n")
    tail = Tail(path, None)
    place = _read(tail)[1]
    tail.close()
    assert place is not None
    path.write_bytes(b"another file, longer\n")  # the same inode
    tail = Tail(path, place)
    assert _read(tail)[0] == [b"another file, longer"]
    tail.close()


def test_a_line_that_is_too_long_costs_no_memory_and_no_other_line(path: Path) -> None:
    """If this fails, a file without line ends fills the memory, or hides the lines after it."""
    tail = Tail(path, None)
    _append(path, b"one\n" + b"x" * (3 * LINE_BYTES) + b"\ntwo\n")
    lines, too_long = [], 0
    for _ in range(40):
        if (got := tail.read()) is not None:
            lines += got.lines
            too_long += got.too_long
            assert len(tail._rest) <= LINE_BYTES
    assert (lines, too_long) == ([b"one", b"two"], 1)
    tail.close()


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=30),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    stops=st.sets(st.integers(0, 5)),
)
def test_any_cuts_and_restarts_give_the_same_lines(
    lines: list[bytes], cuts: list[int], stops: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """If this fails, what is shipped depends on when the gateway flushed or the shipper was restarted."""
    path = tmp_path_factory.mktemp("tail") / "access.log"
    whole = b"".join(line + b"\n" for line in lines)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    tail, place = Tail(path, None), None
    got: list[bytes] = []
    for i, (start, stop) in enumerate(itertools.pairwise(edges)):
        _append(path, whole[start:stop])
        some, reached = _read(tail, looks=1)
        got, place = got + some, reached or place
        if i in stops:
            tail.close()
            tail = Tail(path, place)
    tail.close()
    assert got == lines


def test_the_end_of_a_file_is_after_its_last_whole_line(path: Path) -> None:
    """If this fails, `--from-end` begins in the middle of a line, which becomes a dead letter."""
    assert end_of(path) is None
    _append(path, b"old\nha")
    tail = Tail(path, end_of(path))
    _append(path, b"lf\n")
    assert _read(tail)[0] == [b"half"]
    tail.close()


def test_a_place_survives_and_a_broken_one_is_named(tmp_path: Path) -> None:
    """If this fails, a restart begins anywhere, or ends in a traceback that names no file."""
    file = PlaceFile(tmp_path / "place")
    assert file.load() is None
    file.save(Place(7, 42, "abc"))
    assert PlaceFile(tmp_path / "place").load() == Place(7, 42, "abc")
    (tmp_path / "place").write_bytes(b"{}")
    with pytest.raises(ConfigError, match=r"--state: .*place cannot be read.*delete it"):
        file.load()
    with pytest.raises(ConfigError, match="cannot be written"):
        PlaceFile(tmp_path / "absent" / "place").save(Place(7, 42, "abc"))
