"""Which mode holds for a finding, and which block settings.

Precedence, most specific first: the detector within the finding's project; the detector; the detector's own default.
What is learned and not warm yet never gets past shadow, whatever the settings say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gatewatch.records import Finding, Mode
from gatewatch.records.words import RESERVED
from gatewatch.settings import BlockSettings, ProjectDetectorSettings, Settings

if TYPE_CHECKING:  # commands that list orders or verdicts need no compiler of kernels
    from gatewatch.registry import Entry

_ORDER = tuple(Mode)


def rank(mode: Mode) -> int:
    """0 for off to 3 for block: each mode includes those before it."""
    return _ORDER.index(mode)


def configured(settings: Settings, entries: Mapping[str, Entry], detector: str, project: str | None) -> Mode:
    """What the settings say for a detector in a project, or for us. A detector that is not installed is off."""
    entry = entries.get(detector)
    if entry is None:
        return settings.watch.mode if detector == RESERVED else Mode.OFF
    narrow = _in_project(settings, detector, project)
    if narrow is not None and narrow.mode is not None:
        return narrow.mode
    return entry.mode(settings.detectors.get(detector))


def of(settings: Settings, entries: Mapping[str, Entry], finding: Finding) -> Mode:
    """The mode of one finding."""
    mode = configured(settings, entries, finding.detector, finding.project)
    return Mode.SHADOW if is_capped(finding) and rank(mode) > rank(Mode.SHADOW) else mode


def is_capped(finding: Finding) -> bool:
    """Learned and not warm: it may be recorded, not sent."""
    return finding.learned and not finding.warm


def block_settings(
    settings: Settings, entries: Mapping[str, Entry], detector: str, project: str | None
) -> BlockSettings:
    """How a detector blocks in a project: each key from the most specific place that names it."""
    merged: dict[str, object] = {}
    entry = entries.get(detector)
    if entry is not None:
        merged |= entry.defaults.block.model_dump(exclude_unset=True)
    general = settings.detectors.get(detector)
    if general is not None:
        merged |= general.block.model_dump(exclude_unset=True)
    narrow = _in_project(settings, detector, project)
    if narrow is not None and narrow.block is not None:
        merged |= narrow.block.model_dump(exclude_unset=True)
    return BlockSettings.model_validate(merged)


def _in_project(settings: Settings, detector: str, project: str | None) -> ProjectDetectorSettings | None:
    if project is None or project not in settings.projects:
        return None
    return settings.projects[project].detectors.get(detector)
