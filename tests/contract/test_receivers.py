"""One suite for all receivers: what each HTTP answer means, that nothing hostile comes alive, that nothing leaks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr
from slack_sdk.models.blocks import Block

from gatewatch.clock import ManualClock
from gatewatch.notify.base import Receiver, Result
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import BLOCKS_MAX, Slack, render
from gatewatch.notify.receivers.webhook import SIGNATURE, Webhook, sign
from gatewatch.records import Severity, Status
from gatewatch.testing.alerts import NOW, PLAYBOOK, alert

SECRET = "s3cr3t-token-0123456789abcdef"
HOSTILE = "<!channel> <https://evil.test|click> *bold* `code` \u202egnp.exe & " + "x" * 100_000 + "\n\n# heading"


class StandIn:
    """A server on loopback that answers what the test says and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stand_in.seen.append((self.path, dict(self.headers), body))
                status, headers, answer = stand_in.answers.pop(0) if stand_in.answers else stand_in.default(self.path)
                if status == 0:
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @staticmethod
    def default(path: str) -> tuple[int, dict[str, str], bytes]:
        """What the real service says when all is well."""
        if "chat." in path:
            return 200, {"Content-Type": "application/json"}, b'{"ok":true,"channel":"C77","ts":"1.000100"}'
        return 202, {}, b"{}"

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


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
    "alertmanager": Alertmanager,
    "webhook": lambda url: Webhook(f"{url}/hook", SecretStr(SECRET), ManualClock(NOW)),
}
ALL = pytest.mark.parametrize("name", sorted(RECEIVERS))


@ALL
def test_a_good_answer_is_delivered(name: str, server: StandIn) -> None:
    """If this fails, alerts are told twice or not at all."""
    assert RECEIVERS[name](server.url).send(alert(), PLAYBOOK, None).result is Result.DELIVERED
    assert len(server.seen) == 1


# Slack answers 4xx only with 429: what it refuses is HTTP 200 with ok:false (test_slack_errors)
REFUSED = [
    (name, status, Result.NEVER) for name in RECEIVERS if name != "slack" for status in (400, 401, 403, 404, 413)
]
BUSY = [(name, status, Result.AGAIN) for name in RECEIVERS for status in (429, 500, 502, 503, 504)]


@pytest.mark.parametrize(("name", "status", "result"), REFUSED + BUSY)
def test_every_status_means_what_it_says(name: str, status: int, result: Result, server: StandIn) -> None:
    """If this fails, a refused alert is sent for ever, or one that only met a busy server is dropped."""
    server.answers.append((status, {"Retry-After": "7"}, b'{"ok":false,"error":"ratelimited"}'))
    attempt = RECEIVERS[name](server.url).send(alert(), PLAYBOOK, None)
    assert attempt.result is result
    if status == 429:
        assert attempt.retry_after_s == 7.0


@ALL
def test_a_lost_connection_is_tried_again(name: str, server: StandIn) -> None:
    """If this fails, one reset connection loses an alert, or ends the notify role."""
    server.answers.append((0, {}, b""))
    assert RECEIVERS[name](server.url).send(alert(), PLAYBOOK, None).result is Result.AGAIN


@ALL
def test_a_server_that_is_not_there_is_tried_again(name: str) -> None:
    """If this fails, a sink that is down for a minute loses its alerts."""
    assert RECEIVERS[name]("http://127.0.0.1:9").send(alert(), PLAYBOOK, None).result is Result.AGAIN


@ALL
@pytest.mark.parametrize("status", list(Status))
def test_hostile_strings_arrive_bounded_and_inert(name: str, status: Status, server: StandIn) -> None:
    """If this fails, an attacker's user agent pings the whole channel, or makes the message too large to send."""
    hostile = alert(
        key=HOSTILE,
        project=HOSTILE,
        summary=HOSTILE,
        context={"user_agent": HOSTILE, "principal": HOSTILE},
        status=status,
    )
    attempt = RECEIVERS[name](server.url).send(hostile, PLAYBOOK, None)
    assert attempt.result is Result.DELIVERED
    body = server.seen[0][2]
    if name != "webhook":  # a webhook is data for programs: whole, in JSON
        assert len(body) < 20_000
        assert "\u202e" not in body.decode()


