"""What must never happen at a gateway, through ingest, the real detectors and the real guards.

The other cases need an enforcer: tests/unit/enforce/test_worker.py (restarts, forged headers, no Kafka, orders that
name everybody) and test_ledger.py (clocks that differ), tests/integration/test_nginx_alone.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from gatewatch.flow import Flow
from gatewatch.records import Alert, Decision
from gatewatch.registry import load
from gatewatch.settings import Settings, Source

pytestmark = pytest.mark.slow
T0 = 1_769_990_400.0  # midnight: a third of a day begins
THIRD_S = 8 * 3600.0
NAT, GATEWAY = "203.0.113.9", "10.0.0.7"


def _event(ts: float, ip: str, **more: Any) -> dict[str, Any]:
    """One request, served unless told otherwise."""
    return {"ts": ts, "ip": ip, "method": "POST", "path": "/v1/login", "endpoint": "/v1/login", "status": 200, **more}


def _stuffing(start: float, ip: str, n: int = 400) -> list[dict[str, Any]]:
    """A list of accounts tried from one address, one a second."""
    return [_event(start + i, ip, account=f"someone-{i}", status=401, auth="failure") for i in range(n)]


def _run(events: Iterable[dict[str, Any]], detector: str, **sections: Any) -> tuple[list[Alert], list[Decision]]:
    """What is said and ordered, with that detector in mode block, the guards as they are by default."""
    document = {
        "kafka": {"partitions": 1},
        "detectors": {detector: {"mode": "block", **sections.pop("options", {})}},
        **sections,
    }
    settings = Settings.model_validate(document)
    flow = Flow(settings, Source(topic="edge", format="native"), entries={detector: load(detector)})
    lines = [json.dumps(event).encode() for event in sorted(events, key=lambda event: float(event["ts"]))]
    outcomes = [flow.feed(lines[at : at + 500]) for at in range(0, len(lines), 500)]
    outcomes.append(flow.finish())
    return [a for o in outcomes for a in o.alerts], [d for o in outcomes for d in o.decisions]


def _customers(n: int, ip: str) -> list[dict[str, Any]]:
    """People who log in in the night and in the morning, and work."""
    return [
        _event(T0 + third * THIRD_S + 20.0 * i + j, ip, principal=f"user-{i}", account=f"user-{i}", auth="success")
        for third in range(2)
        for i in range(n)
        for j in range(3)
    ]


def test_an_attack_behind_the_nat_of_200_customers_is_told_and_their_address_goes_on() -> None:
    """If this fails, one bad laptop takes the whole office, or a whole mobile network, off."""
    events = _customers(200, NAT) + _stuffing(T0 + 2 * THIRD_S, NAT)
    alerts, orders = _run(events, "credential_stuffing")
    assert [o for o in orders if o.value.startswith("203.0.113.")] == []
    refused = {alert.context["refused"] for alert in alerts if alert.key == NAT and "refused" in alert.context}
    assert any("principals use it in good health" in text for text in refused), refused


def test_the_same_attack_from_an_address_of_its_own_is_blocked() -> None:
    """If this fails, nothing is ever blocked, and the test above means nothing."""
    events = _customers(200, NAT) + _stuffing(T0 + 2 * THIRD_S, "198.51.100.66")
    _alerts, orders = _run(events, "credential_stuffing")
    assert {order.value for order in orders} >= {"198.51.100.66"}
    assert NAT not in {order.value for order in orders}


@pytest.mark.parametrize("large", [6, 25])
def test_a_flood_that_would_block_30_percent_of_the_traffic_stops_a_tenth_at_most(large: int) -> None:
    """If this fails, a deployment that makes customers repeat requests is an outage for a third of them."""
    quiet = [_event(T0 + i / 10.0, f"198.51.100.{i % 250}", principal=f"small-{i % 500}") for i in range(7000)]
    known = [_event(T0 + i / 4.3, "192.0.2.1", principal=f"large-{i % large}") for i in range(3000)]
    flood = [_event(T0 + 700.0 + i / 20.0, "192.0.2.1", principal=f"large-{i % large}") for i in range(200 * large)]
    options = {"limits": {"requests_per_minute": 40}, "block": {"scope": "principal", "min_severity": "low"}}
    alerts, orders = _run(quiet + known + flood, "rate_spike", options=options)
    stopped = {order.value for order in orders if order.value.startswith("large-")}
    accused = {alert.key for alert in alerts if alert.key.startswith("large-")}
    assert len(accused) == large, "every one of them is told of"
    assert 0.3 * len(stopped) / large <= 0.1, f"{len(stopped)} of {large} with 30 % of the traffic are stopped"
    assert any("of live traffic" in alert.context.get("refused", "") for alert in alerts)


def test_when_all_requests_seem_to_come_from_the_gateway_itself_it_is_not_blocked() -> None:
    """If this fails, a lost header makes the first attack an outage for everybody."""
    alerts, orders = _run(_customers(3, GATEWAY) + _stuffing(T0 + 2 * THIRD_S, GATEWAY), "credential_stuffing")
    assert [order.value for order in orders if order.value.startswith("10.")] == []
    refused = [alert.context.get("refused", "") for alert in alerts if alert.key == GATEWAY]
    assert any("10.0.0.0/8 is protected" in text for text in refused), refused
