"""``map:`` reads any JSON, and says what is wrong with itself before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.format_cases import encoded

from gatewatch.errors import BadReason, ConfigError
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Decoded
from gatewatch.events.formats.native import Mapped

TS = {"ts": "$.t"}


def _decode(fields: dict[str, Any], row: dict[str, Any], hops: int = 0) -> Decoded:
    return Mapped(fields, hops).decode([encoded(row)])


def _event(fields: dict[str, Any], row: dict[str, Any], hops: int = 0) -> AccessEvent:
    (event,) = _decode(TS | fields, {"t": 5} | row, hops).events
    return event


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("$.a.b", {"a": {"b": "x"}}),
        ("$.a[1].b", {"a": [0, {"b": "x"}]}),
        ("$['a.b'].c", {"a.b": {"c": "x"}}),
        ('$["a.b"]["c d"]', {"a.b": {"c d": "x"}}),
        ('$["a\'b"]', {"a'b": "x"}),
        ("$.a-b.@c", {"a-b": {"@c": "x"}}),
        ("$.a[0][1]", {"a": [[0, "x"]]}),
    ],
)
def test_paths(path: str, row: dict[str, Any]) -> None:
    """If this fails, a field that is in the entry cannot be reached."""
    assert _event({"model": path}, row).model == "x"


@pytest.mark.parametrize("row", [{}, {"a": None}, {"a": "x"}, {"a": {"b": None}}, {"a": [1]}, {"a": {"b": {"c": "x"}}}])
def test_a_path_that_leads_nowhere_is_absent(row: dict[str, Any]) -> None:
    """If this fails, an entry of another form is lost, or an object becomes a name."""
    assert _event({"model": "$.a.b"}, row).model is None


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1795491465.5, None),
        ("1795491465.5", None),
        (1795491465500, "ms"),
        ("1795491465500", "ms"),
        (1795491465500000, "us"),
        ("1795491465500000000", "ns"),
        ("2026-11-24T03:37:45.500Z", "iso8601"),
        ("2026-11-24T03:37:45.500000000Z", "ms"),
        ("2026-11-24T04:37:45.5+01:00", None),
        ("2026-11-24 03:37:45.5", None),
    ],
)
def test_times_in_any_unit(value: Any, unit: str | None) -> None:
    """If this fails, events of 1970 or of the year 58000 move everybody's clock."""
    spec = {"path": "$.t"} | ({"unit": unit} if unit else {})
    (event,) = _decode({"ts": spec}, {"t": value}).events
    assert event.ts == pytest.approx(1795491465.5, abs=1e-3)


def test_a_time_in_the_wrong_unit_says_what_to_write() -> None:
    """If this fails, a whole topic is dead letters and nobody knows why."""
    (bad,) = _decode(TS, {"t": 1795491465500}).bad
    assert bad.reason is BadReason.TIME
    assert "unit: ms" in bad.detail


@pytest.mark.parametrize(("unit", "factor"), [("s", 1000.0), ("ms", 1.0), ("us", 1e-3), ("ns", 1e-6)])
def test_durations_in_any_unit(unit: str, factor: float) -> None:
    """If this fails, a latency in seconds is a thousand times too small."""
    event = _event({"latency_ms": {"path": "$.d", "unit": unit}}, {"d": "0.005, 3"})
    assert event.latency_ms == pytest.approx(3 * factor)


def test_values_are_read_as_gateways_write_them() -> None:
    """If this fails, a field in another spelling is lost."""
    event = _event(
        {"status": "$.s", "asn": "$.n", "denied": "$.d", "features": "$.f", "auth": "$.a", "ip": "$.ip", "path": "$.p"},
        {"s": "502, 200", "n": "64500", "d": "yes", "f": "tools", "a": "SUCCESS", "ip": "1.2.3.4:5", "p": "/a?b#c"},
    )
    assert (event.status, event.asn, event.denied, event.features) == (200, 64500, True, ["tools"])
    assert (event.auth, event.ip, event.path) == ("success", "1.2.3.4", "/a")


def test_a_chain_of_addresses_is_reduced_by_our_own_proxies() -> None:
    """If this fails, a client chooses its address by a header."""
    chain = {"x": "6.6.6.6, 203.0.113.9, 10.0.0.1"}
    assert [_event({"ip": "$.x"}, chain, hops).ip for hops in (0, 1)] == ["10.0.0.1", "203.0.113.9"]


def test_a_constant_and_bodies() -> None:
    """If this fails, a source cannot say which project it is, or payload drift is blind on it."""
    event = _event({"project": {"value": "p"}, "body": "$.b"}, {"b": '{"k": 1}'})
    assert event.project == "p"
    assert event.shape is not None
    assert event.shape.fields == [":obj", "k:num"]
    assert {"project", "shape"} < Mapped(TS | {"project": {"value": "p"}, "body": "$.b"}).fields


def test_unknown_words_for_auth_are_told() -> None:
    """If this fails, a mapping that is wrong makes every detector of logins blind in silence."""
    (bad,) = _decode(TS | {"auth": "$.a"}, {"t": 5, "a": "granted"}).bad
    assert (bad.reason, "success" in bad.detail, "granted" in bad.detail) == (BadReason.TYPE, True, False)


@pytest.mark.parametrize(
    ("fields", "place", "says"),
    [
        ({}, "map", "ts is required"),
        (TS | {"modle": "$.m"}, "map.modle", "model"),
        (TS | {"shape": "$.m"}, "map.shape", "no field"),
        (TS | {"model": "m"}, "map.model", "begins with"),
        (TS | {"model": "$.a[x]"}, "map.model", "from character 3"),
        (TS | {"model": 5}, "map.model", "give a path"),
        (TS | {"model": {"path": "$.m", "units": "s"}}, "map.model", "give a path"),
        ({"ts": {"path": "$.t", "unit": "minutes"}}, "map.ts.unit", "iso8601"),
        (TS | {"latency_ms": {"path": "$.l", "unit": "iso8601"}}, "map.latency_ms.unit", "none of"),
        (TS | {"bytes_in": {"path": "$.l", "unit": "s"}}, "map.bytes_in.unit", "latency_ms"),
    ],
)
def test_a_wrong_map_names_its_place(fields: dict[str, Any], place: str, says: str) -> None:
    """If this fails, a typing error in a map is found in production."""
    with pytest.raises(ConfigError) as caught:
        Mapped(fields)
    assert caught.value.path == place
    assert says in caught.value.problem
