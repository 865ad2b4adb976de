"""The traffic that a chaos run lives on: customers from the simulator, and an attacker every few seconds.

Made from a seed before the run, and written at the pace of its own times, as a gateway does.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from gatewatch.clock import SystemClock
from gatewatch.errors import GatewatchError
from gatewatch.log.base import Producer
from gatewatch.simulate.scenario import Simulation
from gatewatch.testing.chaos.site import SOURCE_PARTITIONS, Site

ATTACK_EVERY_S = 1.5
ATTACK_TRIES, ATTACK_S = 40, 5.0  # well above what the sequential test of first contacts needs
BAD_EVERY_S = 1.0
BAD = b'{"ts": "yesterday"}'
_TURN_S = 0.05
_FLUSH_S = 90.0  # a broker may be away meanwhile


class _Place(msgspec.Struct):
    ts: float
    ip: str = ""


_PLACE = msgspec.json.Decoder(_Place)


@dataclass(slots=True)
class Life:
    """One life of the source topic, and what was written to each of its partitions, in order."""

    topic_id: str
    values: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(SOURCE_PARTITIONS)])


def traffic(scenario: str, *, seed: int, start: float, seconds: float, rate: float) -> Iterator[tuple[float, bytes]]:
    """Times and values, in order of time; the same arguments give the same bytes."""
    extra = sorted([*_attackers(seed, start, seconds), *_bad(start, seconds)])
    at = 0
    for window in Simulation(scenario, rate=rate, duration_s=seconds, start=start, seed=seed).windows():
        for ts, value in zip(window.rows["ts"].tolist(), window.values, strict=True):
            while at < len(extra) and extra[at][0] <= ts:
                yield extra[at]
                at += 1
            yield ts, value
    yield from extra[at:]


def _attackers(seed: int, start: float, seconds: float) -> Iterator[tuple[float, bytes]]:
    """One address after the other tries a list of accounts."""
    rng = np.random.default_rng(seed)
    for n, at in enumerate(np.arange(1.0, max(seconds - ATTACK_S, 1.0), ATTACK_EVERY_S).tolist()):
        ip = f"11.{n // 250 % 250}.{n % 250}.{int(rng.integers(1, 250))}"
        for i, ts in enumerate((start + at + np.sort(rng.random(ATTACK_TRIES)) * ATTACK_S).tolist()):
            event = {"ts": ts, "ip": ip, "account": f"list-{n}-{i}", "status": 401, "method": "POST", "path": "/login"}
            yield ts, json.dumps(event).encode()


def _bad(start: float, seconds: float) -> Iterator[tuple[float, bytes]]:
    for at in np.arange(0.5, seconds, BAD_EVERY_S).tolist():
        yield start + at, BAD


def partition_of(value: bytes) -> int:
    """Everything of one network goes one way, so its order is the same however many workers read it."""
    try:
        ip = _PLACE.decode(value).ip
    except msgspec.DecodeError:
        return 0
    return zlib.crc32(ip.rpartition(".")[0].encode()) % SOURCE_PARTITIONS


class Feeder:
    """Writes the traffic at its own pace, on a thread.

    Args:
        remember: keep what was written, to compare with it.

    Attributes:
        lives: what was written, for each life of the source topic.
    """

    def __init__(
        self, site: Site, scenario: str, *, seed: int, seconds: float, rate: float, remember: bool = True
    ) -> None:
        self._site, self._clock = site, SystemClock()
        self._scenario, self._seed, self._seconds, self._rate = scenario, seed, seconds, rate
        self.lives, self._remember = [Life(site.source_id)], remember
        self.error: GatewatchError | None = None
        self._producer: Producer = site.log.producer()
        self._end, self._go = threading.Event(), threading.Event()
        self._idle = threading.Event()
        self._go.set()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Write nothing until :meth:`resume`; what was written is there when this returns."""
        self._idle.clear()
        self._go.clear()
        self._idle.wait(_FLUSH_S)
        self._producer.flush(_FLUSH_S)

    def resume(self, life: Life | None = None) -> None:
        """Go on; into a topic that was made again, where ``life`` is given."""
        if life is not None:
            self._producer.close()
            self._producer = self._site.log.producer()
            self.lives.append(life)
        self._go.set()

    def finish(self) -> None:
        """Stop here; everything that was written is there when this returns.

        Raises:
            GatewatchError: something could not be written, so nothing can be said about the run.
        """
        self._end.set()
        self._go.set()
        self._thread.join(_FLUSH_S)
        if self.error is not None:
            raise self.error
        self._producer.flush(_FLUSH_S)
        self._producer.close()

    @property
    def written(self) -> int:
        """Values so far."""
        return sum(len(part) for life in self.lives for part in life.values)

    def _run(self) -> None:
        start = self._clock.now() + 0.5
        stream = traffic(self._scenario, seed=self._seed, start=start, seconds=self._seconds, rate=self._rate)
        try:
            for ts, value in stream:
                while not self._go.is_set() or ts > self._clock.now():
                    if not self._go.is_set():
                        self._idle.set()
                    if self._end.wait(_TURN_S):
                        return
                partition = partition_of(value)
                self._producer.send(self._site.source, value, partition=partition)
                if self._remember:
                    self.lives[-1].values[partition].append(value)
                if self._end.is_set():
                    return
        except GatewatchError as error:
            self.error = error
        finally:
            self._idle.set()
