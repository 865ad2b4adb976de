"""What gateways may send over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from gatewatch.settings.base import Duration, Listen, Section, read_secret
from gatewatch.settings.tls import Tls


class ReceiveSource(Section):
    """One sender: its topic, and the bearer token it shows. The token is never in this file."""

    topic: str
    token_env: str | None = None
    token_file: Path | None = None

    def token(self, name: str) -> SecretStr:
        """Read the token where the file says it is.

        Raises:
            ConfigError: the variable or the file is not there.
        """
        return read_secret(f"receive.sources.{name}.token", self.token_env, self.token_file)


class ReceiveSettings(Section):
    """``gatewatch receive``: log records over HTTP into topics."""

    listen: Listen = "127.0.0.1:8090"
    tls: Tls | None = None
    sources: dict[str, ReceiveSource] = Field(min_length=1)
    body_bytes: int = Field(16 << 20, ge=1024, le=64 << 20)  # unpacked; LiteLLM's default batch is 512 times 12 kB
    elements: int = Field(10_000, ge=1, le=100_000)  # of one body; Kong batches up to 1,000, LiteLLM 512
    in_flight_bytes: int = Field(64 << 20, ge=1 << 20, le=1 << 30)  # bodies being read and not yet acknowledged
    ack_timeout: Duration = 10.0  # senders give up after 10 to 30 s; then they send again anyway

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_flight_bytes < self.body_bytes:
            raise ValueError("in_flight_bytes is below body_bytes: a body of that size would never be taken")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.listen.rsplit(":", 1)
        return host.strip("[]"), int(port)
