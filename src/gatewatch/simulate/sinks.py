"""Where simulated events go: a file, standard output, or a topic."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from gatewatch.errors import ConfigError
from gatewatch.log.base import Log

_FLUSH_S = 60.0  # at the end of a run everything must be on the log; a healthy broker needs less than a second
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class Sink(Protocol):
    """Takes values in order."""

    def write(self, values: Sequence[bytes]) -> None:
        """Take some more.

        Raises:
            LogError: the log does not take them.
        """
        ...

    def close(self) -> None:
        """Everything is where it should be, or an error says that it is not."""
        ...


class FileSink:
    """JSON lines; ``.gz`` and ``.zst`` are compressed, ``-`` is standard output."""

    def __init__(self, path: str) -> None:
        with ExitStack() as opened:
            self._file = _open(path, opened)
            self._opened = opened.pop_all()

    def write(self, values: Sequence[bytes]) -> None:
        """Append one line each."""
        if values:
            self._file.write(b"\n".join(values) + b"\n")

    def close(self) -> None:
        """Write what is left."""
        self._file.flush()
        self._opened.close()


class TopicSink:
    """One record a value, in any partition: gateways give no key either. ``bundle`` events share a value."""

    def __init__(self, log: Log, topic: str, *, bundle: int = 1) -> None:
        self._topic = topic
        self._bundle = bundle
        self._producer = log.producer(linger_ms=20)

    def write(self, values: Sequence[bytes]) -> None:
        """Send them; a bundle is a JSON array."""
        for value in bundled(values, self._bundle):
            self._producer.send(self._topic, value)

    def close(self) -> None:
        """Wait until the log has everything."""
        self._producer.flush(_FLUSH_S)
        self._producer.close()


def _open(path: str, opened: ExitStack) -> BinaryIO:
    if path == "-":
        return sys.stdout.buffer
    if not path.endswith(SUFFIXES):
        raise ConfigError("--to", f"{path!r} is neither `kafka` nor a file named *{', *'.join(SUFFIXES)}")
    raw = opened.enter_context(Path(path).open("wb"))  # noqa: SIM115 - the stack closes it
    if path.endswith(".gz"):
        # No name and no time in the header: the same events give the same file.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0)
        return cast("BinaryIO", opened.enter_context(packed))
    if path.endswith(".zst"):
        return cast("BinaryIO", opened.enter_context(zstandard.ZstdCompressor(level=3).stream_writer(raw)))
    return raw


def bundled(values: Sequence[bytes], size: int) -> Sequence[bytes]:
    """JSON arrays of ``size`` values each; the values themselves where ``size`` is 1.

    >>> bundled([b"1", b"2", b"3"], 2)
    [b'[1,2]', b'[3]']
    """
    if size == 1:
        return values
    return [b"[" + b",".join(values[i : i + size]) + b"]" for i in range(0, len(values), size)]
