"""The log under everything: Kafka in production, memory for replay and most tests, files at the edges.

:mod:`gatewatch.log.base` is the seam; nothing outside this room imports a Kafka client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewatch.log.base import Log
    from gatewatch.settings import KafkaSettings


def open_log(settings: KafkaSettings, *, stopping: Callable[[], bool] = lambda: False) -> Log:
    """The Kafka cluster of ``settings``. Connects only when something is asked for.

    While ``stopping`` says so, nobody waits long to send: who is told to stop has ten seconds.
    """
    # kafka-python takes a quarter of a second to import: replay and demo, which need none of it, do not pay.
    from gatewatch.log.kafka import KafkaLog  # noqa: PLC0415 - said above

    return KafkaLog(settings, stopping=stopping)
