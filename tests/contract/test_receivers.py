"""One suite for all receivers: what each HTTP answer means, that nothing hostile comes alive, that nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from slack_sdk import WebClient

from gatewatch.clock import ManualClock
from gatewatch.notify.base import Receiver, Result
from gatewatch.notify.notice import Bulletin, Line, Notice
from gatewatch.notify.receivers import slack_blocks
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.notify.receivers.webhook import SIGNATURE, Webhook, sign
from gatewatch.records import Alert, Incident, Severity, Status
from gatewatch.testing.alerts import NOW, PLAYBOOK, alert, incident, notice
from gatewatch.testing.sinks import StandIn, check_slack

SECRET = "s3cr3t-token-0123456789abcdef"
HOSTILE = "<!channel> <https://evil.test|click> *bold* `code` \u202egnp.exe & " + "x" * 100_000 + "\n\n# heading"


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A stand-in for the other side."""
    made = StandIn()
    yield made
    made.close()


Make = Callable[[str], Receiver]
RECEIVERS: dict[str, Make] = {
    "slack": lambda url: Slack("#abuse", SecretStr(SECRET), base_url=f"{url}/api/"),
    "pagerduty": lambda url: PagerDuty(SecretStr(SECRET), Severity.MEDIUM, url=url),
    "alertmanager": lambda url: Alertmanager(url, ManualClock(NOW)),
    "webhook": lambda url: Webhook(f"{url}/hook", SecretStr(SECRET), ManualClock(NOW)),
}
ALL = pytest.mark.parametrize("name", sorted(RECEIVERS))


@ALL
def test_a_good_answer_is_delivered(name: str, server: StandIn) -> None:
    """If this fails, alerts are told twice or not at all."""
    assert RECEIVERS[name](server.url).send(notice(), None).result is Result.DELIVERED
    assert len(server.seen) == (2 if name == "slack" else 1)  # Slack: the message, and details in its thread


# Slack answers 4xx only with 429: what it refuses is HTTP 200 with ok:false (test_slack_errors)
REFUSED = [
    (name, status, Result.NEVER)
    for name in RECEIVERS
    if name != "slack"
    for status in (301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422)
]
BUSY = [(name, status, Result.AGAIN) for name in RECEIVERS for status in (408, 425, 429, 500, 501, 502, 503, 504, 529)]


@pytest.mark.parametrize(("name", "status", "result"), REFUSED + BUSY)
def test_every_status_means_what_it_says(name: str, status: int, result: Result, server: StandIn) -> None:
    """If this fails, a refused alert is sent for ever, or one that only met a busy server is dropped."""
    server.answers.append((status, {"Retry-After": "7"}, b'{"ok":false,"error":"ratelimited"}'))
    attempt = RECEIVERS[name](server.url).send(notice(), None)
    assert attempt.result is result
    if status == 429:
        assert attempt.retry_after_s == 7.0


@ALL
def test_a_lost_connection_is_tried_again(name: str, server: StandIn) -> None:
    """If this fails, one reset connection loses an alert, or ends the notify role."""
    server.answers.append((0, {}, b""))
    assert RECEIVERS[name](server.url).send(notice(), None).result is Result.AGAIN


@ALL
def test_a_server_that_is_not_there_is_tried_again(name: str) -> None:
    """If this fails, a sink that is down for a minute loses its alerts."""
    assert RECEIVERS[name]("http://127.0.0.1:9").send(notice(), None).result is Result.AGAIN


@ALL
@pytest.mark.parametrize("status", list(Status))
def test_hostile_strings_arrive_bounded_and_inert(name: str, status: Status, server: StandIn) -> None:
    """If this fails, an attacker's user agent pings the whole channel, or makes the message too large to send."""
    hostile = notice(
        key=HOSTILE,
        project=HOSTILE,
        summary=HOSTILE,
        context={"user_agent": HOSTILE, "principal": HOSTILE},
        status=status,
    )
    assert RECEIVERS[name](server.url).send(hostile, None).result is Result.DELIVERED
    for path, _headers, body in server.seen:
        if name == "slack":
            check_slack(path, json.loads(body))
        if name != "webhook":  # a webhook is data for programs: whole, in JSON
            assert len(body) < 30_000
            sent = json.loads(body)
            text = json.dumps(sent, ensure_ascii=False)
            assert "\u202e" not in text
            if name == "alertmanager":  # its labels are for matchers, so they keep the key as it is
                text = json.dumps([part["annotations"] for part in sent])
            assert "https://evil.test" not in text, "no link that a stranger wrote comes alive"


FIELDS = ("key", "project", "title", "summary", "owner", "escalation", "baseline", "counterfactual", "unit")


