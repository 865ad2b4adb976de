"""One alert with orders that wait, and how people answer to it through a surface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx

from gatewatch.clock import ManualClock
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.notify.group import Groups
from gatewatch.notify.judge import Judge
from gatewatch.notify.record import Action
from gatewatch.notify.surface import SignedSurface
from gatewatch.records import Verdict
from gatewatch.settings import Settings
from gatewatch.testing.alerts import NOW, alert
from gatewatch.verdicts import Book


class Desk:
    """Who judges, what they said, and what was recorded of how they said it."""

    def __init__(self, settings: Settings, now: float = NOW) -> None:
        self.settings, self.book, self.presses = settings, Book(), list[Action]()
        self.log = MemoryLog()
        self.log.admin().create([TopicSpec("gatewatch.verdicts", 1)])
        self.groups = Groups(self.book, {}, None)
        self.groups.alert(alert(waiting=True))
        self.judge = Judge(self.log, settings, ManualClock(now), self.groups, self.presses.append)

    def verdicts(self) -> list[Verdict]:
        """What was written."""
        return Book.load(self.log, self.settings)[0].verdicts()


@contextmanager
def listening(
    surface: SignedSurface, judge: Judge, path: str
) -> Iterator[Callable[[bytes, Mapping[str, str]], httpx.Response]]:
    """A surface that is open; what is given posts a body with headers to it."""
    surface.open(judge)
    url = f"http://127.0.0.1:{surface.port}{path}"
    yield lambda body, headers: httpx.post(url, content=body, headers=dict(headers), timeout=30.0)
    surface.close()
    assert surface.port == 0
