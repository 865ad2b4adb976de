"""Kafka append to decision: all roles as processes on a real broker, under a steady load.

A probe is a principal that sends one request more than a plain limit allows, at once. The clock runs from the moment
the last of them is acknowledged by the broker to the moment its decision is read from `decisions`.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import yaml
from common import Figure, Results

from gatewatch.log import open_log
from gatewatch.log.base import Log, Producer, TopicPartition, TopicSpec
from gatewatch.settings import KafkaSettings

LIMIT = 20  # requests a minute
# At 5,000 events a second each makes 3 requests a minute: customers stay within the limit, and only probes are found.
# With the thousand addresses of earlier runs every address was over it, and the breaker held back the probes' blocks.
CUSTOMERS = 100_000
PROBES = 120
SECONDS = 30
READY_WITHIN_S = 300.0  # a machine that compiles every kernel anew while it does other things


def run(results: Results, bootstrap: str) -> None:
    """Add this module's figures."""
    for rate in (1_000, 5_000):
        delays, loaded = _measure(bootstrap, rate)
        p50, p99 = np.percentile(delays, [50, 99], method="higher") * 1e3
        note = f"{np.isfinite(delays).sum()} of {len(delays)} probes decided, load reached {loaded:,.0f}/s"
        half, most = (50, 150) if rate == 5000 else (None, None)
        results.add(Figure(f"append to decision, {rate:,}/s, p50", p50, "ms", (0, 0), half, note=note))
        results.add(Figure(f"append to decision, {rate:,}/s, p99", p99, "ms", (0, 0), most))


def _measure(bootstrap: str, rate: int) -> tuple[npt.NDArray[np.float64], float]:
    """Delays of the probes in seconds (infinite: not decided), and the load that was really sent, events a second."""
    prefix = f"bench-{rate}-{os.getpid()}"
    topic = f"{prefix}-events"
    config = {
        "kafka": {"bootstrap": [bootstrap], "prefix": prefix},
        "sources": [{"topic": topic, "format": "native"}],
        "detectors": {
            "rate_spike": {"mode": "block", "limits": {"requests_per_minute": LIMIT}, "block": {"min_severity": "info"}}
        },
        "guards": {"blocks_per_minute": 100_000, "share_of_traffic": 1.0},
        "metrics": {"listen": "127.0.0.1:0"},
    }
    log = open_log(KafkaSettings(bootstrap=(bootstrap,), prefix=prefix))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gatewatch.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        admin = log.admin()
        admin.create([TopicSpec(topic, 3)])
        admin.close()
        gatewatch = Path(sys.executable).with_name("gatewatch")
        subprocess.run([gatewatch, "topics", "create", "--config", path], check=True, capture_output=True)
        worker = subprocess.Popen([gatewatch, "worker", "--config", path])
        try:
            return _load_and_probe(log, prefix, topic, rate)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
            log.close()


def _load_and_probe(log: Log, prefix: str, topic: str, rate: int) -> tuple[npt.NDArray[np.float64], float]:
    decided: dict[str, float] = {}
    appended: dict[str, float] = {}
    stop = threading.Event()
    reader = threading.Thread(target=_read_decisions, args=(log, prefix, decided, stop))
    reader.start()
    producer = log.producer(linger_ms=5)
    _await_ready(producer, topic, decided)
    began = time.monotonic()
    sent = probes = 0
    while (elapsed := time.monotonic() - began) < SECONDS:
        while sent < elapsed * rate:
            producer.send(topic, _event(f"customer-{sent % CUSTOMERS}", sent), partition=sent % 3)
            sent += 1
        if probes < PROBES and elapsed > 5 + probes * (SECONDS - 8) / PROBES:
            _probe(producer, topic, f"probe-{probes}", appended)
            probes += 1
        time.sleep(0.001)
    loaded = sent / (time.monotonic() - began)
    producer.flush(10)
    deadline = time.monotonic() + 10
    while not appended.keys() <= decided.keys() and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    reader.join()
    producer.close()
    return np.array([decided.get(k, math.inf) - appended[k] for k in appended]), loaded


def _await_ready(producer: Producer, topic: str, decided: dict[str, float]) -> None:
    """Send a probe a second until one of them is decided: kernels are compiled and every group is joined.

    Raises:
        TimeoutError: no decision within `READY_WITHIN_S`: the workers do not work, and there is nothing to measure.
    """
    began = time.monotonic()
    tries = 0
    while not decided:
        if time.monotonic() - began > READY_WITHIN_S:
            msg = f"no decision on {tries} warm-up probes in {READY_WITHIN_S:.0f} s: see what the workers printed"
            raise TimeoutError(msg)
        _probe(producer, topic, f"warm-up-{tries}", {})
        tries += 1
        time.sleep(1)


def _probe(producer: Producer, topic: str, name: str, appended: dict[str, float]) -> None:
    for i in range(LIMIT + 2):
        last = i == LIMIT + 1
        on_ack = (lambda _offset: appended.__setitem__(name, time.monotonic())) if last else None
        producer.send(topic, _event(name, i), partition=0, on_ack=on_ack)


def _event(principal: str, i: int) -> bytes:
    return msgspec.json.encode(
        {
            "ts": time.time(),
            "request_id": f"{i:032x}",
            "method": "POST",
            "endpoint": "/v1/chat/completions",
            "path": "/v1/chat/completions",
            "status": 200,
            "auth": "success",
            "latency_ms": 12.5,
            "principal": principal,
            "ip": f"100.{64 + i % CUSTOMERS // 50_000}.{i % 50_000 // 250}.{i % 250}",
            "user_agent": "openai-python/1.99",
            "model": "gpt-x",
            "tokens_in": 400,
            "tokens_out": 40,
        }
    )


def _read_decisions(log: Log, prefix: str, decided: dict[str, float], stop: threading.Event) -> None:
    consumer = log.consumer([f"{prefix}.decisions"], group=f"{prefix}.bench", member="bench")
    while not stop.is_set():
        polled = consumer.poll(0.1)
        if polled.assigned:
            for tp in polled.assigned:
                consumer.seek(TopicPartition(*tp), 0)
            consumer.resume(polled.assigned)
        for chunk in polled.chunks:
            now = time.monotonic()
            for value in chunk.values:
                if value is not None:
                    decided.setdefault(msgspec.json.decode(value)["value"], now)
    consumer.close()
