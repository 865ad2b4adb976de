"""Orders of whoever may write them, and questions of whoever reaches the port, through all that answers gateways."""

from __future__ import annotations

import asyncio
import json
import re
from random import Random
from typing import Any

import httpx
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from tests.fuzz.hostile import MARK, Hostile
from tests.fuzz.target import Target

from gatewatch.clock import ManualClock
from gatewatch.enforce.authz import METHODS, Authz
from gatewatch.enforce.bouncers import Bouncers
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.nginx import render
from gatewatch.enforce.throttle import Throttle
from gatewatch.records import Action, Decision, Mode, Scope
from gatewatch.settings import Identify
from gatewatch.testing.decisions import NOW

VALUES = (
    "203.0.113.9", "203.0.113.9/24", "203.0.113.0/255.255.255.0", "::ffff:203.0.113.9", "::ffff:0:0/96", "0.0.0.0/0",
    "2001:DB8::1", "fe80::1%eth0", "::/0", "", " ", "all", "default", "include", 'x" 1; } evil {', "~.*", "a\nb",
    "j\u00fcrgen", "\u0661\u0662\u0663.0.0.1", "203.0.113.9:80", "x" * 300,
)  # fmt: skip
HEADERS = (
    b"x-real-ip",
    b"x-forwarded-for",
    b"x-consumer",
    b"authorization",
    b"x-api-key",
    b"cookie",
    b"x-gatewatch-token",
)
QUERIES = ("ip", "range", "contains", "scope", "value", "scopes", "type", "origins", "startup", "scenarios_containing")
LINES = {
    "ip.conf": re.compile(r"[0-9a-f:.]+(/\d{1,3})? 1;"),
    "throttle.conf": re.compile(r"[0-9a-f:.]+(/\d{1,3})? 1;"),
    "principal.conf": re.compile(r'"~\^(?:[0-9A-Za-z:/_@]|\\[.+-])+\$" 1;'),
}
DURATION = re.compile(r"-?(\d+h)?(\d{1,2}m)?\d{1,2}s")


class Gateways(Target):
    """Records of `decisions`, nginx's files, the bouncer API and `/authz`."""

    name = "orders and gateways"

    def __init__(self) -> None:
        self._ledger, self._clock, self._offset = Ledger(), ManualClock(NOW), 0
        authz = Authz(
            self._ledger, Identity(Identify(principal_header="x-consumer")), self._clock,
            whole=lambda: True, fresh=lambda: True, fail_open=True, throttle=Throttle(30.0),
        )  # fmt: skip
        bouncers = Bouncers(self._ledger, {"a": SecretStr("key")}, self._clock, lambda: True)
        self._app = Starlette(routes=[*bouncers.routes(), *authz.routes()])

    def round(self, random: Random) -> int:
        """Orders, then what follows from them, then questions."""
        hostile = Hostile(random)
        for _ in range(20):
            self._order(random, hostile)
        for name, text in render(self._ledger.live(self._clock.now())).items():
            for line in text.splitlines():
                assert LINES[name].fullmatch(line), (name, line)
        self._clock.advance(random.choice((0.0, 1.0, 400.0)))
        asyncio.run(self._questions(random, hostile, 20))
        return 40

    def _order(self, random: Random, hostile: Hostile) -> None:
        order = {
            "id": str(random.randrange(500)), "action": random.choice(list(Action)),
            "scope": random.choice(list(Scope)), "value": random.choice(VALUES), "reason": "r",
            "detector": random.choice((None, "rate_spike", *VALUES)),
            "start": NOW, "until": NOW + random.choice((-1.0, 60.0, 1e5, 1e12, float("inf"), float("nan"))),
            "mode": random.choice((Mode.BLOCK, Mode.BLOCK, Mode.SHADOW)), "removed": random.choice((None, None, NOW)),
        }  # fmt: skip
        raw = json.dumps(hostile.bent(order) if random.random() < 0.3 else order).encode()
        raw = hostile.damaged(raw) if random.random() < 0.1 else raw
        self._offset += 1
        try:
            decision = Decision.model_validate_json(raw)
        except ValidationError:
            return
        self._ledger.apply(decision, self._offset, self._clock.now())

    async def _questions(self, random: Random, hostile: Hostile, n: int) -> None:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gw") as client:
            rows = (await client.get("/v1/decisions/stream?startup=true", headers={"X-Api-Key": "key"})).json()["new"]
            assert all(DURATION.fullmatch(row["duration"]) for row in rows)
            for _ in range(n):
                await self._question(random, hostile, client)

    async def _question(self, random: Random, hostile: Hostile, client: httpx.AsyncClient) -> None:
        headers = [(random.choice(HEADERS), self._bytes(random, hostile)) for _ in range(random.randrange(6))]
        if random.random() < 0.5:
            path = random.choice(("/authz/nginx", "/authz/forward", "/authz/envoy/a/%2e%2e/b", "/authz/at/x/nginx"))
            answer = await client.request(random.choice(METHODS), path, headers=headers)
            assert answer.status_code in {200, 403, 429}, answer.status_code
        else:
            query = {random.choice(QUERIES): random.choice((*VALUES, "true", "ban", MARK)) for _ in range(3)}
            path = random.choice(("/v1/decisions", "/v1/decisions/stream"))
            answer = await client.get(path, params=query, headers=[*headers, (b"x-api-key", b"key")])
            refused = answer.status_code == 500 and "invalid filter" in answer.json()["message"]
            assert refused or answer.status_code in {200, 403}, answer.status_code

    def _bytes(self, random: Random, hostile: Hostile) -> bytes:
        """A header's value."""
        text: Any = random.choice((*VALUES, f"Bearer {MARK}", "203.0.113.9, 198.51.100.1", "," * 1000))
        raw = text.encode()
        return hostile.damaged(raw) if raw and random.random() < 0.3 else raw