@ALL
@pytest.mark.parametrize("field", [*FIELDS, "context", "samples", "verdict", "acknowledged_by", "story"])
def test_every_field_is_inert_in_every_sink(field: str, name: str, server: StandIn) -> None:
    """If this fails, there is one field through which a stranger reaches the person on call."""
    values: dict[str, Any] = {"context": {"user_agent": HOSTILE, HOSTILE[:60]: "x"}, "samples": (HOSTILE,)}
    told = notice(**({} if field == "story" else {field: values.get(field, HOSTILE)}))
    if field == "story":
        told = _with_incident(told.alert, incident(told.alert, story=HOSTILE, title=HOSTILE, owner=HOSTILE))
    assert RECEIVERS[name](server.url).send(told, None).result is Result.DELIVERED
    for path, _headers, body in server.seen:
        sent = json.loads(body)
        if name == "slack":
            check_slack(path, sent)
        if name == "alertmanager":
            sent = [part["annotations"] for part in sent]
        if name != "webhook":
            assert len(body) < 30_000
            assert not set("\u202e\x00\x1b") & set(json.dumps(sent, ensure_ascii=False))
            assert "https://evil.test" not in json.dumps(sent)


strangers_text = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("<>&!@*_`\u202e\u200f\n|"), max_size=200
)


@settings(max_examples=60, deadline=None)
@given(text=strangers_text, status=st.sampled_from(list(Status)))
def test_whatever_a_stranger_writes_slack_takes_it_and_shows_it_inert(text: str, status: Status) -> None:
    """If this fails, somebody finds a string that silences alerts, or that mentions everybody."""
    hostile = alert(key=text, project=text, summary=text, title=text, context={"user_agent": text}, status=status)
    whole = incident(hostile, story=text, title=text, owner=text, status=status)
    for told in (notice(**dict(hostile)), _with_incident(hostile, whole)):
        for message in (slack_blocks.message(told, buttons=True), slack_blocks.details(told)):
            check_slack("/api/chat.postMessage", {"channel": "C77", **message})
        assert "<" not in slack_blocks.news(told)


def _with_incident(told: Alert, whole: Incident) -> Notice:
    return replace(notice(**dict(told)), key=whole.id, incident=whole)


@ALL
def test_the_secret_is_only_where_the_contract_wants_it(name: str, server: StandIn) -> None:
    """If this fails, a token ends up in a message that people read."""
    RECEIVERS[name](server.url).send(notice(), None)
    _path, headers, body = server.seen[0]
    allowed = {"slack": "authorization", "pagerduty": "body"}.get(name)
    assert (SECRET.encode() in body) == (allowed == "body")
    assert all(SECRET not in v or k.lower() == allowed for k, v in headers.items())


@pytest.mark.parametrize("hostile", [False, True])
def test_slack_messages_are_within_every_limit(hostile: bool) -> None:
    """If this fails, Slack refuses the alert with invalid_blocks or msg_blocks_too_long, and nobody is told."""
    text = HOSTILE if hostile else "fine"
    context = {f"field_{i}": text for i in range(30)}
    told = replace(notice(key=text, summary=text, context=context), playbook=PLAYBOOK * 20, link="https://c.test/1")
    for message in (slack_blocks.message(told, buttons=True), slack_blocks.details(told)):
        check_slack("/api/chat.postMessage", {"channel": "C77", **message})
    lines = tuple(Line(Severity.LOW, text[:200]) for _ in range(20))
    check_slack("/x/chat.postMessage", slack_blocks.bulletin(Bulletin("b", text, Severity.LOW, lines, 41, text)))


@pytest.mark.parametrize(
    ("error", "result"),
    [(e, Result.NEVER) for e in ("invalid_auth", "channel_not_found", "invalid_blocks", "missing_scope")]
    + [(e, Result.AGAIN) for e in ("ratelimited", "internal_error", "fatal_error", "something_new")],
)
def test_slack_errors(error: str, result: Result, server: StandIn) -> None:
    """If this fails, a wrong token is tried for ever, or a busy Slack loses alerts: its errors are HTTP 200."""
    server.answers.append(
        (200, {"Content-Type": "application/json"}, json.dumps({"ok": False, "error": error}).encode())
    )
    attempt = RECEIVERS["slack"](server.url).send(notice(), None)
    assert (attempt.result, attempt.detail) == (result, error)


def test_slack_updates_its_message_and_says_what_is_new_in_the_thread(server: StandIn) -> None:
    """If this fails, one attack fills the channel with messages, or its end is never told."""
    slack = RECEIVERS["slack"](server.url)
    handle = slack.send(notice(), None).handle
    assert handle is not None
    assert handle.startswith("C77:1.000100:")
    same = slack.send(notice(revision=8, status=Status.UPDATED), handle).handle
    assert same == handle
    over = slack.send(notice(revision=9, status=Status.RESOLVED), handle).handle
    assert over != handle
    assert [path.rsplit("/", 1)[-1] for path, _, _ in server.seen] == [
        "chat.postMessage",
        "chat.postMessage",
        "chat.update",
        "chat.update",
        "chat.postMessage",
    ]
    assert json.loads(server.seen[-1][2])["thread_ts"] == "1.000100"


