"""Labelled attacks: one function each, from a stage (world, generator, time) to the attack's rows.

Each uses the same rows, agents, addresses, shapes and endpoints as benign traffic; what makes it an attack is who
does what, when and how often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gatewatch.simulate import names
from gatewatch.simulate import rows as r
from gatewatch.simulate.rows import Codes, Floats, Rng, Rows, lognormal, pick
from gatewatch.simulate.traffic import bad_keys, calls, logins, refuse
from gatewatch.simulate.world import EMBEDDINGS, ENDPOINTS, NEXT_PREVIEW, PREVIEW, PROJECTS, RESTRICTED, World

MINUTE_S = 60.0
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an attack happens."""

    world: World
    rng: Rng
    at: float  # when it begins, epoch seconds
    length_s: float


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of attack."""

    name: str
    text: str  # for people, one line
    length_s: float
    make: Callable[[Stage], Rows]
    prelude: Callable[[Stage], Rows] | None = None  # benign rows before it, from the stage's time on


def spike(stage: Stage) -> Rows:
    """A service sends some 80 times what it usually does."""
    world, rng = stage.world, stage.rng
    who = world.service_near(rng.uniform(0.25, 0.4))
    usual = max(float(world.service_rate[who]), 1 / 120)  # at least a call in two minutes, else 80 times is nothing
    n = int(rng.poisson(80 * usual * stage.length_s))
    return calls(world, rng, np.full(n, who), stage.at + stage.length_s * rng.random(n))


def slow_ramp(stage: Stage) -> Rows:
    """A service grows steadily to eight times its usual rate."""
    world, rng = stage.world, stage.rng
    who = world.service_near(rng.uniform(0.08, 0.15))
    n = int(rng.poisson(3.5 * world.service_rate[who] * stage.length_s))
    grown = np.sqrt(rng.random(n))  # density rises linearly
    return calls(world, rng, np.full(n, who), stage.at + stage.length_s * grown)


def stuffing(stage: Stage) -> Rows:
    """One address tries a leaked list: one attempt at each of 600 accounts, of which a quarter exist here."""
    world, rng = stage.world, stage.rng
    account = _leaked_list(stage, 600, known_share=0.25)
    ts = _paced(stage, len(account))
    ok = (account < world.people) & (rng.random(len(account)) < 0.06)
    return _attempts(stage, account, ts, ok, ip=world.rent_addresses(1, hosted=True))


def spraying(stage: Stage) -> Rows:
    """One address tries the three most common passwords, in three rounds, at 120 accounts that exist."""
    world, rng = stage.world, stage.rng
    targets = rng.choice(world.people, size=min(120, world.people), replace=False).astype(np.int64)
    account = np.concatenate([rng.permutation(targets) for _ in range(3)])
    round_of = np.repeat(np.arange(3), len(targets))
    length = stage.length_s / 3
    ts = stage.at + length * round_of + 0.5 * length * rng.random(len(account))
    ok = rng.random(len(account)) < 0.005
    return _attempts(stage, account, ts, ok, ip=world.rent_addresses(1, hosted=True))


def distributed_stuffing(stage: Stage) -> Rows:
    """A botnet tries a leaked list with one attempt from each address and one at each account."""
    world, rng = stage.world, stage.rng
    ip = world.rent_addresses(1500, hosted=False)
    account = _leaked_list(stage, len(ip), known_share=0.3)
    ts = _paced(stage, len(account))
    ok = (account < world.people) & (rng.random(len(account)) < 0.03)
    return _attempts(stage, account, ts, ok, ip=ip, one_agent=False)


def cracking(stage: Stage) -> Rows:
    """One address tries many passwords at one account, and finds the right one."""
    world, rng = stage.world, stage.rng
    n = 400
    account = np.full(n, rng.integers(0, world.people))
    ok = np.zeros(n, np.bool_)
    ok[-1] = True
    return _attempts(stage, account, np.sort(_paced(stage, n)), ok, ip=world.rent_addresses(1, hosted=True))


def restricted_probe(stage: Stage) -> Rows:
    """A service walks through what it has no right to: fine-tuning, files, keys of every project."""
    world, rng = stage.world, stage.rng
    who = world.service_near(rng.uniform(0.4, 0.6))
    targets = np.repeat(rng.permutation(RESTRICTED), 2)
    rows = calls(world, rng, np.full(len(targets), who), stage.at + stage.length_s * rng.random(len(targets)))
    rows["endpoint"] = targets
    refuse(rows, np.ones(len(rows), np.bool_), rng)
    return rows


def payload_drift(stage: Stage) -> Rows:
    """A service goes on at its usual rate with bodies of another structure and ten times the size."""
    world, rng = stage.world, stage.rng
    who = world.service_near(rng.uniform(0.05, 0.1))
    n = int(rng.poisson(world.service_rate[who] * stage.length_s))
    others = np.setdiff1d(world.callers.shape.ravel(), world.callers.shape[who])
    rows = calls(world, rng, np.full(n, who), stage.at + stage.length_s * rng.random(n), shape=pick(rng, others, n))
    rows["bytes_in"] = np.rint(10 * rows["bytes_in"])
    return rows


def key_leak(stage: Stage) -> Rows:
    """A service's key is used from another network, country and client too, while the owner goes on."""
    world, rng = stage.world, stage.rng
    who = world.service_near(rng.uniform(0.15, 0.25))
    n = int(rng.poisson(max(2 * float(world.service_rate[who]), 1 / 20) * stage.length_s))
    ip = world.rent_addresses(2, hosted=False)
    agent = (world.callers.agent[who] + 3) % 7  # another client library
    ts = stage.at + stage.length_s * rng.random(n)
    return calls(world, rng, np.full(n, who), ts, ip=pick(rng, ip, n), agent=np.full(n, agent))


