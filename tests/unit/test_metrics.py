"""What is counted, as a scraper sees it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gatewatch.errors import BadReason
from gatewatch.log.base import TopicPartition
from gatewatch.metrics import SPECS, Metrics
from gatewatch.records import Explanation, Finding, Scope


@pytest.fixture
def metrics() -> Metrics:
    """Of a process that has just begun."""
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One series, or None where there is none."""
    return metrics.registry.get_sample_value(name, labels)


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """Labels of every series of a metric."""
    text = generate_latest(metrics.registry).decode()
    return [s.labels for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def table(metrics: Metrics, **sizes: int) -> None:
    """Tell of one table."""
    metrics.table("rate_spike", "ip", **{"rows": 1, "capacity": 8, "nbytes": 9, "evicted": 0, "refused": 0, **sizes})


def finding(**fields: Any) -> Finding:
    """A finding at event time 100."""
    given = {
        "id": "f", "detector": "rate_spike", "version": 1, "scope": Scope.IP, "key": "203.0.113.7", "reason": "burst",
        "title": "Request burst", "ts": 100.0, "since": 90.0, "nats": 20.0, "threshold_nats": 12.0, "observed": 400.0,
        "expected": 3.0, "unit": "requests", "window_s": 60.0, "learned": True, "warm": True, "sample": "t-0-1-0",
        "explanation": Explanation((), "", ""),
    }  # fmt: skip
    return Finding(**{**given, **fields})


def test_names_follow_the_rules_of_prometheus() -> None:
    """Otherwise dashboards break on the day that a client library starts to check them."""
    for spec in SPECS:
        assert spec.name.startswith("gatewatch_")
        assert spec.name.endswith("_total") == (spec.kind == "counter"), spec.name
        assert spec.meaning.endswith("."), spec.name
    assert len({spec.name for spec in SPECS}) == len(SPECS)


def test_two_processes_in_one_interpreter_do_not_share(metrics: Metrics) -> None:
    """Otherwise a demo and a test count into each other, or the second fails as a duplicate."""
    metrics.moved_rows(5)
    assert value(Metrics(), "gatewatch_moved_rows_total") == 0.0


def test_series_of_ingest_are_there_at_zero(metrics: Metrics) -> None:
    """Otherwise `increase()` misses the first dead letter ever, which is the one that matters."""
    metrics.sources(["access-events"])
    reasons = {labels["reason"] for labels in series(metrics, "gatewatch_dead_letters_total")}
    assert reasons == {reason.value for reason in BadReason}
    assert value(metrics, "gatewatch_events_total", topic="access-events", result="dead") == 0.0


def test_series_of_detect_and_decide_are_there_at_zero(metrics: Metrics) -> None:
    """Otherwise the first finding, alert or block ever is a series that appears at one, and no alert rule sees it."""
    metrics.detectors({"rate_spike": (["ip"], ["burst"])})
    metrics.policy(["rate_spike"], ["allow_list"])
    assert value(metrics, "gatewatch_findings_total", detector="rate_spike", scope="ip", reason="burst") == 0.0
    assert value(metrics, "gatewatch_refusals_total", guard="allow_list") == 0.0
    high = {"severity": "high", "status": "open", "mode": "alert"}
    assert value(metrics, "gatewatch_alerts_total", detector="rate_spike", **high) == 0.0
    assert value(metrics, "gatewatch_decisions_total", action="block", scope="ip", mode="block") == 0.0
    assert "off" not in {labels["mode"] for labels in series(metrics, "gatewatch_decisions_total")}


def test_partitions_that_have_gone_lose_their_series(metrics: Metrics) -> None:
    """Otherwise a worker reports the last lag of a partition that another one has read for hours."""
    metrics.routed_lag({TopicPartition("gatewatch.routed", 0): 7, TopicPartition("gatewatch.routed", 1): 8})
    metrics.routed_lag({TopicPartition("gatewatch.routed", 1): 2})
    assert series(metrics, "gatewatch_routed_lag") == [{"partition": "1"}]
    assert value(metrics, "gatewatch_routed_lag", partition="1") == 2.0


def test_a_task_without_a_watermark_has_no_series(metrics: Metrics) -> None:
    """Otherwise the age of event time is infinite on every start, and somebody is paged."""
    metrics.watermarks({0: float("-inf"), 1: 1000.0})
    assert series(metrics, "gatewatch_watermark_timestamp_seconds") == [{"partition": "1"}]


def test_evictions_count_on_when_a_partition_moves(metrics: Metrics) -> None:
    """Otherwise a rebalance looks like evictions undone, and the rate of them is wrong for hours."""
    labels = {"detector": "rate_spike", "table": "ip"}
    for evicted, counted in ((5, 5.0), (9, 9.0), (2, 9.0), (3, 10.0)):
        table(metrics, evicted=evicted)
        assert value(metrics, "gatewatch_state_evictions_total", **labels) == counted


@pytest.mark.parametrize(("now", "bucket"), [(100.04, "0.05"), (99.0, "0.01")])
def test_latency_of_a_finding_counts_from_the_end_of_the_request(metrics: Metrics, now: float, bucket: str) -> None:
    """Otherwise the delay that users feel is not measured; a gateway's clock that is ahead counts as no delay."""
    metrics.finding(finding(), now)
    assert value(metrics, "gatewatch_finding_latency_seconds_bucket", le=bucket) == 1.0


def test_no_label_holds_what_a_stranger_writes(metrics: Metrics) -> None:
    """Otherwise an attacker's names are in the monitoring, and ten million of them bring it down."""
    metrics.finding(finding(key="evil-key", project="evil-project", context={"principal": "evil-name"}), 101.0)
    assert b"evil" not in generate_latest(metrics.registry)
