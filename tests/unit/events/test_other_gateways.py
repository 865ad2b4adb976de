"""What the suite of all formats cannot ask: how each gateway tells logins, streams, and halves of a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewatch.errors import BadReason
from gatewatch.events import formats
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.cloudevents import INFERENCE_FIELDS
from gatewatch.settings import Source


def _events(name: str, *entries: Any, hops: int = 0) -> list[AccessEvent]:
    form = formats.get(name, source=Source(topic="t", format=name, trusted_hops=hops))
    decoded = form.decode([json.dumps(entry).encode() for entry in entries])
    assert decoded.bad == []
    return decoded.events


def _reason(name: str, value: bytes) -> BadReason:
    (bad,) = formats.get(name).decode([value]).bad
    return bad.reason


def test_kong_names_nobody_for_a_wrong_key_and_reads_older_plugins() -> None:
    """If this fails, brute force is somebody's traffic, and token counts of older Kongs are lost."""
    (event,) = _events("kong", {
        "started_at": 1795491465548, "latencies": {"request": 4, "proxy": -1}, "response": {"status": 401},
        "workspace_name": "default", "ai": {"ai-proxy": {"usage": {"prompt_tokens": 5}}},
    })  # fmt: skip
    assert (event.principal, event.credential, event.project) == (None, None, None)
    assert (event.status, event.latency_ms, event.tokens_in) == (401, 4.0, 5.0)


def test_kong_takes_the_model_that_the_proxy_called() -> None:
    """If this fails, tokens of a guard's own model are the caller's, and the caller's are lost."""
    entry = {
        "started_at": 1795491465548,
        "ai": {
            "ai-prompt-guard": {"meta": {"request_model": "guard"}},
            "ai-proxy": {"meta": {"request_model": "chat"}, "usage": {"prompt_tokens": 5}},
        },
    }
    (event,) = _events("kong", entry)
    assert (event.model, event.tokens_in) == ("chat", 5.0)


def test_kong_takes_the_credential_for_who_has_no_consumer() -> None:
    """If this fails, external identities behind Kong have no baseline of their own."""
    (event,) = _events("kong", {"started_at": 1795491465548, "authenticated_entity": {"id": "k-9"}})
    assert (event.principal, event.credential) == ("k-9", "k-9")


@pytest.mark.parametrize(("kind", "count"), [("DownstreamStart", 0), ("DownstreamPeriodic", 0), ("DownstreamEnd", 1)])
def test_envoy_counts_a_stream_once(kind: str, count: int) -> None:
    """If this fails, a long chat is a burst of requests."""
    entry = {"start_time": "2026-11-24T03:37:45.548Z", "access_log_type": kind}
    assert len(_events("envoy", entry)) == count


def test_envoy_entries_of_the_access_log_service_are_read() -> None:
    """If this fails, who sends Envoy's log by gRPC and a bridge has dead letters only."""
    (event,) = _events("envoy", {
        "commonProperties": {
            "startTime": "2026-11-24T03:37:45.548Z", "duration": "1.526s", "responseFlags": {"rateLimited": True},
            "downstreamRemoteAddress": {"socketAddress": {"address": "203.0.113.9", "portValue": 64484}},
            "accessLogType": "DownstreamEnd",
            "metadata": {"filterMetadata": {"io.envoy.ai_gateway": {"llm_input_token": 15}}},
        },
        "request": {"requestMethod": "POST", "path": "/v1/chat?x=1", "userAgent": "curl/8", "requestBodyBytes": "105"},
        "response": {"responseCode": 429, "responseBodyBytes": "432"},
    })  # fmt: skip
    assert (event.method, event.path, event.status, event.ip) == ("POST", "/v1/chat", 429, "203.0.113.9")
    assert (event.latency_ms, event.bytes_in, event.bytes_out, event.tokens_in) == (1526.0, 105.0, 432.0, 15.0)
    assert (event.error, round(event.ts, 3)) == ("rateLimited", 1795491467.074)


def test_envoy_takes_the_address_that_our_proxies_vouch_for() -> None:
    """If this fails, a client chooses its address by a header."""
    entry = {
        "start_time": "2026-11-24T03:37:45.548Z", "downstream_remote_address": "10.0.0.1:7",
        "x-forwarded-for": "192.0.2.66, 203.0.113.9", "response_code": 0, "response_flags": "DC",
    }  # fmt: skip
    assert [e.ip for e in _events("envoy", entry)] == ["10.0.0.1"]
    (event,) = _events("envoy", entry, hops=1)
    assert (event.ip, event.status, event.error) == ("203.0.113.9", 0, "DC")