def model_extraction(stage: Stage) -> Rows:
    """A new service sweeps one template over a list, with log-probabilities, a query a second, to copy a model."""
    world, rng = stage.world, stage.rng
    callers, services = world.callers, np.arange(world.services)
    chats = ~np.isin(callers.endpoint[services, 0], EMBEDDINGS)
    like = services[chats & (callers.model[services] == 1) & (callers.denied_share[services] == 0)][0]
    n = int(stage.length_s)
    template = np.full(n, callers.shape[like, 0])
    rows = calls(world, rng, np.full(n, like), _paced(stage, n), shape=template)
    rows = rows[~np.isin(rows["endpoint"], EMBEDDINGS)]
    rows["principal"] = world.new_service(PROJECTS[5])
    rows["credential"] = world.new_credentials(rng, 1)[0]
    rows["ip"] = pick(rng, world.rent_addresses(2, hosted=True), len(rows))
    rows["bytes_in"] = 1500.0 + rng.integers(0, 18, len(rows))  # a word of the list is what differs
    rows["asked"] = r.LOGPROBS
    return rows


def preview(stage: Stage) -> Rows:
    """What a model in preview answers many services; some answers come from its next version."""
    rows = _of_preview(stage, 220.0)
    rows["model"] = np.where(stage.rng.random(len(rows)) < 0.004, NEXT_PREVIEW, PREVIEW)
    return rows


def output_change(stage: Stage) -> Rows:
    """The preview's next version goes live, and answers a quarter as long."""
    rows = _of_preview(stage, 55.0)
    rows["model"] = NEXT_PREVIEW
    return rows


def _of_preview(stage: Stage, tokens: float) -> Rows:
    """Calls of the preview by any service, day and night, with answers of about so many tokens."""
    world, rng = stage.world, stage.rng
    n = int(stage.length_s / _PREVIEW_PAUSE_S)
    rows = calls(world, rng, rng.integers(0, world.services, n), stage.at + stage.length_s * np.sort(rng.random(n)))
    rows["endpoint"] = _PREVIEW_AT
    length = np.ceil(lognormal(rng, tokens, 0.7, n))
    answered = {
        "tokens_out": length,
        "bytes_out": np.rint(240 + 4.4 * length),
        "ttft_ms": np.round(lognormal(rng, 200.0, 0.5, n), 1),
        "finish": np.searchsorted([0.9, 0.97], rng.random(n)),
    }
    for name, values in answered.items():
        rows[name] = np.where(rows["status"] == 200, values, rows[name])
    return rows


