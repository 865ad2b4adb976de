"""A block that no gateway carries out is a page: from an attacker's requests, by every role, to PagerDuty and Slack.

Whoever was paged for the attack itself is paged once more: that its block stops nobody is another thing to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, ClassVar

import msgspec
import pytest
from tests.integration.planting import Tattle, tattle

from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.control import Controls
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.worker import DetectWorker
from gatewatch.enforce.worker import EnforceWorker
from gatewatch.events.event import AccessEvent
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.notify.build import receivers
from gatewatch.notify.worker import NotifyWorker
from gatewatch.sdk import Reason, Scope, Severity
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn
from gatewatch.testing.waiting import wait_until

NOW = 1_795_500_000.0
ATTACKER = "203.0.113.9"
SEED = HashSeed.from_secret("not effective")
MINUTE = 60


class Knock(Tattle):
    """Accuses addresses, and not so gravely that somebody is paged for that alone."""

    name: ClassVar[str] = "knock"
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.IP,)
    reasons: ClassVar[tuple[Reason, ...]] = (Reason(0, "any", "Knocks", "rows", Severity.LOW, learned=False),)


class Storm(Knock):
    """The same, and somebody is paged for it at once."""

    reasons: ClassVar[tuple[Reason, ...]] = (Reason(0, "any", "Storms", "rows", Severity.CRITICAL, learned=False),)


class Site:
    """All roles, a second at a time, and a gateway that asks the enforcer, or does not."""

    def __init__(self, stack: ExitStack, detector: type[Tattle] = Knock) -> None:
        self.pager, self.slack = PagerDutyStandIn(), SlackStandIn()
        stack.callback(self.pager.close)
        stack.callback(self.slack.close)
        self.statuses: list[int] = []
        self._clock, self._log, metrics = ManualClock(NOW), MemoryLog(), Metrics()
        settings = Settings.model_validate(
            {
                "kafka": {"partitions": 2},
                "sources": [{"topic": "edge", "format": "native"}],
                "detectors": {"knock": {"mode": "block"}},
                "guards": {"share_of_traffic": 1.0},
                "notify": {
                    "pagerduty": {"routing_key_env": "SOME_TOKEN", "url": self.pager.url},
                    "slack": {"channel": "#abuse", "token_env": "SOME_TOKEN", "url": f"{self.slack.url}/api/"},
                },
                "enforce": {"bouncers": {"edge": {"key_env": "SOME_TOKEN"}}},
            }
        )
        with closing(self._log.admin()) as admin:
            admin.create([*specs(settings), TopicSpec("edge", 1)])
        entries = {"knock": tattle(detector)}
        common: dict[str, Any] = {"member": "m", "clock": self._clock, "metrics": metrics}
        self._ingest = IngestWorker(self._log, settings, SEED, **common)
        detect = DetectWorker(self._log, settings, entries, SEED, **common)
        controls = Controls.of(settings.kafka, SEED)
        decide = DecideWorker(self._log, settings, entries, Catalog.load(None), controls=controls, **common)
        self._enforce = EnforceWorker(self._log, settings, member="m", clock=self._clock)
        assert settings.notify is not None
        notify = NotifyWorker(self._log, settings, entries, receivers(settings.notify, self._clock), **common)
        self._others = (detect, decide, self._enforce, notify)
        for worker in (self._ingest, *self._others):
            stack.callback(worker.close)
        self._turn()

    def attack(self, seconds: int, *, enforced: bool) -> None:
        """A request a second, each as the gateway answers it."""
        for _ in range(seconds):
            now = self._clock.now()
            blocked = enforced and self._enforce.ledger.match([(Scope.IP, ATTACKER)], now) is not None
            self.statuses.append(403 if blocked else 200)
            event = AccessEvent(
                ts=now, ip=ATTACKER, path="/v1/models", status=self.statuses[-1], principal="mallory", latency_ms=5.0
            )
            self._log.extend(TopicPartition("edge", 0), [msgspec.json.encode(event)])
            self._turn()
            self._clock.advance(1.0)

    def stories(self) -> list[str]:
        """What each revision of an incident said."""
        chunks = self._log.read("gatewatch.incidents")
        return [json.loads(value)["story"] for chunk in chunks for value in chunk.values if value is not None]

    def until(self, condition: Callable[[], bool]) -> None:
        """Receivers are told by threads of their own: turn until they have been."""

        def holds() -> bool:
            self._turn()
            return condition()

        wait_until(holds)

    def paged(self) -> str:
        """All that the person on call can read."""
        return json.dumps(self.pager.events)

    def _turn(self) -> None:
        while self._ingest.step(0.0) or not self._ingest.caught_up:
            self._ingest.flush()
        self._ingest.tick()
        for _ in range(2):  # what decide tells detect comes back once more
            for worker in self._others:
                while worker.step(0.0):
                    pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Makes one, and ends it."""
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-ours")
    with ExitStack() as stack:
        yield lambda *detector: Site(stack, *detector)


def test_with_the_enforcer_switched_off_somebody_is_paged_and_told_why(site: Callable[..., Site]) -> None:
    """If this fails, blocks are ordered for days and stop nobody, and everybody believes that they do."""
    made = site()
    made.attack(2, enforced=False)
    assert made.pager.pages.total() == 0, "the finding alone pages nobody"
    made.attack(MINUTE, enforced=False)
    assert set(made.statuses) == {200}
    assert any("still get through" in story for story in made.stories())
    made.until(lambda: made.pager.pages.total() > 0)
    made.attack(MINUTE, enforced=False)
    assert made.pager.pages.total() == 1, "once, however long it goes on"
    assert "Block not effective on ip 203.0.113.9 at gateway edge" in made.paged()


def test_who_was_paged_for_the_attack_is_paged_again_and_hears_when_the_gateway_obeys(
    site: Callable[..., Site],
) -> None:
    """If this fails, the person on call believes that the block which they were told of has ended it."""
    made = site(Storm)
    made.attack(2, enforced=False)
    made.until(lambda: len(made.pager.pages) == 1)
    (attack,) = made.pager.pages
    made.attack(MINUTE, enforced=False)
    made.until(lambda: len(made.pager.pages) == 2)
    (own,) = made.pager.pages.keys() - {attack}
    assert made.pager.pages == {attack: 1, own: 1}
    assert "Block not effective" in made.paged()
    made.attack(2, enforced=True)
    made.until(lambda: made.pager.open == {attack})
    made.attack(MINUTE, enforced=True)
    assert made.pager.pages == {attack: 1, own: 1}


def test_with_the_enforcer_on_nobody_is_paged_and_the_incident_says_that_it_works(site: Callable[..., Site]) -> None:
    """If this fails, a block that works wakes somebody up, and the page of the test above means nothing."""
    made = site()
    made.attack(MINUTE, enforced=True)
    assert made.statuses.count(403) > MINUTE - 5
    assert any("effective after" in story for story in made.stories())
    assert not any("still get through" in story for story in made.stories())
    assert made.pager.pages.total() == 0
