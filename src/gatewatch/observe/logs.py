"""Gatewatch's own log: one JSON object a line, or colours for a person; the standard library's loggers go the same way.

Whatever a call passes by mistake, secrets do not get through: values under telling names are dropped, and words that
look like a secret are replaced, in tracebacks too. The same line is written at most 30 times a minute.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, TextIO

import structlog

from gatewatch.events.secrets import looks_secret
from gatewatch.observe.throttle import Throttle
from gatewatch.settings import LogSettings

LINES_A_MINUTE = 30  # of one kind: every one of a burst that a person still reads, and 2 kB/s at the very worst
# Parts of names whose values never belong into a log. `key` alone is not among them: a key is whom a finding is about.
_DROPPED = (
    "authorization", "password", "passwd", "secret", "token", "cookie", "api_key", "apikey", "credential",
    "body", "messages", "prompt", "completion", "content", "raw",
)  # fmt: skip
_LONGEST = 2000  # characters of one value: a traceback fits, and a line of megabytes helps nobody
_SHORTEST_SECRET = 16  # characters: shorter words are names
_META = frozenset({"_record", "_from_structlog"})  # what structlog hands on to its own formatter
_QUOTES = "'\"`()[]{}<>,;"
_DEEPEST = 4  # of nested values: ours have two levels
# Say at info what only their authors need
_NOISY = ("kafka", "httpx", "httpcore", "uvicorn", "numba", "asyncio", "slack_sdk")
# Warns whenever a turn of its own loop took 0.1 s: on a busy machine all the time, and nobody can do anything about it
_DEAF = ("kafka.net.selector",)


def configure(
    settings: LogSettings, *, on_drop: Callable[[], None] | None = None, stream: TextIO | None = None
) -> None:
    """Set structlog and the standard library's logging up, for this process.

    Args:
        settings: level and format.
        on_drop: called for each line that is left out because the same was said too often.
        stream: where to; default stderr.
    """
    out = stream or sys.stderr
    shared = _processors()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # else a logger used before this call keeps its first set-up
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(Throttle(LINES_A_MINUTE, on_drop))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings, out)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in _DEAF:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: secrets out, long values cut, control characters shown.

    >>> redact(None, "info", {"event": "x", "password": "p", "who": "sk-abcdefghijklmnop"})
    {'event': 'x', 'password': '[dropped]', 'who': '[secret]'}
    """
    for name, value in event.items():
        if name not in _META:
            event[name] = _clean(name, value, _DEEPEST)
    return event


def _processors() -> list[structlog.typing.Processor]:
    """What every line goes through, ours and libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]


def _renderer(settings: LogSettings, out: TextIO) -> structlog.typing.Processor:
    if settings.format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=out.isatty())


def _clean(name: str, value: object, levels: int) -> object:
    if any(part in name.lower() for part in _DROPPED):
        return "[dropped]"
    if isinstance(value, str):
        return _clean_text(value)
    if levels == 0:
        return value if isinstance(value, (int, float, bool, type(None))) else "[too deep]"
    if isinstance(value, Mapping):
        return {str(k): _clean(str(k), v, levels - 1) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_clean("", item, levels - 1) for item in value]
    return value if isinstance(value, (int, float, bool, type(None))) else _clean_text(str(value))


def _clean_text(text: str) -> str:
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    cut = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in cut)
    return "\n".join(" ".join(_clean_word(word) for word in line.split(" ")) for line in cut.split("\n"))


def _clean_word(word: str) -> str:
    """``word``, or what replaces a secret in it: the whole word, or what follows ``=`` or ``:`` in it."""
    bare = word.strip(_QUOTES)
    candidates = [bare, *(bare.partition(mark)[2].strip(_QUOTES) for mark in "=:" if mark in bare)]
    for candidate in candidates:
        if len(candidate) >= _SHORTEST_SECRET and looks_secret(candidate):
            return word.replace(candidate, "[secret]")
    return word
