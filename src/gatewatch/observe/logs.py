"""Gatewatch's own log: one JSON object a line, or colours for a person.

Whatever a call passes by mistake, secrets do not get through: values under telling names are dropped, and strings that
look like a secret are replaced.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from gatewatch.events.secrets import looks_secret
from gatewatch.settings import LogSettings

_DROPPED = ("authorization", "password", "passwd", "secret", "token", "cookie", "api_key", "apikey", "body", "messages")
_LONGEST = 2000  # of one value: a line of megabytes helps nobody


def configure(settings: LogSettings) -> None:
    """Set structlog and the standard library's logging up, for this process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    # Libraries say at info what only their authors need
    for noisy in ("kafka", "httpx", "httpcore", "uvicorn", "numba"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: secrets out, long values cut, control characters escaped by the renderer.

    >>> redact(None, "info", {"event": "x", "password": "p", "who": "sk-abcdefghijklmnop"})
    {'event': 'x', 'password': '[dropped]', 'who': '[secret]'}
    """
    for name, value in event.items():
        if any(word in name.lower() for word in _DROPPED):
            event[name] = "[dropped]"
        elif isinstance(value, str):
            event[name] = _clean(value)
    return event


def _clean(text: str) -> str:
    words = text.split(" ")
    if any(len(word) >= 16 and looks_secret(word) for word in words):
        text = " ".join("[secret]" if len(word) >= 16 and looks_secret(word) else word for word in words)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
