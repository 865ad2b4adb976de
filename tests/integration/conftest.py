"""What several tests on a real Kafka need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from gatewatch.log.kafka import KafkaLog
from gatewatch.settings import KafkaSettings
from gatewatch.testing.logs import KafkaRig


@pytest.fixture(params=["kafka-python", "librdkafka"])
def rig(kafka: str, request: pytest.FixtureRequest) -> Iterator[KafkaRig]:
    """Members whose sessions outlast the test: that one runs out may not be what helps."""
    settings = KafkaSettings(bootstrap=(kafka,), client=request.param, session_timeout=60.0)
    with closing(KafkaLog(settings)) as log:
        yield KafkaRig(log)
