"""Event files: what is read, what a damaged file gives, and that result files are whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gatewatch.errors import LogError
from gatewatch.log import files
from gatewatch.log.files import read_values, total_bytes, write_jsonl

LINES = [b'{"n": %d}' % i for i in range(1000)]
TEXT = b"\n".join(LINES) + b"\n"
# Lines that do not compress, so that cutting the file in the middle loses about half of them.
_random = random.Random(1)
NOISE = [_random.randbytes(40).hex().encode() for _ in range(20_000)]


def _values(*paths: Path | str, lines_per_chunk: int = 300) -> list[bytes]:
    return [value for chunk in read_values(paths, lines_per_chunk=lines_per_chunk) for value in chunk.values]


def _collect(path: Path, values: list[bytes]) -> None:
    """What was delivered before an error stays in ``values``."""
    for chunk in read_values([path]):
        values += chunk.values


def _gz(data: bytes) -> bytes:
    return gzip.compress(data)


def _zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".jsonl", bytes), (".log", bytes), (".jsonl.gz", _gz), (".jsonl.zst", _zst)]
)
def test_every_line_is_a_value(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """A replay of a compressed file would miss events."""
    path = tmp_path / f"events{suffix}"
    path.write_bytes(pack(TEXT))
    assert _values(path) == LINES


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", _gz), (".zst", _zst)])
def test_appended_compressed_files_are_read_on(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """Log rotation that appends members would lose all but the first day."""
    path = tmp_path / f"events{suffix}"
    path.write_bytes(pack(TEXT) + pack(b"last\n"))
    assert _values(path) == [*LINES, b"last"]


def test_a_value_has_its_place(tmp_path: Path) -> None:
    """An error about a bad event would name the wrong line."""
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_bytes(b"1\r\n\n3")
    second.write_bytes(b"4\n5\n")
    chunks = list(read_values([first, second], lines_per_chunk=2))
    assert [(str(first), 1), (str(first), 3), (str(second), 1)] == [(c.file, c.first_line) for c in chunks]
    assert [c.values for c in chunks] == [[b"1", b""], [b"3"], [b"4", b"5"]]
    assert chunks[-1].bytes_read == total_bytes([first, second])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", _gz), (".zst", _zst)])
def test_a_file_that_was_cut_off_gives_what_it_has_then_an_error(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    """A truncated upload would pass for a whole file, or all of it would be refused."""
    whole = pack(b"\n".join(NOISE) + b"\n")
    path = tmp_path / f"events{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    values: list[bytes] = []
    with pytest.raises(LogError, match=rf"events\{suffix}: line \d+: .*cut off") as caught:
        _collect(path, values)
    assert values == NOISE[: len(values)]
    assert len(NOISE) // 4 < len(values) < len(NOISE)
    assert f"line {len(values) + 1}:" in str(caught.value)


def test_a_damaged_gzip_file_says_where(tmp_path: Path) -> None:
    """A flipped bit would end a replay with a bare zlib error."""
    whole = bytearray(_gz(b"\n".join(NOISE)))
    whole[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    path = tmp_path / "events.gz"
    path.write_bytes(whole)
    with pytest.raises(LogError, match=r"events\.gz: line \d+: cannot be read on"):
        _values(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A typing error in a path would end in a traceback."""
    with pytest.raises(LogError, match=r"nowhere\.jsonl: cannot be opened: No such file"):
        _values(tmp_path / "nowhere.jsonl")


def test_a_file_without_line_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binary file given by mistake would fill the memory."""
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"ok\n" + bytes((1 << 20) + 1))
    values: list[bytes] = []
    with pytest.raises(LogError, match="line 2 is longer than 1 MiB"):
        _collect(path, values)
    assert values == [b"ok"]


def test_long_lines_come_in_smaller_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8,192 lines of a megabyte each would be held in memory at once."""
    monkeypatch.setattr(files, "CHUNK_BYTES", 1000)
    path = tmp_path / "events.jsonl"
    path.write_bytes((b"x" * 600 + b"\n") * 5)
    assert [len(chunk.values) for chunk in read_values([path])] == [2, 2, 1]


