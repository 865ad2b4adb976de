"""Lines read by blocks are those that reading line by line gives."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewatch.log import lines
from gatewatch.log.lines import Lines, LineTooLongError

TEXTS = st.lists(st.sampled_from((b"", b"a", b"bc", b"\r", b"\n", b"\r\n", b"x" * 9)), max_size=30).map(b"".join)


class _Pieces(io.BytesIO):
    """A stream that gives so many bytes at a time, as pipes and decompressors do, and breaks at its end if told to."""

    def __init__(self, text: bytes, sizes: Sequence[int], error: OSError | None = None) -> None:
        super().__init__(text)
        self._sizes = iter(sizes)
        self._error = error

    def read1(self, size: int | None = -1, /) -> bytes:
        data = super().read1(min(size or 1, next(self._sizes, 1)))
        if not data and self._error is not None:
            raise self._error
        return data


@given(TEXTS, st.lists(st.integers(1, 12)), st.integers(1, 5), st.integers(1, 40))
@example(b"a\r\nb\r", [2], 5, 40)
def test_blocks_give_what_lines_give(text: bytes, sizes: list[int], most: int, room: int) -> None:
    """If this fails, an event is lost, cut or glued to the next where two blocks meet, and alerts name other lines."""
    source = Lines(_Pieces(text, sizes), 100)
    found: list[bytes] = []
    while True:
        taken: list[bytes] = []
        source.take(taken, most, room)
        assert len(taken) <= most
        assert sum(len(line) + 1 for line in taken[:-1]) < room
        if not taken:
            break
        found += taken
    assert found == [line.rstrip(b"\r\n") for line in io.BytesIO(text)]


@given(TEXTS, st.lists(st.integers(1, 12)))
def test_what_came_before_damage_is_given(text: bytes, sizes: list[int]) -> None:
    """If this fails, the last whole events of a file that was cut off are lost, or the cut one passes for an event."""
    source = Lines(_Pieces(text, sizes, OSError("broken")), 100)
    found: list[bytes] = []
    with pytest.raises(OSError, match="broken"):
        source.take(found, 1000, 1000)
    assert found == [line.rstrip(b"\r\n") for line in io.BytesIO(text) if line.endswith(b"\n")]


@pytest.mark.parametrize("block", [3, 8, 1 << 20])
def test_a_long_line_is_refused_before_it_is_whole(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """If this fails, a file without line ends fills the memory."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    endless = io.BytesIO(b"ok\nlongest\n" + b"x" * 1000)
    source = Lines(endless, 8)
    found: list[bytes] = []
    with pytest.raises(LineTooLongError):
        source.take(found, 10, 1000)
    assert found == [b"ok", b"longest"]
    assert endless.tell() < 40
