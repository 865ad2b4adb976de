"""The ends of the flow: stand-ins for those whom notify tells, and a gateway that asks enforce whom to stop."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import httpx
import msgspec

from gatewatch.clock import SystemClock, stopwatch
from gatewatch.enforce.bouncers import SCOPES
from gatewatch.enforce.ledger import Ledger
from gatewatch.errors import LogError
from gatewatch.notify.chain import verify
from gatewatch.notify.record import read
from gatewatch.records import Alert, Decision, Incident
from gatewatch.testing.chaos.check import Difference, Record, Topics
from gatewatch.testing.chaos.site import Site
from gatewatch.testing.kafka import free_ports
from gatewatch.testing.sinks import PagerDutyStandIn, SlackStandIn, StandIn

KEY_ENV = "GATEWATCH_CHAOS_KEY"
KEY = "of-a-run-on-loopback-0123456789abcdef"
WAIT_S = 120.0  # the start of a process on a busy machine
Blocked = frozenset[tuple[str, str]]  # scope and value, as a bouncer reads them


class Ends:
    """Slack, PagerDuty, Alertmanager, and one bouncer. Use as a context manager.

    Attributes:
        forgotten: what enforce had told and did not know when it first answered after a kill.
    """

    def __init__(self) -> None:
        os.environ[KEY_ENV] = KEY
        self.slack, self.pager, self.manager = SlackStandIn(), PagerDutyStandIn(), StandIn()
        (self._port,) = free_ports(1)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", headers={"x-api-key": KEY}, timeout=5.0)
        self._pause = threading.Event()  # never set
        self.forgotten: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        for sink in (self.slack, self.pager, self.manager):
            sink.close()

    @property
    def extra(self) -> dict[str, Any]:
        """What the settings say of them."""
        return {
            "notify": {
                "slack": {
                    "channel": "C77",
                    "token_env": KEY_ENV,
                    "url": f"{self.slack.url}/api/",
                    "per_minute": 60,
                },
                "pagerduty": {"routing_key_env": KEY_ENV, "url": self.pager.url, "per_minute": 100},
                "alertmanager": {"url": self.manager.url},
            },
            "enforce": {"listen": f"127.0.0.1:{self._port}", "bouncers": {"chaos": {"key_env": KEY_ENV}}},
        }

    def blocked(self) -> Blocked | None:
        """Whom a gateway would stop that starts now; ``None`` where enforce is away or not ready."""
        with suppress(httpx.HTTPError):
            answer = self._http.get("/v1/decisions/stream", params={"startup": "true"})
            if answer.status_code == httpx.codes.OK:
                return frozenset((row["scope"], row["value"]) for row in answer.json()["new"])
        return None

    def enforce_killed(self, before: Blocked) -> None:
        """Wait until it is gone and answers again: its first answer must hold all that it had told ``before``."""
        began, gone = stopwatch(), False
        while True:
            told = self.blocked()
            gone = gone or told is None
            if gone and told is not None:
                self.forgotten |= before - told
                return
            self._wait(began, "enforce has not answered")

    def settle(self, site: Site) -> Difference:
        """Wait until everything is told and known; how what is blocked differs from what `decisions` says."""
        began = stopwatch()
        while site.unread_by_notify():
            self._wait(began, "notify has not told everything")
        found = Difference("blocked, by enforce")
        while True:
            wanted, told = _wanted(Topics(site.log, site.settings)("decisions")), self.blocked()
            found.expected = len(wanted)
            found.lost, found.extra = sorted(wanted - (told or frozenset())), sorted((told or frozenset()) - wanted)
            found.lost += sorted(self.forgotten)
            if found.ok or stopwatch() - began > WAIT_S:
                return found
            self._pause.wait(0.5)

    def told(self, site: Site, kills: int) -> list[Difference]:
        """What people and programs got, and what the record of `actions` says of it."""
        topics = Topics(site.log, site.settings)
        actions = topics("actions")
        known = {(a.receiver, name) for r in actions if (a := read(r.value)) for name in (a.alert_id, a.group)}
        wanted = {("alertmanager", Alert.model_validate_json(r.value).id) for r in topics("alerts")}
        incidents = {Incident.model_validate_json(r.value).id for r in topics("incidents")}
        wanted |= {(receiver, i) for receiver in ("slack", "pagerduty") for i in incidents}
        record = Difference("actions", expected=len(wanted), lost=sorted(wanted - known))
        record.differing = [(p.fault.value, p.offset) for p in verify((r.offset, r.value) for r in actions).problems]
        pages = self.pager.pages
        paged = Difference("pages", expected=len(pages), extra=[(key,) for key, n in pages.items() if n > 1])
        texts = Counter(str(message.get("attachments")) for message in self.slack.messages.values())
        doubled = sum(n - 1 for n in texts.values())
        slack = Difference("messages in Slack", expected=len(texts), extra=[("doubled",)] * max(doubled - kills, 0))
        slack.differing = [(text,) for text in self.slack.refused]
        return [record, paged, slack, self._alertmanager()]

    def _alertmanager(self) -> Difference:
        """An alert is its labels: one set of them for each episode."""
        labels: dict[str, set[str]] = {}
        for _, _, body in self.manager.seen:
            with suppress(msgspec.DecodeError):  # a kill may cut a request off: that one never arrived
                for part in msgspec.json.decode(body):
                    labels.setdefault(part["labels"]["episode"], set()).add(str(sorted(part["labels"].items())))
        return Difference("alerts in Alertmanager", len(labels), extra=[(e,) for e, n in labels.items() if len(n) > 1])

    def _wait(self, began: float, what: str) -> None:
        if stopwatch() - began > WAIT_S:
            raise LogError(f"{what} within {WAIT_S:.0f} s")
        self._pause.wait(0.1)


def _wanted(decisions: Sequence[Record]) -> Blocked:
    """Whom `decisions` stops now, of what bouncers know."""
    now, ledger = SystemClock().now(), Ledger()
    for record in decisions:
        ledger.apply(Decision.model_validate_json(record.value), record.offset, now)
    live = (entry.decision for entry in ledger.live(now))
    return frozenset((SCOPES[d.scope], d.value) for d in live if d.scope in SCOPES and SCOPES[d.scope] != "username")
