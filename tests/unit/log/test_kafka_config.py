"""What the Kafka clients log, and what they are told; no broker is needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gatewatch.log.kafka_config import LOG_LINES_A_MINUTE, consumer_config, quiet_client_logs
from gatewatch.log.librdkafka_config import consumer_config as librdkafka_config
from gatewatch.settings import KafkaSecurity, KafkaSettings


class _Seen(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def seen() -> Iterator[_Seen]:
    """What reaches the root logger."""
    handler = _Seen()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_the_same_line_comes_some_times_only(seen: _Seen) -> None:
    """While a broker is down each client would write 5 lines a second, and hide everything else."""
    quiet_client_logs()
    for i in range(100):
        logging.getLogger("kafka.test.throttled").error("connection %d lost", i)
    logging.getLogger("kafka.test.throttled").error("another kind")
    assert seen.lines == [f"connection {i} lost" for i in range(LOG_LINES_A_MINUTE)] + ["another kind"]


def test_muted_lines_come_back_when_the_last_has_unmuted(seen: _Seen) -> None:
    """Two threads that connect at once would leave the client's log silent, or let each other's failures through."""
    shown = quiet_client_logs()
    logger = logging.getLogger("kafka.test.muted")
    with shown.muted():
        with shown.muted():
            pass
        logger.error("hidden")
    logger.error("shown")
    assert seen.lines == ["shown"]
    assert quiet_client_logs() is shown


@pytest.mark.parametrize("session_s", [1.0, 6.0, 10.0, 300.0])
def test_heartbeats_fit_into_the_session(session_s: float) -> None:
    """A member would be taken for dead although it is well, or the client would refuse its settings."""
    settings = KafkaSettings(session_timeout=session_s)
    config = consumer_config(settings, group="g", member="m")
    assert config["heartbeat_interval_ms"] * 3 <= config["session_timeout_ms"] <= config["max_poll_interval_ms"]
    other = librdkafka_config(settings, group="g", member="m")
    assert other["heartbeat.interval.ms"] == config["heartbeat_interval_ms"]
    assert other["session.timeout.ms"] == config["session_timeout_ms"]
    assert other["max.poll.interval.ms"] == config["max_poll_interval_ms"]


def test_security_reaches_librdkafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingest could not log in where all other roles can, or would not check the broker's name."""
    monkeypatch.setenv("PW", "secret")
    security = KafkaSecurity(protocol="SASL_SSL", mechanism="SCRAM-SHA-512", username="u", password_env="PW")
    config = librdkafka_config(KafkaSettings(security=security), group="g", member="m")
    assert (config["sasl.username"], config["sasl.password"], config["sasl.mechanism"]) == (
        "u", "secret", "SCRAM-SHA-512",
    )  # fmt: skip
    assert "ssl.endpoint.identification.algorithm" not in config
    unchecked = security.model_copy(update={"check_hostname": False})
    config = librdkafka_config(KafkaSettings(security=unchecked), group="g", member="m")
    assert config["ssl.endpoint.identification.algorithm"] == "none"
