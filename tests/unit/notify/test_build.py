"""From settings to receivers: what is named is made, what is wrong is said before anything starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gatewatch.clock import ManualClock
from gatewatch.errors import ConfigError
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.notify.build import receivers, surfaces
from gatewatch.notify.buttons import HttpSurface, SocketSurface
from gatewatch.notify.hook import VerdictHook
from gatewatch.notify.worker import NotifyWorker
from gatewatch.settings import NotifySettings, Settings, VerdictSettings, When, parse
from gatewatch.testing.alerts import NOW

SLACK = {"channel": "C77", "token_env": "SLACK_TOKEN"}
EMAIL = {"host": "mail.test", "sender": "gw@corp.test", "to": ["ana@corp.test"]}


def section(**fields: Any) -> NotifySettings:
    """The section, checked."""
    return parse(fields, NotifySettings, "notify")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLACK_TOKEN", "PD_KEY", "APP_TOKEN", "SIGNING", "MAIL"):
        monkeypatch.setenv(name, f"secret-{name}")


def test_every_kind_is_made_and_named() -> None:
    """If this fails, a receiver that stands in the settings is never told anything."""
    made = receivers(
        section(
            slack=SLACK,
            pagerduty={"routing_key_env": "PD_KEY"},
            alertmanager={"url": "http://am.test"},
            webhook={"url": "http://hook.test", "envelope": "ocsf"},
            email={**EMAIL, "user": "gw", "password_env": "MAIL"},
            receivers={"billing": {"slack": {**SLACK, "channel": "C88"}}, "night": {"email": EMAIL}},
        ),
        ManualClock(NOW),
    )
    assert [r.name for r in made] == ["slack", "pagerduty", "alertmanager", "webhook", "email", "billing", "night"]
    for receiver in made:
        receiver.close()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "name at least one of slack"),
        ({"slack": {"channel": "C77"}}, "notify.slack.token"),
        ({"slack": {**SLACK, "token_env": "NOT_SET"}}, "NOT_SET"),
        ({"email": {**EMAIL, "user": "gw"}}, "notify.email.password"),
        ({"receivers": {"b": {"slack": {"channel": "C"}}}}, "notify.receivers.b.slack.token"),
        ({"receivers": {"b": {"slack": SLACK, "email": EMAIL}}}, "exactly one of"),
        ({"receivers": {"slack": {"email": EMAIL}}}, "is the name of a kind"),
        ({"slack": SLACK, "routes": [{"receivers": ["slak"]}]}, "no receiver 'slak'"),
        ({"slack": SLACK, "escalation": {"after": "10m", "receivers": ["boss"]}}, "no receiver 'boss'"),
        ({"email": {**EMAIL, "to": ["a@b.test\nBcc: x@y.test"]}}, "email.to"),
        ({"slack": SLACK, "quiet": {"hours": "22-7"}}, "quiet.hours"),
        ({"slack": SLACK, "quiet": {"zone": "Mars/Base"}}, "no such time zone"),
        ({"alertmanager": {"url": "am.test"}}, "alertmanager.url"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(fields: dict[str, Any], says: str) -> None:
    """If this fails, a mistake shows at 3 a.m. instead of when the settings are checked."""
    with pytest.raises(ConfigError) as caught:
        receivers(section(**fields), ManualClock(NOW))
    assert says in str(caught.value)


def test_buttons_by_socket_or_http() -> None:
    """If this fails, buttons are shown that nobody listens to."""
    clock = ManualClock(NOW)
    by_socket = section(slack={**SLACK, "buttons": {"app_token_env": "APP_TOKEN"}})
    by_http = section(slack={**SLACK, "buttons": {"mode": "http", "signing_secret_env": "SIGNING"}})
    assert [type(s) for s in surfaces(by_socket, VerdictSettings(), clock)] == [SocketSurface]
    assert [type(s) for s in surfaces(by_http, VerdictSettings(), clock)] == [HttpSurface]
    assert surfaces(section(slack=SLACK), VerdictSettings(), clock) == []
    with pytest.raises(ConfigError, match="signing_secret"):
        surfaces(section(slack={**SLACK, "buttons": {"mode": "http"}}), VerdictSettings(), clock)


def test_verdicts_by_webhook_need_somebody_who_can_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a door is open that nobody can use, or a wrong name of a secret is found out in an attack."""
    monkeypatch.setenv("ANA", "secret")
    clock, nobody = ManualClock(NOW), {"listen": "127.0.0.1:0", "actors": ["bo"]}
    ana = {**nobody, "actors": ["bo", {"name": "ana", "secret_env": "ANA"}]}
    (hook,) = surfaces(NotifySettings(), parse(ana, VerdictSettings), clock)
    assert isinstance(hook, VerdictHook)
    with pytest.raises(ConfigError, match="nobody can sign"):
        surfaces(NotifySettings(), parse(nobody, VerdictSettings), clock)
    monkeypatch.delenv("ANA")
    with pytest.raises(ConfigError, match=r"actors\[1\].secret_env"):
        surfaces(NotifySettings(), parse(ana, VerdictSettings), clock)


def test_the_surface_is_open_while_the_worker_is_the_active_one() -> None:
    """If this fails, a press is lost because it reaches a worker that stands by."""
    log, clock = MemoryLog(), ManualClock(NOW)
    log.admin().create([TopicSpec(f"gatewatch.{name}", 1) for name in ("alerts", "incidents", "verdicts", "actions")])
    buttons = {"mode": "http", "signing_secret_env": "SIGNING", "listen": "127.0.0.1:0"}
    settings = parse({"notify": {"slack": {**SLACK, "buttons": buttons}}}, Settings)
    assert settings.notify is not None
    (surface,) = surfaces(settings.notify, settings.verdicts, clock)
    assert isinstance(surface, HttpSurface)
    to = receivers(settings.notify, clock)
    worker = NotifyWorker(log, settings, {}, to, member="m", clock=clock, metrics=Metrics(), surfaces=[surface])
    assert surface.port == 0
    worker.step(0.0)
    assert surface.port > 0
    worker.close()
    assert surface.port == 0


@pytest.mark.parametrize(
    ("when", "hours"),
    [
        (When(), range(24)),
        (When(hours="09:00-17:00"), range(9, 17)),
        (When(hours="22:00-02:00"), [0, 1, 22, 23]),
        (When(hours="09:00-17:00", zone="Asia/Tokyo"), range(8)),
        (When(days=("sun",)), []),
        (When(hours="22:00-02:00", days=("mon",)), [0, 1]),  # Monday's night ends on Tuesday
    ],
)
def test_hours_of_a_tuesday(when: When, hours: Any) -> None:
    """If this fails, quiet hours are loud, or the night shift is paged at noon."""
    tuesday = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
    assert [h for h in range(24) if when.holds(tuesday + h * 3600.0)] == list(hours)
