"""Where the log is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from gatewatch.settings.base import Duration, Section, read_secret


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


class KafkaSettings(Section):
    """Where the log is, and how Gatewatch's own topics are laid out."""

    bootstrap: tuple[str, ...] = ("127.0.0.1:9092",)
    security: KafkaSecurity = KafkaSecurity()
    prefix: str = Field("gatewatch", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    # Of routed; fixed for good once topics exist. Each learns on its own, so many make a small site blind; one carries
    # some 400,000 rows a second in large records (benchmarks/RESULTS.md).
    partitions: int = Field(4, ge=1, le=1024)
    replication: int = Field(1, ge=1, le=7)
    client: Literal["auto", "kafka-python", "librdkafka"] = "kafka-python"
    session_timeout: Duration = 10.0
    bootstrap_timeout: Duration = 10.0

    def topic(self, name: str) -> str:
        """Full name of one of our own topics."""
        return f"{self.prefix}.{name}"