def test_parquet_rows_are_native_objects(tmp_path: Path) -> None:
    """Data that a lake exports could not be replayed, or absent fields would look like nulls."""
    path = tmp_path / "events.parquet"
    ts = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    columns: dict[str, list[object]] = {
        "ts": [ts, ts],
        "principal": ["a", None],
        "status": [200, 401],
        "features": [["tools"], None],
    }
    pq.write_table(pa.table(columns), path)
    rows = [msgspec.json.decode(value) for value in _values(path)]
    assert rows[0] == {"ts": "2026-01-02T03:04:05Z", "principal": "a", "status": 200, "features": ["tools"]}
    assert rows[1] == {"ts": "2026-01-02T03:04:05Z", "status": 401}


def test_parquet_with_times_in_nanoseconds_is_read(tmp_path: Path) -> None:
    """What pandas writes by default could not be replayed: a traceback instead of events."""
    path = tmp_path / "events.parquet"
    at = pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"ts": at, "sent": pa.array([5], pa.duration("ns"))}), path)
    (row,) = [msgspec.json.decode(value) for value in _values(path)]
    assert row["ts"] == "2026-01-02T03:04:05+00:00"


EXPORTS = {
    "indented array": json.dumps([{"n": 1, "s": "a]},{"}, {"n": 2, "in": {"x": [1, 2]}}], indent=2),
    "indented objects": json.dumps({"n": 1, "s": "}"}, indent=4)
    + "\n"
    + json.dumps({"n": 2, "in": {"x": []}}, indent=4),
    "an object on each line of an array": '[{"n":1,"s":"[{"},\n{"n":2,"in":{}}\n]\n',
    "opened on one line": '[{\r\n "n": 1\r\n}, {\r\n "n": 2, "in": 0\r\n}]',
}


@pytest.mark.parametrize("name", EXPORTS)
def test_json_over_several_lines_is_taken_apart(tmp_path: Path, name: str) -> None:
    """What `jq .` or an export wrote would be a dead letter for each of its lines."""
    path = tmp_path / "events.json"
    path.write_text(EXPORTS[name], newline="")
    rows = [msgspec.json.decode(value) for value in _values(path, lines_per_chunk=1)]
    assert [row["n"] for row in rows] == [1, 2]
    assert "in" in rows[1]


def test_an_indented_file_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    """The objects before the cut would be lost, or the broken one would pass unseen."""
    path = tmp_path / "events.json"
    path.write_text(json.dumps([{"n": 1}, {"n": 2}], indent=1)[:-8])
    first, cut = _values(path)
    assert msgspec.json.decode(first) == {"n": 1}
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(cut)


def test_an_indented_object_has_the_limit_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose first bracket never closes would fill the memory."""
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 100)
    path = tmp_path / "events.json"
    path.write_text("{\n" + ' "n": 1,\n' * 50)
    with pytest.raises(LogError, match=r"events\.json: line 1 is longer"):
        _values(path)


def test_a_broken_first_line_is_a_line(tmp_path: Path) -> None:
    """One bad entry at the head of a log would swallow those below."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n":1,"path":"/a\n' + LINES[0] + b"\n" + LINES[1] + b"\n")
    assert _values(path)[1:] == LINES[:2]


def test_a_bad_parquet_file_is_named(tmp_path: Path) -> None:
    """A JSON file with the wrong suffix would end in a traceback of Arrow."""
    path = tmp_path / "events.parquet"
    path.write_bytes(TEXT)
    with pytest.raises(LogError, match=r"events\.parquet: row 1: not readable as Parquet"):
        _values(path)


def test_stdin_is_read(tmp_path: Path) -> None:
    """`zcat ... | gatewatch replay -` would not work."""
    script = (
        "from gatewatch.log.files import read_values, total_bytes\n"
        "assert total_bytes(['-']) is None\n"
        "print([(c.file, c.values) for c in read_values(['-'])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"one\ntwo\n", capture_output=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == b"[('stdin', [b'one', b'two'])]"


def test_a_result_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """A replay that dies while it writes would leave half a list of alerts that looks like all of it."""
    path = tmp_path / "alerts.jsonl"
    assert write_jsonl(path, [b"old"]) == 1

    def broken() -> io.BytesIO:
        raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        write_jsonl(path, (broken().read() if i else b"new" for i in range(2)))
    assert path.read_bytes() == b"old\n"
    assert [path] == list(tmp_path.iterdir())
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_result_file_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    """A full disk or a wrong folder would end in a traceback."""
    with pytest.raises(LogError, match="cannot be written: No such file"):
        write_jsonl(tmp_path / "no" / "alerts.jsonl", [b"x"])
