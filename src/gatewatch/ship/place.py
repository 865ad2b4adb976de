"""How far a file has been shipped, kept in a small file beside it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from gatewatch.errors import ConfigError

HEAD_BYTES = 1024  # a few lines: with their times they tell a file from every other that ever had its inode


class Place(msgspec.Struct, frozen=True):
    """A point in a file.

    An inode may be used again for the next file, so the beginning of the file is known by its hash, too. Only bytes
    before ``offset`` count for that: they do not change any more.
    """

    inode: int
    offset: int
    head: str  # of the first min(offset, HEAD_BYTES) bytes


def head_of(data: bytes) -> str:
    """Hash of a file's beginning."""
    return hashlib.sha256(data).hexdigest()[:16]


class PlaceFile:
    """The place of one shipper, on disk. Written whole and renamed: after a power cut it is the old or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Place | None:
        """The place that was saved last, if there is one.

        Raises:
            ConfigError: the file is there and is none of ours.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Place)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                "--state", f"{self._path} cannot be read ({error}): delete it to begin at the file's start"
            ) from error

    def save(self, place: Place) -> None:
        """Keep a place.

        Raises:
            ConfigError: the folder cannot be written.
        """
        try:
            with tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=self._path.name, delete=False) as file:
                file.write(msgspec.json.encode(place))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            raise ConfigError("--state", f"{self._path} cannot be written: {error.strerror}") from error
