"""Verdicts by webhook: who signs is who speaks, once, and only who is on the list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.contract.desk import Desk, listening

from gatewatch.clock import ManualClock
from gatewatch.notify.hook import VerdictHook
from gatewatch.notify.receivers.webhook import SIGNATURE, sign
from gatewatch.notify.surface import BODY_MAX
from gatewatch.records import VerdictKind
from gatewatch.settings import Settings, parse
from gatewatch.testing.alerts import NOW, alert

SECRETS = {name: SecretStr(f"secret-of-{name}") for name in ("ana", "bo", "gone")}
SETTINGS = parse({"verdicts": {"actors": ["ana", "bo", {"name": "cy", "slack": "U042"}]}}, Settings)
TRUE = {"about": alert().id, "actor": "ana", "kind": "true", "reason": "seen in the ticket"}
Post = Callable[..., httpx.Response]


@pytest.fixture
def desk() -> Desk:
    """Where ana, bo and cy are on duty."""
    return Desk(SETTINGS)


@pytest.fixture
def post(desk: Desk) -> Iterator[Post]:
    """Post a verdict; signed by ana, now, unless told otherwise."""
    hook = VerdictHook(SECRETS, ("127.0.0.1", 0), ManualClock(NOW))
    with listening(hook, desk.judge, "/verdicts") as send:

        def say(said: object, *, by: str = "ana", at: float = NOW, signature: str | None = None) -> httpx.Response:
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            return send(body, {SIGNATURE: sign(body, SECRETS[by], int(at)) if signature is None else signature})

        yield say


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_each_kind_is_written_in_the_name_of_who_signed(kind: VerdictKind, post: Post, desk: Desk) -> None:
    """If this fails, what a person says in another tool is not heard."""
    until = NOW + 3600.0 if kind in {VerdictKind.EXPECTED, VerdictKind.SNOOZE} else None
    answer = post({**TRUE, "kind": kind.value, "until": until})
    (said,) = desk.verdicts()
    assert (answer.status_code, answer.json()) == (200, {"id": said.id})
    assert (said.kind, said.actor, said.via, said.alert_id) == (kind, "ana", "webhook", alert().id)
    assert (said.reason, said.ts, said.until) == ("seen in the ticket", NOW, until)


@pytest.mark.parametrize(
    ("actor", "how"),
    [
        ("ana", {"by": "bo"}),
        ("cy", {}),  # has no secret
        ("ana", {"at": NOW - 301}),
        ("ana", {"at": NOW + 301}),
        ("ana", {"signature": ""}),
        ("ana", {"signature": "t=,v1="}),
        ("ana", {"signature": "t=x,v1=0"}),
        ("ana", {"signature": f"t={'9' * 400},v1=0"}),
    ],
)
def test_only_who_signs_lately_with_their_own_secret_counts(
    actor: str, how: dict[str, Any], post: Post, desk: Desk
) -> None:
    """If this fails, one person speaks as another, or a stranger calls an attack a false alarm."""
    assert post({**TRUE, "actor": actor}, **how).status_code == 401
    assert desk.verdicts() == []


def test_a_captured_request_counts_once(post: Post, desk: Desk) -> None:
    """If this fails, who has seen one verdict can repeat it for five minutes."""
    assert [post(TRUE).status_code for _ in range(2)] == [200, 409]
    assert len(desk.verdicts()) == 1


@pytest.mark.parametrize(
    ("change", "by", "why"),
    [
        ({"actor": "gone"}, "gone", "may not judge"),
        ({"about": "of last year"}, "ana", "not known any more"),
        ({"kind": "expected"}, "ana", "until"),
        ({"reason": " "}, "ana", "reason"),
    ],
)
def test_what_the_command_would_refuse_is_refused(
    change: dict[str, str], by: str, why: str, post: Post, desk: Desk
) -> None:
    """If this fails, the webhook is the way round the rules for verdicts, and nobody sees that it was tried."""
    answer = post({**TRUE, **change}, by=by)
    assert (answer.status_code, why in answer.json()["error"]) == (403, True), answer.text
    assert desk.verdicts() == []
    (refused,) = desk.presses
    assert (refused.kind, refused.result, refused.detail.startswith("webhook: ")) == ("press", "refused", True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"about": 1}', b"[" * 60_000])
def test_what_is_no_verdict_is_refused(body: bytes, post: Post) -> None:
    """If this fails, a wrong body ends the thread that listens."""
    assert post(body).status_code == 400
    assert post(TRUE).status_code == 200


def test_a_body_that_is_too_large_is_refused_unread(post: Post) -> None:
    """If this fails, one request takes the memory of the role."""
    assert post(b" " * (BODY_MAX + 1)).status_code == 413


def test_what_could_not_be_written_is_not_confirmed(post: Post, desk: Desk) -> None:
    """If this fails, a person believes that they were heard while Kafka was away."""
    desk.log.fail_sends("gatewatch.verdicts")
    assert post(TRUE).status_code == 503
