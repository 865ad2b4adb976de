"""Settings of the Kafka clients, each with its reason. What was measured is meant where a number is named."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gatewatch.errors import BrokerError
from gatewatch.log.kafka_socket import DIRECT
from gatewatch.observe.throttle import Throttle
from gatewatch.settings import KafkaSecurity, KafkaSettings

HEARTBEAT_S = 1.0  # a join or a leave is heard of after one heartbeat; a third of the shortest session Kafka allows
MAX_POLL_INTERVAL_S = 60.0  # a worker that does not poll for a minute hangs: its partitions go to others
# A lost connection is tried again at least this often. The default of 30 s would dominate every recovery.
RECONNECT_MAX_S = 1.0
REQUEST_TIMEOUT_S = 15.0  # below the delivery timeout, so that a record has several tries
# Commits and requests of a consumer wait this long for a broker that restarts (measured: up to 15 s), and stay well
# below the poll interval, so that the worker ends by an error of its own and not by losing its group.
PATIENCE_S = 30.0
COMMIT_S = 2.0  # one try of a commit; the loop turns in between, and SIGTERM is heard: a clean stop has 10 s for all
METADATA_MAX_AGE_S = 60.0  # new partitions and lost topics are noticed within a minute

LOG_LINES_A_MINUTE = 3  # of one kind: while a broker is down each client writes 4-6 lines a second


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """What every kafka-python client gets.

    Raises:
        BrokerError: a certificate file is not there or not usable.
        ConfigError: the password is not where the settings say.
    """
    security = settings.security
    config: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "client_id": client_id,
        "security_protocol": security.protocol,
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        "reconnect_backoff_max_ms": int(RECONNECT_MAX_S * 1000),
        "metadata_max_age_ms": int(METADATA_MAX_AGE_S * 1000),
        "proxy_url": DIRECT,
    }
    if security.protocol.endswith("SSL"):
        config["ssl_context"] = tls_context(security)
    if security.protocol.startswith("SASL"):
        config["sasl_mechanism"] = security.mechanism
        config["sasl_plain_username"] = security.username
        config["sasl_plain_password"] = security.password().get_secret_value()
    return config


def consumer_config(settings: KafkaSettings, *, group: str, member: str) -> dict[str, Any]:
    """What a consumer of a group gets on top."""
    return {
        "group_id": group,
        "group_instance_id": member,  # a restart costs 0.4 s, not a session
        "enable_auto_commit": False,  # only what a worker marked is done
        "auto_offset_reset": "earliest",  # what retention removed shows as a hole; nothing is skipped
        "allow_auto_create_topics": False,
        "session_timeout_ms": int(settings.session_timeout * 1000),
        "heartbeat_interval_ms": int(min(HEARTBEAT_S, settings.session_timeout / 3) * 1000),
        "max_poll_interval_ms": int(max(MAX_POLL_INTERVAL_S, settings.session_timeout) * 1000),
        "max_partition_fetch_bytes": 4 << 20,  # some rounds of ingest; a dozen partitions of it stay below 50 MB
        "metrics_enabled": False,  # nobody reads the client's own
    }


def tls_context(security: KafkaSecurity) -> ssl.SSLContext:
    """The TLS context of ``security``, the same for every client and for the checks after a failure.

    Raises:
        BrokerError: a file is not there or not usable; the text names its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = security.check_hostname
    try:
        if security.ca_file is not None:
            context.load_verify_locations(security.ca_file)
        else:
            context.load_default_certs()
    except OSError as error:
        raise BrokerError(
            f"kafka.security.ca_file: {security.ca_file} is not a file of PEM certificates: {_why(error)}"
        ) from error
    if security.cert_file is not None:
        try:
            context.load_cert_chain(security.cert_file, security.key_file)
        except OSError as error:
            raise BrokerError(
                f"kafka.security.cert_file: {security.cert_file} with key_file {security.key_file} "
                f"is not a PEM certificate and its key: {_why(error)}"
            ) from error
    return context


def _why(error: OSError) -> str:
    return error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error.strerror or error)


class ToRoot(logging.Handler):
    """Hands records on to the root logger's handlers: a filter on a logger does not see its children's records."""

    def __init__(self) -> None:
        super().__init__()
        self._muted = 0  # how often

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on, unless muted."""
        if not self._muted:
            logging.getLogger().handle(record)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Say nothing meanwhile; several threads may ask for it at once."""
        with _lock:
            self._muted += 1
        try:
            yield
        finally:
            with _lock:
                self._muted -= 1


_lock = threading.Lock()


def quiet_client_logs() -> ToRoot:
    """Throttle what the Kafka clients log, once a process; without a level of its own they say warnings only."""
    logger = logging.getLogger("kafka")
    with _lock:
        for handler in logger.handlers:
            if isinstance(handler, ToRoot):
                return handler
        handler = ToRoot()
        handler.addFilter(Throttle(LOG_LINES_A_MINUTE))
        logger.addHandler(handler)
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
        return handler
