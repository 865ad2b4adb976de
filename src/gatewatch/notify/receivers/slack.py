"""Slack: one message for each alert, updated in place; every revision is a reply in its thread.

Limits and escaping by contracts.md 9. What a stranger wrote stands in ``plain_text`` only, which Slack never parses, so
no mention, link or formatting in it comes alive; the fallback text is escaped.
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from gatewatch.notify.base import Attempt, Result, retry_after
from gatewatch.notify.words import Words, cut, words_of
from gatewatch.records import Alert, Severity, Status

BLOCKS_MAX = 13_000  # characters of all blocks: msg_blocks_too_long was seen near 13,200 (contracts.md 9.2)
FIELD_MAX = 300  # of one fact: ten of them stay far below a section's 2,000 each
_FACTS_MAX = 10  # fields of one section
_TIMEOUT_S = 10
_COLOURS = {
    Severity.CRITICAL: "#a30200",
    Severity.HIGH: "#d9480f",
    Severity.MEDIUM: "#e8a317",
    Severity.LOW: "#4a90d9",
    Severity.INFO: "#8a8f98",
}
# Slack says these of a config that a person must mend; anything unknown is tried again, within bounds
_NEVER = frozenset(
    {
        "channel_not_found", "not_in_channel", "is_archived", "no_text", "msg_too_long", "msg_blocks_too_long",
        "too_many_attachments", "invalid_auth", "not_authed", "account_inactive", "token_revoked", "missing_scope",
        "invalid_blocks",
    }
)  # fmt: skip
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


class Slack:
    """One channel.

    Args:
        channel: name or id.
        token: a bot token with ``chat:write``.
        base_url: of the API; for tests and proxies.
    """

    name = "slack"

    def __init__(self, channel: str, token: SecretStr, *, base_url: str = WebClient.BASE_URL) -> None:
        self._channel = channel
        self._client = WebClient(token.get_secret_value(), base_url=base_url, timeout=_TIMEOUT_S, retry_handlers=[])

    def wants(self, alert: Alert) -> bool:
        """Low and above: info would be noise in a channel."""
        return alert.severity.rank >= Severity.LOW.rank

    def send(self, alert: Alert, playbook: str, handle: str | None) -> Attempt:
        """Post the message, or update it and reply in its thread. The handle is ``channel:ts``."""
        message = render(alert, playbook)
        try:
            if handle is None:
                return self._post(message)
            channel, ts = handle.split(":", 1)
            self._client.chat_update(channel=channel, ts=ts, **message)
            self._client.chat_postMessage(
                channel=channel, thread_ts=ts, text=message["text"], unfurl_links=False, unfurl_media=False
            )
        except SlackApiError as error:
            if handle is not None and error.response.get("error") in _GONE:
                return self.send(alert, playbook, None)  # somebody deleted it: say it anew
            return _refused(error)
        except (SlackClientError, OSError) as error:
            return Attempt(Result.AGAIN, type(error).__name__)
        return Attempt(Result.DELIVERED, handle=handle)

    def _post(self, message: dict[str, Any]) -> Attempt:
        answer = self._client.chat_postMessage(channel=self._channel, unfurl_links=False, unfurl_media=False, **message)
        return Attempt(Result.DELIVERED, handle=f"{answer['channel']}:{answer['ts']}")


def render(alert: Alert, playbook: str) -> dict[str, Any]:
    """``text`` and ``attachments`` of the message, within every limit."""
    words = words_of(alert, playbook)
    blocks = _blocks(words)
    while len(blocks) > 2 and len(str(blocks)) > BLOCKS_MAX:
        blocks.pop()
    colour = "#2eb67d" if alert.status is Status.RESOLVED else _COLOURS[alert.severity]
    return {
        "text": escape(cut(f"{words.title} - {words.summary}", 1000)),
        "attachments": [{"color": colour, "blocks": blocks}],
    }


def escape(text: str) -> str:
    """For ``mrkdwn``: these three, in this order, and nothing else.

    >>> escape("<!channel> & <https://evil|x>")
    '&lt;!channel&gt; &amp; &lt;https://evil|x&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(words: Words) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(words.title)},
        {"type": "section", "text": _plain(words.summary)},
    ]
    facts = [_plain(cut(f"{name}: {value}", FIELD_MAX)) for name, value in words.facts]
    blocks += [{"type": "section", "fields": facts[i : i + _FACTS_MAX]} for i in range(0, len(facts), _FACTS_MAX)][:2]
    if words.steps:
        steps = "\n".join(f"{i}. {step}" for i, step in enumerate(words.steps, 1))
        blocks.append({"type": "section", "text": _plain(cut(steps, 2900))})
    if words.why:
        blocks.append({"type": "context", "elements": [_plain(cut("Why: " + "; ".join(words.why), 1900))]})
    return blocks


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or "-", "emoji": False}


def _refused(error: SlackApiError) -> Attempt:
    code = str(error.response.get("error", "unknown")) if error.response.status_code == 200 else ""
    if code in _NEVER:
        return Attempt(Result.NEVER, code)
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    detail = code or f"HTTP {error.response.status_code}"
    return Attempt(Result.AGAIN, detail, retry_after(headers.get("retry-after")))
