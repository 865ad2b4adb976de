"""Where ``gatewatch detectors new`` begins: folders that keep the contract as they stand, one for each kind.

They are code like any other (linted, typed, tested), only that their detector is called ``new_detector``.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gatewatch.errors import DetectorError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # a package, a key of the settings file, a label of metrics


class Kind(StrEnum):
    """What a new detector is made of."""

    KERNEL = "kernel"
    PER_EVENT = "per-event"
    RIVER = "river"
    POPULATION = "population"


def write(name: str, kind: Kind, into: Path) -> Path:
    """Write a detector folder that passes ``gatewatch detectors check`` as it is.

    Returns:
        The new folder.

    Raises:
        DetectorError: the name cannot be one, the folder exists, or it cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise DetectorError(
            f"{name!r} cannot name a detector: use lower-case letters, digits and _, at most 40 of them"
        )
    folder = into / name
    camel = "".join(part.capitalize() for part in name.split("_"))
    try:
        folder.mkdir(parents=True)
        for path, text in _files(files(__name__) / kind.value.replace("-", "_")):
            target = folder / path
            target.parent.mkdir(exist_ok=True)
            target.write_text(text.replace("new_detector", name).replace("NewDetector", camel), encoding="utf-8")
    except FileExistsError:
        raise DetectorError(f"{folder} exists already; nothing was written") from None
    except OSError as error:
        raise DetectorError(f"cannot write {folder}: {error.strerror}") from error
    return folder


def _files(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry, f"{below}{entry.name}/")
        elif entry.is_file():
            yield f"{below}{entry.name}", entry.read_text(encoding="utf-8")
