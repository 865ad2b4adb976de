"""Complete lines of a log file that is appended to, rotated and truncated while it is read.

Rotation by renaming: what is left in the old file is read to its end before the new one is begun, also when the
rotation happened while nobody was reading (the old file is then found beside the new one by its inode). Truncation
(``copytruncate``): reading begins at the start again; what was written between the last look and the truncation is
lost, as with every reader. Nothing is watched but sizes: one ``stat`` a look.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gatewatch.ship.place import HEAD_BYTES, Place, head_of

READ_BYTES = 256 << 10  # one read: some thousand lines
# A line is a Kafka value: the broker's own limit is a megabyte, and a longer one is a file that is no log.
LINE_BYTES = 1_000_000


# After the path leads to another file, the old one is looked at so often without news before it is let go: a gateway
# is told to open the new file after the rename, and its processes do so one after another.
LAST_LOOKS = 5


class Lines(NamedTuple):
    """Lines of one file without their ends, how many were too long and left out, and the point after all of them."""

    lines: list[bytes]
    too_long: int
    place: Place


class Tail:
    """Follows one path. Memory: at most one line and one read.

    Args:
        path: the file that is appended to; need not exist yet.
        place: where to go on; ``None`` begins at the file's start.
    """

    def __init__(self, path: Path, place: Place | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = 0
        self._read_to = 0  # offset of the next read
        self._rest = b""  # the beginning of a line whose end is not written yet
        self._skipping = False  # inside a line that is too long
        self._head = b""
        self._last_looks = LAST_LOOKS
        self.truncations = 0
        if place is not None:
            self._resume(place)

    def read(self) -> Lines | None:
        """What can be read now, up to one read; ``None`` where there is nothing new."""
        if self._file is None and not self._open(self._path, 0):
            return None
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._read_to:
            self.truncations += 1
            self._restart()
        chunk = os.pread(self._file.fileno(), READ_BYTES, self._read_to)
        if chunk:
            self._last_looks = LAST_LOOKS
            return self._cut(chunk)
        if not self._replaced():
            return None
        self._last_looks -= 1
        return self._leave() if self._last_looks < 0 else None

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._restart()

    def _cut(self, chunk: bytes) -> Lines:
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        self._read_to += len(chunk)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in whole if len(line) <= LINE_BYTES]
        too_long = len(whole) - len(lines)
        if self._skipping and whole:  # what came first is only the end of a line that was too long
            if len(whole[0]) <= LINE_BYTES:
                del lines[0]
                too_long += 1
            self._skipping = False
        if self._skipping or len(self._rest) > LINE_BYTES:
            self._skipping, self._rest = True, b""
        return Lines(lines, too_long, self._place())

    def _leave(self) -> Lines | None:
        """The old file is done. A line without an end is given as it is: nobody completes it any more."""
        lines = [self._rest] if self._rest else []
        self._rest = b""
        done = Lines(lines, 0, self._place()) if lines else None
        self.close()
        return done

    def _place(self) -> Place:
        end = self._read_to - len(self._rest)
        return Place(self._inode, end, head_of(self._head[: min(end, HEAD_BYTES)]))

    def _resume(self, place: Place) -> None:
        """Go on in the file that the place is of, whatever it is called by now; else at the start of the path."""
        siblings = sorted(self._path.parent.glob(f"{self._path.name}*"))
        for candidate in (self._path, *siblings):
            try:
                if candidate.stat().st_ino != place.inode or not self._open(candidate, place.offset):
                    continue
            except OSError:
                continue
            if head_of(self._head[: min(place.offset, HEAD_BYTES)]) == place.head:
                return
            self.close()

    def _open(self, path: Path, offset: int) -> bool:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        stat = os.fstat(file.fileno())
        if stat.st_size < offset:
            file.close()
            return False
        self._file, self._inode, self._read_to = file, stat.st_ino, offset
        self._head = os.pread(file.fileno(), min(offset, HEAD_BYTES), 0)
        return True

    def _replaced(self) -> bool:
        """Whether the path leads to another file now. While it leads nowhere the old one may still be written."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _restart(self) -> None:
        self._read_to, self._rest, self._head, self._skipping = 0, b"", b"", False
        self._last_looks = LAST_LOOKS


def end_of(path: Path) -> Place | None:
    """The end of the last whole line of a file; ``None`` where there is no file."""
    try:
        with path.open("rb", buffering=0) as file:
            stat = os.fstat(file.fileno())
            start = max(stat.st_size - READ_BYTES, 0)
            end = start + os.pread(file.fileno(), READ_BYTES, start).rfind(b"\n") + 1
            head = os.pread(file.fileno(), min(end, HEAD_BYTES), 0)
    except FileNotFoundError:
        return None
    return Place(stat.st_ino, end, head_of(head))
