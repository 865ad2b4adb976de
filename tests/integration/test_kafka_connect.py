"""Every way to get the connection wrong gives an error that names the mistake and the key to change."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gatewatch.errors import BrokerError, ConfigError
from gatewatch.log import kafka_connect
from gatewatch.log.base import TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.settings import KafkaSecurity, KafkaSettings
from gatewatch.testing.kafka import PASSWORD, USER, Broker, make_certificate

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.usefixtures("client_leaks"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

Make = Callable[..., KafkaSettings]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker of a test is near: what is wrong with it shows sooner."""
    monkeypatch.setattr(kafka_connect, "FIRST_TRY_S", 0.7)


@pytest.fixture
def secure(own_broker: Broker, tmp_path: Path) -> Make:
    """Settings that are right for the broker's secure port, but for what a test changes."""

    def make(bootstrap: str = own_broker.secure, password: str = PASSWORD, **changed: Any) -> KafkaSettings:
        file = tmp_path / "password"
        file.write_text(f"{password}\n", encoding="utf-8")
        right = {
            "protocol": "SASL_SSL",
            "mechanism": "SCRAM-SHA-512",
            "username": USER,
            "password_file": file,
            "ca_file": own_broker.ca_file,
        }
        security = KafkaSecurity.model_validate({**right, **changed})
        return KafkaSettings(bootstrap=(bootstrap,), security=security, bootstrap_timeout=30.0)

    return make


def _refusal(settings: KafkaSettings) -> str:
    log = KafkaLog(settings)
    with pytest.raises(BrokerError) as caught:
        log.admin()
    return str(caught.value)


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_tls_and_scram_work_for_every_part(secure: Make, client: str) -> None:
    """A secured cluster could not be used."""
    settings = secure().model_copy(update={"client": client})
    topic = f"secure-{client}"
    with closing(KafkaLog(settings)) as log:
        with closing(log.admin()) as admin:
            admin.create([TopicSpec(topic, 1)])
        producer = log.producer()
        producer.send(topic, b"v")
        producer.flush(30.0)
        producer.close()
        assert [chunk.values for chunk in log.read(topic)] == [[b"v"]]
        with closing(log.consumer([topic], group=topic, member="m", values_only=True)) as consumer:
            values: list[bytes | None] = []
            deadline = time.monotonic() + 60.0
            while not values:
                assert time.monotonic() < deadline
                polled = consumer.poll(0.2)
                consumer.resume(polled.assigned)
                values += [value for chunk in polled.chunks for value in chunk.values]
    assert values == [b"v"]


def test_a_wrong_password_is_told_at_once(secure: Make) -> None:
    """The client says "Unable to bootstrap" after the whole timeout, whatever is wrong."""
    settings = secure(password="wrong").model_copy(update={"bootstrap_timeout": 30.0})
    began = time.monotonic()
    text = _refusal(settings)
    assert time.monotonic() - began < 20.0
    assert f"refuses user '{USER}'" in text
    assert "kafka.security.password_file" in text
    assert "wrong" not in text.replace("wrongly", "")


def test_a_mechanism_that_is_not_enabled(secure: Make) -> None:
    """A user would change a password that is right."""
    assert "kafka.security.mechanism PLAIN" in _refusal(secure(mechanism="PLAIN"))


def test_a_ca_that_did_not_sign(secure: Make, tmp_path: Path) -> None:
    """A user would look for the mistake in the password."""
    make_certificate(tmp_path)
    text = _refusal(secure(ca_file=tmp_path / "ca.pem"))
    assert "not signed by" in text
    assert "kafka.security.ca_file" in text


def test_no_ca_at_all(secure: Make) -> None:
    """A private CA that was not named is the most frequent mistake of all."""
    assert "set kafka.security.ca_file" in _refusal(secure(ca_file=None))


