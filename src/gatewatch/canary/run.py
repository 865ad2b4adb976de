"""One probe, hop by hop. The first hop that is silent ends it; what was ordered is always taken back."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import httpx

from gatewatch.canary.hops import Topics
from gatewatch.clock import Clock
from gatewatch.errors import ConfigError, LogError
from gatewatch.log.base import Log
from gatewatch.records import Action, Decision, Mode
from gatewatch.settings import CanaryBlock, CanarySettings, Settings, read_secret

ACTOR = "gatewatch-canary"
_TTL_S = 60.0  # beyond the patience: a canary that dies in the middle leaves its block to end by itself
_HTTP_S = 10.0
ASK_S = 0.25  # between requests while a block is awaited: four a second, for some seconds


@dataclass(frozen=True, slots=True)
class Hop:
    """How long one hop took; ``None`` where it was silent, and why."""

    name: str
    seconds: float | None
    why: str = ""


class Canary:
    """Probes one endpoint: the one of the settings.

    Args:
        log: of the installation.
        settings: with a ``canary`` section.
        clock: injected time.
        member: stable id of this canary in its group.
        transport: httpx's own, for tests.

    Raises:
        ConfigError: there is no such section, or its secret is not there.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        clock: Clock,
        member: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if settings.canary is None:
            raise ConfigError("canary", "say what to probe: canary: {url: https://your-own-endpoint/v1/models}")
        self._log, self._settings, self._clock, self._member = log, settings, clock, member
        self._own: CanarySettings = settings.canary
        env = self._own.authorization_env
        secret = read_secret("canary.authorization", env, None) if env is not None else None
        self._headers = {"Authorization": secret.get_secret_value()} if secret is not None else {}
        self._pause = threading.Event()  # never set: a wait
        self._client = httpx.Client(timeout=_HTTP_S, follow_redirects=False, transport=transport)

    def close(self) -> None:
        """End."""
        self._client.close()

    def probe(self) -> Iterator[Hop]:
        """Each hop as it is measured; one that is silent is the last.

        Raises:
            LogError: Kafka cannot be asked.
        """
        nonce = secrets.token_hex(8)
        with closing(Topics(self._log, self._settings, nonce.encode(), self._member)) as topics:
            if not self._until(topics.followed, self._own.patience):
                raise LogError("the canary's group did not get the partitions of the topics")
            sent_at = self._clock.now()
            status = self._ask(nonce)
            if status is None or status >= 400:
                yield Hop("gateway", None, f"answered {status}" if status else "no answer")
                return
            yield Hop("gateway", self._clock.now() - sent_at)
            for name, reached in (
                ("source", topics.arrived),
                ("detect", lambda: topics.detected(sent_at)),
                ("decide", topics.decided),
            ):
                hop = self._wait(name, reached)
                yield hop
                if hop.seconds is None:
                    return
        if self._own.block is not None:
            yield from self._block(nonce, self._own.block)

    def _block(self, nonce: str, block: CanaryBlock) -> Iterator[Hop]:
        """Stop ourselves, see it hold, let ourselves go, see that."""
        now = self._clock.now()
        order = Decision(
            id=f"canary-{nonce}",
            action=Action.BLOCK,
            scope=block.scope,
            value=block.value,
            reason="probe of the canary: it stops itself for a moment",
            start=now,
            until=now + self._own.patience + _TTL_S,
            mode=Mode.BLOCK,
            actor=ACTOR,
        )
        try:
            self._write(order)
            hop = self._wait("enforce", lambda: self._asked(nonce) == 403)
            yield hop
        finally:
            gone = {"removed": self._clock.now(), "removed_by": ACTOR, "findings_offset": -1}
            self._write(order.model_copy(update=gone))
        if hop.seconds is not None:
            yield self._wait("release", lambda: (self._asked(nonce) or 403) < 400)

    def _wait(self, name: str, reached: Callable[[], bool]) -> Hop:
        began = self._clock.monotonic()
        if self._until(reached, self._own.patience):
            return Hop(name, self._clock.monotonic() - began)
        return Hop(name, None, f"silent for {self._own.patience:g} s")

    def _until(self, reached: Callable[[], object], patience_s: float) -> bool:
        deadline = self._clock.monotonic() + patience_s
        while not reached():
            if self._clock.monotonic() >= deadline:
                return False
        return True

    def _ask(self, nonce: str) -> int | None:
        """The status of one harmless request; ``None`` without an answer."""
        headers = {**self._headers, "User-Agent": f"gatewatch-canary/1 ({nonce})"}
        try:
            return self._client.request(self._own.method, self._own.url, headers=headers).status_code
        except httpx.TransportError:
            return None

    def _asked(self, nonce: str) -> int | None:
        """The same, after a moment: a probe must never be a load."""
        self._pause.wait(ASK_S)
        return self._ask(nonce)

    def _write(self, order: Decision) -> None:
        with closing(self._log.producer()) as producer:
            topic = self._settings.kafka.topic("decisions")
            producer.send(topic, order.model_dump_json().encode(), partition=0, key=order.id.encode())
            producer.flush(_HTTP_S)
