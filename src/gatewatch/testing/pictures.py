"""Pictures of what people see, as SVG: lines of text with a style each. The same lines give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from textwrap import wrap
from typing import Any

Line = tuple[str, str]  # a style (title, text, dim, button) and a text

WIDTH = 96  # characters
_CHAR_PX, _LINE_PX, _PAD_PX = 7.8, 19, 16
_STYLES = {
    "title": "font-weight:bold;font-size:15px;fill:#1d1c1d",
    "text": "font-size:13px;fill:#1d1c1d",
    "dim": "font-size:12px;fill:#616061",
    "button": "font-size:12px;font-weight:bold;fill:#1264a3",
}


def block_kit(message: dict[str, Any]) -> Iterator[Line]:
    """A Slack message, as Slack lays it out."""
    for attachment in message.get("attachments", ()):
        for block in attachment["blocks"]:
            yield from _block(block)
            yield "text", ""
    if not message.get("attachments"):
        yield from _wrapped("text", message["text"])


def pairs(values: dict[str, Any], style: str = "text") -> Iterator[Line]:
    """Names and values, one below the other."""
    for name, value in values.items():
        if not value:
            continue
        shown = "\n".join(f"- {part}" for part in value) if isinstance(value, list) else str(value)
        yield "dim", name
        for part in shown.splitlines():
            yield from _wrapped(style, part, indent="  ")


def plain(text: str) -> Iterator[Line]:
    """Text as it stands; its first line is the title."""
    for n, line in enumerate(text.splitlines()):
        yield from _wrapped("title" if n == 0 else "text", line)


def svg(lines: Sequence[Line], colour: str) -> str:
    """A picture with a bar of that colour at its left."""
    width, height = round(WIDTH * _CHAR_PX + 3 * _PAD_PX), len(lines) * _LINE_PX + 2 * _PAD_PX
    rows = [
        f'<text x="{2 * _PAD_PX}" y="{_PAD_PX + (n + 1) * _LINE_PX - 5}" style="{_STYLES[style]}" xml:space="preserve">'
        f"{escape(text)}</text>"
        for n, (style, text) in enumerate(lines)
        if text
    ]
    font = "ui-monospace,Menlo,Consolas,monospace"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="{font}">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#dddddd"/>',
            f'<rect x="{_PAD_PX // 2}" y="{_PAD_PX}" width="5" height="{height - 2 * _PAD_PX}" fill="{colour}"/>',
            *rows,
            "</svg>",
            "",
        )
    )


def _block(block: dict[str, Any]) -> Iterator[Line]:
    kind = block["type"]
    if kind == "header":
        yield from _wrapped("title", block["text"]["text"])
    elif kind == "section" and "fields" in block:
        for field in block["fields"]:
            yield from _wrapped("text", field["text"])
    elif kind == "section":
        for line in block["text"]["text"].splitlines():
            yield from _wrapped("text", line)
    elif kind == "context":
        for element in block["elements"]:
            yield from _wrapped("dim", element["text"])
    else:
        yield "button", "  ".join(f"[ {element['text']['text']} ]" for element in block["elements"])


def _wrapped(style: str, text: str, indent: str = "") -> Iterator[Line]:
    width = WIDTH - (14 if style == "title" else 0)
    for line in wrap(text, width, initial_indent=indent, subsequent_indent=f"{indent}  ") or [""]:
        yield style, line
