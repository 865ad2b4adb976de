"""Programs of Debian for tests: from the PATH, else unpacked from their packages into a cache; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from gatewatch.errors import LogError

_LIMIT_S = 240.0  # an update of the package lists takes 5-20 s, a slow mirror much more


def program(name: str, package: str) -> Path:
    """The program, wherever it is.

    Args:
        name: of the executable.
        package: of Debian that has it.

    Raises:
        LogError: it is not there and cannot be fetched: says what to install.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is not None:
        return Path(found)
    folder = cache("debian") / package
    if not folder.exists():
        _fetch(package, folder)
    for place in ("usr/sbin", "usr/bin"):
        if (folder / place / name).exists():
            return folder / place / name
    raise LogError(f"Debian's package {package} has no program {name}: install it so that it is on the PATH")


def cache(name: str) -> Path:
    """Where what was fetched for tests stays; ``name`` says where it came from."""
    found = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(found) / "gatewatch" / name


def _fetch(package: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        try:
            _run(temporary, "apt-get", "download", package)
        except LogError:  # a fresh machine has no package lists
            with suppress(LogError):
                _run(temporary, "apt-get", "update")
            try:
                _run(temporary, "apt-get", "download", package)
            except LogError as error:
                raise LogError(f"the test needs {package}: apt-get install {package}, or put it on the PATH") from error
        for archive in Path(temporary).glob("*.deb"):
            _run(temporary, "dpkg", "-x", str(archive), f"{temporary}/unpacked")
        with suppress(OSError):  # somebody else was quicker
            Path(temporary, "unpacked").rename(folder)


def _run(folder: str, *command: str) -> None:
    try:
        # Nothing here comes from a user: package names and paths made in this module.
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_LIMIT_S)  # noqa: S603 - said above
    except (OSError, subprocess.SubprocessError) as error:
        raise LogError(f"{' '.join(command)}: {error}") from error
