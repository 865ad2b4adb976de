"""Somebody said something: who it was is checked, and what they said is written to `verdicts`, before it is confirmed.

By a button of Slack, or by a program that signs in their name. Each is recorded in `actions`, also what was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gatewatch.clock import Clock
from gatewatch.errors import VerdictError
from gatewatch.log.base import Log
from gatewatch.notify.group import Groups
from gatewatch.notify.record import Action
from gatewatch.notify.words import visible
from gatewatch.records import Alert, Incident, Verdict, VerdictKind
from gatewatch.settings import Settings
from gatewatch.verdicts import SECOND, send, verdict_on


@dataclass(frozen=True, slots=True)
class Button:
    """One button below a message."""

    id: str
    label: str
    kind: VerdictKind
    lasts_s: float | None = None
    reason: str = ""
    style: Literal["primary", "danger"] | None = None

    @property
    def second(self) -> bool:
        """Whether it is only there while orders wait for a second person."""
        return self.kind in SECOND


@dataclass(frozen=True, slots=True)
class Posted:
    """What a program says in somebody's name."""

    about: str  # id of the alert or the incident
    actor: str  # a name on verdicts.actors
    kind: VerdictKind
    reason: str
    until: float | None = None  # epoch seconds; for expected and snooze


UNKNOWN = "this alert is not known any more; use `gatewatch verdicts add`"
PRESS_MAX_S = 3600.0  # Slack sends a press again for some minutes; what is older was said about something else

BUTTONS = (
    Button("gw_approve", "Approve block", VerdictKind.APPROVE, reason="approved on Slack", style="primary"),
    Button("gw_reject", "Reject block", VerdictKind.REJECT, reason="rejected on Slack", style="danger"),
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
        record: writes to `actions`.
    """

    def __init__(
        self, log: Log, settings: Settings, clock: Clock, groups: Groups, record: Callable[[Action], None]
    ) -> None:
        self._log, self._settings, self._clock, self._groups, self._record = log, settings, clock, groups, record

    def pressed(self, button_id: str, key: str, slack_user: str, pressed_at: float) -> str:
        """Write the verdict; returns what to answer.

        The same press (user, button, time) gives the same verdict id, so one that Slack sends again counts once.

        Raises:
            VerdictError: the person may not, or it is about something that is not known any more.
            SendError: it could not be written.
        """
        what = f"slack: {visible(button_id, 32)} by {visible(slack_user, 32)}"
        verdict = self._take(key, what, lambda about: self._judged(button_id, key, about, slack_user, pressed_at))
        return f"{_BY_ID[button_id].label}: recorded for {verdict.actor}"

    def posted(self, post: Posted, at: float) -> Verdict:
        """Write what a program says in the name of ``post.actor``, who signed it at ``at``.

        Raises:
            VerdictError: the person may not, or it is about something that is not known any more.
            SendError: it could not be written.
        """

        def judged(about: Alert | Incident | None) -> Verdict:
            if about is None:
                raise VerdictError(UNKNOWN)
            return verdict_on(
                about, post.kind, actor=post.actor, reason=post.reason, now=at, settings=self._settings.verdicts,
                until=post.until, via="webhook", said=self._groups.said(post.about),
            )  # fmt: skip

        return self._take(post.about, f"webhook: {post.kind.value} by {visible(post.actor, 32)}", judged)

    def _take(self, key: str, what: str, judged: Callable[[Alert | Incident | None], Verdict]) -> Verdict:
        """Write the verdict, and record that it was taken or refused."""
        about = self._groups.find(key)
        try:
            verdict = judged(about)
        except VerdictError as error:
            self._note(about, key, "refused", f"{what}: {error}")
            raise
        send(self._log, self._settings, [verdict])
        self._note(about, key, "taken", f"{what}: {verdict.kind.value} by {verdict.actor}")
        return verdict

    def _note(self, about: Alert | Incident | None, key: str, result: str, detail: str) -> None:
        about_id, revision = (visible(key, 64), -1) if about is None else (about.id, about.revision)
        self._record(
            Action(
                receiver="",
                alert_id=about_id,
                revision=revision,
                status="",
                result=result,
                ts=self._clock.now(),
                detail=detail,
                kind="press",
            )
        )

    def _judged(
        self, button_id: str, key: str, about: Alert | Incident | None, slack_user: str, pressed_at: float
    ) -> Verdict:
        """The verdict of a press."""
        button = _BY_ID.get(button_id)
        actor = self._settings.verdicts.on_slack(slack_user)
        if actor is None:
            raise VerdictError(
                f"Slack user {slack_user} may not judge alerts: name them under verdicts.actors (slack:)"
            )
        if button is None or about is None:
            raise VerdictError(UNKNOWN)
        if not abs(self._clock.now() - pressed_at) <= PRESS_MAX_S:  # also where it is not a number
            raise VerdictError("this press is more than an hour old")
        return verdict_on(
            about,
            button.kind,
            actor=actor.name,
            reason=button.reason,
            now=pressed_at,
            settings=self._settings.verdicts,
            until=pressed_at + button.lasts_s if button.lasts_s is not None else None,
            via="slack",
            said=self._groups.said(key),
        )
