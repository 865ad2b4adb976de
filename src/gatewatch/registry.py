"""Finds and loads detector folders: what is on the search path, what each brings, whether it is complete.

Nothing else imports a detector by name. The order of the search path is in :mod:`gatewatch.detectors`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import yaml
from pydantic import Field

import gatewatch.detectors
from gatewatch.errors import ConfigError, DetectorError
from gatewatch.records import Mode
from gatewatch.sdk import Context, Detector, DetectorConfig
from gatewatch.settings import BlockSettings, DetectorSettings, Section, parse


class Defaults(Section):
    """``defaults.yaml`` of a detector folder.

    ``mode`` holds for limits and sequential tests; what is learned is shadow until it is warm, whatever it says.
    ``tags`` maps a taxonomy (attack, atlas, owasp) to ids; ``reason_tags`` adds some for one reason.
    """

    mode: Mode = Mode.ALERT
    block: BlockSettings = BlockSettings()
    options: dict[str, object] = Field(default_factory=dict)
    tags: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    reason_tags: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One detector folder."""

    name: str
    detector: type[Detector]
    defaults: Defaults
    playbook: str
    folder: Traversable

    def build(self, settings: DetectorSettings | None, context: Context) -> Detector:
        """Make one detector for one partition.

        Raises:
            ConfigError: an option is wrong; the path names it.
        """
        return self.detector(self.options(settings), context)

    def options(self, settings: DetectorSettings | None) -> DetectorConfig:
        """The detector's own config: its defaults, and over them what the settings say (one level deep)."""
        merged: dict[str, object] = dict(self.defaults.options)
        for key, value in (settings.options if settings else {}).items():
            old = merged.get(key)
            merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return parse(merged, self.detector.Config, f"detectors.{self.name}")

    def mode(self, settings: DetectorSettings | None) -> Mode:
        """What the settings say, else the default."""
        return settings.mode if settings is not None and settings.mode is not None else self.defaults.mode


def names() -> list[str]:
    """Every detector on the search path, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(gatewatch.detectors.__path__) if m.ispkg)


def load(name: str) -> Entry:
    """Import one detector folder.

    Raises:
        DetectorError: it is not there, or a part of it is missing.
        ConfigError: its ``defaults.yaml`` is wrong.
    """
    try:
        module = importlib.import_module(f"gatewatch.detectors.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"gatewatch.detectors.{name}":
            raise DetectorError(f"detectors/{name} cannot be imported: {error}") from error
        raise DetectorError(f"no detector {name!r}; there are: {', '.join(names())}") from error
    detector = getattr(module, "DETECTOR", None)
    if not (isinstance(detector, type) and issubclass(detector, Detector)):
        raise DetectorError(f"detectors/{name}/__init__.py must set DETECTOR to a subclass of gatewatch.sdk.Detector")
    folder = files(module)
    defaults = parse(yaml.safe_load(_read(folder, name, "defaults.yaml")) or {}, Defaults, f"{name}/defaults.yaml")
    return Entry(name, detector, defaults, _read(folder, name, "PLAYBOOK.md"), folder)


def load_all() -> dict[str, Entry]:
    """Every detector on the search path."""
    return {name: load(name) for name in names()}


def active(entries: Mapping[str, Entry], detectors: Mapping[str, DetectorSettings]) -> dict[str, Entry]:
    """Those whose mode is not off."""
    return {name: entry for name, entry in entries.items() if entry.mode(detectors.get(name)) is not Mode.OFF}


def check_settings(entries: dict[str, Entry], detectors: dict[str, DetectorSettings]) -> None:
    """Every configured detector exists and its options are right.

    Raises:
        ConfigError: one is not.
    """
    for name, settings in detectors.items():
        if name not in entries:
            raise ConfigError(f"detectors.{name}", f"no such detector; there are: {', '.join(sorted(entries))}")
        entries[name].options(settings)


def _read(folder: Traversable, name: str, file: str) -> str:
    try:
        return (folder / file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DetectorError(f"detectors/{name}/{file} is missing") from error
