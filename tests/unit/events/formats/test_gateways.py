"""What is peculiar to one gateway: the traps of contracts.md."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.format_cases import APISIX, KEY_HASH, LITELLM, NGINX, PLANTED, encoded

from gatewatch.errors import BadReason
from gatewatch.events import formats
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.combined import Combined
from gatewatch.settings import Source

LINE = (
    '203.0.113.9 - ada [17/May/2015:10:05:03 +0000] "GET /v1/models?key=s#top HTTP/1.1" 200 2326'
    ' "http://example.test/start?x=1" "Mozilla/5.0 (X11; \\"quoted\\")"'
)


def _one(name: str, entry: dict[str, Any], hops: int = 0) -> AccessEvent:
    decoded = formats.get(name, source=Source(topic="t", format=name, trusted_hops=hops)).decode([encoded(entry)])
    assert decoded.bad == []
    (event,) = decoded.events
    return event


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /v1/x HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer s3cr3t\r\n\r\n{}",
        b'["GET /v1/x HTTP/1.1\\r\\nhost: api.test"]',
    ],
)
def test_apisix_meta_format_origin_is_refused_with_the_fix(raw: bytes) -> None:
    """If this fails, a gateway set to a format without time and address fills dead letters with riddles."""
    decoded = formats.get("apisix").decode([raw])
    assert [b.reason for b in decoded.bad] == [BadReason.UNSUPPORTED]
    assert "meta_format default" in decoded.bad[0].detail


def test_apisix_of_a_custom_log_format_says_what_to_do() -> None:
    """If this fails, an operator's own log_format is refused without the way out."""
    (bad,) = formats.get("apisix").decode([b'{"host":"x","route_id":"1"}']).bad
    assert bad.reason is BadReason.MISSING
    assert "map" in bad.detail


def test_apisix_without_latency_ends_when_it_began() -> None:
    """If this fails, an entry without a latency is lost, or has one of zero that no request has."""
    event = _one("apisix", APISIX.without(("latency",)))
    assert (event.ts, event.latency_ms) == (1795491465.55, None)


def test_nginx_bare_variables_that_were_empty_are_mended() -> None:
    """If this fails, every request that NGINX answered itself, such as a refusal, is a dead letter."""
    raw = b'{"ts":1795492233.990,"ip":"203.0.113.9","uri":"/x","st":204,"urt":,"uht": ,"ua":"a \\":, b","rt":}'
    for value, index in ((raw, 0), (b"[" + NGINX.raw + b"," + raw + b"]", 1)):
        decoded = formats.get("nginx").decode([value])
        assert decoded.bad == []
        event = decoded.events[index]
        assert (event.status, event.latency_ms, event.user_agent) == (204, None, 'a ":, b')


def test_nginx_addresses_behind_our_own_proxies() -> None:
    """If this fails, everybody has the load balancer's address, or the one a client made up."""
    entry = NGINX.entry | {"ip": "10.0.0.1", "xff": "6.6.6.6, 203.0.113.9"}
    assert [_one("nginx", entry, hops).ip for hops in (0, 1, 2)] == ["10.0.0.1", "203.0.113.9", "6.6.6.6"]
    assert _one("nginx", entry | {"xff": "-"}, 1).ip == "10.0.0.1"


@pytest.mark.parametrize(
    "time", [{"time_local": "24/Nov/2026:04:37:47 +0100"}, {"@timestamp": "2026-11-24T03:37:47+00:00"}]
)
def test_nginx_in_the_words_of_the_usual_examples(time: dict[str, str]) -> None:
    """If this fails, a log whose format was copied from a manual, or is for Elasticsearch, is all dead letters."""
    line = {"remote_user": "", "request": "GET /x?y=1 HTTP/1.1", "status": "200", "body_bytes_sent": "180"}
    event = _one("nginx", time | {"client_ip": "203.0.113.9"} | line)
    assert (event.ts, event.ip, event.path, event.status) == (1795491467.0, "203.0.113.9", "/x", 200)


def test_nginx_status_499_stays() -> None:
    """If this fails, requests that clients broke off vanish from the counts."""
    assert _one("nginx", NGINX.entry | {"st": 499}).status == 499


def _combined(line: str) -> AccessEvent:
    decoded = Combined().decode([line.encode()])
    assert decoded.bad == [], line
    (event,) = decoded.events
    return event


