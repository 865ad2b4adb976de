"""JSON that is spread over lines: what pretty printers, exports and ``jq .`` write, taken apart into its objects."""

from __future__ import annotations

import re
from collections import deque
from typing import BinaryIO

import msgspec

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
    """

    def __init__(self, stream: BinaryIO, line: bytes) -> None:
        self._stream = stream
        self._line = line.removeprefix(_BOM)
        self._found: deque[bytes] = deque()
        self._parts: list[bytes] = []  # of the object that is open
        self._depth = 0

    def readline(self, limit: int) -> bytes:
        """The next object on a line of its own; b"" at the end. One longer than ``limit`` comes cut, as a line would.

        Cost: some 10 MB a second.
        """
        while not self._found:
            line = self._line or self._stream.readline(limit)
            self._line = b""
            if not line:
                self._emit()  # the file was cut off
                break
            self._read(line)
            if sum(map(len, self._parts)) >= limit:
                self._emit()
        return self._found.popleft() + b"\n" if self._found else b""

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
