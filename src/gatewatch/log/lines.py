"""Lines of a stream, a block at a time: a call a line is more than a third of what reading a file costs."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import BinaryIO

BLOCK_BYTES = 1 << 20  # read at once: some 2,000 lines, and what a decompressor gives at most


class LineTooLongError(Exception):
    """The next line is longer than a line may be."""


class Lines:
    """Reads lines without their ends.

    What a damaged stream gives before its error is given: the error comes from the call that meets it, and the line
    that it cuts is left out.

    Args:
        stream: where from; it must have ``read1``.
        limit: bytes that a line may have, with its end.
    """

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._block = min(BLOCK_BYTES, limit)  # so that only the first line of a block can be too long
        self._lines: list[bytes] = []  # read, and not taken yet from `_at` on
        self._at = 0
        self._open: list[bytes] = []  # parts of a line whose end was not read yet

    def take(self, values: list[bytes], most: int, room: int) -> None:
        """Append lines to ``values`` until it has ``most`` or they fill ``room`` bytes; none at the end.

        Cost: 0.1 us a line of 450 bytes.

        Raises:
            LineTooLongError: the next line is.
            OSError: the stream's own errors; EOFError, zlib.error and ZstdError too.
        """
        while len(values) < most and room > 0 and (self._at < len(self._lines) or self._read()):
            some = self._lines[self._at : self._at + most - len(values)]
            size = sum(map(len, some)) + len(some)
            if size > room:
                ends = list(accumulate(len(line) + 1 for line in some))
                some = some[: bisect_left(ends, room) + 1]
            values += some
            self._at += len(some)
            room -= size

    def _read(self) -> bool:
        """Read on to the end of a line at least; false where there is none."""
        while block := self._stream.read1(self._block):  # type: ignore[attr-defined]  # all that we open have it
            first, *others = block.split(b"\n")
            self._open.append(first)
            if sum(map(len, self._open)) + bool(others) > self._limit:
                raise LineTooLongError
            if others:
                begun = others.pop()
                self._hand_on([b"".join(self._open).rstrip(b"\r"), *_without_returns(others, block)])
                self._open = [begun]
                return True
        last, self._open = b"".join(self._open), []
        self._hand_on([last.rstrip(b"\r")] if last else [])
        return bool(last)

    def _hand_on(self, lines: list[bytes]) -> None:
        self._lines, self._at = lines, 0


def _without_returns(lines: list[bytes], block: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in lines] if b"\r" in block else lines
