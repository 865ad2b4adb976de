"""One installation on a real broker: its topics, its settings file, and its workers as processes that may be hurt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import uuid4

import msgspec
import yaml

from gatewatch.clock import SystemClock, stopwatch
from gatewatch.errors import LogError
from gatewatch.log.base import TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.topics import specs
from gatewatch.records import FindingBatch
from gatewatch.registry import names
from gatewatch.roles import Role
from gatewatch.settings import Settings
from gatewatch.state.layout import ensure_layout

SESSION_S = 6.0  # the shortest that Kafka allows: a zombie is made in less time
SOURCE_PARTITIONS = 3
RESTART_S = 1.0  # what supervises workers waits as long
WORKER = (str(Path(sys.executable).with_name("gatewatch")), "worker")
_GROUPS = (Role.INGEST, Role.DETECT, Role.DECIDE)
_TEND_S = 0.1


class Site:
    """Topics of their own prefix, and the settings that all workers get.

    Args:
        bootstrap: ``host:port`` of the broker.
        folder: for the settings file and what workers write.
        detectors: those that run, and their modes.
        partitions: of `routed`.
        session_s: after which a worker that is away loses its partitions to the others.
        extra: more of the settings document.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        *,
        detectors: Mapping[str, str],
        partitions: int = 4,
        session_s: float = SESSION_S,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.prefix = f"c{uuid4().hex[:8]}"
        self.source = f"{self.prefix}-access"
        self.folder, self.config = folder, folder / f"{self.prefix}.yaml"
        document: dict[str, Any] = {
            "kafka": {
                "bootstrap": [bootstrap],
                "prefix": self.prefix,
                "partitions": partitions,
                "session_timeout": session_s,
            },
            "sources": [{"topic": self.source, "format": "native"}],
            "metrics": {"listen": "127.0.0.1:0"},
            "state": {"every": 3},
            # The order of two tasks' findings is by chance, so which of them a full minute refuses is, too; and by the
            # drawn hash seed an attacker may share a slot with a customer who carries too much to be stopped, which a
            # replay, of another seed, knows nothing of.
            "guards": {"blocks_per_minute": 100_000, "share_of_traffic": 1.0, "shares_together": 1.0},
            "watch": {"mode": "off"},  # what a worker cannot see while others are killed is no function of the log
            "detectors": {name: {"mode": detectors.get(name, "off")} for name in names()},
            **(extra or {}),
        }
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.settings = Settings.model_validate(document)
        self.log = KafkaLog(self.settings.kafka)
        with closing(self.log.admin()) as admin:
            admin.create(specs(self.settings))
        self.source_id = self.create_source()
        ensure_layout(self.log, self.settings)

    def create_source(self) -> str:
        """The topic that the gateway writes; returns its id."""
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(self.source, SOURCE_PARTITIONS)])
            self.source_id = admin.describe([self.source])[self.source].id
        return self.source_id

    def delete_source(self) -> None:
        """Delete it, as somebody may by mistake."""
        with closing(self.log.admin()) as admin:
            admin.delete(self.source)

    def unread_by_notify(self) -> int:
        """Revisions that some receiver is not done with.

        Raises:
            LogError: the broker does not answer.
        """
        with closing(self.log.admin()) as admin:
            return sum(admin.group_lag(f"{self.prefix}.{Role.NOTIFY}").values())

    def lags(self) -> dict[Role, int]:
        """Records between what each group has committed and the end.

        Raises:
            LogError: the broker does not answer.
        """
        with closing(self.log.admin()) as admin:
            found = {role: admin.group_lag(f"{self.prefix}.{role}") for role in _GROUPS}
        own = (f"{self.prefix}.decisions", f"{self.prefix}.verdicts")  # read by decide, and nothing to commit there
        return {role: sum(n for tp, n in lag.items() if tp.topic not in own) for role, lag in found.items()}


