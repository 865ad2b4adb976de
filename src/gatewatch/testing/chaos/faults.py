"""What is done to a site, by name; each a function of the site, its processes and a random generator."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from gatewatch.clock import stopwatch
from gatewatch.errors import LogError
from gatewatch.roles import Role
from gatewatch.testing.chaos.ends import Ends
from gatewatch.testing.chaos.feed import Feeder, Life
from gatewatch.testing.chaos.site import SESSION_S, Fleet, Site
from gatewatch.testing.kafka import Broker

KILL, STOP, CONT, TERM = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM
DRAIN_S = 60.0
TERM_S = 10.0  # what docs/delivery.md promises of a clean stop
_numbers = count(10)  # of workers that come under an id that nobody had


@dataclass(slots=True)
class Scene:
    """Everything that a fault may touch."""

    site: Site
    fleet: Fleet
    feeder: Feeder
    broker: Broker | None  # None: it is not ours to kill
    random: random.Random
    ends: Ends | None = None  # None: there is neither notify nor enforce

    def sleep(self, seconds: float) -> None:
        """Let time pass: a fault is a thing that lasts."""
        threading.Event().wait(seconds)

    def some(self, role: Role) -> str:
        """One of the workers of a role."""
        return self.random.choice(self.fleet.of(role))


Fault = Callable[[Scene], None]


def kill(*roles: Role) -> Fault:
    """Kill -9 of one worker of each role at the same moment; each is started again under its own id."""

    def act(scene: Scene) -> None:
        scene.fleet.signal([scene.some(role) for role in roles], KILL)

    return act


def kill_all(scene: Scene) -> None:
    """Kill -9 of every worker at once: a machine that loses its power, but for the broker."""
    scene.fleet.signal(scene.fleet.of(*Role), KILL)


def kill_enforce(scene: Scene) -> None:
    """Kill -9 of the only enforcer: its gateway asks on until it answers again."""
    if scene.ends is None:
        raise LogError("there is no enforce here")
    before = scene.ends.blocked() or frozenset()
    scene.fleet.signal(scene.fleet.of(Role.ENFORCE), KILL)
    scene.ends.enforce_killed(before)


def replace(role: Role) -> Fault:
    """Kill -9, and another worker comes under an id that nobody had: without static membership."""

    def act(scene: Scene) -> None:
        scene.fleet.remove(scene.some(role))
        scene.fleet.add(role, next(_numbers))

    return act


def pause(role: Role) -> Fault:
    """Stand still for less than a session: a slow disk, a machine that swaps."""

    def act(scene: Scene) -> None:
        name = scene.some(role)
        scene.fleet.signal([name], STOP)
        scene.sleep(scene.random.uniform(0.3, 0.7) * SESSION_S)
        scene.fleet.signal([name], CONT)

    return act


def zombie(role: Role) -> Fault:
    """Stand still for longer than a session, and go on with what was begun as if nothing had happened."""

    def act(scene: Scene) -> None:
        name = scene.some(role)
        scene.fleet.signal([name], STOP)
        scene.sleep(SESSION_S + scene.random.uniform(1.0, 3.0))
        scene.fleet.signal([name], CONT)

    return act


def deploy(scene: Scene) -> None:
    """SIGTERM of a worker of each role, each started again: a new version is rolled out."""
    for role in (Role.INGEST, Role.DETECT, Role.DECIDE):
        scene.fleet.restart(scene.some(role), TERM_S)


def storm(scene: Scene) -> None:
    """Workers come and go, several rebalances within one session."""
    guests: list[str] = []
    for _ in range(4):
        guests.append(scene.fleet.add(scene.random.choice((Role.INGEST, Role.DETECT)), next(_numbers)))
        scene.sleep(scene.random.uniform(0.5, 2.5))
    for name in guests:
        scene.fleet.remove(name, scene.random.choice((KILL, TERM)))
        scene.sleep(scene.random.uniform(0.0, 1.0))


def broker_killed(scene: Scene) -> None:
    """Kill -9 of the broker under load; it comes back on the same data."""
    if scene.broker is None:
        raise LogError("this broker is not ours to kill")
    scene.broker.kill()
    scene.sleep(scene.random.uniform(0.0, 2.0))
    scene.broker.restart()


def source_again(scene: Scene) -> None:
    """The source topic is deleted and made again under its name, when everything in it had been read."""
    scene.feeder.pause()
    began = stopwatch()
    while scene.site.lags()[Role.INGEST]:
        if stopwatch() - began > DRAIN_S:
            raise LogError(f"ingest has not read its source within {DRAIN_S:.0f} s")
        scene.sleep(0.2)
    scene.site.delete_source()
    scene.sleep(scene.random.uniform(0.5, 2.0))
    scene.feeder.resume(Life(scene.site.create_source()))


NOTIFY_KILLED = "kill -9 of notify"
ALL_KILLED = "kill -9 of all workers at once"
DEPLOY = "SIGTERM of one worker of each role"
FAULTS: dict[str, Fault] = {
    "kill -9 of ingest": kill(Role.INGEST),
    "kill -9 of detect": kill(Role.DETECT),
    "kill -9 of decide": kill(Role.DECIDE),
    NOTIFY_KILLED: kill(Role.NOTIFY),
    "kill -9 of enforce": kill_enforce,
    "kill -9 of one of each role at once": kill(Role.INGEST, Role.DETECT, Role.DECIDE),
    ALL_KILLED: kill_all,
    "ingest replaced under another id": replace(Role.INGEST),
    "detect replaced under another id": replace(Role.DETECT),
    "decide replaced under another id": replace(Role.DECIDE),
    "ingest paused for less than a session": pause(Role.INGEST),
    "detect paused for less than a session": pause(Role.DETECT),
    "decide paused for less than a session": pause(Role.DECIDE),
    "ingest paused past its session": zombie(Role.INGEST),
    "detect paused past its session": zombie(Role.DETECT),
    "decide paused past its session": zombie(Role.DECIDE),
    DEPLOY: deploy,
    "rebalance storm": storm,
    "kill -9 of the broker": broker_killed,
    "source topic deleted and made again": source_again,
}
