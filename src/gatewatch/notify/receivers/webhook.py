"""A webhook: the alert as JSON (plain, in a CloudEvents envelope, or as an OCSF Detection Finding), signed.

``X-Gatewatch-Signature: t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">``, the scheme that Stripe made usual: a receiver
checks the signature over the raw body and that the time is recent, so a captured request cannot be replayed for ever.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal

import httpx
import msgspec
from pydantic import SecretStr

from gatewatch.clock import Clock
from gatewatch.notify.base import Attempt, Traits, failed, judge
from gatewatch.notify.notice import Bulletin, Notice
from gatewatch.notify.receivers.ocsf import detection_finding
from gatewatch.records import Alert

Envelope = Literal["plain", "cloudevents", "ocsf"]
SIGNATURE = "X-Gatewatch-Signature"


class Webhook:
    """One URL.

    Args:
        url: where to post.
        secret: of the signature; without it requests are unsigned.
        envelope: ``plain``, ``cloudevents`` (1.0, structured mode) or ``ocsf`` (1.8.0, class 2004).
        name: of this receiver.
    """

    traits = Traits(people=False, every_revision=True)

    def __init__(
        self,
        url: str,
        secret: SecretStr | None,
        clock: Clock,
        *,
        envelope: Envelope = "plain",
        name: str = "webhook",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.name = name
        self._url, self._secret, self._clock, self._envelope = url, secret, clock, envelope
        self._client = httpx.Client(timeout=10.0, transport=transport)

    def wants(self, notice: Notice) -> bool:
        """Everything: the other side chooses."""
        del notice
        return True

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Post it; ``Idempotency-Key`` is the same for every try of one revision."""
        del handle
        alert = notice.alert
        return self._post(render(alert, self._envelope), f"{alert.id}-{alert.revision}")

    def announce(self, bulletin: Bulletin) -> Attempt:
        """Something about notify itself, in the plain or CloudEvents form."""
        data = {"id": bulletin.id, "title": bulletin.title, "severity": bulletin.severity, "lines": bulletin.rows}
        body = _cloudevent(bulletin.id, "bulletin", "notify", data) if self._envelope == "cloudevents" else data
        return self._post(msgspec.json.encode(body), bulletin.id)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _post(self, body: bytes, idempotency_key: str) -> Attempt:
        kind = "application/cloudevents+json" if self._envelope == "cloudevents" else "application/json"
        headers = {"Content-Type": kind, "Idempotency-Key": idempotency_key}
        if self._secret is not None:
            headers[SIGNATURE] = sign(body, self._secret, int(self._clock.now()))
        try:
            return judge(self._client.post(self._url, content=body, headers=headers))
        except httpx.HTTPError as error:
            return failed(error)


def render(alert: Alert, envelope: Envelope) -> bytes:
    """The body."""
    if envelope == "ocsf":
        return msgspec.json.encode(detection_finding(alert))
    data = alert.model_dump(mode="json")
    if envelope == "plain":
        return msgspec.json.encode(data)
    return msgspec.json.encode(
        _cloudevent(f"{alert.id}-{alert.revision}", f"alert.{alert.status.value}", alert.detector, data)
    )


def _cloudevent(event_id: str, kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/gatewatch",
        "type": f"gatewatch.{kind}",
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }


def sign(body: bytes, secret: SecretStr, ts: int) -> str:
    """The header's value.

    >>> sign(b"{}", SecretStr("s"), 1)[:8]
    't=1,v1=b'
    """
    digest = hmac.new(secret.get_secret_value().encode(), f"{ts}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={ts},v1={digest}"
