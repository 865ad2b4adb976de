"""Where people press Slack's buttons: Socket Mode (no port open), or requests that Slack signs.

Both give the same payload to :func:`pressed`, which trusts nothing in it but that Slack sent it: the person is looked
up in ``verdicts.actors``, and what the button is about in our own records.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

import structlog
from pydantic import SecretStr
from slack_sdk import WebClient
from slack_sdk.signature import Clock as SlackClock
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from starlette.responses import JSONResponse, Response

from gatewatch.clock import Clock
from gatewatch.errors import GatewatchError, VerdictError
from gatewatch.notify.judge import Judge
from gatewatch.notify.surface import Refused, SignedSurface

_SIGNATURE = "x-slack-signature"
_log = structlog.get_logger("gatewatch.notify")


class Denied(Exception):  # noqa: N818 - what is said to the person, not a fault
    """A press that does not count; the text is for the person."""


def pressed(payload: object, judge: Judge, team: str | None) -> str:
    """Take one ``block_actions`` payload; returns what to answer.

    Raises:
        Denied: the payload is none of ours, or the person may not.
    """
    try:
        action = payload["actions"][0]  # type: ignore[index] # whatever its shape, it is checked by use
        user, workspace = str(payload["user"]["id"]), str(payload["team"]["id"])  # type: ignore[index]
        button, key, at = str(action["action_id"]), str(action["value"]), float(action["action_ts"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise Denied("this is no press of one of our buttons") from None
    if team is not None and workspace != team:
        raise Denied("this workspace may not judge alerts")
    try:
        return judge.pressed(button, key, user, at)
    except VerdictError as error:
        _log.warning("a press was refused", user=user[:32], why=str(error))
        raise Denied(str(error)) from error
    except GatewatchError as error:
        _log.error("a verdict was not written", error=str(error))
        raise Denied("it could not be written: try again") from error


class SocketSurface:
    """Socket Mode: we connect to Slack, and it sends presses over that connection.

    Args:
        app_token: an app-level token with ``connections:write``.
        bot_token: of the bot that posts.
        base_url: of the API.
        team: the only workspace whose people count.
    """

    def __init__(self, app_token: SecretStr, bot_token: SecretStr, base_url: str, team: str | None) -> None:
        self._app_token, self._bot_token, self._base_url, self._team = app_token, bot_token, base_url, team
        self._client: SocketModeClient | None = None
        self._judge: Judge | None = None

    def open(self, judge: Judge) -> None:
        """Connect, on a thread of its own, again and again until Slack answers."""
        self._judge = judge
        web = WebClient(self._bot_token.get_secret_value(), base_url=self._base_url)
        self._client = SocketModeClient(self._app_token.get_secret_value(), web_client=web)
        self._client.socket_mode_request_listeners.append(self._on_request)
        threading.Thread(target=self._connect, args=(self._client,), name="slack-socket", daemon=True).start()

    def close(self) -> None:
        """Leave the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self, client: SocketModeClient) -> None:
        wait = threading.Event()
        pause_s = 1.0
        while self._client is client:
            try:
                client.connect()
            except Exception as error:  # noqa: BLE001 - the SDK raises many kinds; without buttons alerts still go out
                _log.warning("no connection for buttons", error=type(error).__name__)
                wait.wait(pause_s)
                pause_s = min(pause_s * 2, 60.0)
            else:
                return  # from here on the SDK connects again by itself

    def _on_request(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        """Answer within Slack's three seconds, then work."""
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        judge = self._judge
        if judge is None or request.type != "interactive" or request.payload.get("type") != "block_actions":
            return
        try:
            answer = pressed(request.payload, judge, self._team)
        except Denied as denied:
            answer = str(denied)
        _tell(client.web_client, request.payload, answer)


def _tell(client: WebClient, payload: dict[str, object], text: str) -> None:
    """Say it to the person alone; it matters little when that fails."""
    try:
        channel, user = payload["channel"]["id"], payload["user"]["id"]  # type: ignore[index] # as in pressed
        client.chat_postEphemeral(channel=channel, user=user, text=text)
    except Exception as error:  # noqa: BLE001 - the verdict stands; the message itself will show it
        _log.info("not answered", error=type(error).__name__)


class HttpSurface(SignedSurface):
    """Signed requests: Slack posts to ``/slack/actions``, through a proxy that speaks TLS.

    Args:
        secret: Slack's signing secret.
        address: host and port.
        team: the only workspace whose people count.
        clock: the window for replays is five minutes around it.
    """

    def __init__(self, secret: SecretStr, address: tuple[str, int], team: str | None, clock: Clock) -> None:
        super().__init__("/slack/actions", _SIGNATURE, address, "notify.slack.buttons.listen")
        self._verifier = SignatureVerifier(secret.get_secret_value(), _Now(clock))
        self._team = team

    def read(self, body: bytes, headers: Mapping[str, str]) -> Callable[[Judge], Response]:
        """See :class:`SignedSurface`."""
        if not self._genuine(body, headers.get("x-slack-request-timestamp", ""), headers.get(_SIGNATURE, "")):
            raise Refused(401, "not signed by Slack")
        try:
            payload = json.loads(parse_qs(body.decode())["payload"][0])
        except (KeyError, ValueError, RecursionError):
            raise Refused(400, "no payload") from None
        return lambda judge: _answer(payload, judge, self._team)

    def _genuine(self, body: bytes, timestamp: str, signature: str) -> bool:
        try:
            return self._verifier.is_valid(body, timestamp, signature)
        except ValueError:  # a time that is no number, a body that is no text
            return False


def _answer(payload: object, judge: Judge, team: str | None) -> Response:
    """What Slack shows to the person.

    Raises:
        Refused: it does not count.
    """
    try:
        return JSONResponse({"response_type": "ephemeral", "text": pressed(payload, judge, team)})
    except Denied as denied:
        raise Refused(403, str(denied)) from denied


class _Now(SlackClock):
    """Our clock, for the SDK."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        """Epoch seconds."""
        return self._clock.now()
