"""The settings of ``kafka:`` in librdkafka's words."""

from __future__ import annotations

from gatewatch.log.kafka_config import HEARTBEAT_S, MAX_POLL_INTERVAL_S, METADATA_MAX_AGE_S, RECONNECT_MAX_S
from gatewatch.settings import KafkaSettings

Config = dict[str, str | int | float | bool]


def consumer_config(settings: KafkaSettings, *, group: str, member: str) -> Config:
    """The same settings as for kafka-python, in librdkafka's words.

    Raises:
        ConfigError: the password is not where the settings say.
    """
    return client_config(settings, member) | {
        "topic.metadata.refresh.interval.ms": int(METADATA_MAX_AGE_S * 1000),
        "group.id": group,
        "group.instance.id": member,
        "partition.assignment.strategy": "range",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
        "session.timeout.ms": int(settings.session_timeout * 1000),
        "heartbeat.interval.ms": int(min(HEARTBEAT_S, settings.session_timeout / 3) * 1000),
        "max.poll.interval.ms": int(max(MAX_POLL_INTERVAL_S, settings.session_timeout) * 1000),
        # When its queue is full the client waits this long before it fetches again; the default of 1 s costs a factor
        # of 3 on a backlog.
        "fetch.queue.backoff.ms": 1,
        "queued.max.messages.kbytes": 65_536,  # fetched and not yet polled: some rounds of ingest
    }


def client_config(settings: KafkaSettings, member: str) -> Config:
    """How any client of a member finds and enters the cluster.

    Raises:
        ConfigError: the password is not where the settings say.
    """
    security = settings.security
    config: Config = {
        "bootstrap.servers": ",".join(settings.bootstrap),
        "client.id": f"gatewatch-{member}",
        "security.protocol": security.protocol,
        "reconnect.backoff.max.ms": int(RECONNECT_MAX_S * 1000),
    }
    files = {
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.cert_file,
        "ssl.key.location": security.key_file,
    }
    config |= {key: str(path) for key, path in files.items() if path is not None}
    if security.protocol.endswith("SSL") and not security.check_hostname:
        config["ssl.endpoint.identification.algorithm"] = "none"
    if security.protocol.startswith("SASL"):
        config["sasl.mechanism"] = str(security.mechanism)
        config["sasl.username"] = str(security.username)
        config["sasl.password"] = security.password().get_secret_value()
    return config
