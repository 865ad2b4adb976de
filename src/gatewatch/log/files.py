"""Events from files and results to files, at the edges of a replay.

JSONL and plain lines, JSON over several lines, ``.gz`` and ``.zst`` of them, Parquet (a row is one native JSON object)
and ``-`` for stdin. Nothing is parsed here: a line is a value, as it would be in a topic.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec
import zstandard

from gatewatch.errors import LogError
from gatewatch.log.indented import Objects, is_indented
from gatewatch.log.lines import Lines, LineTooLongError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
# A line longer than this is not an event: the largest Kafka value anybody sends is some 10 MiB, and reading on would
# fill the memory with a file that has no line ends.
MAX_LINE_BYTES = 64 << 20
# Values handed on at a time hold at most this much, however long the lines are.
CHUNK_BYTES = 64 << 20
_PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(slots=True)
class FileChunk:
    """Consecutive values of one file; blank lines are values too.

    ``first_line`` counts from 1: lines, in Parquet rows, in JSON over several lines its objects.
    """

    file: str
    first_line: int
    values: list[bytes]
    bytes_read: int  # on disk, compressed, over all files so far: for progress bars


def read_values(paths: Iterable[Path | str], *, lines_per_chunk: int = 8192) -> Iterator[FileChunk]:
    """Values of some files, one after the other.

    A damaged file gives all that can be read of it first, then the error.

    Raises:
        LogError: a file cannot be opened, is cut off or damaged; the message names the file and the line.
    """
    done = 0
    for path in paths:
        name = "stdin" if str(path) == STDIN else str(path)
        chunk = FileChunk(name, 1, [], done)
        rows = _rows(path, name, lines_per_chunk) if _is_parquet(path) else _lines(path, name, lines_per_chunk)
        for chunk in rows:
            chunk.bytes_read += done
            yield chunk
        done = chunk.bytes_read


def total_bytes(paths: Iterable[Path | str]) -> int | None:
    """Size on disk of all files, the end that ``bytes_read`` goes to; ``None`` where stdin or a pipe is among them."""
    total = 0
    for path in paths:
        if str(path) == STDIN or not Path(path).is_file():
            return None
        total += Path(path).stat().st_size
    return total


def write_jsonl(path: Path, values: Iterable[bytes]) -> int:
    """Write values as lines; the file appears whole or not at all. Returns how many lines it has.

    Raises:
        LogError: it cannot be written.
    """
    n = 0
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            for value in values:
                file.write(value + b"\n")
                n += 1
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes it 0600
        Path(temporary).replace(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
    return n


def _lines(path: Path | str, name: str, lines_per_chunk: int) -> Iterator[FileChunk]:
    """Lines of a text file; what came before an error is delivered before it is raised."""
    line, values = 1, list[bytes]()
    raw = _open(path, name)
    error: LogError | None = None
    with raw, _decompressed(raw, str(path)) as stream:
        source: Lines | Objects | None = None
        while error is None:
            try:
                source = _values_of(stream, values) if source is None else source
                source.take(values, lines_per_chunk, CHUNK_BYTES - sum(map(len, values)))
            except (EOFError, OSError, zlib.error, zstandard.ZstdError, LineTooLongError) as caught:
                error = LogError(f"{name}: line {line + len(values)}{_damage(caught)}")
                error.__cause__ = caught
            if not values:
                break
            yield FileChunk(name, line, values, _position(raw))
            line, values = line + len(values), []
    if error is not None:
        raise error


def _values_of(stream: BinaryIO, values: list[bytes]) -> Lines | Objects:
    """What gives a file's values, by its first line; in a file of lines that is a value already."""
    first = stream.readline(MAX_LINE_BYTES + 1)
    if is_indented(first):
        return Objects(stream, first, MAX_LINE_BYTES)
    if len(first) > MAX_LINE_BYTES:
        raise LineTooLongError
    if first:
        values.append(first.rstrip(b"\r\n"))
    return Lines(stream, MAX_LINE_BYTES)


def _rows(path: Path | str, name: str, rows_per_chunk: int) -> Iterator[FileChunk]:
    """Rows of a Parquet file as JSON objects; absent values are left out."""
    import pyarrow as pa  # noqa: PLC0415 - half a second, and few files are Parquet
    import pyarrow.parquet as pq  # noqa: PLC0415 - the same

    row = 1
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    try:
        with pq.ParquetFile(path) as file:
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=rows_per_chunk):
                values = [_json_row(r) for r in batch.to_pylist()]
                yield FileChunk(name, row, values, size * (row - 1 + len(values)) // total)
                row += len(values)
    except (OSError, pa.ArrowException) as error:
        raise LogError(f"{name}: row {row}: not readable as Parquet: {error}") from error


def _json_row(row: dict[str, object]) -> bytes:
    return msgspec.json.encode({name: value for name, value in row.items() if value is not None}, enc_hook=_plain)


def _plain(value: object) -> str:
    """A value that JSON has no form for. Times in nanoseconds, as pandas writes them, come as a type of its own."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _open(path: Path | str, name: str) -> BinaryIO:
    if name == "stdin" and str(path) == STDIN:
        return io.BufferedReader(cast("io.RawIOBase", io.FileIO(sys.stdin.fileno(), closefd=False)))
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise LogError(f"{name}: cannot be opened: {error.strerror}") from error


def _decompressed(raw: BinaryIO, path: str) -> BinaryIO:
    """Text of a raw stream. ``.gz`` and ``.zst`` by name; concatenated members are read on."""
    if path.endswith((".gz", ".gzip")):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb"))
    if path.endswith((".zst", ".zstd")):
        return io.BufferedReader(_ZstdReader(raw), 1 << 20)
    return raw


class _ZstdReader(io.RawIOBase):
    """Zstandard frames as one stream. The library's own stream reader takes a file that was cut off for a whole one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._left = b""  # compressed, not yet used
        self._out = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._out:
            data, self._left = self._left or self._raw.read(1 << 17), b""
            if not data:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._out = self._frame.decompress(data)
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        view = memoryview(buffer).cast("B")
        n = min(len(view), len(self._out))
        view[:n], self._out = self._out[:n], self._out[n:]
        return n


def _damage(error: BaseException) -> str:
    """What is wrong with a line, after its number."""
    if isinstance(error, LineTooLongError):
        return f" is longer than {MAX_LINE_BYTES >> 20} MiB: write one event, or one array of events, on each line"
    if isinstance(error, EOFError):
        return ": the compressed file ends too soon: it was cut off (copy it again, or go on without its end)"
    return f": cannot be read on: {error}"


def _position(raw: BinaryIO) -> int:
    try:
        return raw.tell()
    except OSError:  # a pipe
        return 0


def _is_parquet(path: Path | str) -> bool:
    return str(path).endswith(_PARQUET_SUFFIXES)


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