def test_slack_begins_where_it_was_cut_off(server: StandIn) -> None:
    """If this fails, a lost connection between message and thread posts the message twice."""
    slack = RECEIVERS["slack"](server.url)
    server.answers += [server.default("chat."), (0, {}, b"")]
    first = slack.send(notice(), None)
    assert first.result is Result.AGAIN
    assert slack.send(notice(), first.handle).result is Result.DELIVERED
    posted = [json.loads(body) for path, _, body in server.seen if path.endswith("postMessage")]
    assert sum("thread_ts" not in message for message in posted) == 1


def test_slack_says_it_anew_when_somebody_deleted_the_message(server: StandIn) -> None:
    """If this fails, deleting one message silences the rest of the attack."""
    server.answers.append((200, {"Content-Type": "application/json"}, b'{"ok":false,"error":"message_not_found"}'))
    attempt = RECEIVERS["slack"](server.url).send(notice(revision=9), "C77:1.000100:0")
    assert attempt.result is Result.DELIVERED
    assert "thread_ts" not in json.loads(server.seen[1][2])


def test_pagerduty_triggers_acknowledges_and_resolves_one_incident(server: StandIn) -> None:
    """If this fails, an incident stays open for ever, or another one is paged for the same attack."""
    duty = RECEIVERS["pagerduty"](server.url)
    duty.send(notice(), None)
    duty.send(notice(revision=8, acknowledged_by="ana"), None)
    duty.send(notice(status=Status.RESOLVED, revision=9), None)
    events = [json.loads(body) for _, _, body in server.seen]
    assert len({event["dedup_key"] for event in events}) == 1
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert events[0]["payload"]["severity"] == "error"


def test_alertmanager_labels_do_not_change_between_revisions(server: StandIn) -> None:
    """If this fails, each revision is a new alert to Alertmanager and pages again."""
    manager = RECEIVERS["alertmanager"](server.url)
    handle = manager.send(notice(), None).handle
    manager.send(notice(revision=9, count=99, nats=99.0, last_ts=NOW, incident_id="joined later"), handle)
    first, second = (json.loads(body)[0]["labels"] for _, _, body in server.seen)
    assert first == second


def test_alertmanager_ends_the_alert_of_the_old_severity(server: StandIn) -> None:
    """If this fails, an alert that became critical also goes on as the high one it was."""
    manager = RECEIVERS["alertmanager"](server.url)
    handle = manager.send(notice(), None).handle
    manager.send(notice(revision=9, severity=Severity.CRITICAL), handle)
    now, before = json.loads(server.seen[1][2])
    assert (now["labels"]["severity"], before["labels"]["severity"]) == ("critical", "high")
    assert before["endsAt"] < now["endsAt"]


def test_a_webhook_is_signed_over_time_and_body(server: StandIn) -> None:
    """If this fails, whoever knows the URL can invent alerts at the other side."""
    RECEIVERS["webhook"](server.url).send(notice(), None)
    _path, headers, body = server.seen[0]
    assert headers[SIGNATURE] == sign(body, SecretStr(SECRET), int(NOW))
    assert json.loads(body)["id"] == alert().id


@ALL
def test_a_bulletin_is_told(name: str, server: StandIn) -> None:
    """If this fails, "and 41 more" or a refusal of another receiver is never heard of."""
    told = Bulletin(
        "capped-1", "61 more alerts", Severity.HIGH, (Line(Severity.HIGH, HOSTILE[:200]),), 41, "all: there"
    )
    assert RECEIVERS[name](server.url).announce(told).result is Result.DELIVERED
    path, _, body = server.seen[0]
    assert b"and 41 more" in body
    if name == "slack":
        check_slack(path, json.loads(body))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # urllib leaves the socket of an answer that hangs
@ALL
def test_a_slow_answer_is_tried_again(name: str, server: StandIn, client_leaks: None) -> None:
    """If this fails, a sink that hangs holds its alerts for ever."""
    server.stall = True
    receiver = RECEIVERS[name](server.url)
    _hurry(receiver)
    assert receiver.send(notice(), None).result is Result.AGAIN


def _hurry(receiver: Receiver) -> None:
    """Let its patience end soon: the real one is ten seconds."""
    client = vars(receiver)["_client"]
    if isinstance(client, WebClient):
        client.timeout = 1
    else:
        client.timeout = 0.3