@ALL
def test_the_secret_is_only_where_the_contract_wants_it(name: str, server: StandIn) -> None:
    """If this fails, a token ends up in a message that people read."""
    RECEIVERS[name](server.url).send(alert(), PLAYBOOK, None)
    _path, headers, body = server.seen[0]
    allowed = {"slack": "authorization", "pagerduty": "body"}.get(name)
    assert (SECRET.encode() in body) == (allowed == "body")
    assert all(SECRET not in v or k.lower() == allowed for k, v in headers.items())


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = message["attachments"][0]["blocks"]
    return blocks


@pytest.mark.parametrize("hostile", [False, True])
def test_slack_messages_are_within_every_limit(hostile: bool) -> None:
    """If this fails, Slack refuses the alert with invalid_blocks or msg_blocks_too_long, and nobody is told."""
    text = HOSTILE if hostile else "fine"
    context = {f"field_{i}": text for i in range(30)}
    message = render(alert(key=text, summary=text, context=context), PLAYBOOK * 20)
    for block in _blocks(message):
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()
    assert len(str(_blocks(message))) <= BLOCKS_MAX
    assert len(message["text"]) <= 4000
    assert "<!channel>" not in message["text"]
    for block in _blocks(message):
        texts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
        assert all(t["type"] == "plain_text" for t in texts if t is not None), "plain text is never parsed by Slack"


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
    attempt = RECEIVERS["slack"](server.url).send(alert(), PLAYBOOK, None)
    assert (attempt.result, attempt.detail) == (result, error)


def test_slack_updates_its_message_and_says_the_revision_in_the_thread(server: StandIn) -> None:
    """If this fails, one attack fills the channel with messages."""
    slack = RECEIVERS["slack"](server.url)
    handle = slack.send(alert(), PLAYBOOK, None).handle
    assert handle == "C77:1.000100"
    assert slack.send(alert(revision=9, status=Status.UPDATED), PLAYBOOK, handle).handle == handle
    assert [path.rsplit("/", 1)[-1] for path, _, _ in server.seen] == [
        "chat.postMessage",
        "chat.update",
        "chat.postMessage",
    ]


def test_slack_says_it_anew_when_somebody_deleted_the_message(server: StandIn) -> None:
    """If this fails, deleting one message silences the rest of the attack."""
    server.answers.append((200, {"Content-Type": "application/json"}, b'{"ok":false,"error":"message_not_found"}'))
    attempt = RECEIVERS["slack"](server.url).send(alert(revision=9), PLAYBOOK, "C77:1.000100")
    assert attempt.result is Result.DELIVERED
    assert server.seen[-1][0].endswith("chat.postMessage")


def test_pagerduty_resolves_what_it_triggered(server: StandIn) -> None:
    """If this fails, an incident stays open for ever, or another one is paged for the same attack."""
    duty = RECEIVERS["pagerduty"](server.url)
    duty.send(alert(), PLAYBOOK, None)
    duty.send(alert(status=Status.RESOLVED, revision=9), PLAYBOOK, None)
    first, second = (json.loads(body) for _, _, body in server.seen)
    assert first["dedup_key"] == second["dedup_key"]
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["payload"]["severity"] == "error"


def test_alertmanager_labels_do_not_change_between_revisions(server: StandIn) -> None:
    """If this fails, each revision is a new alert to Alertmanager and pages again."""
    manager = RECEIVERS["alertmanager"](server.url)
    manager.send(alert(), PLAYBOOK, None)
    manager.send(alert(revision=9, count=99, nats=99.0, last_ts=NOW), PLAYBOOK, None)
    first, second = (json.loads(body)[0]["labels"] for _, _, body in server.seen)
    assert first == second


def test_a_webhook_is_signed_over_time_and_body(server: StandIn) -> None:
    """If this fails, whoever knows the URL can invent alerts at the other side."""
    RECEIVERS["webhook"](server.url).send(alert(), PLAYBOOK, None)
    _path, headers, body = server.seen[0]
    assert headers[SIGNATURE] == sign(body, SecretStr(SECRET), int(NOW))
    assert json.loads(body)["id"] == alert().id
