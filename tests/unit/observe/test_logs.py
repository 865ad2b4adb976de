"""What Gatewatch's own log says, and what it must never say."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gatewatch.observe.logs import LINES_A_MINUTE, configure
from gatewatch.settings import LogSettings

SECRET = "sk-proj-Abcdefgh1234567890"


class Log:
    """Logging as a worker sets it up, into memory."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.dropped = 0

    def configure(self, **settings: Any) -> None:
        """Set it up."""
        configure(LogSettings.model_validate(settings), on_drop=self._drop, stream=self.stream)

    def _drop(self) -> None:
        self.dropped += 1

    @property
    def text(self) -> str:
        """Everything written."""
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """A log; afterwards logging is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    noisy = {
        name: logging.getLogger(name).level
        for name in ("kafka", "kafka.net.selector", "httpx", "uvicorn", "numba", "asyncio")
    }
    yield Log()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in noisy.items():
        logging.getLogger(name).setLevel(was)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_one_json_object_a_line(log: Log) -> None:
    """Otherwise a log pipeline cannot read us."""
    log.configure()
    structlog.get_logger("gatewatch.roles").info("started", role="ingest", partitions=4)
    (line,) = log.lines
    timestamp = line.pop("timestamp")
    assert line == {
        "event": "started",
        "role": "ingest",
        "partitions": 4,
        "level": "info",
        "logger": "gatewatch.roles",
    }
    assert timestamp.endswith("Z")


def test_libraries_go_the_same_way(log: Log) -> None:
    """Otherwise a Kafka client's warning is a line that the pipeline cannot parse."""
    log.configure()
    logging.getLogger("some.library").warning("lost %s", "connection")
    assert [(line["logger"], line["event"]) for line in log.lines] == [("some.library", "lost connection")]


@pytest.mark.parametrize(
    "words",
    [
        {"password": "hunter2-hunter2"},
        {"Authorization": "Basic aHVudGVyMjpodW50ZXIy"},
        {"body": '{"prompt": "hunter2"}'},
        {"headers": {"cookie": "hunter2"}},
        {"parts": [{"deep": {"api_key": "hunter2"}}]},
        {"raw": b"hunter2"},
    ],
)
def test_values_under_telling_names_are_dropped(log: Log, words: dict[str, Any]) -> None:
    """Otherwise one careless call puts a customer's password or prompt into a log that many can read."""
    log.configure()
    structlog.get_logger().warning("request", **words)
    assert "hunter2" not in log.text
    assert "aHVudGVy" not in log.text
    assert "[dropped]" in log.text


@pytest.mark.parametrize("layout", ["json", "console"])
@pytest.mark.parametrize(
    "text", [SECRET, f"key={SECRET}", f"refused ({SECRET})", f"a\nheader: '{SECRET}'", f"Authorization:{SECRET}"]
)
def test_what_looks_like_a_secret_is_replaced(log: Log, layout: str, text: str) -> None:
    """Otherwise an error text of a library carries a key into the log."""
    log.configure(format=layout)
    structlog.get_logger().warning("failed", error=text)
    logging.getLogger("library").warning("failed: %s", text)
    assert SECRET not in log.text
    assert log.text.count("[secret]") == 2


def test_tracebacks_are_cleaned_too(log: Log) -> None:
    """Otherwise the one place where secrets turn up most, an exception's text, is the one that is not looked at."""
    log.configure()
    try:
        int(SECRET)
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = log.lines
    assert "invalid literal for int() with base 10: '[secret]'" in line["exception"]
    assert SECRET not in log.text


@pytest.mark.parametrize("layout", ["json", "console"])
def test_control_characters_are_shown_not_sent(log: Log, layout: str) -> None:
    """Otherwise a principal named with an escape sequence repaints the terminal of whoever reads the log."""
    log.configure(format=layout)
    structlog.get_logger().warning("seen", principal="\x1b[2Jroot\x07")
    assert "\x1b[2J" not in log.text
    assert "\x07" not in log.text


def test_long_values_are_cut(log: Log) -> None:
    """Otherwise one broken event of a megabyte is a line of a megabyte."""
    log.configure()
    structlog.get_logger().warning("seen", path="/a b" * 10_000)
    assert len(log.text) < 3000


def test_level_and_noise(log: Log) -> None:
    """Otherwise `level: warning` does not quiet anything, or a client's chatter comes at info."""
    log.configure(level="info")
    logging.getLogger("kafka.conn").info("connecting")
    structlog.get_logger("gatewatch").debug("detail")
    logging.getLogger("kafka.net.selector").warning("a task ran for 0.104s")  # on a busy machine all the time
    assert log.text == ""
    structlog.get_logger("gatewatch").info("told")
    assert len(log.lines) == 1


def test_repeats_are_counted_as_a_metric(log: Log) -> None:
    """Otherwise nobody can tell a quiet worker from one whose log is being left out."""
    log.configure()
    for n in range(LINES_A_MINUTE + 5):
        structlog.get_logger("gatewatch").warning("again", n=n)
    assert len(log.lines) == LINES_A_MINUTE
    assert log.dropped == 5


def test_warnings_are_log_lines(log: Log) -> None:
    """Otherwise a library's deprecation goes to stderr as plain text between JSON lines."""
    log.configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    assert "old call" in log.lines[-1]["event"]
