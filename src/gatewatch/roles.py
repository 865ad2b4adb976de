"""One role as one process: build it, run its loop, answer probes, end it well.

``run`` is what a child process does. It returns an exit code: 0 after a clean stop (SIGTERM, Ctrl-C), 1 after an error
that a restart may mend (broker gone, fenced), 2 after one that it cannot (config, layout).

A process imports its own role only: what the others need (clients of Slack, a web server) is half of the time that a
start takes, and after a crash many start at once.
"""

# ruff: noqa: PLC0415 - imports within functions, as said above

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import structlog

from gatewatch.clock import Clock, SystemClock, cpu_seconds
from gatewatch.errors import ConfigError, GatewatchError, LogError, StateError
from gatewatch.log import open_log
from gatewatch.log.base import Log
from gatewatch.metrics import Metrics
from gatewatch.observe.http import GATEWAYS, Server, serve
from gatewatch.observe.logs import configure
from gatewatch.registry import Entry, check_settings, load_all
from gatewatch.sdk import Lane
from gatewatch.settings import NotifySettings, Settings, Tls
from gatewatch.signals import Stop
from gatewatch.state.hashing import HashSeed
from gatewatch.state.layout import check_layout
from gatewatch.state.savable import Kind, Memory
from gatewatch.state.saving import Saver

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from gatewatch.decide.worker import DecideWorker
    from gatewatch.detect.worker import DetectWorker
    from gatewatch.ingest.worker import IngestWorker
    from gatewatch.notify.worker import NotifyWorker

M = TypeVar("M", bound=Memory)

POLL_S = 0.1  # kafka.md trap 1: shorter polls can hang a join
HUNG_S = 60.0  # a loop that has not turned for this long is not alive: the poll limit of the group (max_poll_interval)
LOOK_S = 0.5  # how often readiness is looked at; a turn of the loop may be much shorter
_log = structlog.get_logger("gatewatch.roles")


class Role(StrEnum):
    """What a worker can be."""

    INGEST = "ingest"
    DETECT = "detect"
    DETECT_SLOW = "detect-slow"  # detectors of the slow lane, in a group of their own
    DECIDE = "decide"
    NOTIFY = "notify"
    ENFORCE = "enforce"


class Worker(Protocol):
    """What all roles have in common."""

    @property
    def assigned(self) -> int:
        """Partitions that are ours."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether there is nothing old left to read."""
        ...

    def step(self, timeout_s: float) -> int:
        """One turn of the loop."""
        ...

    def close(self, *, flush: bool = True) -> None:
        """Leave."""
        ...


@runtime_checkable
class Serving(Protocol):
    """A worker that answers gateways over HTTP."""

    @property
    def address(self) -> tuple[str, int]:
        """Where."""
        ...

    @property
    def tls(self) -> Tls | None:
        """With what certificate."""
        ...

    def app(self) -> Starlette:
        """What answers."""
        ...


def build(
    role: Role,
    settings: Settings,
    log: Log,
    *,
    member: str,
    clock: Clock,
    metrics: Metrics,
    warm_s: float | None = None,
) -> Worker:
    """Make one role's worker; kernels are compiled before it joins its group.

    ``warm_s`` lets a new installation learn from so much history, and say nothing of it; see docs/operations.md.

    Raises:
        ConfigError: the settings do not fit the role.
        StateError: topics were laid out for other partitions or another seed.
        LogError: the broker or a topic is not there.
    """
    seed = check_layout(log, settings)
    if role is Role.INGEST and not settings.sources:
        raise ConfigError("sources", "name at least one topic that a gateway writes")
    if role is Role.ENFORCE:
        from gatewatch.enforce.worker import EnforceWorker

        return EnforceWorker(log, settings, member=member, clock=clock)
    entries = load_all()
    check_settings(entries, settings.detectors)
    here = _Here(log, settings, entries, seed, member, clock, metrics)
    if role is Role.INGEST:
        return here.ingest(warm_s)
    if role is Role.NOTIFY:
        return here.notify()
    if role is Role.DECIDE:
        return here.decide()
    return here.detect("fast" if role is Role.DETECT else "slow", warm=warm_s is not None)


