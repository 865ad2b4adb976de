"""Several roles on one machine: one child process each, started again when they end by accident.

For a small site, and for `docker compose`. Under Kubernetes run one role a container instead and let it do this.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import structlog

from gatewatch.clock import Clock, SystemClock
from gatewatch.roles import Role, run
from gatewatch.settings import Settings
from gatewatch.signals import Stop

RESTART_S = 1.0  # wait before the first restart; doubled each time
RESTART_MAX_S = 30.0  # a broker's restart takes 15 s (kafka.md 4); waiting longer than this helps nobody
STEADY_S = 60.0  # a child that lived this long starts again at once
STOP_S = 15.0  # a role drains within 10 s; after that it is killed
_WATCH_S = 0.2
_log = structlog.get_logger("gatewatch.supervise")


@dataclass(slots=True)
class _Child:
    role: Role
    index: int
    port: int
    process: BaseProcess | None = None
    started_at: float = 0.0
    wait_s: float = RESTART_S
    restart_at: float = 0.0


def supervise(roles: Sequence[tuple[Role, int]], settings: Settings, *, warm_s: float | None = None) -> int:
    """Run ``(role, processes)`` until SIGTERM or Ctrl-C; returns the exit code.

    ``warm_s`` goes to every role: see :func:`gatewatch.roles.build`.

    Metrics of the n-th child are on the configured port + n. A child that says its config is wrong (exit 2) ends all.
    """
    context = multiprocessing.get_context("spawn")
    clock = SystemClock()
    port = settings.metrics.address[1]
    children: list[_Child] = []
    for role, processes in roles:
        for index in range(processes):
            children.append(_Child(role, index, port + len(children) if port else 0))
    stop = Stop().on_signals()
    pause = threading.Event()  # never set: a wait that a signal interrupts
    code = 0
    while not stop.asked and code == 0:
        for child in children:
            code = max(code, _tend(child, settings, context, clock, warm_s))
        pause.wait(_WATCH_S)
    return max(code, _end(children, clock))


def _tend(
    child: _Child,
    settings: Settings,
    context: multiprocessing.context.SpawnContext,
    clock: Clock,
    warm_s: float | None,
) -> int:
    """Start a child that is not there; 2 where starting it again cannot help."""
    now = clock.monotonic()
    if child.process is not None and child.process.is_alive():
        return 0
    if child.process is not None:
        exitcode = child.process.exitcode
        if exitcode == 2:
            return 2
        lived = now - child.started_at
        child.wait_s = RESTART_S if lived >= STEADY_S else min(2 * child.wait_s, RESTART_MAX_S)
        child.restart_at = now + child.wait_s
        _log.warning("role ended", role=child.role, index=child.index, exitcode=exitcode, restart_in_s=child.wait_s)
        child.process = None
    if now >= child.restart_at:
        child.process = context.Process(
            target=_child,
            args=(child.role, settings, child.index, child.port, warm_s),
            name=f"{child.role}-{child.index}",
        )
        child.process.start()
        child.started_at = now
    return 0


def _child(role: Role, settings: Settings, index: int, port: int, warm_s: float | None) -> None:
    host = settings.metrics.address[0]
    listen = settings.metrics.model_copy(update={"listen": f"{host}:{port}"})
    settings = settings.model_copy(update={"metrics": listen})
    raise SystemExit(run(role, settings, index=index, http=port > 0, warm_s=warm_s))


def _end(children: Sequence[_Child], clock: Clock) -> int:
    """Stop all children at once: what is on its way between them waits in Kafka."""
    alive = [child.process for child in children if child.process is not None and child.process.is_alive()]
    for process in alive:
        process.terminate()
    deadline = clock.monotonic() + STOP_S
    for process in alive:
        process.join(max(0.0, deadline - clock.monotonic()))
        if process.is_alive():
            _log.warning("role did not end in time: killed", role=process.name)
            process.kill()
            process.join()
    return 1 if any(process.exitcode not in (0, -signal.SIGTERM) for process in alive) else 0
