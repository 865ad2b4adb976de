"""Attacks that stand neither in the simulator nor in the folders' cases, and the ordinary days around them.

An attack is its events, the keys that may be accused of it, and the detector that should see it. Each uses addresses
and principals of its own, so that all of them can run in one stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

START = 1_772_409_600.0  # a Monday, 00:00 UTC
HOUR_S, DAY_S = 3600.0, 86_400.0
DAYS = 7
ATTACKS_FROM = START + 4 * DAY_S
CUSTOMERS, PEOPLE = 60, 3000
ROUTES = ("/v1/chat/completions", "/v1/embeddings", "/v1/images", "/v1/rerank", "/v1/batches")
MODELS = ("chat-large", "embed-1", "image-2", "rerank-1", "chat-large")
CHAT = [":obj", "messages:arr", "messages[].content:str", "messages[].role:str", "messages[]:obj", "model:str"]
TOOLS = [*CHAT, "tools:arr", "tools[].function.name:str", "tools[].function:obj", "tools[]:obj"]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: in words.
        detector: which one should see it.
        events: what it adds to the stream.
        keys: who may be accused: principals, addresses, networks, accounts; an endpoint as findings name it. Of a
            customer, his address too.
        why_not: why it is not expected to be found, where that is so.
    """

    name: str
    detector: str
    events: list[Event]
    keys: frozenset[str]
    why_not: str = ""


@dataclass(slots=True)
class World:
    """Customers with habits, and people who log in."""

    rng: np.random.Generator
    agents: list[str] = field(default_factory=lambda: [f"sdk-{i % 7}/1.{i % 3}" for i in range(CUSTOMERS)])

    def call(self, who: int, ts: float, **more: Any) -> Event:
        """One call of a customer, in its own way."""
        route = (who + int(self.rng.integers(0, 2))) % len(ROUTES)
        tools = who % 3 == 0
        size = int(900.0 * np.exp(0.4 * self.rng.standard_normal() + 0.2 * (who % 5)))
        out = int(200.0 * np.exp(0.5 * self.rng.standard_normal()))
        return {
            "ts": ts, "method": "POST", "path": ROUTES[route], "endpoint": ROUTES[route], "model": MODELS[route],
            "principal": f"customer-{who}", "credential": f"key-{who}", "ip": address_of(who),
            "asn": 64_500 + who % 9, "country": ("DE", "US", "FR")[who % 3], "user_agent": self.agents[who],
            "auth": "success", "status": 200 if self.rng.random() > 0.01 else 400,
            "latency_ms": float(300.0 * np.exp(0.4 * self.rng.standard_normal())), "bytes_in": size,
            "tokens_in": size // 4, "tokens_out": out,
            "shape": {
                "hash": "tools" if tools else "chat", "fields": TOOLS if tools else CHAT, "depth": 3, "keys": 6,
                "body_size": size, "longest_array": 5, "longest_string": size // 2, "kinds": 3,
                "finish_reason": "length" if self.rng.random() < 0.05 else "stop",
                "refusal": bool(self.rng.random() < 0.02),
            },
            **more,
        }  # fmt: skip

    def days(self) -> Iterator[Event]:
        """All ordinary traffic: some 90,000 events in a week."""
        minutes = np.arange(DAYS * 1440)
        shape = 1.0 + 0.6 * np.sin(2 * np.pi * (minutes / 1440 - 0.375))
        for minute, (calls, logins) in enumerate(
            zip(self.rng.poisson(6 * shape), self.rng.poisson(3 * shape), strict=True)
        ):
            for ts in START + 60.0 * (minute + self.rng.random(calls)):
                yield self.call(int(CUSTOMERS * self.rng.random() ** 1.5), float(ts))
            for ts in START + 60.0 * (minute + self.rng.random(logins)):
                yield login(float(ts), *self._person(), ok=bool(self.rng.random() > 0.08))

    def _person(self) -> tuple[str, str]:
        n = int(self.rng.integers(0, PEOPLE))
        return f"{20 + n % 90}.{n // 250}.{n % 250}.7", f"person-{n}"


