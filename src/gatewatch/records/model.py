"""What records for people and other programs have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """What people and other programs read: JSON, and nothing in it that is not named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)
