"""Slack messages as Block Kit, within every limit of contracts.md 9.2.

What a stranger wrote stands in ``plain_text`` only, which Slack never parses, so no mention, link or formatting in it
comes alive; the fallback text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewatch.notify.judge import BUTTONS, Button
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.words import cut, shown, words_of
from gatewatch.records import Severity, Status, VerdictKind

Block = dict[str, Any]

BLOCKS_MAX = 13_000  # characters of all blocks: msg_blocks_too_long was seen near 13,200 (contracts.md 9.2)
TEXT_MAX = 1000  # of the fallback, which phones show; Slack advises at most 4,000
FIELD_MAX = 300  # of one fact: ten of them stay far below a section's 2,000 each
SECTION_MAX = 2900  # a section's text takes 3,000
CONTEXT_MAX = 1900
VALUE_MAX = 255  # of an id; a button's value would take 2,000
_FIELDS_MAX = 10  # fields of one section
_GREEN = "#2eb67d"
_COLOURS = {
    Severity.CRITICAL: "#a30200",
    Severity.HIGH: "#d9480f",
    Severity.MEDIUM: "#e8a317",
    Severity.LOW: "#4a90d9",
    Severity.INFO: "#8a8f98",
}
_WHEN_OVER = frozenset({VerdictKind.TRUE, VerdictKind.FALSE_ALARM})
_ASK_FIRST = {
    VerdictKind.EXPECTED: "Nothing about this key is told for 7 days, unless it gets worse; its baseline learns it.",
    VerdictKind.FALSE_ALARM: "Say this only if nothing happened at all.",
    VerdictKind.APPROVE: "Gateways stop whom this is about, within seconds. The guards are asked again.",
    VerdictKind.REJECT: "Nobody is stopped for this, unless it gets worse. The alert stays.",
}


def message(notice: Notice, *, buttons: bool) -> dict[str, Any]:
    """``text`` and ``attachments`` of the message that stands in the channel."""
    words = words_of(notice)
    blocks: list[Block] = [
        {"type": "header", "text": _plain(words.title)},
        _section(words.summary),
    ]
    blocks += _fields(words.facts)
    if words.spark:
        blocks.append({"type": "context", "elements": [_plain(f"rate {words.spark}")]})
    if words.steps:
        blocks.append(_section(f"First: {words.steps[0]}"))
    actions = _actions(notice, buttons=buttons)
    if actions:
        blocks.append({"type": "actions", "block_id": cut(f"gw:{notice.key}", VALUE_MAX), "elements": actions})
    colour = _GREEN if notice.status is Status.RESOLVED else _COLOURS[notice.severity]
    return _message(words.line, colour, blocks)


def details(notice: Notice) -> dict[str, Any]:
    """The first reply in the thread: what to do, what belongs to it, why."""
    words = words_of(notice)
    blocks: list[Block] = []
    if words.steps:
        blocks.append(_section("\n".join(f"{i}. {step}" for i, step in enumerate(words.steps, 1))))
    if words.members:
        blocks.append(_section("\n".join(words.members)))
    blocks += _fields(words.details)
    if words.why:
        blocks.append({"type": "context", "elements": [_plain(cut("Why: " + "; ".join(words.why), CONTEXT_MAX))]})
    blocks.append({"type": "context", "elements": [_plain(words.command)]})
    return _message(f"Details: {words.title}", _COLOURS[notice.severity], blocks)


def news(notice: Notice) -> str:
    """A reply in the thread when something changed: escaped, for ``text``."""
    words = words_of(notice)
    said = f" Verdict: {shown(notice.verdict)}." if notice.verdict else ""
    who = f" Acknowledged by {shown(notice.acknowledged_by)}." if notice.acknowledged_by else ""
    return escape(cut(f"{words.line}.{who}{said}", TEXT_MAX))


def bulletin(told: Bulletin) -> dict[str, Any]:
    """Many things in one message."""
    blocks: list[Block] = [{"type": "header", "text": _plain(cut(told.title, 150))}]
    if told.rows:
        blocks.append(_section("\n".join(told.rows)))
    if told.footer:
        blocks.append({"type": "context", "elements": [_plain(cut(told.footer, CONTEXT_MAX))]})
    return _message(told.title, _COLOURS[told.severity], blocks)


def escape(text: str) -> str:
    """For ``mrkdwn``: these three, in this order, and nothing else.

    >>> escape("<!channel> & <https://evil|x>")
    '&lt;!channel&gt; &amp; &lt;https://evil|x&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _message(text: str, colour: str, blocks: list[Block]) -> dict[str, Any]:
    """Leave out what is too much, from the end; buttons are never left out."""
    while len(str(blocks)) > BLOCKS_MAX:
        del blocks[-2 if blocks[-1]["type"] == "actions" else -1]
    return {"text": escape(cut(text, TEXT_MAX)), "attachments": [{"color": colour, "blocks": blocks}]}


def _fields(facts: Iterable[tuple[str, str]]) -> list[Block]:
    fields = [_plain(cut(f"{name}: {value}", FIELD_MAX)) for name, value in facts]
    return [{"type": "section", "fields": fields[i : i + _FIELDS_MAX]} for i in range(0, len(fields), _FIELDS_MAX)][:2]


def _section(text: str) -> Block:
    return {"type": "section", "text": _plain(cut(text, SECTION_MAX))}


def _actions(notice: Notice, *, buttons: bool) -> list[Block]:
    over = notice.status is Status.RESOLVED
    shown = [b for b in BUTTONS if (notice.waiting if b.second else not over or b.kind in _WHEN_OVER)]
    elements = [_button(button, notice.key) for button in shown] if buttons else []
    if notice.link is not None:
        elements.append({"type": "button", "action_id": "gw_open", "text": _plain("Open"), "url": notice.link})
    return elements


def _button(button: Button, key: str) -> Block:
    made: Block = {
        "type": "button",
        "action_id": button.id,
        "text": _plain(button.label),
        "value": cut(key, VALUE_MAX),
    }
    if button.style is not None:
        made["style"] = button.style
    if button.kind in _ASK_FIRST:
        made["confirm"] = {
            "title": _plain(button.label),
            "text": _plain(_ASK_FIRST[button.kind]),
            "confirm": _plain("Yes"),
            "deny": _plain("No"),
        }
    return made


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or "-", "emoji": False}
