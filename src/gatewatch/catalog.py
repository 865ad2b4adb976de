"""Who owns what, who is paged for it, how sensitive it is: one YAML file.

::

    projects:
      billing: {owner: team-billing, escalation: "#billing-oncall", sensitivity: high}
    models:
      fraud-scorer: {owner: team-risk}
    endpoints:
      /v1/fine-tunes: {owner: ml-platform}
    restricted: {endpoints: [/v1/fine-tunes]}
    canary: {models: [gpt-internal-test]}

A running `decide` reads the file again when it changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from gatewatch.config_files import read_mapping
from gatewatch.errors import ConfigError
from gatewatch.settings import Section, parse

# From the most specific thing that is attacked to the one that attacks: the first that names an owner says who acts.
_KINDS = ("endpoint", "model", "project", "principal")


class Sensitivity(StrEnum):
    """How much an attack on it would hurt: moves the severity of its alerts one step down or up."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Resource(Section):
    """What is known of one project, endpoint, model or principal."""

    owner: str | None = None
    escalation: str | None = None  # who is paged: a channel, a rota, a routing key's name
    sensitivity: Sensitivity | None = None


class Marked(Section):
    """Names on one list."""

    projects: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    principals: frozenset[str] = frozenset()

    def holds(self, kind: str, name: str) -> bool:
        """Whether the name of that kind (``project``, ``endpoint``, ...) is on the list."""
        names: frozenset[str] = getattr(self, f"{kind}s")
        return name in names


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who acts on an alert, and how sensitive its target is.

    ``note`` says that nobody owns it; a catalog that is empty says nothing.
    """

    owner: str | None = None
    escalation: str | None = None
    sensitivity: Sensitivity = Sensitivity.NORMAL
    restricted: bool = False
    canary: bool = False
    note: str | None = None


class Catalog(Section):
    """The whole file."""

    projects: dict[str, Resource] = Field(default_factory=dict)
    endpoints: dict[str, Resource] = Field(default_factory=dict)
    models: dict[str, Resource] = Field(default_factory=dict)
    principals: dict[str, Resource] = Field(default_factory=dict)
    restricted: Marked = Marked()
    canary: Marked = Marked()

    @property
    def hash(self) -> str:
        """Eight hex digits that differ where the catalog differs; stands in every alert. Empty for an empty catalog."""
        if self == Catalog():
            return ""
        # Sets have no order of their own: python's differs from process to process
        text = json.dumps(self.model_dump(), sort_keys=True, default=sorted)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def unowned(self, projects: Iterable[str] = ()) -> Iterator[str]:
        """What nobody owns: "project search", of what is in the catalog and of further ``projects``, each once."""
        for kind in ("project", "endpoint", "model", "principal"):
            table: dict[str, Resource] = getattr(self, f"{kind}s")
            marked = getattr(self.restricted, f"{kind}s") | getattr(self.canary, f"{kind}s")
            names = {*table, *marked, *(projects if kind == "project" else ())}
            yield from (f"{kind} {name}" for name in sorted(names) if name not in table or table[name].owner is None)

    @classmethod
    def load(cls, path: Path | None) -> Catalog:
        """Read and check a catalog; ``None`` gives an empty one.

        Raises:
            ConfigError: it cannot be read, or a key is wrong; names the nearest known key.
        """
        return cls() if path is None else load(path)

    def lookup(
        self,
        project: str | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        principal: str | None = None,
    ) -> Ownership:
        """Who owns the target of an attack.

        Owner and escalation each come from the first of endpoint, model, project, principal that has one; the
        sensitivity is the highest of all that have one. Cost: four dictionary look-ups.
        """
        names = {"endpoint": endpoint, "model": model, "project": project, "principal": principal}
        present = {kind: name for kind in _KINDS if (name := names[kind]) is not None}
        found = list(self._resources(present))
        owner = next((r.owner for r in found if r.owner), None)
        return Ownership(
            owner=owner,
            escalation=next((r.escalation for r in found if r.escalation), None),
            sensitivity=_highest(found),
            restricted=any(self.restricted.holds(kind, name) for kind, name in present.items()),
            canary=any(self.canary.holds(kind, name) for kind, name in present.items()),
            note=self._note(present) if owner is None else None,
        )

    def _resources(self, present: Mapping[str, str]) -> Iterator[Resource]:
        for kind, name in present.items():
            table: dict[str, Resource] = getattr(self, f"{kind}s")
            if name in table:
                yield table[name]

    def _note(self, present: Mapping[str, str]) -> str | None:
        if not (self.projects or self.endpoints or self.models or self.principals):
            return None
        for kind in ("project", "endpoint", "model", "principal"):
            if kind in present:
                return f"nobody owns {kind} {present[kind]} in the catalog"
        return "nobody owns what was called: the events name no project, endpoint, model or principal"


def load(path: Path) -> Catalog:
    """Read and check a catalog file.

    Raises:
        ConfigError: it cannot be read, or a key is wrong; names the nearest known key.
    """
    try:
        data = read_mapping(path, "catalog", "projects, endpoints, models")
    except ConfigError as error:
        raise ConfigError("catalog", f"{path} {error.problem}") from error
    return parse(data, Catalog, f"catalog {path}")


class Watched:
    """A catalog's file, read again when it changes. A wrong one is refused, and the old one stays.

    Args:
        path: the file, or ``None`` where there is none to watch.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._state()

    def changed(self) -> Catalog | None:
        """The new catalog, if the file has changed since the last call. Cost: one stat.

        Raises:
            ConfigError: it has changed and cannot be used; said once for each change.
        """
        state = self._state()
        if self._path is None or state == self._seen:
            return None
        self._seen = state
        return load(self._path)

    def _state(self) -> tuple[int, int, int] | None:
        """What differs when an editor, or a mounted volume, has put another file there."""
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _highest(found: list[Resource]) -> Sensitivity:
    given = [r.sensitivity for r in found if r.sensitivity is not None]
    return max(given, key=list(Sensitivity).index, default=Sensitivity.NORMAL)
