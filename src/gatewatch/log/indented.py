"""JSON that is spread over lines: what pretty printers, exports and ``jq .`` write, taken apart into its objects."""

from __future__ import annotations

import re
from collections import deque
from typing import BinaryIO

import msgspec

from gatewatch.log.lines import LineTooLongError

_BOM = b"\xef\xbb\xbf"
# Strings as a whole, and brackets. A string ends with its line at the latest, as JSON has no line breaks in strings.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]')


def is_indented(line: bytes) -> bool:
    """Whether a file that begins with this line has JSON over several lines: it opens something, and goes on below.

    A broken line of a file of lines is no beginning of one: it ends anywhere, and not where a printer breaks lines.

    >>> [is_indented(line) for line in (b"[", b'[{"ts":1},', b'{"ts":1}', b'[{"ts":1}]', b'{"ts":1,"path":"/a')]
    [True, True, False, False, False]
    """
    text = line.removeprefix(_BOM).strip()
    if text[:1] not in (b"[", b"{") or text[-1:] not in (b"[", b"{", b","):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False


class Objects:
    """Reads whole objects where a file of lines would give lines.

    An array around them is left out, with its commas. What stands between them and is none comes out as it is, for
    the format to refuse.

    Args:
        stream: the rest of the file.
        line: its first line, which was read already.
        limit: bytes that an object may have.
    """

    def __init__(self, stream: BinaryIO, line: bytes, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._line = line.removeprefix(_BOM)
        self._found: deque[bytes] = deque()
        self._parts: list[bytes] = []  # of the object that is open
        self._depth = 0

    def take(self, values: list[bytes], most: int, room: int) -> None:
        """Append objects to ``values`` until it has ``most`` or they fill ``room`` bytes; none at the end.

        Cost: some 10 MB a second.

        Raises:
            LineTooLongError: the next object is longer than the limit.
        """
        while len(values) < most and room > 0 and (self._found or self._read_on()):
            value = self._found.popleft()
            if len(value) >= self._limit:
                raise LineTooLongError
            values.append(value)
            room -= len(value) + 1

    def _read_on(self) -> bool:
        """Read to the end of an object; false where there is none. One that is too long comes cut."""
        while not self._found:
            line = self._line or self._stream.readline(self._limit + 1)
            self._line = b""
            if not line:
                self._emit()  # the file was cut off
                break
            self._read(line)
            if sum(map(len, self._parts)) > self._limit:
                self._emit()
        return bool(self._found)

    def _read(self, line: bytes) -> None:
        start = 0
        for match in _MARK.finditer(line):
            mark = match[0]
            if mark in (b"{", b"[") and not (mark == b"[" and self._depth == 0):
                if self._depth == 0:
                    self._between(line[start : match.start()])
                    start = match.start()
                self._depth += 1
            elif mark in (b"}", b"]") and self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    self._parts.append(line[start : match.end()].strip())
                    start = match.end()
                    self._emit()
        rest = line[start:]
        if self._depth > 0:
            self._parts.append(rest.strip())
        else:
            self._between(rest)

    def _between(self, text: bytes) -> None:
        odd = text.strip(b" \t\r\n,[]")
        if odd:
            self._found.append(odd)

    def _emit(self) -> None:
        if self._parts:
            self._found.append(b"".join(self._parts))
        self._parts = []
        self._depth = 0
