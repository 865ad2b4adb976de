"""Finds and loads detector folders: what is on the search path, what each brings, whether it is complete.

Nothing else imports a detector by name. The order of the search path is in :mod:`gatewatch.detectors`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import ModuleType

import yaml
from pydantic import Field

import gatewatch.detectors
from gatewatch.config_files import nearest
from gatewatch.errors import ConfigError, DetectorError
from gatewatch.records import Mode
from gatewatch.records.words import RESERVED
from gatewatch.sdk import Context, Detector, DetectorConfig, Lane, Need, Part, PopulationDetector, Reason, Scope
from gatewatch.settings import BlockSettings, DetectorSettings, Section, Settings, parse


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
    """One detector folder: its class on keys, its class on populations, or both."""

    name: str
    detector: type[Detector] | None
    defaults: Defaults
    playbook: str
    folder: Traversable
    population: type[PopulationDetector] | None = None

    @property
    def parts(self) -> tuple[type[Detector | PopulationDetector], ...]:
        """Its classes, the one on keys first; at least one."""
        return tuple(part for part in (self.detector, self.population) if part is not None)

    @property
    def version(self) -> int:
        """The same for both parts."""
        return self.parts[0].version

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of all parts."""
        return tuple(reason for part in self.parts for reason in part.reasons)

    @property
    def tests(self) -> int:
        """How many of its tests spend of the budget."""
        return sum(map(tests_of, self.parts))

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(scope for part in self.parts for scope in part.scopes))

    @property
    def needs(self) -> tuple[Need, ...]:
        """Of all parts."""
        return tuple(need for part in self.parts for need in part.needs)

    @property
    def doc(self) -> str:
        """What its classes say of themselves."""
        return "\n\n".join(inspect.getdoc(part) or "" for part in self.parts)

    def build(self, settings: DetectorSettings | None, context: Context) -> Detector:
        """Make its part on keys for one partition.

        Raises:
            ConfigError: an option is wrong; the path names it.
            DetectorError: it has none.
        """
        if self.detector is None:
            raise DetectorError(f"detectors/{self.name} has no part on keys")
        return self.detector(self.options(settings), context)

    def build_population(self, settings: DetectorSettings | None, context: Context) -> PopulationDetector:
        """Make its part on populations; there is one in an installation.

        Raises:
            ConfigError: an option is wrong; the path names it.
            DetectorError: it has none.
        """
        if self.population is None:
            raise DetectorError(f"detectors/{self.name} has no part on populations")
        return self.population(self.options(settings), context)

    def warm_up(self) -> None:
        """Compile the kernels of its parts."""
        for part in self.parts:
            part.warm_up()

    def options(self, settings: DetectorSettings | None) -> DetectorConfig:
        """The detector's own config: its defaults, and over them what the settings say (one level deep)."""
        merged: dict[str, object] = dict(self.defaults.options)
        for key, value in (settings.options if settings else {}).items():
            old = merged.get(key)
            merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return parse(merged, self.parts[0].Config, f"detectors.{self.name}")

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
    if name == RESERVED:
        raise DetectorError(f"detectors/{name}: Gatewatch's own alerts have this name; call the folder something else")
    try:
        module = importlib.import_module(f"gatewatch.detectors.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"gatewatch.detectors.{name}":
            raise DetectorError(f"detectors/{name} cannot be imported: {error}") from error
        raise DetectorError(f"no detector {name!r}; there are: {', '.join(names())}") from error
    detector = _detector(module)
    population = _population(module)
    if detector is None and population is None:
        raise DetectorError(
            f"detectors/{name}/__init__.py must set DETECTOR to a subclass of gatewatch.sdk.Detector, "
            "or POPULATION to one of gatewatch.sdk.PopulationDetector"
        )
    if detector and population and (detector.Config, detector.version) != (population.Config, population.version):
        raise DetectorError(f"detectors/{name}: DETECTOR and POPULATION must share Config and version")
    folder = files(module)
    defaults = parse(yaml.safe_load(_read(folder, name, "defaults.yaml")) or {}, Defaults, f"{name}/defaults.yaml")
    return Entry(name, detector, defaults, _read(folder, name, "PLAYBOOK.md"), folder, population)


def load_all() -> dict[str, Entry]:
    """Every detector on the search path."""
    return {name: load(name) for name in names()}


def active(entries: Mapping[str, Entry], detectors: Mapping[str, DetectorSettings]) -> dict[str, Entry]:
    """Those whose mode is not off."""
    return {name: entry for name, entry in entries.items() if entry.mode(detectors.get(name)) is not Mode.OFF}


def in_lane(entries: Mapping[str, Entry], lane: Lane | None) -> dict[str, Entry]:
    """Those that have work in a lane: populations are summed up in the fast one. None: all."""

    def fits(entry: Entry) -> bool:
        on_keys = entry.detector is not None and entry.detector.lane == lane
        return lane is None or on_keys or (lane == "fast" and entry.population is not None)

    return {name: entry for name, entry in entries.items() if fits(entry)}


def budget_of(part: type[Part], settings: Settings, entries: Mapping[str, Entry]) -> float:
    """False alarms a day that a part may spend in the whole installation: a share of the budget for each of its tests.

    One that has none gets a single share to name, which it does not spend.
    """
    running = active(entries, settings.detectors).values()
    tests = sum(entry.tests for entry in running)
    return settings.budget.false_alarms_per_day * max(tests_of(part), 1) / max(tests, 1)


def tests_of(part: type[Part]) -> int:
    """How many tests of a part spend of the budget: none where nothing is learned."""
    return part.tests if any(reason.learned for reason in part.reasons) else 0


def check_settings(entries: dict[str, Entry], detectors: dict[str, DetectorSettings]) -> None:
    """Every configured detector exists and its options are right.

    Raises:
        ConfigError: one is not.
    """
    for name, settings in detectors.items():
        if name not in entries:
            raise ConfigError(f"detectors.{name}", f"no such detector{nearest(name, entries)}")
        entries[name].options(settings)


def _detector(module: ModuleType) -> type[Detector] | None:
    part = getattr(module, "DETECTOR", None)
    if part is None or (isinstance(part, type) and issubclass(part, Detector)):
        return part
    raise DetectorError(f"{module.__name__}: DETECTOR must be a subclass of gatewatch.sdk.Detector")


def _population(module: ModuleType) -> type[PopulationDetector] | None:
    part = getattr(module, "POPULATION", None)
    if part is None or (isinstance(part, type) and issubclass(part, PopulationDetector)):
        return part
    raise DetectorError(f"{module.__name__}: POPULATION must be a subclass of gatewatch.sdk.PopulationDetector")


def _read(folder: Traversable, name: str, file: str) -> str:
    try:
        return (folder / file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DetectorError(f"detectors/{name}/{file} is missing") from error