def test_otlp_reads_the_spans_of_an_export_and_leaves_out_the_other_half_of_a_call() -> None:
    """If this fails, every call through an instrumented gateway counts twice."""
    model = [{"key": "gen_ai.request.model", "value": {"stringValue": "gpt-x"}}]
    span = {"endTimeUnixNano": "1795491466548000000", "attributes": model}
    spans = [{**span, "kind": 2}, {**span, "kind": 3, "parentSpanId": "00f067aa0ba902b7"}, {**span, "kind": 3}, span]
    export = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    decoded = formats.get("otlp").decode([json.dumps(export).encode()])
    assert (decoded.bad, decoded.element_index) == ([], [0, 2, 3])
    assert {e.model for e in decoded.events} == {"gpt-x"}


def test_a_bad_span_costs_no_other_of_its_export() -> None:
    """If this fails, one broken span hides a whole batch of the collector."""
    good = b'{"kind":2,"endTimeUnixNano":"1795491466548000000"}'
    value = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + good + b',{"kind":2},' + good + b"]}]}]}"
    decoded = formats.get("otlp").decode([value])
    assert decoded.element_index == [0, 2]
    assert [(bad.element_index, bad.reason) for bad in decoded.bad] == [(1, BadReason.MISSING)]


@pytest.mark.parametrize("value", [b"\n\xb4\x01\n\x1f\n\x1d", b'{"resourceLogs":[]}', b'{"resourceMetrics":[]}'])
def test_otlp_says_what_it_does_not_read(value: bytes) -> None:
    """If this fails, a collector with its default encoding looks like broken JSON."""
    assert _reason("otlp", value) is BadReason.UNSUPPORTED


def test_ocsf_tells_a_failed_login_by_its_own_word() -> None:
    """If this fails, guessing of keys is not seen, or a failed API call counts as a guess."""
    login = {
        "class_uid": 3002, "activity_id": 1, "time": 1795491465601, "status_id": 2, "status_code": "401",
        "user": {"uid": "sha256:250fde42"}, "src_endpoint": {"ip": "203.0.113.9"},
    }  # fmt: skip
    call = {"class_uid": 6003, "time": 1795491465601, "status_id": 2, "actor": {"user": {"name": "ada"}}}
    failed, logged_in, logged_off, other = (
        _events("ocsf", login),
        _events("ocsf", {**login, "status_id": 1, "user": {"name": "ada"}}),
        _events("ocsf", {**login, "activity_id": 2}),
        _events("ocsf", call),
    )
    assert [(e.auth, e.principal, e.credential, e.status) for e in failed] == [
        ("failure", None, "sha256:250fde42", 401)
    ]
    assert [(e.auth, e.principal, e.account) for e in logged_in] == [("success", "ada", "ada")]
    assert logged_off == []
    assert [(e.auth, e.principal) for e in other] == [(None, "ada")]
    assert _reason("ocsf", b'{"class_uid":2004,"time":1}') is BadReason.UNSUPPORTED


def test_kserve_counts_a_call_once_and_trusts_no_id_of_the_client() -> None:
    """If this fails, a call counts twice, or a client that repeats its id hides its requests as retries."""
    half = {
        "specversion": "1.0", "id": "e58f1edd", "time": "2026-11-24T03:40:00.123Z", "inferenceservicename": "iris",
        "namespace": "prod", "metadata": '{"X-Forwarded-For":["203.0.113.9"]}', "data": {"instances": [[6.8, 2.8]]},
    }  # fmt: skip
    kind = "org.kubeflow.serving.inference."
    (event,) = _events("cloudevents", {**half, "type": f"{kind}request"}, {**half, "type": f"{kind}response"})
    assert (event.request_id, event.model, event.project, event.ip) == (None, "iris", "prod", "203.0.113.9")
    filled = {name for name in AccessEvent.__struct_fields__ if getattr(event, name) is not None}
    assert filled <= INFERENCE_FIELDS, "its recipe says which detectors are blind"
    assert event.shape is not None
    assert event.shape.fields == [":obj", "instances:arr", "instances[]:arr", "instances[][]:num"]


def test_a_cloudevent_without_its_envelope_is_told_apart() -> None:
    """If this fails, who sends binary mode, which cannot be read here, gets no hint why."""
    assert _reason("cloudevents", b'{"instances":[[1]]}') is BadReason.MISSING


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("principal", 4711, "4711"),
        ("account", 7, "7"),
        ("features", "logprobs", ["logprobs"]),
        ("auth", "SUCCESS", "success"),
        ("asn", "AS64500", 64500),
    ],
)
def test_native_habits_of_producers_cost_no_event(field: str, written: Any, read: Any) -> None:
    """If this fails, a site whose user ids are numbers has dead letters only."""
    (event,) = _events("native", {"ts": 1795491465.5, field: written})
    assert getattr(event, field) == read


def test_native_names_are_no_objects_and_no_truths() -> None:
    """If this fails, ``true`` becomes somebody's name, and whoever has it shares a baseline."""
    assert _reason("native", b'{"ts":1,"principal":true}') is BadReason.TYPE
    assert _reason("native", b'{"ts":1,"auth":"Maybe"}') is BadReason.TYPE
