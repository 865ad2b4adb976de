"""One YAML file, checked whole before anything starts.

Unknown keys are refused with the nearest known one; units are in the names; durations may be written ``10m``, ``7d``.
Secrets never stand in the file: ``*_env`` names an environment variable, ``*_file`` a file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from pydantic import Field, field_validator

from gatewatch.config_files import placed, read_mapping
from gatewatch.errors import ConfigError
from gatewatch.settings.base import (
    Duration,
    Listen,
    Network,
    Section,
    check_listen,
    check_network,
    is_loopback,
    parse,
    parse_duration,
    read_secret,
)
from gatewatch.settings.canary import CanaryBlock, CanarySettings
from gatewatch.settings.detection import BlockSettings, Budget, DetectorSettings, Project, ProjectDetectorSettings
from gatewatch.settings.enforce import Bouncer, EnforceSettings, Gateway, Identify, MapFileSettings
from gatewatch.settings.guards import PROTECTED_NETWORKS, AllowEntry, Guards
from gatewatch.settings.ingest import IngestSettings, Source
from gatewatch.settings.kafka import KafkaSecurity, KafkaSettings
from gatewatch.settings.notify import (
    AlertmanagerSettings,
    DigestSettings,
    EmailSettings,
    Escalation,
    NotifySettings,
    PagerDutySettings,
    QuietSettings,
    ReceiverSettings,
    Route,
    SlackButtons,
    SlackSettings,
    WebhookSettings,
    When,
)
from gatewatch.settings.observe import HttpSettings, LogSettings
from gatewatch.settings.receive import ReceiveSettings, ReceiveSource
from gatewatch.settings.state import StateSettings
from gatewatch.settings.tls import Tls
from gatewatch.settings.verdicts import Actor, VerdictSettings
from gatewatch.settings.watch import WatchSettings

__all__ = [
    "PROTECTED_NETWORKS",
    "Actor",
    "AlertmanagerSettings",
    "AllowEntry",
    "BlockSettings",
    "Bouncer",
    "Budget",
    "CanaryBlock",
    "CanarySettings",
    "DetectorSettings",
    "DigestSettings",
    "Duration",
    "EmailSettings",
    "EnforceSettings",
    "Escalation",
    "Gateway",
    "Guards",
    "HttpSettings",
    "Identify",
    "IngestSettings",
    "KafkaSecurity",
    "KafkaSettings",
    "Listen",
    "LogSettings",
    "MapFileSettings",
    "Network",
    "NotifySettings",
    "PagerDutySettings",
    "Project",
    "ProjectDetectorSettings",
    "QuietSettings",
    "ReceiveSettings",
    "ReceiveSource",
    "ReceiverSettings",
    "Route",
    "Section",
    "Settings",
    "SlackButtons",
    "SlackSettings",
    "Source",
    "StateSettings",
    "Tls",
    "VerdictSettings",
    "WatchSettings",
    "WebhookSettings",
    "When",
    "check_listen",
    "check_network",
    "is_loopback",
    "load",
    "parse",
    "parse_duration",
    "read_secret",
]


class Settings(Section):
    """The whole file."""

    kafka: KafkaSettings = KafkaSettings()
    sources: tuple[Source, ...] = ()
    catalog: Path | None = None
    hash_seed_env: str | None = None
    hash_seed_file: Path | None = None
    ingest: IngestSettings = IngestSettings()
    state: StateSettings = StateSettings()
    budget: Budget = Budget()
    detectors: dict[str, DetectorSettings] = Field(default_factory=dict)
    projects: dict[str, Project] = Field(default_factory=dict)
    guards: Guards = Guards()
    notify: NotifySettings | None = None
    enforce: EnforceSettings | None = None
    receive: ReceiveSettings | None = None
    canary: CanarySettings | None = None
    verdicts: VerdictSettings = VerdictSettings()
    watch: WatchSettings = WatchSettings()
    metrics: HttpSettings = HttpSettings()
    logging: LogSettings = LogSettings()

    @field_validator("sources")
    @classmethod
    def _each_once(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        twice = [topic for topic, n in Counter(source.topic for source in sources).items() if n > 1]
        if twice:
            raise ValueError(f"topic {twice[0]!r} stands there twice: a topic has one format")
        return sources

    @property
    def hash(self) -> str:
        """Eight hex digits that differ where the settings differ; stands in every alert."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def load(path: Path | None) -> Settings:
    """Read and check a settings file; ``None`` gives the defaults.

    Raises:
        ConfigError: names file, line and key, says what is wrong, suggests the nearest known key.
    """
    if path is None:
        return Settings()
    data = read_mapping(path, str(path), "kafka, sources, detectors")
    try:
        return parse(data, Settings)
    except ConfigError as error:
        raise placed(error, path) from error