def test_a_name_that_the_certificate_does_not_hold(secure: Make, own_broker: Broker) -> None:
    """A user would turn verification off altogether."""
    settings = secure(bootstrap=own_broker.secure.replace("127.0.0.1", "127.1"))
    assert "certificate is not for '127.1'" in _refusal(settings)
    unchecked = secure(bootstrap=settings.bootstrap[0], check_hostname=False)
    KafkaLog(unchecked).admin().close()


def test_a_ca_file_that_is_not_there_or_not_one(secure: Make, tmp_path: Path) -> None:
    """A wrong path would look like a broker that is down."""
    assert "kafka.security.ca_file: " in _refusal(secure(ca_file=tmp_path / "nowhere.pem"))
    (tmp_path / "empty.pem").write_text("", encoding="utf-8")
    assert "not a file of PEM certificates" in _refusal(secure(ca_file=tmp_path / "empty.pem"))
    assert "kafka.security.cert_file: " in _refusal(secure(cert_file=tmp_path / "nowhere.pem"))


def test_a_password_file_that_is_not_there(secure: Make, tmp_path: Path) -> None:
    """A secret that was not mounted would look like a broker that is down."""
    with pytest.raises(ConfigError, match=r"kafka\.security\.password_file"):
        KafkaLog(secure(password_file=tmp_path / "nowhere")).admin()


def test_plain_text_to_a_port_with_tls(secure: Make, own_broker: Broker) -> None:
    """A forgotten protocol would look like a broker that hangs."""
    plain = KafkaSettings(bootstrap=(own_broker.secure,), bootstrap_timeout=30.0)
    assert "speaks TLS" in _refusal(plain)
    assert "kafka.security.protocol" in _refusal(secure(protocol="SASL_PLAINTEXT"))


def test_tls_to_a_plain_port(secure: Make, own_broker: Broker) -> None:
    """A wrong port would look like a wrong certificate."""
    text = _refusal(secure(bootstrap=own_broker.bootstrap))
    assert "does not speak TLS" in text
    assert "kafka.security.protocol" in text


def test_a_login_where_none_is_wanted(secure: Make, own_broker: Broker) -> None:
    """A user would look for the mistake in the password."""
    text = _refusal(secure(bootstrap=own_broker.bootstrap, protocol="SASL_PLAINTEXT"))
    assert "set kafka.security.protocol to PLAINTEXT" in text


def test_no_login_where_one_is_wanted(own_broker: Broker) -> None:
    """A user would look for the mistake in the network."""
    security = KafkaSecurity(protocol="SSL", ca_file=own_broker.ca_file)
    text = _refusal(KafkaSettings(bootstrap=(own_broker.secure,), security=security, bootstrap_timeout=3.0))
    assert "may want a login" in text


def test_a_host_name_that_is_not_known() -> None:
    """A typing error would look like a broker that is down."""
    text = _refusal(KafkaSettings(bootstrap=("no-such-host.invalid:9092",), bootstrap_timeout=1.0))
    assert "'no-such-host.invalid' is not known" in text
    assert "kafka.bootstrap" in text


def test_a_port_where_nobody_listens() -> None:
    """A broker that is not running would look like a wrong setting."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    text = _refusal(KafkaSettings(bootstrap=(f"127.0.0.1:{port}",), bootstrap_timeout=1.0))
    assert f"nobody listens at 127.0.0.1:{port}" in text


def test_an_address_that_is_none() -> None:
    """A missing port would be asked of DNS."""
    text = _refusal(KafkaSettings(bootstrap=("broker",), bootstrap_timeout=1.0))
    assert "not host:port" in text


def test_a_failed_connection_leaves_nothing_behind(secure: Make) -> None:
    """A worker that tries again and again would run out of sockets and threads."""
    before = _sockets()
    for _ in range(3):
        _refusal(secure(password="wrong").model_copy(update={"bootstrap_timeout": 0.5}))
    assert _sockets() <= before + 1


def _sockets() -> int:
    """Open sockets of this process."""
    gc.collect()
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder is gone by now
            found += descriptor.readlink().name.startswith("socket:")
    return found
