"""Who may judge alerts, and for how long."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import Field, field_validator, model_validator

from gatewatch.settings.base import Duration, Section


class Actor(Section):
    """One person. ``name`` is what stands in records; a plain string in the list is a name."""

    name: str = Field(min_length=1, max_length=64)
    slack: str | None = None  # user id (U042ABCDE): who presses a button
    approve: bool = True  # may be the second person for orders that wait for one

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class VerdictSettings(Section):
    """Who may judge alerts, and for how long a judgement may hold."""

    actors: tuple[Actor, ...] = ()  # nobody unless named: a verdict can hide an attack
    max_snooze: Duration = 7 * 86400.0  # longer is no snooze: say expected, or mend the detector
    max_expected: Duration = 90 * 86400.0  # a quarter: then somebody looks again
    max_silence: Duration = 30 * 86400.0

    @field_validator("actors")
    @classmethod
    def _each_once(cls, actors: tuple[Actor, ...]) -> tuple[Actor, ...]:
        named = Counter(actor.name for actor in actors) + Counter(f"slack {a.slack}" for a in actors if a.slack)
        twice = [name for name, n in named.items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return actors

    def named(self, name: str) -> Actor | None:
        """The person of that name."""
        return next((actor for actor in self.actors if actor.name == name), None)

    def on_slack(self, user_id: str) -> Actor | None:
        """The person with that Slack user id."""
        return next((actor for actor in self.actors if actor.slack is not None and actor.slack == user_id), None)