@dataclass(slots=True)
class Member:
    """One worker, through all its lives."""

    role: Role
    index: int
    process: subprocess.Popen[bytes] | None = None
    restart_at: float = 0.0
    exits: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its role and number, which is its id in the group."""
        return f"{self.role}-{self.index}"


class Fleet:
    """Worker processes, started again when they end, as a supervisor does. Use as a context manager."""

    def __init__(self, site: Site) -> None:
        self._site, self._clock = site, SystemClock()
        self._members: dict[str, Member] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="tender", daemon=True)
        self._out: BinaryIO = (site.folder / "workers.log").open("ab")

    def __enter__(self) -> Self:
        self._tender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._tender.join()
        for member in self._members.values():
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
        self._out.close()

    def add(self, role: Role, index: int) -> str:
        """Start one more worker; returns its name."""
        member = Member(role, index)
        with self._lock:
            self._start(member)
            self._members[member.name] = member
        return member.name

    def remove(self, name: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """End a worker for good."""
        with self._lock:
            member = self._members.pop(name)
        if member.process is not None:
            member.process.send_signal(signum)
            member.process.wait()

    def of(self, *roles: Role) -> list[str]:
        """Names of the workers of some roles."""
        return sorted(name for name, member in self._members.items() if member.role in roles)

    def pids(self, index: int) -> dict[str, int]:
        """Process ids of the workers of one number that run, by name."""
        with self._lock:
            running = {m.name: m.process for m in self._members.values() if m.index == index}
            return {name: process.pid for name, process in running.items() if process is not None}

    def signal(self, names: Iterable[str], signum: signal.Signals) -> None:
        """Signal workers that run."""
        with self._lock:
            for name in names:
                process = self._members[name].process
                if process is not None and process.poll() is None:
                    process.send_signal(signum)

    def restart(self, name: str, limit_s: float) -> None:
        """SIGTERM, as a deployment does; it is started again a moment after it has ended.

        Raises:
            LogError: it did not end in good order within ``limit_s``.
        """
        with self._lock:
            process = self._members[name].process
        if process is None:
            return
        process.terminate()
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise LogError(f"{name} had not ended {limit_s:.0f} s after SIGTERM") from error
        if code != 0:
            raise LogError(f"{name} ended with {code} after SIGTERM; see {self._out.name}")

    def stop(self, *roles: Role) -> float:
        """SIGTERM to all, or to some roles, first stage first; returns the seconds that the slowest role took.

        Raises:
            LogError: one did not end in good order.
        """
        self._end.set()
        self._tender.join()
        slowest = 0.0
        for role in roles or Role:
            ended = [self._members[name].process for name in self.of(role)]
            began = stopwatch()
            for process in ended:
                if process is not None:
                    process.terminate()
            codes = [process.wait(60) for process in ended if process is not None]
            slowest = max(slowest, stopwatch() - began)
            if set(codes) - {0, -signal.SIGTERM}:  # the latter where it had not begun yet
                raise LogError(f"{role} ended with {codes}; see {self._out.name}")
        return slowest

    @property
    def restarts(self) -> dict[str, list[int]]:
        """Exit codes of lives that are over, of workers that had some."""
        return {name: member.exits for name, member in self._members.items() if member.exits}

    def _start(self, member: Member) -> None:
        command = [*WORKER, "--config", str(self._site.config), "--role", member.role, "--index", str(member.index)]
        # The command is the one that this package installs, with paths made here.
        member.process = subprocess.Popen(  # noqa: S603 - said above
            command, stdout=self._out, stderr=self._out, env=_environment()
        )

    def _tend(self) -> None:
        """Start again what ended, a moment later."""
        while not self._end.wait(_TEND_S):
            now = self._clock.monotonic()
            with self._lock:
                for member in self._members.values():
                    if member.process is not None and (code := member.process.poll()) is not None:
                        member.exits.append(code)
                        member.process, member.restart_at = None, now + RESTART_S
                    if member.process is None and now >= member.restart_at:
                        self._start(member)


def _environment() -> dict[str, str]:
    """Ours, and byte code that is kept: pip compiles what it installs, and a start without that takes twice as long."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "gatewatch-byte-code")} | env


class Watch:
    """Whether the site is back to normal: everything that was sent is read, scored and decided, within seconds."""

    FRESH_S = 3.0  # ticks come each second, and commits; a machine that does nothing else stands 1 to 2 s behind

    def __init__(self, site: Site, *, events_a_second: float) -> None:
        self._site, self._clock = site, SystemClock()
        n = site.settings.kafka.partitions
        signs = 3.0 * (n + 1)  # a second: a tick, a rollup, a sign of life of each task
        self._limits = {
            Role.INGEST: self.FRESH_S * events_a_second,
            Role.DETECT: self.FRESH_S * (signs + events_a_second),
            Role.DECIDE: self.FRESH_S * (signs + events_a_second / 4),
        }
        self._read = 0
        self._watermarks = dict.fromkeys(range(n), float("-inf"))

    def wait(self, limit_s: float) -> float:
        """Until it has been normal for :data:`FRESH_S`; returns the seconds to the last moment when it was not.

        Raises:
            LogError: it took longer than ``limit_s``.
        """
        pause = threading.Event()  # never set
        began = bad = self._clock.monotonic()
        while (now := self._clock.monotonic()) - bad < self.FRESH_S:
            if now - began > limit_s:
                raise LogError(f"not back to normal within {limit_s:.0f} s: {self._behind()}")
            if not self._normal():
                bad = self._clock.monotonic()
            pause.wait(0.2)
        return bad - began

    def _normal(self) -> bool:
        """Look once; a broker that does not answer is not normal."""
        try:
            self._hear()
            lags = self._site.lags()
        except LogError:
            return False
        fresh = min(self._watermarks.values()) >= self._clock.now() - self.FRESH_S
        return fresh and all(lags[role] <= limit for role, limit in self._limits.items())

    def _behind(self) -> str:
        """What is missing, in words."""
        late = {task: round(self._clock.now() - watermark, 1) for task, watermark in self._watermarks.items()}
        try:
            return f"tasks are so many seconds behind: {late}; records not done: {self._site.lags()}"
        except LogError as error:
            return f"tasks are so many seconds behind: {late}; {error}"

    def _hear(self) -> None:
        for chunk in self._site.log.read(self._site.settings.kafka.topic("findings"), start={0: self._read}):
            self._read = chunk.offsets[-1] + 1
            for value in chunk.values:
                if value is not None:
                    said = msgspec.json.decode(value, type=FindingBatch)
                    if said.task in self._watermarks:
                        self._watermarks[said.task] = max(self._watermarks[said.task], said.watermark)