def login(ts: float, ip: str, account: str, *, ok: bool, **more: Any) -> Event:
    """One login."""
    return {
        "ts": ts, "method": "POST", "path": "/login", "endpoint": "/login", "ip": ip, "account": account,
        "user_agent": BROWSER, "auth": "success" if ok else "failure", "status": 200 if ok else 401, **more,
    }  # fmt: skip


def every(n: int, step_s: float, begin: float = ATTACKS_FROM) -> list[float]:
    """Times of attempts at a steady pace."""
    return [begin + step_s * i for i in range(n)]


def attacks(world: World) -> list[Attack]:
    """All of them."""
    made = [*_logins(world), *_probes(world), *_bodies(world), *_harvests(world), *_leaks(world), *_outputs(world)]
    return [replace(attack, keys=attack.keys | _addresses(attack.keys)) for attack in made]


def _addresses(keys: frozenset[str]) -> frozenset[str]:
    """Those of the customers among the keys."""
    customers = (int(key.removeprefix("customer-")) for key in keys if key.startswith("customer-"))
    return frozenset(address_of(who) for who in customers)


def address_of(who: int) -> str:
    """A customer's address."""
    return f"192.0.{who}.{1 + who % 3}"


def _logins(world: World) -> Iterator[Attack]:
    name = "credential_stuffing"
    pick = world.rng.integers(0, PEOPLE, 600)
    yield Attack(
        "spray of one account in 40 minutes, for three days, from one address", name,
        [login(ts, "198.51.1.9", f"person-{pick[i]}", ok=False) for i, ts in enumerate(every(108, 2400.0))],
        frozenset({"198.51.1.9", "198.51.1.0/24"}),
    )  # fmt: skip
    yield Attack(
        "stuffing from 40 addresses of one /24, three tries each in an hour", name,
        [login(ts, f"198.51.2.{1 + i % 40}", f"person-{pick[i]}", ok=i == 77) for i, ts in enumerate(every(120, 30.0))],
        frozenset({"198.51.2.0/24", *(f"198.51.2.{1 + i}" for i in range(40))}),
    )  # fmt: skip
    yield Attack(
        "stuffing from a new IPv6 /64 of one /48 for each try", name,
        [login(ts, f"2001:db8:77:{i:x}::5", f"person-{pick[i]}", ok=False) for i, ts in enumerate(every(90, 60.0))],
        frozenset({"2001:db8:77::/48", *(f"2001:db8:77:{i:x}::/64" for i in range(90))}),
    )  # fmt: skip
    yield Attack(
        "one account, from 60 networks, a try in two minutes", name,
        [login(ts, f"45.{i}.7.7", "person-4242", ok=False) for i, ts in enumerate(every(60, 120.0))],
        frozenset({"person-4242"}),
    )  # fmt: skip
    yield Attack(
        "one account, a password in half an hour for two days, from one address", name,
        [login(ts, "198.51.3.9", "person-7", ok=False) for ts in every(96, 1800.0)],
        frozenset({"198.51.3.9", "person-7"}),
    )  # fmt: skip
    own = [login(ts + 5.0, "198.51.4.9", f"mine-{i % 3}", ok=True) for i, ts in enumerate(every(60, 60.0))]
    yield Attack(
        "stuffing with a login of his own after each try, three accounts by turns", name,
        [*own, *(login(ts, "198.51.4.9", f"person-{pick[i]}", ok=False) for i, ts in enumerate(every(60, 60.0)))],
        frozenset({"198.51.4.9", "198.51.4.0/24"}),
    )  # fmt: skip
    yield Attack(
        "each try from another network of the world, one in two minutes for twelve hours", name,
        [
            login(ts, f"{46 + i % 50}.{i // 50}.{i % 250}.3", f"person-{pick[i % 600]}", ok=False)
            for i, ts in enumerate(every(360, 120.0, ATTACKS_FROM + 30 * HOUR_S))
        ],
        frozenset({"all"}),
    )  # fmt: skip
    yield Attack(
        "three accounts by turns, a try in two minutes, from one address", name,
        [login(ts, "198.51.5.9", f"person-{pick[i % 3]}", ok=False) for i, ts in enumerate(every(60, 120.0))],
        frozenset({"198.51.5.9"}),
    )  # fmt: skip


