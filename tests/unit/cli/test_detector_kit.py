"""``gatewatch detectors new`` and ``check``: what a team begins with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gatewatch.detectors
from gatewatch import registry
from gatewatch.cli import detectors as command
from gatewatch.errors import DetectorError
from gatewatch.scaffold import Kind, write
from gatewatch.testing.detector_folder import FOLDER_LAWS
from gatewatch.testing.detectors import cases_hold, laws_of

DOCS = Path(__file__).resolve().parents[3] / "docs" / "add-a-detector.md"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A team's folder, first on the search path."""
    folder = tmp_path / "own"
    monkeypatch.setenv("GATEWATCH_DETECTORS_PATH", str(folder))
    before, modules = list(gatewatch.detectors.__path__), set(sys.modules)
    gatewatch.detectors.__path__ = [str(folder), *before]
    yield folder
    gatewatch.detectors.__path__ = before
    for name in set(sys.modules) - modules:
        if name.startswith("gatewatch.detectors.my_"):
            del sys.modules[name]


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output."""
    result = CliRunner().invoke(command.app, list(arguments))
    return result.exit_code, result.stdout


def test_a_new_model_passes_the_check_as_it_is(own: Path) -> None:
    """Otherwise a team begins with repairs, and never knows which of its own changes broke what."""
    code, told = run("new", "my_sizes", "--into", str(own))
    assert code == 0
    assert "GATEWATCH_DETECTORS_PATH" not in told  # it is on the path already
    code, told = run("check", "my_sizes", "--json")
    report: dict[str, Any] = json.loads(told)
    assert [law for law in report["laws"] if not law["ok"]] == []
    assert code == 0
    assert report["sees_traffic"] is True
    assert len(report["laws"]) == len(laws_of(registry.load("my_sizes")))
    assert all(cost > 0.0 for cost in report["cost_us_per_row"].values())
    assert len(report["cost_us_per_row"]) == 3


def test_a_broken_law_is_told_and_the_others_are_tried(own: Path) -> None:
    """Otherwise a team's pipeline is green while its detector misses its own attack, or stops at the first fault."""
    folder = write("my_refusals", Kind.POPULATION, own)
    expect = folder / "cases" / "benign-served.expect.yaml"
    expect.write_text((folder / "cases" / "attack-many-callers.expect.yaml").read_text())
    code, told = run("check", "my_refusals", "--json")
    report = json.loads(told)
    assert code == 1
    assert [law["law"] for law in report["laws"] if not law["ok"]] == ["cases_hold"]
    broken = next(law for law in report["laws"] if not law["ok"])
    assert "benign-served" in broken["error"]
    assert report["ok"] is False


def test_code_that_raises_is_an_outcome(own: Path) -> None:
    """Otherwise the check ends in a traceback of ours for a fault of theirs."""
    folder = write("my_raiser", Kind.POPULATION, own)
    source = folder / "population.py"
    source.write_text(
        source.read_text().replace("rows, denied = rollup.rows", "1 / 0\n        rows, denied = rollup.rows")
    )
    code, told = run("check", "my_raiser")
    assert code == 1
    assert "ZeroDivisionError" in told.replace("\n", "")


def test_a_new_river_detector_is_complete_and_finds_its_attacks(own: Path) -> None:
    """Otherwise whoever begins with a River model begins with repairs; the other laws are held by `odd_sizes`."""
    write("my_trees", Kind.RIVER, own)
    entry = registry.load("my_trees")
    for law in (*FOLDER_LAWS, cases_hold):
        law(entry)


def test_a_new_kernel_is_the_walk_through(own: Path) -> None:
    """Otherwise the page explains other files than those that the command wrote; the page is held to the laws."""
    folder = write("bulk_download", Kind.KERNEL, own)
    page = DOCS.read_text(encoding="utf-8")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 13
    for path in files:
        assert path.read_text(encoding="utf-8") in page, path.name


@pytest.mark.parametrize("name", ["", "Big", "2nd", "a-b", "a.b", "../up", "class", "x" * 41])
def test_names_that_cannot_be_one_are_refused(name: str, own: Path) -> None:
    """Otherwise a folder is written that no import finds, or somewhere else."""
    with pytest.raises(DetectorError, match="cannot name"):
        write(name, Kind.KERNEL, own)


def test_a_folder_that_exists_is_left_alone(own: Path) -> None:
    """Otherwise a second `new` overwrites a week of work."""
    folder = write("my_sizes", Kind.PER_EVENT, own)
    (folder / "model.py").write_text("mine")
    with pytest.raises(DetectorError, match="exists"):
        write("my_sizes", Kind.PER_EVENT, own)
    assert (folder / "model.py").read_text() == "mine"
