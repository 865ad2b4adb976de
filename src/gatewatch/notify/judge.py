"""A button was pressed: who it was is checked, and what they said is written to `verdicts`, before it is confirmed."""

from __future__ import annotations

from dataclasses import dataclass

from gatewatch.clock import Clock
from gatewatch.errors import VerdictError
from gatewatch.log.base import Log
from gatewatch.notify.group import Groups
from gatewatch.records import VerdictKind
from gatewatch.settings import Settings
from gatewatch.verdicts import send, verdict_on


@dataclass(frozen=True, slots=True)
class Button:
    """One button below a message."""

    id: str
    label: str
    kind: VerdictKind
    lasts_s: float | None = None
    reason: str = ""


PRESS_MAX_S = 3600.0  # Slack sends a press again for some minutes; what is older was said about something else

BUTTONS = (
    Button("gw_acknowledge", "Acknowledge", VerdictKind.ACKNOWLEDGE, reason="acknowledged on Slack"),
    Button("gw_true", "True alarm", VerdictKind.TRUE, reason="marked as true on Slack"),
    Button("gw_false", "False alarm", VerdictKind.FALSE_ALARM, reason="marked as a false alarm on Slack"),
    Button("gw_expected", "Expected 7 d", VerdictKind.EXPECTED, 7 * 86400.0, "marked as expected on Slack"),
    Button("gw_snooze", "Snooze 1 h", VerdictKind.SNOOZE, 3600.0, "snoozed on Slack"),
)
_BY_ID = {button.id: button for button in BUTTONS}


class Judge:
    """Takes what people say by buttons. Thread-safe.

    Args:
        log: where `verdicts` are.
        settings: who may judge.
        clock: injected time.
        groups: what the buttons are about.
    """

    def __init__(self, log: Log, settings: Settings, clock: Clock, groups: Groups) -> None:
        self._log, self._settings, self._clock, self._groups = log, settings, clock, groups

    def pressed(self, button_id: str, key: str, slack_user: str, pressed_at: float) -> str:
        """Write the verdict; returns what to answer.

        The same press (user, button, time) gives the same verdict id, so one that Slack sends again counts once.

        Raises:
            VerdictError: the person may not, or it is about something that is not known any more.
            SendError: it could not be written.
        """
        button, about = _BY_ID.get(button_id), self._groups.find(key)
        actor = self._settings.verdicts.on_slack(slack_user)
        if actor is None:
            raise VerdictError(
                f"Slack user {slack_user} may not judge alerts: name them under verdicts.actors (slack:)"
            )
        if button is None or about is None:
            raise VerdictError("this alert is not known any more; use `gatewatch verdict`")
        if not abs(self._clock.now() - pressed_at) <= PRESS_MAX_S:  # also where it is not a number
            raise VerdictError("this press is more than an hour old")
        verdict = verdict_on(
            about,
            button.kind,
            actor=actor.name,
            reason=button.reason,
            now=pressed_at,
            settings=self._settings.verdicts,
            until=pressed_at + button.lasts_s if button.lasts_s is not None else None,
            via="slack",
        )
        send(self._log, self._settings, [verdict])
        return f"{button.label}: recorded for {actor.name}"
