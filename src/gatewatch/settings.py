"""One YAML file, checked whole before anything starts.

Unknown keys are refused with the nearest known one; units are in the names; durations may be written ``10m``, ``7d``.
Secrets never stand in the file: ``*_env`` names an environment variable, ``*_file`` a file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from datetime import UTC, date, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from gatewatch.config_files import explain, read_mapping
from gatewatch.errors import ConfigError
from gatewatch.records import Action, Mode, Scope, Severity

M = TypeVar("M", bound=BaseModel)

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(value: object) -> object:
    """Seconds of ``10m``, ``1.5h``, ``7d`` or a plain number.

    >>> parse_duration("10m")
    600.0
    >>> parse_duration(5)
    5
    """
    if isinstance(value, str) and (m := re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|h|d|w)\s*", value)):
        return float(m[1]) * _UNITS_S[m[2]]
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)]


def check_listen(value: str) -> str:
    """``host:port`` with a port that exists; port 0 is none, or any."""
    if int(value.rsplit(":", 1)[1]) > 65535:
        raise ValueError(f"{value}: ports end at 65535")
    return value


def check_network(value: str) -> str:
    """An address or a CIDR."""
    ip_network(value, strict=False)
    return value


Listen = Annotated[str, Field(pattern=r"^.+:\d{1,5}$"), AfterValidator(check_listen)]
Network = Annotated[str, AfterValidator(check_network)]


class Section(BaseModel):
    """Base of every part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSecurity(Section):
    """How to reach the brokers: Kafka's own names."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL"):
            if self.mechanism is None or self.username is None:
                raise ValueError(f"protocol {self.protocol} needs mechanism and username")
            if (self.password_env is None) == (self.password_file is None):
                raise ValueError("SASL needs exactly one of password_env and password_file")
        return self

    def password(self) -> SecretStr:
        """Read the password where the file says it is.

        Raises:
            ConfigError: the variable or the file is not there.
        """
        return read_secret("kafka.security.password", self.password_env, self.password_file)


def read_secret(path: str, env: str | None, file: Path | None) -> SecretStr:
    """A secret from an environment variable or a file.

    Raises:
        ConfigError: it is not there, or empty.
    """
    if env is not None:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"{path}_env", f"environment variable {env} is not set")
        return SecretStr(value)
    if file is not None:
        try:
            text = file.read_bytes().decode().strip()
        except OSError as error:
            raise ConfigError(f"{path}_file", f"cannot read {file}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigError(f"{path}_file", f"{file} is not UTF-8 text") from None  # its text would show the secret
        if not text:
            raise ConfigError(f"{path}_file", f"{file} is empty")
        return SecretStr(text)
    raise ConfigError(path, f"say where it is: {path.rsplit('.', 1)[-1]}_env or {path.rsplit('.', 1)[-1]}_file")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "gatewatch.internal")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class KafkaSettings(Section):
    """Where the log is, and how Gatewatch's own topics are laid out."""

    bootstrap: tuple[str, ...] = ("127.0.0.1:9092",)
    security: KafkaSecurity = KafkaSecurity()
    prefix: str = Field("gatewatch", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    partitions: int = Field(12, ge=1, le=1024)  # of routed and rollups; fixed for good once topics exist
    replication: int = Field(1, ge=1, le=7)
    client: Literal["auto", "kafka-python", "librdkafka"] = "kafka-python"
    session_timeout: Duration = 10.0
    bootstrap_timeout: Duration = 10.0

    def topic(self, name: str) -> str:
        """Full name of one of our own topics."""
        return f"{self.prefix}.{name}"


class Source(Section):
    """One topic that a gateway writes."""

    topic: str
    format: str
    map: dict[str, Any] | None = None  # format native: our field -> JSON path, or {path, unit}
    trusted_hops: int = Field(0, ge=0, le=16)  # proxies of ours that add to X-Forwarded-For


class IngestSettings(Section):
    """How events become batches."""

    batch_rows: int = Field(1000, ge=1, le=100_000)
    batch_bytes: int = Field(512 * 1024, ge=4096, le=8 << 20)  # DESIGN section 2; below Kafka's own 1 MiB limit
    batch_time: Duration = 0.02
    align: Duration = 5.0  # a source partition this far ahead of the slowest busy one waits
    field_names: bool = True  # keep field names of bodies (never values)
    raw_dead_letters: bool = False  # keep up to 4 KiB of a bad element; it may hold content
    asn_file: Path | None = None  # MaxMind format
    country_file: Path | None = None


class Budget(Section):
    """How many false alarms a project bears."""

    false_alarms_per_day: float = Field(1.0, gt=0)


class BlockSettings(Section):
    """What a detector's decision is, where its mode is block."""

    action: Action = Action.BLOCK
    scope: Scope | None = None  # only findings on this scope block; None: on any that they have
    ttl: Duration = 600.0
    max_ttl: Duration = 86400.0  # where the climb ends
    min_severity: Severity = Severity.MEDIUM


class DetectorSettings(BaseModel):
    """One detector: mode and block are ours, the rest are the detector's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    mode: Mode | None = None
    block: BlockSettings = BlockSettings()

    @property
    def options(self) -> dict[str, Any]:
        """What the detector's own config model gets."""
        return dict(self.model_extra or {})


class ProjectDetectorSettings(Section):
    """One detector within one project."""

    mode: Mode | None = None
    block: BlockSettings | None = None


class Project(Section):
    """What differs for one project."""

    budget: Budget | None = None
    detectors: dict[str, ProjectDetectorSettings] = Field(default_factory=dict)


class AllowEntry(Section):
    """Somebody who is not blocked, for a reason, until a day. Exactly one scope."""

    ip: Network | None = None
    network: Network | None = None
    principal: str | None = None
    credential: str | None = None
    account: str | None = None
    owner: str
    reason: str
    until: date | datetime

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        given = [s for s in ("ip", "network", "principal", "credential", "account") if getattr(self, s) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of ip, network, principal, credential, account")
        return self

    @property
    def scope(self) -> Scope:
        """The scope that is named."""
        return next(s for s in Scope if getattr(self, s.value, None) is not None)

    @property
    def value(self) -> str:
        """The key that is named."""
        return str(getattr(self, self.scope.value))

    @property
    def until_ts(self) -> float:
        """Epoch seconds; a bare date lasts to its end, UTC."""
        if isinstance(self.until, datetime):
            return (self.until if self.until.tzinfo else self.until.replace(tzinfo=UTC)).timestamp()
        return datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC).timestamp() + 86400.0


# Addresses that can never be an attacker's own: RFC 1918, 6598 (carrier NAT), 3927, 4193, 4291, loopback.
PROTECTED_NETWORKS = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
    "0.0.0.0/32", "::1/128", "::/128", "fc00::/7", "fe80::/10",
)  # fmt: skip


