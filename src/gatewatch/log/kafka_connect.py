"""Connections to Kafka that say why they fail.

The client's own error is "Unable to bootstrap" for a wrong password, CA, host name, port or protocol alike. So after a
failure the way to the broker is walked step by step (name, port, TLS), and what the client logged tells of the login.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient

from gatewatch.clock import SystemClock
from gatewatch.errors import BrokerError
from gatewatch.log.kafka_config import quiet_client_logs, tls_context
from gatewatch.settings import KafkaSecurity, KafkaSettings

T = TypeVar("T")

# The first client is tried for so long, then the way is walked: a mistake that will not mend itself is told at once.
# Else another client is tried for twice as long: a slow broker needs it, and kafka-python sees a refused login as one
# in only one attempt of three, as a lost connection in the others (measured).
FIRST_TRY_S = 2.0
PROBE_S = 2.0  # for each step of the way
_LINES = 200  # of the client's log, kept to look for the reason


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a broker cannot be used, and what to do. ``lasting``: waiting does not help."""

    text: str
    lasting: bool


def connect(make: Callable[..., T], settings: KafkaSettings, config: dict[str, Any]) -> T:
    """Construct a kafka-python client, which contacts the broker.

    Raises:
        BrokerError: no broker within ``kafka.bootstrap_timeout``, or one that refuses us: why, and which key to change.
    """
    lines: deque[str] = deque(maxlen=_LINES)
    clock = SystemClock()
    deadline = clock.monotonic() + settings.bootstrap_timeout
    try_s = FIRST_TRY_S
    while True:
        try_s = max(min(try_s, deadline - clock.monotonic()), 0.1)
        with _captured(lines):
            try:
                return _construct(make, {**config, "bootstrap_timeout_ms": int(try_s * 1000)})
            except KafkaTimeoutError:
                problem = _diagnose(settings, lines)
            except (KafkaError, OSError) as error:
                raise BrokerError(f"Kafka at {_servers(settings)}: {error}") from error
        if problem.lasting or clock.monotonic() >= deadline:
            raise BrokerError(f"Kafka at {_servers(settings)}: {problem.text}")
        try_s *= 2


def _construct(make: Callable[..., T], config: dict[str, Any]) -> T:
    """Like ``make``, but a failed construction leaves no socket and no thread behind."""
    made: list[Any] = []

    def net_client(*args: Any, **kwargs: Any) -> Any:
        made.append(KafkaNetClient(*args, **kwargs))
        return made[-1]

    try:
        return make(**config, kafka_client=net_client)
    except BaseException:
        for client in made:
            client.close()
        raise


@contextmanager
def _captured(lines: deque[str]) -> Iterator[None]:
    """Collect what the Kafka client logs, and show none of it: the error will say it better."""
    logger = logging.getLogger("kafka")
    handler, shown = _Collect(lines), quiet_client_logs()
    logger.addHandler(handler)
    try:
        with shown.muted():
            yield
    finally:
        logger.removeHandler(handler)


