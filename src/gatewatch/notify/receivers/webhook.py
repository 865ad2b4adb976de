"""A webhook: the alert as JSON (plain, or in a CloudEvents envelope), signed.

``X-Gatewatch-Signature: t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">``, the scheme that Stripe made usual: a receiver
checks the signature over the raw body and that the time is recent, so a captured request cannot be replayed for ever.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import httpx
import msgspec
from pydantic import SecretStr

from gatewatch.clock import Clock
from gatewatch.notify.base import Attempt, failed, judge
from gatewatch.records import Alert

SIGNATURE = "X-Gatewatch-Signature"


class Webhook:
    """One URL.

    Args:
        url: where to post.
        secret: of the signature; without it requests are unsigned.
        envelope: ``plain`` or ``cloudevents`` (1.0, structured mode).
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: SecretStr | None,
        clock: Clock,
        *,
        envelope: Literal["plain", "cloudevents"] = "plain",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url, self._secret, self._clock, self._envelope = url, secret, clock, envelope
        self._client = httpx.Client(timeout=10.0, transport=transport)

    def wants(self, alert: Alert) -> bool:
        """Everything: the other side chooses."""
        del alert
        return True

    def send(self, alert: Alert, playbook: str, handle: str | None) -> Attempt:
        """Post it; ``Idempotency-Key`` is the same for every try of one revision."""
        del playbook, handle
        body = render(alert, self._envelope)
        kind = "application/cloudevents+json" if self._envelope == "cloudevents" else "application/json"
        headers = {"Content-Type": kind, "Idempotency-Key": f"{alert.id}-{alert.revision}"}
        if self._secret is not None:
            headers[SIGNATURE] = sign(body, self._secret, int(self._clock.now()))
        try:
            return judge(self._client.post(self._url, content=body, headers=headers))
        except httpx.HTTPError as error:
            return failed(error)


def render(alert: Alert, envelope: str) -> bytes:
    """The body."""
    data = alert.model_dump(mode="json")
    if envelope == "plain":
        return msgspec.json.encode(data)
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{alert.id}-{alert.revision}",
            "source": "/gatewatch",
            "type": f"gatewatch.alert.{alert.status.value}",
            "subject": alert.detector,
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def sign(body: bytes, secret: SecretStr, ts: int) -> str:
    """The header's value.

    >>> sign(b"{}", SecretStr("s"), 1)[:8]
    't=1,v1=b'
    """
    digest = hmac.new(secret.get_secret_value().encode(), f"{ts}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={ts},v1={digest}"
