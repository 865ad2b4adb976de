"""Other sides on loopback: they answer what a test says, keep what they were sent, and check it as the real ones do."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from slack_sdk.models.attachments import Attachment
from slack_sdk.models.blocks import Block

from gatewatch.notify.receivers.slack_blocks import BLOCKS_MAX

Answer = tuple[int, dict[str, str], bytes]  # status (0: hang up), headers, body
_JSON = {"Content-Type": "application/json"}


class StandIn:
    """A server on loopback. ``answers`` are given one by one, then those of :meth:`default`."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.stall = False  # send the head of an answer and never its body
        self.before_answer: Callable[[str], None] = lambda _path: None
        self._lock = threading.Lock()
        self._end = threading.Event()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stand_in._serve(self)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def default(self, path: str) -> Answer:
        """What the real service says when all is well."""
        if "chat." in path:
            return 200, _JSON, b'{"ok":true,"channel":"C77","ts":"1.000100"}'
        return 202, _JSON, b"{}"

    def close(self) -> None:
        """End."""
        self._end.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            self.seen.append((request.path, dict(request.headers), body))
            status, headers, answer = self.answers.pop(0) if self.answers else self.answer(request.path, body)
        self.before_answer(request.path)
        if status == 0:
            request.connection.close()
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer)))
        with suppress(OSError):  # who asked may have been killed
            request.end_headers()
        if self.stall:
            self._end.wait(60.0)
            return
        with suppress(OSError):  # who asked may have been killed
            request.wfile.write(answer)

    def answer(self, path: str, body: bytes) -> Answer:
        """The answer to one request, where the test gave none."""
        del body
        return self.default(path)


class SlackStandIn(StandIn):
    """Slack: refuses what the real one would refuse, and keeps its channel.

    ``messages`` are what stands in the channel, by ``ts``; ``replies`` what stands in threads.
    """

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.replies: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.refused: list[str] = []
        self.socket_url = ""  # what apps.connections.open answers
        super().__init__()

    def answer(self, path: str, body: bytes) -> Answer:
        """Do what the method does."""
        method = path.rsplit("/", 1)[-1]
        self.calls[method] += 1
        if method == "apps.connections.open":
            return 200, _JSON, json.dumps({"ok": True, "url": self.socket_url}).encode()
        if method == "chat.postEphemeral":
            return 200, _JSON, b'{"ok":true,"message_ts":"2.1"}'
        message = json.loads(body)
        try:
            check_slack(path, message)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, Slack would say no
            self.refused.append(str(error))
            return 200, _JSON, b'{"ok":false,"error":"invalid_blocks"}'
        ts = self._keep(method, message)
        if ts is None:
            return 200, _JSON, b'{"ok":false,"error":"message_not_found"}'
        return 200, _JSON, json.dumps({"ok": True, "channel": "C77", "ts": ts}).encode()

    def _keep(self, method: str, message: dict[str, Any]) -> str | None:
        if method == "chat.update":
            if message["ts"] not in self.messages:
                return None
            self.messages[message["ts"]] = message
            return str(message["ts"])
        ts = f"1.{len(self.messages) + len(self.replies):06d}"
        if "thread_ts" in message:
            self.replies.append(message)
        else:
            self.messages[ts] = message
        return ts


class PagerDutyStandIn(StandIn):
    """PagerDuty by its contract: ``pages`` is how often somebody was paged, for each dedup key."""

    def __init__(self) -> None:
        self.pages: Counter[str] = Counter()
        self.open: set[str] = set()
        self.events: list[dict[str, Any]] = []
        super().__init__()

    def answer(self, path: str, body: bytes) -> Answer:
        """Trigger pages once while it is open; resolve closes."""
        del path
        event = json.loads(body)
        check_pagerduty(event)
        self.events.append(event)
        key = event["dedup_key"]
        if event["event_action"] == "trigger" and key not in self.open:
            self.open.add(key)
            self.pages[key] += 1
        elif event["event_action"] == "resolve":
            self.open.discard(key)
        return 202, _JSON, json.dumps({"status": "success", "dedup_key": key}).encode()


def check_slack(path: str, message: dict[str, Any]) -> None:
    """Check a message against slack-sdk's own models, and the limits that they do not know (contracts.md 9.2, 9.3).

    Raises:
        AssertionError: a limit is broken, or something a stranger wrote would come alive.
        SlackObjectFormationError: Slack's own model refuses it.
    """
    del path
    text = message["text"]
    assert 0 < len(text) <= 4000
    assert "<" not in text, "nothing in the fallback text may be a link or a mention"
    attachments = message.get("attachments", [])
    if isinstance(attachments, str):  # the SDK sends some bodies as forms
        attachments = json.loads(attachments)
    for attachment in attachments:
        Attachment(text=text, color=attachment["color"]).validate_json()
        blocks = attachment["blocks"]
        assert len(blocks) <= 50
        assert len(str(blocks)) <= BLOCKS_MAX
        assert len(json.dumps(blocks)) <= 5 * BLOCKS_MAX
        for block in blocks:
            parsed = Block.parse(block)
            assert parsed is not None
            parsed.validate_json()
            _check_block(block)


def _check_block(block: dict[str, Any]) -> None:
    limit = {"header": 150, "section": 3000, "context": 2000, "actions": 75}[block["type"]]
    assert len(block.get("fields", ())) <= 10
    assert len(block.get("elements", ())) <= (25 if block["type"] == "actions" else 10)
    ids = [element["action_id"] for element in block.get("elements", ()) if "action_id" in element]
    assert len(set(ids)) == len(ids)
    assert len(block.get("block_id", "")) <= 255
    for text in _texts(block):
        assert text["type"] == "plain_text", "plain text is never parsed by Slack"
        assert text.get("emoji") is False
        assert 1 <= len(text["text"]) <= limit
    for field in block.get("fields", ()):
        assert len(field["text"]) <= 2000


def _texts(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (part for part in (block.get("text"), *block.get("fields", ())) if part is not None)
    for element in block.get("elements", ()):
        yield element["text"] if element["type"] == "button" else element


def check_pagerduty(event: dict[str, Any]) -> None:
    """Check an event against the contract (contracts.md 10.1).

    Raises:
        AssertionError: PagerDuty would answer 400.
    """
    assert len(event["routing_key"]) > 0
    assert event["event_action"] in ("trigger", "acknowledge", "resolve")
    assert 0 < len(event["dedup_key"]) <= 255
    assert len(json.dumps(event)) <= 512_000
    if event["event_action"] == "trigger":
        payload = event["payload"]
        assert 0 < len(payload["summary"]) <= 1024
        assert payload["source"]
        assert payload["severity"] in ("critical", "error", "warning", "info")
    for link in event.get("links", ()):
        assert link["href"].startswith(("http://", "https://"))