class _Collect(logging.Handler):
    def __init__(self, lines: deque[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _diagnose(settings: KafkaSettings, lines: Sequence[str]) -> Problem:
    """The first thing that is wrong on the way to the brokers, of the one we get furthest with."""
    problems = [probe(server, settings.security) for server in settings.bootstrap]
    if all(problems):
        return next(p for p in problems if p is not None)
    return _login_problem(settings.security, lines)


def probe(server: str, security: KafkaSecurity) -> Problem | None:
    """Walk the way to one server: name, port, TLS."""
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        address = (host, int(port))
        socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except ValueError:
        return Problem(f"kafka.bootstrap: {server!r} is not host:port", lasting=True)
    except OSError:
        return Problem(f"the host name {host!r} is not known: correct kafka.bootstrap", lasting=False)
    try:
        with socket.create_connection(address, timeout=PROBE_S) as raw:
            return _probe_tls(raw, host, security) if security.protocol.endswith("SSL") else _probe_plain(raw)
    except ConnectionRefusedError:
        text = f"nobody listens at {server}: is the broker running, and is this its port? (kafka.bootstrap)"
    except TimeoutError:
        text = f"{server} does not answer: a firewall, or the wrong address? (kafka.bootstrap)"
    except OSError as error:
        text = f"{server} cannot be reached: {error.strerror or error} (kafka.bootstrap)"
    return Problem(text, lasting=False)


def _probe_tls(raw: socket.socket, host: str, security: KafkaSecurity) -> Problem | None:
    try:
        with tls_context(security).wrap_socket(raw, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        return Problem(_certificate_text(error, host, security), lasting=True)
    except (ssl.SSLError, ConnectionError):
        return Problem(
            f"this port does not speak TLS, and kafka.security.protocol is {security.protocol}: "
            f"use the broker's TLS port, or protocol {_without_tls(security.protocol)}",
            lasting=True,
        )


def _certificate_text(error: ssl.SSLCertVerificationError, host: str, security: KafkaSecurity) -> str:
    # OpenSSL: 62 X509_V_ERR_HOSTNAME_MISMATCH, 64 ..._IP_ADDRESS_MISMATCH, 9 ..._NOT_YET_VALID, 10 ..._HAS_EXPIRED
    if error.verify_code in (62, 64):
        return (
            f"its certificate is not for {host!r}: name the broker in kafka.bootstrap as the certificate does, "
            "or set kafka.security.check_hostname: false"
        )
    if error.verify_code in (9, 10):
        return f"its certificate is out of date ({error.verify_message}): renew it, or set this machine's clock"
    signer = f"by {security.ca_file}" if security.ca_file is not None else "by an authority of this system"
    return (
        f"its certificate is not signed {signer} ({error.verify_message}): "
        "set kafka.security.ca_file to the certificate of the CA that signed it"
    )


def _probe_plain(raw: socket.socket) -> Problem | None:
    """Whether a port that we speak to in plain text would rather have TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: only to see whether TLS is answered
    try:
        with context.wrap_socket(raw):
            return Problem(
                "this port speaks TLS, and kafka.security.protocol has none: "
                "set kafka.security.protocol to SSL or SASL_SSL, or use the broker's plain port",
                lasting=True,
            )
    except OSError:
        return None


def _login_problem(security: KafkaSecurity, lines: Sequence[str]) -> Problem:
    """Name, port and TLS are right: what the client logged says what the broker thinks of us."""
    text = "\n".join(lines)
    if "SaslAuthenticationFailed" in text:
        return Problem(
            f"the broker refuses user {security.username!r}: check kafka.security.username, "
            f"kafka.security.{_password_key(security)} and kafka.security.mechanism ({security.mechanism})",
            lasting=True,
        )
    if "UnsupportedSaslMechanism" in text:
        return Problem(
            f"the broker does not take kafka.security.mechanism {security.mechanism} at this port: "
            "use one of its sasl.enabled.mechanisms",
            lasting=True,
        )
    if "IllegalSaslState" in text:
        protocol = security.protocol.removeprefix("SASL_")
        return Problem(f"this port wants no login: set kafka.security.protocol to {protocol}", lasting=True)
    if "CERTIFICATE_REQUIRED" in text.upper():
        return Problem(
            "the broker wants a certificate of ours: set kafka.security.cert_file and key_file", lasting=True
        )
    if "disconnected" in text:
        return Problem(_hang_up_text(security), lasting=False)
    said = f"; the client says: {lines[-1]}" if lines else ""
    return Problem(f"it can be reached but does not answer as a broker{said}", lasting=False)


def _hang_up_text(security: KafkaSecurity) -> str:
    if security.protocol.startswith("SASL"):
        return (
            f"the broker hangs up while user {security.username!r} logs in: check whether it takes "
            f"kafka.security.mechanism {security.mechanism} at this port, then kafka.security.username and "
            f"kafka.security.{_password_key(security)}"
        )
    return (
        "the broker hangs up: it may want a login (kafka.security.protocol SASL_SSL or SASL_PLAINTEXT, "
        "with mechanism, username and password_env)"
    )


def _password_key(security: KafkaSecurity) -> str:
    return "password_env" if security.password_env is not None else "password_file"


def _without_tls(protocol: str) -> str:
    return "SASL_PLAINTEXT" if protocol.startswith("SASL") else "PLAINTEXT"


def _servers(settings: KafkaSettings) -> str:
    return ", ".join(settings.bootstrap)
