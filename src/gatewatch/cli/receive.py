"""``gatewatch receive``: log records over HTTP, for gateways that speak nothing else."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import structlog

from gatewatch import settings as settings_module
from gatewatch.cli.options import Config
from gatewatch.errors import ConfigError, TopicMissingError
from gatewatch.log import open_log
from gatewatch.metrics import Metrics
from gatewatch.observe.http import GATEWAYS, Server, serve
from gatewatch.observe.logs import configure
from gatewatch.receive.app import Receiver
from gatewatch.receive.writer import Writer
from gatewatch.signals import Stop

_LOOK_S = 0.2  # how soon a signal is answered
_log = structlog.get_logger("gatewatch.receive")


def command(config: Config = None) -> None:
    """Take log records over HTTP and write them to the topics of `receive.sources`.

    A sender gets 200 when Kafka has acknowledged, 429 when too much is in flight, 503 when Kafka fails. Any number of
    these may run beside each other. Ctrl-C and SIGTERM stop it cleanly.
    """
    settings = settings_module.load(config)
    if settings.receive is None:
        raise ConfigError("receive", "name at least one source: receive: {sources: {NAME: {topic: T, token_env: V}}}")
    metrics = Metrics()
    configure(settings.logging, on_drop=metrics.log_line_dropped)
    stop = Stop().on_signals()
    with ExitStack() as opened:
        log = open_log(settings.kafka)
        opened.callback(log.close)
        wanted = {source.topic for source in settings.receive.sources.values()}
        admin = log.admin()
        opened.callback(admin.close)
        if missing := wanted - set(admin.describe(sorted(wanted))):
            raise TopicMissingError(f"topic {min(missing)!r} of `receive.sources` does not exist: create it")
        writer = Writer(log, settings.receive.ack_timeout)
        opened.callback(writer.close)
        app = Receiver(settings.receive, writer, metrics).app()
        address, tls = settings.receive.address, settings.receive.tls
        server = Server(app, *address, "receive.listen", tls, connections=GATEWAYS)
        opened.callback(server.close)
        if settings.metrics.address[1]:
            opened.callback(serve(settings.metrics, metrics, healthy=lambda: True, ready=lambda: True).close)
        _log.info("started", port=server.port, topics=sorted(wanted))
        pause = threading.Event()  # never set: a wait
        while not stop.asked:
            pause.wait(_LOOK_S)
    _log.info("stopped")
