"""Nothing in an event may give its label away: else a detector could be good at the simulator and bad at its job."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from ipaddress import ip_address
from typing import Any

import msgspec
import numpy as np
import pytest

from gatewatch.events.event import AccessEvent
from gatewatch.events.secrets import looks_secret
from gatewatch.simulate.scenario import Simulation

# Who and where an attack comes from is its own; everything else it shares with benign traffic.
_CATEGORIES = (
    "method", "path", "endpoint", "project", "status", "auth", "denied", "error", "model", "model_version", "provider",
    "user_agent", "country", "asn", "account_known",
)  # fmt: skip


@cache
def _events() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Benign and hostile events of three hours with every attack."""
    simulation = Simulation("mixed", rate=10.0, duration_s=3 * 3600.0, start=1772539200.0, seed=5)
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for window in simulation.windows():
        for label, value in zip(window.rows["episode"].tolist(), window.values, strict=True):
            sides[label >= 0].append(msgspec.json.decode(value))
    return sides


def _chi_square(counts: Counter[Any]) -> float:
    """How far counts are from being equal."""
    seen = np.array(list(counts.values()), np.float64)
    return float(((seen - seen.mean()) ** 2 / seen.mean()).sum())


def test_there_is_enough_of_both() -> None:
    """The other tests here would compare nothing with nothing."""
    benign, hostile = _events()
    assert len(benign) > 80_000
    assert len(hostile) > 20_000


@pytest.mark.parametrize("name", _CATEGORIES)
def test_hostile_values_are_seen_in_benign_traffic_too(name: str) -> None:
    """A detector could learn the one user agent or status that only simulated attackers have."""
    benign, hostile = _events()
    assert {event.get(name) for event in hostile} <= {event.get(name) for event in benign}


def test_hostile_events_have_the_same_fields() -> None:
    """A detector could tell an attack by a field that is present or absent."""
    benign, hostile = _events()
    assert {frozenset(event) for event in hostile} <= {frozenset(event) for event in benign}
    shapes = {frozenset(event["shape"]) for event in benign if "shape" in event}
    assert {frozenset(event["shape"]) for event in hostile if "shape" in event} <= shapes


def test_fields_stand_in_one_order_and_have_one_type() -> None:
    """A detector could tell an attack by how its JSON is written."""
    order = {field.name: i for i, field in enumerate(msgspec.structs.fields(AccessEvent))}
    benign, hostile = _events()
    for event in (*benign, *hostile):
        places = [order[name] for name in event]
        assert places == sorted(places)
    types = {(name, type(value)) for event in benign for name, value in event.items()}
    assert {(name, type(value)) for event in hostile for name, value in event.items()} <= types


def test_body_shapes_are_shared() -> None:
    """The drifted payload could be told by a structure that nobody else ever sends."""
    benign, hostile = _events()
    known = {event["shape"]["hash"] for event in benign if "shape" in event}
    assert {event["shape"]["hash"] for event in hostile if "shape" in event} <= known


def test_request_ids_are_uniform_and_unique() -> None:
    """A counter, a prefix or a range in the ids would be the label in disguise."""
    benign, hostile = _events()
    ids = [event["request_id"] for event in (*benign, *hostile)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in ids)
    digits = Counter(event["request_id"][place] for event in hostile for place in (0, 15, 31))
    assert len(digits) == 16
    assert _chi_square(digits) < 44.3  # 15 degrees of freedom, p = 1e-4


def test_times_have_the_same_grain() -> None:
    """Attack times on whole seconds, or with more digits, would stand out."""
    _, hostile = _events()
    thousandths = Counter(round(event["ts"] * 1000) % 10 for event in hostile)
    assert len(thousandths) == 10
    assert _chi_square(thousandths) < 33.7  # 9 degrees of freedom, p = 1e-4


def test_addresses_come_from_the_same_reserved_ranges() -> None:
    """An attacker's range could give it away; or an address could belong to somebody real."""

    def ranges(events: list[dict[str, Any]]) -> set[str]:
        return {event["ip"].split(":")[0] if ":" in event["ip"] else event["ip"].split(".")[0] for event in events}

    benign, hostile = _events()
    assert ranges(hostile) <= ranges(benign) <= {"192", "198", "203", "240", "2001"}
    assert not any(ip_address(event["ip"]).is_global for event in (*benign, *hostile))


def test_accounts_and_keys_are_named_alike() -> None:
    """Made-up accounts or keys could be told by their spelling."""
    _, hostile = _events()
    for event in hostile:
        assert re.fullmatch(r"[a-z]+\.[a-z]+\d+@example\.(com|org|net)", event.get("account", "a.b1@example.com"))
        assert re.fullmatch("[0-9a-f-]{36}", event.get("credential", 36 * "0"))


def test_no_identifier_looks_like_a_secret() -> None:
    """Ingest would hash it, and alerts would name another key than the labels do."""
    benign, hostile = _events()
    for event in (*benign[::20], *hostile[::20]):
        assert not any(looks_secret(event.get(name, "")) for name in ("principal", "credential", "account", "session"))
