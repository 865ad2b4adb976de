"""Events arrive where they were sent, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewatch.errors import ConfigError
from gatewatch.log.base import TopicSpec
from gatewatch.log.files import read_values
from gatewatch.log.memory import MemoryLog
from gatewatch.simulate.sinks import FileSink, TopicSink

_VALUES = [b'{"ts":1}', b'{"ts":2}', b'{"ts":3}']


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_files_are_read_back_by_replay(tmp_path: Path, name: str) -> None:
    """`gatewatch replay` could not read what `gatewatch simulate` wrote."""
    path = tmp_path / name
    sink = FileSink(str(path))
    sink.write(_VALUES[:2])
    sink.write([])
    sink.write(_VALUES[2:])
    sink.close()
    assert [value for chunk in read_values([path]) for value in chunk.values] == _VALUES


def test_compressed_files_are_the_same_each_time(tmp_path: Path) -> None:
    """The same events would give files that differ by the time they were written."""
    written = []
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        sink = FileSink(str(tmp_path / name))
        sink.write(_VALUES)
        sink.close()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_another_name_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """A typo of `kafka` would make a file of that name."""
    with pytest.raises(ConfigError, match=r"neither `kafka` nor a file"):
        FileSink(str(tmp_path / "kafak"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("bundle", "expected"), [(1, _VALUES), (2, [b'[{"ts":1},{"ts":2}]', b'[{"ts":3}]'])])
def test_a_topic_gets_single_events_or_arrays(bundle: int, expected: list[bytes]) -> None:
    """Ingest would be tested with another kind of value than asked for, or with events lost."""
    log = MemoryLog()
    log.admin().create([TopicSpec("events", 1)])
    sink = TopicSink(log, "events", bundle=bundle)
    sink.write(_VALUES)
    sink.close()
    assert [value for chunk in log.read("events") for value in chunk.values] == expected