def key_flood(stage: Stage) -> Rows:
    """Each request has a key, and nearly each an address, that was never seen: to fill every table that keeps keys."""
    world, rng = stage.world, stage.rng
    n = 20_000
    credential = world.new_credentials(rng, n)
    sites = rng.integers(0, 1 << 16, 4)
    picked = rng.integers(0, 4, n // 2)
    subnets, hosts = rng.integers(0, 1 << 16, n // 2), rng.integers(1, 1 << 62, n // 2)
    addresses = {
        names.ipv6(int(sites[p]), int(s), int(h)): None for p, s, h in zip(picked, subnets, hosts, strict=True)
    }
    ip = world.addresses.add(rng, list(addresses))
    who = rng.integers(0, world.services, n)
    ts = _paced(stage, n)
    callers = world.callers
    return bad_keys(
        rng, credential, ts, endpoint=callers.endpoint[who, 0], ip=pick(rng, ip, n), agent=callers.agent[who]
    )


def _leaked_list(stage: Stage, n: int, known_share: float) -> Codes:
    """Account names in any order, of which a share has an account here."""
    known = stage.rng.choice(stage.world.people, size=min(int(n * known_share), stage.world.people), replace=False)
    unknown = stage.world.new_accounts(stage.rng, n - len(known))
    return stage.rng.permutation(np.concatenate([known, unknown])).astype(np.int64)


def _paced(stage: Stage, n: int) -> Floats:
    """Times of ``n`` attempts by a tool with a few threads: uneven, some pauses, the whole length."""
    gaps = lognormal(stage.rng, 1.0, 0.8, n)
    ts: Floats = stage.at + stage.length_s * np.cumsum(gaps) / gaps.sum()
    return ts


def _attempts(stage: Stage, account: Codes, ts: Floats, ok: np.ndarray, *, ip: Codes, one_agent: bool = True) -> Rows:
    """Attempts with the agents that people have; one address serves all, or each its own."""
    n = len(account)
    agents = stage.world.callers.agent[stage.world.services :]
    agent = np.full(n, pick(stage.rng, agents, 1)[0]) if one_agent else pick(stage.rng, agents, n)
    where = np.full(n, ip[0]) if len(ip) == 1 else ip
    return logins(stage.world, stage.rng, account, ts, ok, ip=where, agent=agent)


_PREVIEW_AT = next(i for i, e in enumerate(ENDPOINTS) if e.path == f"/{PROJECTS[5]}/v1/chat/completions")
_PREVIEW_PAUSE_S = 9.0  # 400 answers an hour: a few pilots
_ALL = (
    Attack("spike", "one service sends 80 times its usual traffic", 6 * MINUTE_S, spike),
    Attack("slow_ramp", "one service grows steadily to eight times its usual traffic", 4 * HOUR_S, slow_ramp),
    Attack("stuffing", "one address tries a leaked password list, one try an account", 15 * MINUTE_S, stuffing),
    Attack("spraying", "one address tries three common passwords at many accounts", 45 * MINUTE_S, spraying),
    Attack(
        "distributed_stuffing", "1,500 addresses try a leaked list, one try each", 80 * MINUTE_S, distributed_stuffing
    ),
    Attack("cracking", "one address tries 400 passwords at one account, and gets in", 10 * MINUTE_S, cracking),
    Attack("restricted_probe", "one service walks through what it may not use", 20 * MINUTE_S, restricted_probe),
    Attack("payload_drift", "one service sends bodies of another structure, ten times the size", HOUR_S, payload_drift),
    Attack("key_leak", "one service's key is used from another country as well", 90 * MINUTE_S, key_leak),
    Attack(
        "model_extraction",
        "a new service sweeps a template over a list, to copy a model",
        45 * MINUTE_S,
        model_extraction,
    ),
    Attack("output_change", "a model's next version answers a quarter as long", 2 * HOUR_S, output_change, preview),
    Attack("key_flood", "20,000 requests, each with a key never seen before", 10 * MINUTE_S, key_flood),
)
ATTACKS = {attack.name: attack for attack in _ALL}
