"""The enforce role: reads `decisions` whole, in a group of its own, and answers gateways from memory.

Replicas share nothing: each reads everything. A replica is not ready until it has read to what was the end when it
began; until then bouncers get 503 (and keep what they have), and ``/authz`` answers as ``enforce.fail`` says. When
Kafka is gone later, a block that is known holds to its end; after ``enforce.stale`` ``fail`` decides on everybody else.
"""

from __future__ import annotations

import subprocess

import structlog
from pydantic import ValidationError
from starlette.applications import Starlette

from gatewatch.clock import Clock
from gatewatch.enforce.authz import Authz
from gatewatch.enforce.bouncers import Bouncers, types_of
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.nginx import MapFiles
from gatewatch.enforce.throttle import Throttle
from gatewatch.errors import ConfigError, FencedError, LogError
from gatewatch.log.base import Chunk, Log, TopicPartition
from gatewatch.records import Decision
from gatewatch.settings import EnforceSettings, Settings, Tls, read_secret

SWEEP_S = 60.0  # ended decisions are forgotten an hour after their end; looking once a minute is enough
MAP_S = 1.0  # nginx reloads at most this often
HEAR_S = 15.0  # between questions whether Kafka is there; a quarter of the usual enforce.stale
_log = structlog.get_logger("gatewatch.enforce")


class EnforceWorker:
    """Follows one topic and keeps the ledger; :meth:`app` is what an HTTP server serves.

    Raises:
        ConfigError: a bouncer's key is not where the settings say.
    """

    def __init__(self, log: Log, settings: Settings, *, member: str, clock: Clock) -> None:
        self._clock = clock
        self._settings = settings.enforce or EnforceSettings()
        self.ledger = Ledger()
        self._keys = {
            name: read_secret(f"enforce.bouncers.{name}.key", b.key_env, b.key_file)
            for name, b in self._settings.bouncers.items()
        }
        self._token = (
            read_secret("enforce.authz_token", self._settings.authz_token_env, None)
            if self._settings.authz_token_env
            else None
        )
        if not self.local and self._token is None and not (self.tls and self.tls.client_ca_file):
            raise ConfigError(
                "enforce.authz_token_env", f"or tls.client_ca_file is needed to listen on {self._settings.listen}"
            )
        nginx = self._settings.nginx
        self._files = MapFiles(nginx.folder, nginx.reload) if nginx is not None else None
        self._ends: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._sweep_at = self._map_at = self._heard_at = clock.monotonic()
        self._hear_at = self._heard_at + HEAR_S
        self._whole = self._caught_up = False  # plain values: HTTP handlers on another thread read them
        # A group of its own for each replica, in which nothing is ever committed: everybody reads everything.
        self._consumer = log.consumer(
            [settings.kafka.topic("decisions")], group=f"{settings.kafka.prefix}.enforce.{member}", member=member
        )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the port."""
        return self.address[0] in {"127.0.0.1", "::1", "localhost"}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that gateways ask."""
        return self._settings.address

    @property
    def tls(self) -> Tls | None:
        """How it is served beyond plain HTTP."""
        return self._settings.tls

    @property
    def assigned(self) -> int:
        """Partitions of `decisions` that are followed: one."""
        return len(self._ends)

    @property
    def caught_up(self) -> bool:
        """Whether the ledger is whole, and everything in the topic is in it."""
        return self._caught_up

    @property
    def fresh(self) -> bool:
        """Whether the ledger is whole and Kafka was heard of lately."""
        return self._whole and self._clock.monotonic() - self._heard_at < self._settings.stale

    def app(self) -> Starlette:
        """The HTTP application: bouncer API and ``/authz``."""
        fail_open = self._settings.fail == "open"
        types = {name: types_of(bouncer) for name, bouncer in self._settings.bouncers.items()}
        bouncers = Bouncers(self.ledger, self._keys, self._clock, lambda: self._whole, types)
        authz = Authz(
            self.ledger,
            Identity(self._settings.identify),
            self._clock,
            whole=lambda: self._whole,
            fresh=lambda: self.fresh,
            fail_open=fail_open,
            throttle=Throttle(self._settings.throttle_per_minute),
            gateways={name: Identity(g.identify) for name, g in self._settings.gateways.items() if not g.reads_topic},
            token=self._token,
        )
        return Starlette(routes=[*bouncers.routes(), *authz.routes()])

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many records were applied.

        Raises:
            LogError: the worker must end; gateways keep what they have.
        """
        polled = self._consumer.poll(timeout_s)
        for tp in (*polled.revoked, *polled.lost):
            self._ends.pop(tp, None)
        if polled.assigned:
            ends, beginnings = (
                f(polled.assigned) for f in (self._consumer.end_offsets, self._consumer.beginning_offsets)
            )
            for tp in polled.assigned:
                self._ends[tp], self._next[tp] = ends[tp], beginnings[tp]
                self._consumer.seek(tp, beginnings[tp])
            self._consumer.resume(polled.assigned)
        done = sum(self._apply(chunk) for chunk in polled.chunks)
        self._caught_up = bool(self._ends) and all(self._next.get(tp, 0) >= end for tp, end in self._ends.items())
        self._whole = self._whole or self._caught_up
        now = self._clock.monotonic()
        if done:
            self._heard_at, self._hear_at = now, now + HEAR_S
        elif self._ends and now >= self._hear_at:
            self._hear()
        if now >= self._sweep_at:
            self.ledger.sweep(self._clock.now())
            self._sweep_at = now + SWEEP_S
        if self._files is not None and self._whole and now >= self._map_at:
            self._write(self._files)
            self._map_at = now + MAP_S
        return done

    def close(self, *, flush: bool = True) -> None:
        """Leave; there is nothing to flush."""
        del flush
        self._consumer.close()

    def _hear(self) -> None:
        """Ask for the end of the topic, to know that there is somebody to tell of new decisions."""
        try:
            self._consumer.end_offsets(list(self._ends))
        except FencedError:
            raise
        except LogError as error:
            _log.warning("Kafka does not answer: known blocks hold, new ones cannot come", error=str(error))
        else:
            self._heard_at = self._clock.monotonic()
        self._hear_at = self._clock.monotonic() + HEAR_S

    def _write(self, files: MapFiles) -> None:
        """A folder or an nginx that does not take them is no reason to leave the other gateways without answers."""
        try:
            files.update(self.ledger.live(self._clock.now()))
        except (OSError, subprocess.SubprocessError) as error:
            _log.error("nginx has not got the newest map; trying again", error=str(error))

    def _apply(self, chunk: Chunk) -> int:
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            if value is None:  # compaction's tombstone of a decision that ended long ago
                continue
            try:
                decision = Decision.model_validate_json(value)
            except ValidationError as error:
                _log.error("a record of `decisions` cannot be read", offset=offset, problems=error.error_count())
                continue
            refused = self.ledger.apply(decision, offset, self._clock.now())
            if refused is not None:
                _log.error("a decision is not enforced", id=decision.id, why=refused)
        self._next[chunk.tp] = chunk.offsets[-1] + 1
        return len(chunk.offsets)
