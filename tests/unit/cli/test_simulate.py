"""``gatewatch simulate`` as a user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from gatewatch.cli import app
from gatewatch.cli.simulate import paced, sliced
from gatewatch.log.files import read_values
from gatewatch.simulate import labels
from gatewatch.simulate.scenario import Simulation, Window


def _invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *args])
    return result.exit_code, result.output


def _short(scenario: str = "cracking") -> Simulation:
    return Simulation(scenario, rate=20.0, duration_s=300.0, start=1772517600.0, seed=1)


def test_events_and_labels_are_written_and_the_same_again(tmp_path: Path) -> None:
    """A test set could not be made again from the command that made it."""
    for name in ("a", "b"):
        code, output = _invoke(
            "--to", str(tmp_path / f"{name}.jsonl.gz"), "--labels", str(tmp_path / f"{name}.labels"),
            "--scenario", "cracking", "--rate", "5", "--duration", "30m", "--seed", "3",
        )  # fmt: skip
        assert code == 0, output
        assert "400 of them hostile; attacks: cracking" in output
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert (tmp_path / "a.labels").read_bytes() == (tmp_path / "b.labels").read_bytes()
    values = [value for chunk in read_values([tmp_path / "a.jsonl.gz"]) for value in chunk.values]
    marked = {r.request_id for r in labels.read(tmp_path / "a.labels") if isinstance(r, labels.Label)}
    written = {msgspec.json.decode(value)["request_id"] for value in values}
    assert len(marked) == 400
    assert marked < written


def test_standard_output_carries_events_only() -> None:
    """`gatewatch simulate --to - | gatewatch replay -` would read the summary as an event."""
    result = CliRunner().invoke(app, ["simulate", "--to", "-", "--rate", "2", "--duration", "1m"])
    assert result.exit_code == 0
    assert result.stdout
    assert all(line.startswith('{"ts":') for line in result.stdout.splitlines())
    assert "events to -" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--to", "x.csv"), "neither `kafka` nor a file"),
        (("--to", "-", "--scenario", "storm"), "there are: quiet, mixed"),
        (("--to", "kafka"), "name the topic to write to"),
        (("--to", "-", "--duration", "long"), "no duration"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_hint(args: tuple[str, ...], said: str) -> None:
    """A mistake would end in a traceback, or in a file that nobody asked for."""
    code, output = _invoke(*args)
    assert code == 2
    assert said in " ".join(output.split())


def test_slices_are_the_window_in_pieces() -> None:
    """`--realtime` would drop or repeat events."""
    for window in _short().windows():
        pieces = list(sliced(window, 0.1))
        assert [value for piece in pieces for value in piece.values] == window.values
        assert [i for piece in pieces for i in piece.request_ids] == window.request_ids
        assert pieces[0].start == window.start
        assert pieces[-1].stop == window.stop
        for piece in pieces:
            assert ((piece.rows["ts"] >= piece.start) & (piece.rows["ts"] < piece.stop)).all()


class _Clock:
    """Each look takes 20 ms."""

    def __init__(self) -> None:
        self.time = 5_000.0

    def now(self) -> float:
        self.time += 0.02
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_realtime_sends_an_event_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live traffic would arrive all at once, or with times from the future."""
    clock = _Clock()

    def sleep(seconds: float) -> None:
        clock.time += seconds

    monkeypatch.setattr("gatewatch.cli.simulate.time.sleep", sleep)
    start = clock.time

    def windows() -> Iterator[Window]:
        rows = np.concatenate([window.rows for window in _short().windows()])
        yield Window(1772517600.0, 1772517900.0, rows, ["x"] * len(rows), [b"{}"] * len(rows))

    for piece in paced(windows(), clock, realtime=True):
        assert clock.time - start >= piece.stop - 1772517600.0 - 1e-6
    assert clock.time - start < 310
