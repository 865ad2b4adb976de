"""The probe that goes the whole way, over and over."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gatewatch.records import Scope
from gatewatch.settings.base import Duration, Section


class CanaryBlock(Section):
    """Whom the canary stops for a moment: itself, and nobody else. A caller that only the canary is."""

    scope: Scope
    value: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.scope not in {Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.IP}:
            raise ValueError("the canary stops one principal, credential or ip: its own")
        return self


class CanarySettings(Section):
    """``gatewatch canary``: gateway, topic, detect, decide and enforce, each asked whether it still works."""

    url: str = Field(pattern=r"^https?://[^\s]+$")  # your own endpoint; nothing else is ever called
    method: Literal["GET", "HEAD"] = "GET"
    authorization_env: str | None = None  # what is sent as Authorization, scheme and all
    block: CanaryBlock | None = None  # without it the way ends at decide
    every: Duration = 300.0
    patience: Duration = 60.0  # a hop that is silent for so long is broken
