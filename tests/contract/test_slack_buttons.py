"""Buttons over Socket Mode and over signed HTTP: who presses is checked, and what they say is written once."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr
from tests.contract.desk import Desk, listening

from gatewatch.clock import ManualClock
from gatewatch.notify.buttons import Denied, HttpSurface, SocketSurface, pressed
from gatewatch.notify.judge import BUTTONS
from gatewatch.notify.notice import Notice
from gatewatch.notify.receivers import slack_blocks
from gatewatch.notify.surface import BODY_MAX, Surface
from gatewatch.settings import Settings, parse
from gatewatch.testing.alerts import NOW, alert
from gatewatch.testing.sinks import SlackStandIn, check_slack
from gatewatch.testing.slack_socket import SocketStandIn
from gatewatch.testing.waiting import wait_until

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SETTINGS = parse({"verdicts": {"actors": [{"name": "ana", "slack": "U042"}]}}, Settings)
WAIT_S = 60.0


@pytest.fixture
def desk() -> Desk:
    """Where Ana is on duty."""
    return Desk(SETTINGS)


@pytest.fixture
def socket_mode() -> Iterator[SocketStandIn]:
    """Slack's side of the socket."""
    made = SocketStandIn()
    yield made
    made.close()


def payload(button: str = "gw_true", **changes: Any) -> dict[str, Any]:
    """What Slack sends when somebody presses."""
    pressed: dict[str, Any] = {
        "type": "block_actions",
        "team": {"id": "T1"},
        "user": {"id": "U042", "username": "ana", "team_id": "T1"},
        "channel": {"id": "C77", "name": "abuse"},
        "message": {"ts": "1.000100", "text": "..."},
        "actions": [
            {"type": "button", "action_id": button, "block_id": "gw:x", "value": alert().id, "action_ts": f"{NOW:.3f}"}
        ],
    }
    return {**pressed, **changes}


def signed(body: bytes, at: float = NOW, secret: str = SECRET) -> dict[str, str]:
    """The headers that Slack sends."""
    base = b"v0:" + str(int(at)).encode() + b":" + body
    digest = hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
    return {
        "X-Slack-Request-Timestamp": str(int(at)),
        "X-Slack-Signature": f"v0={digest}",
        "Content-Type": "application/x-www-form-urlencoded",
    }


@pytest.fixture
def post(desk: Desk) -> Iterator[Callable[..., httpx.Response]]:
    """Post to the surface; signed rightly unless headers are given."""
    surface = HttpSurface(SecretStr(SECRET), ("127.0.0.1", 0), "T1", ManualClock(NOW))
    with listening(surface, desk.judge, "/slack/actions") as send:

        def press(pressed: object, headers: dict[str, str] | None = None, **at: Any) -> httpx.Response:
            body = pressed if isinstance(pressed, bytes) else urlencode({"payload": json.dumps(pressed)}).encode()
            return send(body, signed(body, **at) if headers is None else headers)

        yield press


@pytest.mark.parametrize("button", BUTTONS, ids=lambda b: b.id)
def test_each_button_writes_its_verdict(button: Any, post: Callable[..., httpx.Response], desk: Desk) -> None:
    """If this fails, what a person said on Slack is not heard."""
    assert post(payload(button.id)).status_code == 200
    (said,) = desk.verdicts()
    assert (said.kind, said.actor, said.via, said.alert_id) == (button.kind, "ana", "slack", alert().id)
    assert said.until == (None if button.lasts_s is None else NOW + button.lasts_s)


@pytest.mark.parametrize(
    ("at", "secret", "status"),
    [
        (NOW, "wrong", 401),
        (NOW - 301, SECRET, 401),
        (NOW + 301, SECRET, 401),
        (NOW - 299, SECRET, 200),
    ],
)
def test_only_fresh_requests_that_slack_signed_count(
    at: float, secret: str, status: int, post: Callable[..., httpx.Response], desk: Desk
) -> None:
    """If this fails, anybody who finds the URL can call an attack a false alarm."""
    assert post(payload(), at=at, secret=secret).status_code == status
    assert len(desk.verdicts()) == (status == 200)


def test_a_captured_request_counts_once(post: Callable[..., httpx.Response], desk: Desk) -> None:
    """If this fails, who has seen one press can repeat it for five minutes."""
    assert post(payload()).status_code == 200
    assert post(payload()).status_code == 409
    assert len(desk.verdicts()) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"payload=%7B%7D", {}),
        (b"payload=%7B%7D", {"X-Slack-Request-Timestamp": "soon", "X-Slack-Signature": "v0=1"}),
        (b"\xff\xfe", {"X-Slack-Request-Timestamp": str(int(NOW)), "X-Slack-Signature": "v0=1"}),
    ],
)
def test_what_is_not_signed_at_all_is_refused(
    body: bytes, headers: dict[str, str], post: Callable[..., httpx.Response], desk: Desk
) -> None:
    """If this fails, a scanner makes the surface answer 500, or worse."""
    assert post(body, headers).status_code == 401
    assert desk.verdicts() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user": {"id": "U666"}}, "may not judge"),
        ({"team": {"id": "T666"}}, "workspace"),
        ({"actions": []}, "no press"),
        ({"actions": [{"action_id": "gw_true", "value": "unknown", "action_ts": str(NOW)}]}, "not known"),
        ({"actions": [{"action_id": "gw_evil", "value": alert().id, "action_ts": str(NOW)}]}, "not known"),
        ({"actions": [{"action_id": "gw_true", "value": alert().id, "action_ts": "1.0"}]}, "more than an hour"),
        ({"actions": [{"action_id": "gw_true", "value": alert().id, "action_ts": "nan"}]}, "more than an hour"),
    ],
)
def test_who_may_not_is_told_so(
    changes: dict[str, Any], says: str, post: Callable[..., httpx.Response], desk: Desk
) -> None:
    """If this fails, anybody in the workspace, or a forged press, can silence an attack."""
    answer = post(payload(**changes))
    assert answer.status_code == 403
    assert says in answer.json()["error"]
    assert desk.verdicts() == []
    assert all((press.result, says in press.detail) == ("refused", True) for press in desk.presses), (
        "and it is on record"
    )


