"""An entry with a value of another type than it should have is read as well as one without."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.contract.format_cases import JSON_CASES, Case

from gatewatch.events.formats import get
from gatewatch.events.formats.typed import TypedFormat, leniently

CASES = [case for case in JSON_CASES if isinstance(case.make(), TypedFormat)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_ways_to_read_an_entry_give_one_event(case: Case) -> None:
    """If this fails, one odd value in an entry changes what its other fields mean."""
    form = case.make()
    assert isinstance(form, TypedFormat)
    for raw in (case.raw, json.dumps(case.secret).encode()):
        entry = msgspec.json.decode(raw)
        assert form.event(leniently(form.entry, entry)) == form.element(raw)


def test_a_value_of_another_type_costs_no_other_field() -> None:
    """If this fails, a gateway that writes a number in quotes, or an object for a name, is not read."""
    entry = {
        "start_time": "1795491465550", "latency": "411.0", "route_id": 7, "client_ip": {"x": 1}, "consumer": "acme",
        "request": {"method": ["GET", "POST"], "uri": "/v1?x", "size": "900", "headers": ["a"]}, "response": [],
        "llm_summary": {"stream": "yes", "duration": "12"},
    }  # fmt: skip
    (event,) = get("apisix").decode([json.dumps(entry).encode()]).events
    assert (event.ts, event.latency_ms, event.endpoint) == (1795491465.961, 411.0, "7")
    assert (event.method, event.path, event.bytes_in, event.ttft_ms) == ("POST", "/v1", 900.0, 12.0)
    assert (event.ip, event.principal, event.status, event.user_agent) == (None, None, None, None)


def test_numbers_of_nginx_stand_in_text_or_in_a_list() -> None:
    """If this fails, whoever quotes all variables, as examples do, has no sizes and no status."""
    entry = {"ts": "1.5", "st": "401", "rt": "0.005, 0.002", "in": ["7", "-"], "out": True, "ua": 7}
    (event,) = get("nginx").decode([json.dumps(entry).encode()]).events
    assert (event.status, event.latency_ms, event.bytes_in, event.bytes_out, event.user_agent) == (
        401,
        2.0,
        7,
        None,
        "7",
    )
