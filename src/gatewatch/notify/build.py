"""Receivers and surfaces as the settings name them."""

from __future__ import annotations

from gatewatch.clock import Clock
from gatewatch.errors import ConfigError
from gatewatch.notify.base import Receiver
from gatewatch.notify.buttons import HttpSurface, SocketSurface
from gatewatch.notify.hook import VerdictHook
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.receivers.email import Email
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.notify.receivers.webhook import Webhook
from gatewatch.notify.surface import Surface
from gatewatch.settings import (
    EmailSettings,
    NotifySettings,
    ReceiverSettings,
    SlackSettings,
    VerdictSettings,
    read_secret,
)


def receivers(settings: NotifySettings, clock: Clock) -> list[Receiver]:
    """Those that are configured.

    Raises:
        ConfigError: there is none, or a secret is not where the settings say.
    """
    made = [
        _make(kind, kind, f"notify.{kind}", settings, clock)
        for kind in ReceiverSettings.model_fields
        if getattr(settings, kind) is not None
    ]
    for name, one in settings.receivers.items():
        kind = next(kind for kind in ReceiverSettings.model_fields if getattr(one, kind) is not None)
        made.append(_make(name, kind, f"notify.receivers.{name}.{kind}", one, clock))
    if not made:
        raise ConfigError("notify", f"name at least one of {', '.join(ReceiverSettings.model_fields)}")
    return made


def surfaces(settings: NotifySettings, verdicts: VerdictSettings, clock: Clock) -> list[Surface]:
    """Where buttons and signed verdicts arrive.

    Raises:
        ConfigError: a secret is not where the settings say, or nobody has one.
    """
    made = [_surface(path, slack, clock) for path, slack in settings.slacks.items() if slack.buttons is not None]
    return made if verdicts.listen is None else [*made, _hook(verdicts, verdicts.listen, clock)]


def _make(name: str, kind: str, path: str, one: ReceiverSettings, clock: Clock) -> Receiver:
    if kind == "slack" and (slack := one.slack) is not None:
        token = read_secret(f"{path}.token", slack.token_env, slack.token_file)
        return Slack(
            slack.channel,
            token,
            base_url=_slash(slack.url),
            name=name,
            per_minute=slack.per_minute,
            buttons=slack.buttons is not None,
        )
    if kind == "pagerduty" and (duty := one.pagerduty) is not None:
        key = read_secret(f"{path}.routing_key", duty.routing_key_env, duty.routing_key_file)
        return PagerDuty(key, duty.severity, url=duty.url, name=name, per_minute=duty.per_minute)
    if kind == "alertmanager" and (manager := one.alertmanager) is not None:
        return Alertmanager(manager.url, clock, name=name)
    if kind == "webhook" and (hook := one.webhook) is not None:
        secret = read_secret(f"{path}.secret", hook.secret_env, hook.secret_file) if hook.signed else None
        return Webhook(hook.url, secret, clock, envelope=hook.envelope, name=name)
    assert one.email is not None
    return _email(name, path, one.email, clock)


def _email(name: str, path: str, mail: EmailSettings, clock: Clock) -> Email:
    login = None
    if mail.user is not None:
        login = (mail.user, read_secret(f"{path}.password", mail.password_env, mail.password_file))
    return Email(
        mail.host,
        mail.port,
        mail.security,
        mail.sender,
        mail.to,
        clock,
        severity=mail.severity,
        login=login,
        ca_file=str(mail.ca_file) if mail.ca_file is not None else None,
        name=name,
        per_minute=mail.per_minute,
    )


def _surface(path: str, slack: SlackSettings, clock: Clock) -> Surface:
    buttons = slack.buttons
    assert buttons is not None
    if buttons.mode == "http":
        secret = read_secret(f"{path}.buttons.signing_secret", buttons.signing_secret_env, buttons.signing_secret_file)
        return HttpSurface(secret, _address(buttons.listen), buttons.team, clock)
    app_token = read_secret(f"{path}.buttons.app_token", buttons.app_token_env, buttons.app_token_file)
    token = read_secret(f"{path}.token", slack.token_env, slack.token_file)
    return SocketSurface(app_token, token, _slash(slack.url), buttons.team)


def _hook(verdicts: VerdictSettings, listen: str, clock: Clock) -> Surface:
    secrets = {
        actor.name: read_secret(f"verdicts.actors[{i}].secret", actor.secret_env, actor.secret_file)
        for i, actor in enumerate(verdicts.actors)
        if actor.signs
    }
    if not secrets:
        raise ConfigError("verdicts.listen", "nobody can sign: give people on verdicts.actors a secret_env")
    return VerdictHook(secrets, _address(listen), clock)


def _address(listen: str) -> tuple[str, int]:
    host, port = listen.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _slash(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
