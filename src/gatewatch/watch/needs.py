"""Which fields of events the detectors that run cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewatch.registry import Entry, active
from gatewatch.settings import DetectorSettings


@dataclass(frozen=True, slots=True)
class Needed:
    """Fields of which any one is enough, and who needs them."""

    fields: tuple[str, ...]
    by: tuple[str, ...]

    @property
    def name(self) -> str:
        """For people: "endpoint or path"."""
        return " or ".join(self.fields)


def needed(entries: Mapping[str, Entry], detectors: Mapping[str, DetectorSettings]) -> tuple[Needed, ...]:
    """What the detectors need whose mode is not off, each set of fields once."""
    by: dict[tuple[str, ...], dict[str, None]] = {}
    for name, entry in active(entries, detectors).items():
        for need in entry.needs:
            by.setdefault(need.fields, {})[name] = None
    return tuple(Needed(fields, tuple(names)) for fields, names in sorted(by.items()))