def _probes(world: World) -> Iterator[Attack]:
    name = "restricted_probe"
    refused = {"status": 403, "denied": True}
    features = [[f"beta-{i}"] for i in range(20)]
    yield Attack(
        "a feature without a right to it, another one each hour, between ordinary calls", name,
        [world.call(7, ts, features=features[i], **refused) for i, ts in enumerate(every(20, HOUR_S))],
        frozenset({"customer-7"}),
    )  # fmt: skip
    yield Attack(
        "names of models guessed without a key, one in ten minutes", name,
        [
            {"ts": ts, "method": "GET", "path": f"/v1/models/m{i}", "ip": "198.51.6.9", "status": 404}
            for i, ts in enumerate(every(40, 600.0))
        ],
        frozenset({"198.51.6.9"}),
    )  # fmt: skip
    yield Attack(
        "a stolen key walks through admin routes, one a day", name,
        [
            world.call(9, ts, path=f"/admin/{i}", endpoint=f"/admin/{i}", model=None, **refused)
            for i, ts in enumerate(every(3, 0.99 * DAY_S))
        ],
        frozenset({"customer-9"}), "three resources in three days: five are asked for",
    )  # fmt: skip
    yield Attack(
        "six keys of one thief, three refused models each", name,
        [
            world.call(40 + i % 6, ts, ip="198.51.7.9", model=f"secret-{i // 6}", **refused)
            for i, ts in enumerate(every(18, 240.0))
        ],
        frozenset({"198.51.7.9", *(f"customer-{40 + i}" for i in range(6))}),
    )  # fmt: skip


def _bodies(world: World) -> Iterator[Attack]:
    name = "payload_drift"

    def odd(who: int, ts: float, **shape: Any) -> Event:
        call = world.call(who, ts)
        return {**call, "status": 200, "shape": {**call["shape"], **shape}}

    yield Attack(
        "arrays of 50,000 entries", name,
        [odd(11, ts, longest_array=50_000, body_size=400_000) for ts in every(3, 300.0)], frozenset({"customer-11"}),
    )  # fmt: skip
    yield Attack(
        "bodies of 300 times the caller's size, below every limit", name,
        [odd(12, ts, longest_array=5000, body_size=400_000) for ts in every(5, 300.0)], frozenset({"customer-12"}),
    )  # fmt: skip
    xml = [":obj", "?:str", "Envelope.Body.x:str", "Envelope.Body:obj", "Envelope:obj", "xmlns:str"]
    yield Attack(
        "fields as of XML from a known caller", name,
        [odd(13, ts, hash="xml", fields=xml) for ts in every(4, 600.0)], frozenset({"customer-13"}),
    )  # fmt: skip
    yield Attack(
        "characters that no prompt here holds, one request", name,
        [odd(14, ts, kinds=3 | 1 << 20 | 1 << 22 | 1 << 24) for ts in every(1, 1.0)], frozenset({"customer-14"}),
        "one odd body of a few thousand",
    )  # fmt: skip
    yield Attack(
        "characters that no prompt here holds, five requests with others each", name,
        [odd(20, ts, kinds=3 | 3 << 10 + 3 * i) for i, ts in enumerate(every(5, 300.0))], frozenset({"customer-20"}),
    )  # fmt: skip