class Guards(Section):
    """What keeps a decision from stopping the wrong people. All on by default."""

    blocks_per_minute: int = Field(30, ge=1)
    share_of_traffic: float = Field(0.02, gt=0, le=1)
    allow: tuple[AllowEntry, ...] = ()
    protected_networks: tuple[Network, ...] = PROTECTED_NETWORKS
    protected_principals: tuple[str, ...] = ()


class HttpSettings(Section):
    """Where an HTTP surface listens."""

    listen: Listen = "127.0.0.1:9108"  # port 0: none
    token_env: str | None = None  # what scrapers must send as a bearer token
    allow_anonymous: bool = False  # listen beyond loopback without a token

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not is_loopback(self.address[0]) and self.token_env is None and not self.allow_anonymous:
            raise ValueError(
                f"{self.listen} can be reached from other machines: set token_env, or allow_anonymous: true"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)


class SlackSettings(Section):
    """Alerts to one Slack channel."""

    channel: str
    token_env: str | None = None
    token_file: Path | None = None


class PagerDutySettings(Section):
    """Alerts from a severity on to PagerDuty Events v2."""

    routing_key_env: str | None = None
    routing_key_file: Path | None = None
    severity: Severity = Severity.HIGH


class AlertmanagerSettings(Section):
    """Alerts to a Prometheus Alertmanager, API v2."""

    url: str = Field(pattern=r"^https?://")


class WebhookSettings(Section):
    """Alerts as JSON to a URL, signed where a secret is named."""

    url: str = Field(pattern=r"^https?://")
    secret_env: str | None = None
    secret_file: Path | None = None
    envelope: Literal["plain", "cloudevents"] = "plain"

    @property
    def signed(self) -> bool:
        """Whether there is a secret."""
        return self.secret_env is not None or self.secret_file is not None


class NotifySettings(Section):
    """Whom the notify role tells."""

    slack: SlackSettings | None = None
    pagerduty: PagerDutySettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    webhook: WebhookSettings | None = None


class Identify(Section):
    """Where a gateway says who asks. Headers that the gateway itself sets, or overwrites."""

    ip_header: str = "x-real-ip"
    trusted_hops: int = Field(0, ge=0, le=16)  # of an X-Forwarded-For: how many entries from the right are proxies
    principal_header: str | None = None
    secret_header: str = "authorization"  # noqa: S105 - the name of a header, not a secret


class Bouncer(Section):
    """One program that pulls decisions; its API key is never in this file."""

    key_env: str | None = None
    key_file: Path | None = None


class MapFileSettings(Section):
    """An nginx include folder kept equal to what is blocked, and the command that makes nginx read it."""

    folder: Path
    reload: tuple[str, ...] = ()


class EnforceSettings(Section):
    """How the enforce role answers gateways."""

    listen: Listen = "127.0.0.1:8081"
    fail: Literal["open", "closed"] = "open"
    identify: Identify = Identify()
    bouncers: dict[str, Bouncer] = Field(default_factory=dict)
    authz_token_env: str | None = None  # what callers of /authz must send as x-gatewatch-token
    nginx: MapFileSettings | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)


class LogSettings(Section):
    """How Gatewatch itself logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Settings(Section):
    """The whole file."""

    kafka: KafkaSettings = KafkaSettings()
    sources: tuple[Source, ...] = ()
    catalog: Path | None = None
    hash_seed_env: str | None = None
    hash_seed_file: Path | None = None
    ingest: IngestSettings = IngestSettings()
    budget: Budget = Budget()
    detectors: dict[str, DetectorSettings] = Field(default_factory=dict)
    projects: dict[str, Project] = Field(default_factory=dict)
    guards: Guards = Guards()
    notify: NotifySettings | None = None
    enforce: EnforceSettings | None = None
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
        ConfigError: names the key, says what is wrong, suggests the nearest known key.
    """
    if path is None:
        return Settings()
    return parse(read_mapping(path, str(path), "kafka, sources, detectors"), Settings)


def parse(data: dict[str, Any], model: type[M], prefix: str = "") -> M:
    """Validate ``data`` as ``model``.

    Raises:
        ConfigError: the first thing that is wrong, with its path.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise explain(error, model, prefix) from error
