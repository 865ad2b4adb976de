"""Ten million keys never seen before, while customers are attacked: what detectors on keys still find."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from figures import DAY_S, Figure, of
from unseen_attacks import CUSTOMERS, DAYS, START, Attack, Event, World, address_of, login

from gatewatch.events.batch import AuthCode, Batch
from gatewatch.registry import active, budget_of, load_all
from gatewatch.sdk import Context, Detector
from gatewatch.settings import Settings
from gatewatch.testing.batches import SEED, batch_of, batch_of_columns

TITLE = "Floods of keys: what is still found of attacks on customers"
ON = (
    "All of it invented: the week of 60 customers and 3,000 people of the section on unseen attacks, and on its last "
    "day, from 10 to 12 o'clock, one attack on each customer and on 36 people: bursts, keys used abroad, bodies as of "
    "XML, refused models, queries for log-probabilities; passwords tried at an account from eight networks, lists "
    "tried from a person's own address. From 9:30 to 12 o'clock 10 million rows of keys never seen before come in "
    "between, spread evenly; each carries a principal, a credential, an account, an address and a network of its own. "
    "The first two floods are those of the contract suite (every key once, every key five failures), 100 times as "
    "large and more; in the third all keys authenticate, as if a hundred times more customers than the tables have "
    "room for came in one morning. "
    "All detectors on keys stand in one partition with the tables of a whole installation, as shipped. Found is an "
    "attack if the detector that is made for it names one of its keys in a finding that people are told of. The twelve "
    "callers of payload_drift's attacks send one and the same structure, and from the third established caller on that "
    "is a release of the API to it and no probe: so it names the first ones only."
)
ROWS = 10_000_000
NOON_S = START + (DAYS - 1) * DAY_S + 12 * 3600.0
FLOOD_FROM, ATTACKS_FROM = NOON_S - 9000.0, NOON_S - 7200.0
MINUTE_S = 60.0
KEYS = ("k_principal", "k_credential", "k_account", "k_ip", "k_network")
PEOPLE_ATTACKED = 18  # in each of two ways
TARGET = 0.95
CALLS, LOGPROBS = "/v1/chat/completions", "chat-large"


@dataclass(frozen=True, slots=True)
class Flood:
    """So many rows: keys that each come ``repeats`` times, and how they end."""

    name: str
    repeats: int
    auth: AuthCode
    status: int


FLOODS = (
    Flood("10 M keys, each once, failing", 1, AuthCode.FAILURE, 401),
    Flood("2 M keys, each failing five times", 5, AuthCode.FAILURE, 401),
    Flood("10 M keys, each once, all of which authenticate", 1, AuthCode.SUCCESS, 200),
)


@dataclass(slots=True)
class Told:
    """What a run told people of: the attacks found, with their delays, and customers accused who were not attacked."""

    delay_s: dict[str, float] = field(default_factory=dict)
    accused: set[tuple[str, str]] = field(default_factory=set)
    seconds: float = 0.0


def run() -> list[Figure]:
    """Without a flood, then with each."""
    world = World(np.random.default_rng(11))
    ordinary = list(world.days())
    attacks = list(_attacks(world))
    detectors = _detectors()
    rows = _sorted([*ordinary, *(event for attack in attacks for event in attack.events)])
    before = [event for event in rows if event["ts"] < FLOOD_FROM]
    during = [batch_of(part) for part in _minutes([e for e in rows if FLOOD_FROM <= e["ts"] < NOON_S])]
    for low in range(0, len(before), 1000):
        batch = batch_of(before[low : low + 1000])
        for detector in detectors.values():
            detector.process(batch)
    saved = {name: detector.snapshot() for name, detector in detectors.items()}
    quiet = _run(detectors, during, attacks, None)
    figures = [_alone(quiet, attacks)]
    for flood in FLOODS:
        detectors = _detectors()
        for name, detector in detectors.items():
            detector.restore(saved[name])
        figures.append(_figure(flood, quiet, _run(detectors, during, attacks, flood), attacks))
    return figures


def _alone(quiet: Told, attacks: Sequence[Attack]) -> Figure:
    return Figure(
        "no flood: attacks found",
        of(len(quiet.delay_s), len(attacks)),
        note="; ".join(f"{name} {n}" for name, n in _by_detector(quiet.delay_s, attacks)),
    )


def _figure(flood: Flood, quiet: Told, told: Told, attacks: Sequence[Attack]) -> Figure:
    kept = quiet.delay_s.keys() & told.delay_s.keys()
    lost = {name: 0.0 for name in quiet.delay_s if name not in kept}
    later = [told.delay_s[name] - quiet.delay_s[name] for name in kept]
    note = f"{np.median(later):.0f} s later in the median, {max(later):.0f} s at most" if later else ""
    if lost:
        note += "; lost: " + ", ".join(f"{name} {n}" for name, n in _by_detector(lost, attacks))
    fresh = len(told.accused - quiet.accused)
    note += f"; customers and people accused who are not without it: {fresh}"
    return Figure(
        f"{flood.name}: of the attacks found without it, found with it",
        of(len(kept), len(quiet.delay_s)),
        f">= {100 * TARGET:.0f} %",
        len(kept) >= TARGET * len(quiet.delay_s),
        note=f"{note}; {ROWS / told.seconds / 1e3:.0f} thousand rows a second",
    )


def _by_detector(names: Mapping[str, float], attacks: Sequence[Attack]) -> list[tuple[str, int]]:
    return sorted(Counter(attack.detector for attack in attacks if attack.name in names).items())


def _detectors() -> dict[str, Detector]:
    """All on keys, fresh, as a task of one partition has them."""
    entries, settings = active(load_all(), {}), Settings()
    found = ((name, entry, entry.detector) for name, entry in entries.items())
    return {
        name: entry.build(None, Context(SEED, 1, budget_of(part, settings, entries)))
        for name, entry, part in found
        if part is not None
    }


def _run(
    detectors: Mapping[str, Detector], during: Sequence[Batch], attacks: Sequence[Attack], flood: Flood | None
) -> Told:
    """The last two and a half hours, minute by minute, with a flood or without."""
    told = Told()
    rng = np.random.default_rng(12)
    keys = _keys(rng, ROWS // flood.repeats) if flood else None
    for minute, legitimate in enumerate(during):
        batch = legitimate
        if flood is not None and keys is not None:
            batch = _merged(legitimate, _part(rng, keys, flood, minute, len(during)))
        began = time.process_time()
        for name, detector in detectors.items():
            hits = detector.process(batch)
            reasons = {reason.code: reason for reason in detector.reasons}
            for i in range(len(hits)):
                row = int(hits.row[i])
                key = batch.text(detector.scopes[int(hits.scope[i])].value, row)
                if key is not None and (hits.warm[i] or not reasons[int(hits.reason[i])].learned):
                    _note(told, attacks, name, key, float(batch.ts[row]))
        told.seconds += time.process_time() - began
    return told


def _note(told: Told, attacks: Sequence[Attack], detector: str, key: str, ts: float) -> None:
    about = [attack for attack in attacks if key in attack.keys and ts >= attack.events[0]["ts"]]
    for attack in about:
        if attack.detector == detector:
            told.delay_s.setdefault(attack.name, ts - attack.events[0]["ts"])
    if not about:
        told.accused.add((detector, key))


def _keys(rng: np.random.Generator, n: int) -> dict[str, npt.NDArray[np.uint64]]:
    return {name: rng.integers(1, 2**63, n).astype(np.uint64) for name in KEYS}


def _part(
    rng: np.random.Generator, keys: Mapping[str, npt.NDArray[np.uint64]], flood: Flood, minute: int, minutes: int
) -> Batch:
    """The flood's rows of one minute; a key's repeats come in the same minute."""
    n = len(next(iter(keys.values())))
    low, high = minute * n // minutes, (minute + 1) * n // minutes
    rows = (high - low) * flood.repeats
    columns: dict[str, npt.NDArray[Any]] = {k: np.tile(of[low:high], flood.repeats) for k, of in keys.items()}
    columns["ts"] = np.sort(FLOOD_FROM + (minute + rng.random(rows)) * MINUTE_S)
    columns["auth"] = np.full(rows, int(flood.auth))
    columns["status"] = np.full(rows, flood.status)
    return batch_of_columns(columns)


def _merged(one: Batch, other: Batch) -> Batch:
    """Both in time order."""
    order = np.argsort(np.concatenate([one.ts, other.ts]), kind="stable")
    table = pa.Table.from_batches([one.arrow, other.arrow]).take(pa.array(order)).combine_chunks()
    return Batch(table.to_batches()[0])


def _minutes(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Events of each minute of the flood, none left out."""
    parts: list[list[Event]] = [[] for _ in range(round((NOON_S - FLOOD_FROM) / MINUTE_S))]
    for event in events:
        parts[int((event["ts"] - FLOOD_FROM) // MINUTE_S)].append(event)
    return iter(parts)


def _sorted(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: float(event["ts"]))


def _attacks(world: World) -> Iterator[Attack]:
    """One on each customer, five kinds in turn, and two on people."""
    kinds = (_burst, _abroad, _xml, _refused, _harvest)
    for who in range(CUSTOMERS):
        begin = ATTACKS_FROM + float(world.rng.uniform(0.0, 1800.0))
        detector, events = kinds[who % len(kinds)](world, who, begin)
        keys = {f"customer-{who}", f"key-{who}", address_of(who)}
        yield Attack(f"{detector} {who}", detector, _sorted(events), frozenset(keys))
    for i in range(PEOPLE_ATTACKED):
        begin = ATTACKS_FROM + float(world.rng.uniform(0.0, 1800.0))
        account = f"person-{100 + i}"
        tries = [login(begin + 40.0 * j, f"45.{i}.{j % 8}.7", account, ok=False) for j in range(60)]
        yield Attack(f"account {i}", "credential_stuffing", tries, frozenset({account}))
    for i in range(PEOPLE_ATTACKED):
        begin = ATTACKS_FROM + float(world.rng.uniform(0.0, 1800.0))
        own = f"{20 + (200 + i) % 90}.0.{200 + i}.7"  # where the person logs in from
        tries = [login(begin + 20.0 * j, own, f"person-{1000 + 60 * i + j}", ok=False) for j in range(40)]
        yield Attack(f"list {i}", "credential_stuffing", tries, frozenset({own, own.rsplit(".", 1)[0] + ".0/24"}))


def _burst(world: World, who: int, begin: float) -> tuple[str, list[Event]]:
    return "rate_spike", [world.call(who, begin + 2.0 * i) for i in range(150)]


def _abroad(world: World, who: int, begin: float) -> tuple[str, list[Event]]:
    there = {"ip": f"203.0.{who}.9", "asn": 65_001, "country": "BR", "user_agent": "curl/8.5"}
    owner = [world.call(who, begin + 60.0 * i + 30.0) for i in range(30)]
    return "leaked_key", [*owner, *(world.call(who, begin + 60.0 * i, **there) for i in range(30))]


def _xml(world: World, who: int, begin: float) -> tuple[str, list[Event]]:
    calls = [world.call(who, begin + 300.0 * i) for i in range(5)]
    fields = [":obj", "?:str", "Envelope.Body.x:str", "Envelope.Body:obj", "Envelope:obj", "xmlns:str"]
    odd = {"hash": "xml", "fields": fields}
    return "payload_drift", [{**call, "status": 200, "shape": {**call["shape"], **odd}} for call in calls]


def _refused(world: World, who: int, begin: float) -> tuple[str, list[Event]]:
    refused = {"status": 403, "denied": True}
    return "restricted_probe", [world.call(who, begin + 120.0 * i, model=f"secret-{i}", **refused) for i in range(10)]


def _harvest(world: World, who: int, begin: float) -> tuple[str, list[Event]]:
    asked = {"endpoint": CALLS, "path": CALLS, "model": LOGPROBS, "status": 200, "features": ["logprobs"]}
    return "model_extraction", [world.call(who, begin + 4.0 * i, **asked) for i in range(900)]