def test_a_combined_line() -> None:
    """If this fails, plain access logs are read as something else."""
    event = _combined(LINE)
    assert (event.ts, event.ip, event.principal, event.account) == (1431857103.0, "203.0.113.9", "ada", None)
    assert (event.method, event.path, event.status, event.bytes_out) == ("GET", "/v1/models", 200, 2326.0)
    assert event.user_agent == 'Mozilla/5.0 (X11; "quoted")'


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("203.0.113.9", "2001:DB8::1", "ip", "2001:db8::1"),
        ("203.0.113.9", "example.test", "ip", None),
        ("ada", "-", "principal", None),
        ("ada", "ada [admin] lovelace", "principal", "ada [admin] lovelace"),
        ("+0000", "+0200", "ts", 1431849903.0),
        ("200 2326", "401 -", "account", "ada"),
        ("200 2326", "401 -", "principal", None),
        ("200 2326", "200 -", "bytes_out", None),
        ("GET /v1/models?key=s#top HTTP/1.1", "GET /v1/models", "path", "/v1/models"),
        ("GET /v1/models?key=s#top HTTP/1.1", "GET http://u:p@x.test/v1?k HTTP/1.1", "path", "/v1"),
        ("GET /v1/models?key=s#top HTTP/1.1", "\\x16\\x03\\x01", "path", None),
        ("GET /v1/models?key=s#top HTTP/1.1", "\\x16\\x03\\x01", "method", None),
        ("GET /v1/models?key=s#top HTTP/1.1", "-", "path", None),
        ("GET /v1/models?key=s#top HTTP/1.1", "", "method", None),
        (' "http://example.test/start?x=1" "Mozilla/5.0 (X11; \\"quoted\\")"', "", "user_agent", None),
        ('"Mozilla/5.0 (X11; \\"quoted\\")"', '"-"', "user_agent", None),
    ],
)
def test_what_varies_in_a_combined_line(old: str, new: str, field: str, value: Any) -> None:
    """If this fails, scanners' odd lines, or those of failed logins, are lost."""
    assert getattr(_combined(LINE.replace(old, new)), field) == value


def test_lines_wrapped_in_quotes_lose_nothing() -> None:
    """If this fails, an exported log has no address in it, and nobody can be found by it."""
    assert _combined(f'"{LINE}"') == _combined(LINE)


def test_a_broken_line_costs_no_other() -> None:
    """If this fails, one line of a scanner hides the file."""
    value = f"{LINE}\nno log line\r\n\n{LINE}\n".encode() + b"\xff\xfe\n" + LINE.encode() + b" \xff"
    decoded = Combined().decode([value, None, b"", LINE.replace("17/May", "45/Foo").encode()])
    assert list(zip(decoded.value_index, decoded.element_index, strict=True)) == [(0, 0), (0, 2), (0, 4)]
    assert [(b.value_index, b.element_index, b.reason) for b in decoded.bad] == [
        (0, 1, BadReason.LINE),
        (0, 3, BadReason.LINE),
        (3, 0, BadReason.TIME),
    ]


def _failed(**changes: Any) -> dict[str, Any]:
    """A payload of a request that failed before anybody was known."""
    return LITELLM.entry | {
        "status": "failure", "metadata": {"user_api_key_hash": KEY_HASH}, "response_cost": 0, "total_tokens": 0,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words", "status"),
    [
        ({"error_code": "401", "error_class": "ProxyException"}, None, 401),
        (
            {"error_code": "400", "error_class": "ProxyException"},
            "Authentication Error, Invalid proxy server token",
            400,
        ),
        ({"error_code": "", "error_class": "Exception"}, "No api key passed in", 401),
    ],
)
def test_litellm_wrong_keys_are_failures_with_their_own_hash(error: Any, words: str | None, status: int) -> None:
    """If this fails, somebody who tries keys one after the other is not seen."""
    event = _one("litellm", _failed(error_information=error, error_str=words))
    assert (event.auth, event.principal, event.status) == ("failure", None, status)
    assert event.credential == f"sha256:{KEY_HASH}"


def test_litellm_a_provider_that_fails_is_not_the_callers_failure() -> None:
    """If this fails, the proxy's own wrong key at a provider makes every customer look like an intruder."""
    error = {"error_code": "401", "error_class": "AuthenticationError", "llm_provider": "openai"}
    known = _one("litellm", LITELLM.entry | {"status": "failure", "error_information": error, "error_str": "API key"})
    assert (known.auth, known.principal, known.status) == ("success", "acme-batch", 401)


def test_litellm_other_failures_say_nothing_of_authentication() -> None:
    """If this fails, a model that does not exist counts as a failed login, or nobody sees who guesses their names."""
    error = {"error_code": "400", "error_class": "ProxyModelNotFoundError"}
    event = _one("litellm", _failed(error_information=error, error_str="Invalid model name passed in model=gpt-9"))
    assert (event.auth, event.status, event.error) == (None, 404, "ProxyModelNotFoundError")


@pytest.mark.parametrize("messages", ["redacted-by-litellm", [{"role": "user", "content": "redacted-by-litellm"}]])
def test_litellm_redacted_messages_have_no_shape(messages: Any) -> None:
    """If this fails, all requests are near-duplicates where messages are not logged, and new callers copy models."""
    answer = {"choices": [{"finish_reason": "length", "message": {"content": "redacted-by-litellm"}}]}
    shape = _one("litellm", LITELLM.entry | {"messages": messages, "response": answer}).shape
    assert shape is not None
    assert (shape.hash, shape.body_size, shape.finish_reason) == (None, None, "length")


def test_litellm_without_streaming_has_no_time_to_the_first_token() -> None:
    """If this fails, the latency of whole answers is taken for that of first tokens."""
    assert _one("litellm", LITELLM.entry | {"stream": None}).ttft_ms is None


def test_litellm_error_texts_stay_out() -> None:
    """If this fails, what a client wrote into a model's name stands in alerts."""
    assert PLANTED not in repr(
        _one("litellm", _failed(error_str=PLANTED, error_information={"error_message": PLANTED}))
    )
