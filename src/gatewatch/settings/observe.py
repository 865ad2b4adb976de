"""How Gatewatch itself is watched."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from gatewatch.settings.base import Listen, Section, is_loopback


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


class LogSettings(Section):
    """How Gatewatch itself logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