def _harvests(world: World) -> Iterator[Attack]:
    name = "model_extraction"
    sweep = {"hash": "chat", "fields": CHAT, "depth": 3, "keys": 6, "body_size": 640, "kinds": 3}
    at = {"endpoint": ROUTES[0], "path": ROUTES[0], "model": MODELS[0], "status": 200, "bytes_in": 640}

    def asks(who: str, ip: str, ts: float, size: int) -> Event:
        shape = {**sweep, "body_size": size, "finish_reason": "stop"}
        call = world.call(0, ts, **at)
        return {**call, "principal": who, "credential": f"key-of-{who}", "ip": ip, "shape": shape, "bytes_in": size}

    yield Attack(
        "two new keys share a sweep of one template, 350 queries an hour each", name,
        [asks(f"twin-{i % 2}", f"203.0.113.{8 + i % 2}", ts, 640 + i % 8) for i, ts in enumerate(every(2800, 5.14))],
        frozenset({"twin-0", "twin-1", "203.0.113.8", "203.0.113.9"}),
    )  # fmt: skip
    yield Attack(
        "a known customer asks for log-probabilities at 120 queries an hour by night", name,
        [
            world.call(15, ts, features=["logprobs"], **at)
            for ts in every(720, 30.0, ATTACKS_FROM + 23 * HOUR_S)
        ],
        frozenset({"customer-15"}),
    )  # fmt: skip
    yield Attack(
        "a sweep of 40 queries an hour for two days", name,
        [asks("patient", "203.0.113.44", ts, 640 + i % 8) for i, ts in enumerate(every(1920, 90.0))],
        frozenset({"patient", "203.0.113.44"}), "an hour with fewer than `least_queries` is not judged",
    )  # fmt: skip


def _leaks(world: World) -> Iterator[Attack]:
    name = "leaked_key"
    nights = [t for day in (0, 1, 2) for t in every(12, 600.0, ATTACKS_FROM + day * DAY_S + 2 * HOUR_S)]
    yield Attack(
        "a key used by night only, from the same country, by another operator and agent", name,
        [world.call(17, ts, ip="203.0.1.9", asn=65_001, user_agent="curl/8.5") for ts in nights],
        frozenset({"customer-17", "key-17", "203.0.1.9"}),
        "in the first ten days: before, too little is known of how seldom keys move",
    )  # fmt: skip
    yield Attack(
        "a key used in another country by the owner's agent, in turn with the owner", name,
        [
            world.call(18, ts, ip="203.0.2.9", asn=65_002, country="BR")
            for ts in every(30, 240.0, ATTACKS_FROM + 12 * HOUR_S)
        ],
        frozenset({"customer-18", "key-18", "203.0.2.9"}),
        "the owner's agent: with nothing else new, a country alone says too little in the first weeks",
    )  # fmt: skip
    yield Attack(
        "a key used from a new network of the owner's operator by the owner's agent", name,
        [world.call(19, ts, ip="203.0.3.9") for ts in every(30, 240.0, ATTACKS_FROM + 12 * HOUR_S)],
        frozenset({"customer-19", "key-19", "203.0.3.9"}), "same operator, same agent: nothing of it is new",
    )  # fmt: skip


def _outputs(world: World) -> Iterator[Attack]:
    name = "output_drift"

    def answers(route: int, ts: float, **more: Any) -> Event:
        call = world.call(int(CUSTOMERS * world.rng.random() ** 1.5), ts)
        changed = {"path": ROUTES[route], "endpoint": ROUTES[route], "model": MODELS[route], "status": 200}
        shape = {**call["shape"], **{k: v for k, v in more.items() if k in ("finish_reason", "refusal")}}
        return {**call, **changed, "shape": shape, **{k: v for k, v in more.items() if k not in shape}}

    begin = ATTACKS_FROM + 2 * DAY_S
    yield Attack(
        "one endpoint in five answers at a third of the length", name,
        [answers(3, ts, tokens_out=60) for ts in every(400, 90.0, begin)], frozenset({f"{ROUTES[3]} {MODELS[3]}"}),
    )  # fmt: skip
    yield Attack(
        "one endpoint refuses three in ten", name,
        [answers(1, ts, refusal=i % 2 == 0) for i, ts in enumerate(every(400, 90.0, begin))],
        frozenset({f"{ROUTES[1]} {MODELS[1]}"}),
    )  # fmt: skip
    yield Attack(
        "one endpoint is cut off three times as often as before", name,
        [
            answers(2, ts, finish_reason="length" if i % 3 == 0 else "stop")
            for i, ts in enumerate(every(400, 90.0, begin))
        ],
        frozenset({f"{ROUTES[2]} {MODELS[2]}"}),
    )  # fmt: skip
