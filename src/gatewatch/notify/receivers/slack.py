"""Slack: one message for each incident, updated in place; details, and what changes, stand in its thread."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pydantic import SecretStr
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from gatewatch.notify.base import Attempt, Result, Traits, retry_after
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.receivers import slack_blocks
from gatewatch.records import Severity

TIMEOUT_S = 10
# With 15 new messages and their replies, and a reply each, it stays below the 60 a minute that a channel takes, and
# below the 50 of chat.update (contracts.md 9.4).
UPDATES_PER_MINUTE = 20
# Slack says these of a config that a person must mend; anything unknown is tried again, within bounds
_NEVER = frozenset(
    {
        "channel_not_found", "not_in_channel", "is_archived", "no_text", "msg_too_long", "msg_blocks_too_long",
        "too_many_attachments", "invalid_auth", "not_authed", "account_inactive", "token_revoked", "missing_scope",
        "invalid_blocks",
    }
)  # fmt: skip
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_NO_DETAILS = "-"  # the end of a handle while the thread's first reply is missing


class Slack:
    """One channel.

    A handle is ``channel:ts:news``: where the message stands, and what was last said in its thread.

    Args:
        channel: name or id.
        token: a bot token with ``chat:write``.
        base_url: of the API; for tests and proxies.
        name: of this receiver.
        per_minute: new messages at most.
        buttons: whether somebody listens to them.
    """

    def __init__(
        self,
        channel: str,
        token: SecretStr,
        *,
        base_url: str = WebClient.BASE_URL,
        name: str = "slack",
        per_minute: int = 15,
        buttons: bool = False,
        timeout_s: int = TIMEOUT_S,
    ) -> None:
        self.name, self._channel, self._buttons = name, channel, buttons
        self.traits = Traits(
            people=True, every_revision=True, per_minute=per_minute, updates_per_minute=UPDATES_PER_MINUTE
        )
        self._client = WebClient(token.get_secret_value(), base_url=base_url, timeout=timeout_s, retry_handlers=[])

    def wants(self, notice: Notice) -> bool:
        """Low and above: info would be noise in a channel."""
        return notice.severity.rank >= Severity.LOW.rank

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Post the message, or update it; say in its thread what is new."""
        message = slack_blocks.message(notice, buttons=self._buttons)
        place = handle
        try:
            if place is None:
                answer = self._post(self._channel, message)
                place = f"{answer['channel']}:{answer['ts']}:{_NO_DETAILS}"
            else:
                channel, ts, _said = place.split(":", 2)
                self._client.chat_update(channel=channel, ts=ts, **message)
            place = self._reply(notice, place)
        except SlackApiError as error:
            if handle is not None and _code(error) in _GONE:
                return self.send(notice, None)  # somebody deleted it: say it anew
            return _refused(error, place)
        except (SlackClientError, OSError) as error:
            return Attempt(Result.AGAIN, type(error).__name__, handle=place)
        return Attempt(Result.DELIVERED, handle=place)

    def announce(self, bulletin: Bulletin) -> Attempt:
        """A message of its own."""
        try:
            self._post(self._channel, slack_blocks.bulletin(bulletin))
        except SlackApiError as error:
            return _refused(error, None)
        except (SlackClientError, OSError) as error:
            return Attempt(Result.AGAIN, type(error).__name__)
        return Attempt(Result.DELIVERED)

    def close(self) -> None:
        """The SDK opens a connection for each call, and keeps none."""

    def _reply(self, notice: Notice, place: str) -> str:
        """Say in the thread what is not said there yet; returns the new handle."""
        channel, ts, said = place.split(":", 2)
        now = sha256(notice.news.encode()).hexdigest()[:8]
        if said == _NO_DETAILS:
            self._post(channel, slack_blocks.details(notice), thread_ts=ts)
        elif said != now:
            self._post(channel, {"text": slack_blocks.news(notice)}, thread_ts=ts)
        return f"{channel}:{ts}:{now}"

    def _post(self, channel: str, message: dict[str, Any], **more: Any) -> Any:
        return self._client.chat_postMessage(
            channel=channel, unfurl_links=False, unfurl_media=False, mrkdwn=False, **message, **more
        )


def _code(error: SlackApiError) -> str:
    return str(error.response.get("error", "unknown")) if error.response.status_code == 200 else ""


def _refused(error: SlackApiError, place: str | None) -> Attempt:
    code = _code(error)
    if code in _NEVER:
        return Attempt(Result.NEVER, code)
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    detail = code or f"HTTP {error.response.status_code}"
    return Attempt(Result.AGAIN, detail, retry_after(headers.get("retry-after")), place)
