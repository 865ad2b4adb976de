"""What every test gets: a clean environment, no swallowed errors, and a Kafka broker for those that ask for one."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator

import hypothesis
import pytest

from gatewatch.testing.kafka import Broker, running_broker
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn

# The first example compiles kernels, and machines of CI are shared: a deadline would only measure them. The same
# examples every time: a red run must be red again.
hypothesis.settings.register_profile("gatewatch", deadline=None, derandomize=True)
hypothesis.settings.load_profile("gatewatch")

# Read before the environment is scrubbed.
_KAFKA = os.environ.get("GATEWATCH_TEST_KAFKA")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own GATEWATCH_* variables change no test."""
    for name in [name for name in os.environ if name.startswith("GATEWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_swallowed_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An error that ended a thread, or that the Kafka client caught and logged, fails the test it happened in."""
    swallowed: list[str] = []

    def on_thread_error(args: threading.ExceptHookArgs) -> None:
        swallowed.append(f"{args.thread}: {args.exc_type.__name__}: {args.exc_value}")

    monkeypatch.setattr(threading, "excepthook", on_thread_error)
    handler = _Tracebacks(swallowed)
    logging.getLogger("kafka").addHandler(handler)
    yield
    logging.getLogger("kafka").removeHandler(handler)
    assert swallowed == []


class _Tracebacks(logging.Handler):
    """Collects what is logged with a traceback: an exception that went no further. A lost connection is none."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], OSError):
            self._found.append(f"{record.name}: {record.getMessage()}: {record.exc_info[1]!r}")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """``host:port`` of a broker that every test shares and none may stop."""
    if _KAFKA is not None:
        yield _KAFKA
        return
    with running_broker() as broker:
        yield broker.bootstrap


@pytest.fixture
def client_leaks() -> Iterator[None]:
    """For tests where connections fail: kafka-python leaves the sockets of refused ones to the garbage collector.

    Such a test also ignores the warning: ``pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")``.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def own_broker() -> Iterator[Broker]:
    """A broker that tests may stop, kill and start again; they leave it running. It has a secure listener, too."""
    with running_broker() as broker:
        yield broker


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    """Slack's API."""
    made = SlackStandIn()
    yield made
    made.close()


@pytest.fixture
def pager() -> Iterator[PagerDutyStandIn]:
    """PagerDuty's API."""
    made = PagerDutyStandIn()
    yield made
    made.close()
