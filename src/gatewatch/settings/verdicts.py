"""Who may judge alerts, and for how long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from gatewatch.settings.base import Duration, Listen, Section


class Actor(Section):
    """One person. ``name`` is what stands in records; a plain string in the list is a name."""

    name: str = Field(min_length=1, max_length=64)
    slack: str | None = None  # user id (U042ABCDE): who presses a button
    secret_env: str | None = None  # of the signature below verdicts that their own tools post to verdicts.listen
    secret_file: Path | None = None
    approve: bool = True  # may be the second person for orders that wait for one

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def signs(self) -> bool:
        """Whether there is a secret."""
        return self.secret_env is not None or self.secret_file is not None


class VerdictSettings(Section):
    """Who may judge alerts, and for how long a judgement may hold."""

    actors: tuple[Actor, ...] = ()  # nobody unless named: a verdict can hide an attack
    max_snooze: Duration = 7 * 86400.0  # longer is no snooze: say expected, or mend the detector
    max_expected: Duration = 90 * 86400.0  # a quarter: then somebody looks again
    max_silence: Duration = 30 * 86400.0
    listen: Listen | None = None  # where notify takes signed verdicts of other programs, behind a proxy with TLS

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
