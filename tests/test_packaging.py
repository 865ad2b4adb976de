"""What is shipped: the wheel holds every detector and runs where the checkout is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from gatewatch import __version__, registry

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent.name for path in (ROOT / "detectors").glob("*/__init__.py"))


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(kind: str, folder: Path) -> Path:
    """The wheel or sdist of this checkout."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def shipped(wheel: Path) -> set[str]:
    """Names of the files in it."""
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_detector_of_the_checkout_is_known() -> None:
    """Otherwise the tests below look at fewer detectors than there are."""
    assert registry.names() == FOLDERS
    assert FOLDERS


@pytest.mark.parametrize("name", FOLDERS)
def test_the_wheel_holds_each_detector_whole(shipped: set[str], name: str) -> None:
    """Otherwise a detector that works here is missing, or has no defaults, for everybody who installs."""
    here = {
        path.relative_to(ROOT / "detectors").as_posix()
        for pattern in ("*.py", "defaults.yaml", "PLAYBOOK.md", "cases/*.jsonl", "cases/*.yaml")
        for path in (ROOT / "detectors" / name).glob(pattern)
    }
    assert {f"{name}/__init__.py", f"{name}/defaults.yaml", f"{name}/PLAYBOOK.md"} <= here
    assert {file.removeprefix("gatewatch/detectors/") for file in shipped if f"detectors/{name}/" in file} == here


def test_the_wheel_holds_types_and_nothing_of_the_checkout(shipped: set[str]) -> None:
    """Otherwise users get no types, or our tests, local files and caches."""
    assert "gatewatch/py.typed" in shipped
    assert {name.split("/")[0] for name in shipped} == {"gatewatch", f"gatewatch-{__version__}.dist-info"}
    assert not [name for name in shipped if "__pycache__" in name or ".local." in name]


def test_the_sdist_can_build_the_wheel(tmp_path: Path, shipped: set[str]) -> None:
    """Otherwise who builds from source, as distributions do, gets a wheel without detectors."""
    with tarfile.open(build("sdist", tmp_path / "dist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("gatewatch-*")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=source)
    (again,) = (tmp_path / "again").iterdir()
    with ZipFile(again) as archive_again:
        assert set(archive_again.namelist()) == shipped


@pytest.mark.slow
@pytest.mark.timeout(900)  # installing takes a minute, and every kernel is compiled once more
def test_an_installed_wheel_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Otherwise `pip install gatewatch && gatewatch demo` fails: an undeclared dependency, a file left behind."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    run(programs / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb", "COLUMNS": "120"}
    kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LC_ALL", "TMPDIR"}}
    listed = json.loads(run(programs / "gatewatch", "detectors", "list", "--json", cwd=tmp_path, env=env | kept))
    assert sorted(row["name"] for row in listed) == FOLDERS
    assert all(str(tmp_path / "venv") in row["folder"] for row in listed)
    page = run(programs / "gatewatch", "demo", "--seconds", "20", cwd=tmp_path, env=env | kept)
    assert "credential_stuffing" in page
    assert "rate_spike" in page