class Duty(Desk):
    """People who press the alert's buttons: ana and ben may approve, cid may not."""

    WHO: ClassVar[list[dict[str, Any]]] = [
        {"name": "ana", "slack": "U042"}, {"name": "ben", "slack": "U043"},
        {"name": "cid", "slack": "U044", "approve": False},
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__(parse({"verdicts": {"actors": self.WHO}}, Settings), NOW + 60)

    def press(self, button: str, user: str, at: float = 0.0) -> str:
        """The answer, or why it does not count; what was said is heard before the next press."""
        pressed_at = f"{NOW + at:.3f}"
        action = {"action_id": button, "value": alert().id, "action_ts": pressed_at}
        try:
            answer = pressed(payload(user={"id": user}, actions=[action]), self.judge, "T1")
        except Denied as denied:
            answer = str(denied)
        for verdict in self.verdicts():
            self.book.apply(verdict)
        return answer


def test_who_asked_for_an_order_cannot_approve_it() -> None:
    """If this fails, one person, or one stolen account, stops a customer where two were asked for."""
    duty = Duty()
    assert "recorded for ana" in duty.press("gw_true", "U042", 0.0)
    assert "another person must approve" in duty.press("gw_approve", "U042", 1.0)
    assert "may not approve" in duty.press("gw_approve", "U044", 2.0)
    assert "may not judge" in duty.press("gw_approve", "U666", 3.0)
    assert "recorded for ben" in duty.press("gw_approve", "U043", 4.0)
    assert [(v.kind.value, v.actor) for v in duty.verdicts()] == [("true", "ana"), ("approve", "ben")]
    assert [p.result for p in duty.presses] == ["taken", "refused", "refused", "refused", "taken"]
    assert "gw_approve by U666" in duty.presses[3].detail


def test_an_approval_that_comes_twice_is_one() -> None:
    """If this fails, a press that Slack sends again is an error for the person, or a second order."""
    duty = Duty()
    first = duty.press("gw_approve", "U043", 4.0)
    duty.groups.alert(alert(waiting=False, revision=9))  # decide has taken it
    assert duty.press("gw_approve", "U043", 4.0) == first
    assert len(duty.verdicts()) == 1
    assert "ben said approve" in duty.press("gw_reject", "U042", 5.0), "what is settled is settled"
    assert len(duty.verdicts()) == 1


def test_approval_is_offered_while_orders_wait_and_no_longer() -> None:
    """If this fails, nobody can approve from the message, or everybody presses a button that does nothing."""
    waiting, over = (
        {b["action_id"] for b in _elements(Notice("a", "a", 1, alert(waiting=waits), link="https://c.test/a"))}
        for waits in (True, False)
    )
    assert waiting - over == {"gw_approve", "gw_reject"}
    assert len(waiting) == len(BUTTONS) + 1
    assert not any(
        b["action_id"] != "gw_open" for b in _elements(Notice("a", "a", 1, alert(waiting=True)), buttons=False)
    )


def _elements(notice: Notice, *, buttons: bool = True) -> list[dict[str, Any]]:
    message = slack_blocks.message(notice, buttons=buttons)
    check_slack("chat.postMessage", {"channel": "C", **message})
    blocks = message["attachments"][0]["blocks"]
    return [element for block in blocks if block["type"] == "actions" for element in block["elements"]]


def test_a_body_that_is_too_large_is_refused_unread(post: Callable[..., httpx.Response]) -> None:
    """If this fails, anybody can fill the memory of notify."""
    assert post(b"x" * (BODY_MAX + 1)).status_code == 413
    assert post(b"nothing=1").status_code == 400
    assert post(b"payload=" + b"[" * 60_000).status_code == 400


@pytest.fixture
def connected(desk: Desk, slack: SlackStandIn, socket_mode: SocketStandIn) -> Iterator[Surface]:
    """A surface that is connected to the stand-in."""
    slack.socket_url = socket_mode.url
    surface = SocketSurface(SecretStr("xapp-1"), SecretStr("xoxb-1"), f"{slack.url}/api/", "T1")
    surface.open(desk.judge)
    assert socket_mode.await_connections(1, WAIT_S)
    yield surface
    surface.close()


def test_presses_over_the_socket(
    connected: Surface, slack: SlackStandIn, socket_mode: SocketStandIn, desk: Desk
) -> None:
    """If this fails, Slack warns at each button and nothing is heard, or everybody in the channel may judge."""
    socket_mode.press(payload(user={"id": "U666"}), "stranger")
    wait_until(lambda: slack.calls["chat.postEphemeral"] == 1)
    assert desk.verdicts() == []
    for envelope in ("right", "sent again after a lost acknowledgement"):
        socket_mode.press(payload("gw_expected"), envelope)
        assert socket_mode.await_acknowledged(envelope, WAIT_S)
    wait_until(lambda: slack.calls["chat.postEphemeral"] == 3)
    assert [v.kind.value for v in desk.verdicts()] == ["expected"]
    socket_mode.drop()  # as Slack does every few hours
    assert socket_mode.await_connections(2, WAIT_S)
    socket_mode.press(payload(), "after")
    wait_until(lambda: len(desk.verdicts()) == 2)