@dataclass(frozen=True, slots=True)
class _Here:
    """What roles that know the detectors are made of."""

    log: Log
    settings: Settings
    entries: Mapping[str, Entry]
    seed: HashSeed
    member: str
    clock: Clock
    metrics: Metrics

    def ingest(self, warm_s: float | None) -> IngestWorker:
        from gatewatch.ingest.worker import IngestWorker
        from gatewatch.watch.needs import needed

        return IngestWorker(
            self.log,
            self.settings,
            self.seed,
            member=self.member,
            clock=self.clock,
            metrics=self.metrics,
            warm_s=warm_s,
            needs=needed(self.entries, self.settings.detectors),
        )

    def detect(self, lane: Lane, *, warm: bool) -> DetectWorker:
        from gatewatch.detect.memory import kind
        from gatewatch.detect.worker import DetectWorker

        return DetectWorker(
            self.log,
            self.settings,
            self.entries,
            self.seed,
            member=self.member,
            clock=self.clock,
            metrics=self.metrics,
            lane=lane,
            warm=warm,
            saver=self._saver(kind(self.settings, lane)),
            watch=True,
        )

    def decide(self) -> DecideWorker:
        from gatewatch.catalog import Catalog
        from gatewatch.decide.control import Controls
        from gatewatch.decide.garbage import Garbage
        from gatewatch.decide.memory import KIND
        from gatewatch.decide.worker import DecideWorker

        settings = self.settings
        return DecideWorker(
            self.log,
            settings,
            self.entries,
            Catalog.load(settings.catalog),
            member=self.member,
            clock=self.clock,
            metrics=self.metrics,
            follow_catalog=True,
            watch=True,
            controls=Controls.of(settings.kafka, self.seed, obeyed=settings.enforce is not None),
            saver=self._saver(KIND),
            garbage=Garbage(self.clock),
        )

    def notify(self) -> NotifyWorker:
        from gatewatch.notify.build import receivers, surfaces
        from gatewatch.notify.worker import NotifyWorker

        notify = self.settings.notify or NotifySettings()
        return NotifyWorker(
            self.log,
            self.settings,
            self.entries,
            receivers(notify, self.clock),
            member=self.member,
            clock=self.clock,
            metrics=self.metrics,
            surfaces=surfaces(notify, self.settings.verdicts, self.clock),
        )

    def _saver(self, kind: Kind[M]) -> Saver[M]:
        return Saver(kind, self.log, self.settings, self.seed, clock=self.clock, metrics=self.metrics)


def run(role: Role, settings: Settings, *, index: int = 0, http: bool = True, warm_s: float | None = None) -> int:
    """Run one role until it is told to stop. ``index`` tells processes of one role on one host apart."""
    metrics = Metrics()
    configure(settings.logging, on_drop=metrics.log_line_dropped)
    stop = Stop().on_signals()
    clock = SystemClock()
    began = clock.monotonic()
    member = f"{role}-{socket.gethostname()}-{index}"
    with ExitStack() as opened:
        try:
            log = open_log(settings.kafka, stopping=lambda: stop.asked)
            opened.callback(log.close)
            with stop.at_once():  # kernels may be compiled for minutes, and nothing is read before
                worker = build(role, settings, log, member=member, clock=clock, metrics=metrics, warm_s=warm_s)
            state = _State(role, worker, clock, metrics, began)
            if isinstance(worker, Serving):
                asked = (*worker.address, "enforce.listen", worker.tls)
                server = Server(worker.app(), *asked, connections=GATEWAYS)
                opened.callback(server.close)
            if http:
                opened.callback(serve(settings.metrics, metrics, healthy=state.healthy, ready=state.ready).close)
        except GatewatchError as error:
            _log.error("cannot start", role=role, error=str(error))
            return 2 if isinstance(error, (ConfigError, StateError)) else 1
        except KeyboardInterrupt:
            _log.info("stopped before it had begun", role=role)
            return 0
        _log.info("started", role=role, member=member, after_s=_since(clock, began), cpu_s=round(cpu_seconds(), 2))
        return _loop(worker, stop, state)


class _State:
    """How the worker stands, as its loop last saw it: probes run on another thread and must not ask the worker."""

    def __init__(self, role: Role, worker: Worker, clock: Clock, metrics: Metrics, began: float) -> None:
        self._role, self._worker, self._clock, self._metrics = role, worker, clock, metrics
        self._began, self._assigned, self._told = began, 0, False
        self._turned_at = clock.monotonic()
        self._look_at = self._turned_at
        self._ready = False

    def turned(self) -> None:
        """The loop has turned once more."""
        self._turned_at = self._clock.monotonic()
        if self._turned_at >= self._look_at:
            assigned, caught_up = self._worker.assigned, self._worker.caught_up
            self._metrics.worker(self._role, assigned=assigned, caught_up=caught_up)
            self._ready = assigned > 0 and caught_up
            self._tell(assigned)
            self._look_at = self._turned_at + LOOK_S

    def _tell(self, assigned: int) -> None:
        """For each change of partitions, once: when we have them, and when they are read. So one sees what was slow."""
        if assigned != self._assigned:
            self._assigned, self._told = assigned, False
            self._say("has partitions")
        if self._ready and not self._told:
            self._told = True
            self._say("ready")

    def _say(self, event: str) -> None:
        _log.info(event, role=self._role, partitions=self._assigned, after_s=_since(self._clock, self._began))

    def healthy(self) -> bool:
        """The loop is not hung."""
        return self._clock.monotonic() - self._turned_at < HUNG_S

    def ready(self) -> bool:
        """It has partitions and nothing old left to read."""
        return self._ready


def _since(clock: Clock, began: float) -> float:
    return round(clock.monotonic() - began, 2)


def _loop(worker: Worker, stop: Stop, state: _State) -> int:
    try:
        while not stop.asked:
            worker.step(POLL_S)
            state.turned()
    except (LogError, StateError, OSError) as error:  # the last: a disk that is full, a folder that is read-only
        _log.error("ending, without a flush", error=str(error), kind=type(error).__name__)
        with suppress(GatewatchError):
            worker.close(flush=False)
        return 2 if isinstance(error, StateError) else 1
    try:
        worker.close()
    except GatewatchError as error:
        _log.error("could not end cleanly: what was not acknowledged will be read again", error=str(error))
        return 1
    _log.info("stopped")
    return 0
