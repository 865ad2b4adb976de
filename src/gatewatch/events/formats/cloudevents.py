"""CloudEvents 1.0 in structured mode (contracts.md 7.3): our own events within, or KServe's inference logger."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import forwarded_client
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import JsonFormat
from gatewatch.events.formats.bodies import shape_from
from gatewatch.events.formats.headers import credential_of, lowered
from gatewatch.events.formats.native import FIELDS, Native
from gatewatch.events.formats.targets import path_of
from gatewatch.events.formats.values import epoch_s, first, text
from gatewatch.events.secrets import hash_secret, looks_secret

_KSERVE = "org.kubeflow.serving.inference."
_RESPONSE = _KSERVE + "response"
# All that an event of KServe's logger can fill; what our own events within CloudEvents fill is their sender's choice
INFERENCE_FIELDS = frozenset(
    {"ts", "endpoint", "principal", "credential", "project", "ip", "user_agent", "model", "model_version", "shape"}
)


class CloudEvents(JsonFormat):
    """``data`` is a native event; ``time`` and ``id`` stand in where it has no ``ts`` and no ``request_id``.

    Of KServe's pair the request is the event and the response is passed over: without a join, which needs state, each
    call would count twice. So there is no status, latency or output; and KServe's ``id`` may be the client's own, so
    it is no request id.
    """

    name = "cloudevents"
    fields = FIELDS

    def __init__(self, trusted_hops: int = 0) -> None:
        self._hops = trusted_hops
        self._native = Native()

    def event(self, row: dict[str, Any]) -> AccessEvent | None:
        """One envelope, or nothing for KServe's responses."""
        kind = text(row.get("type"))
        if kind is None or text(row.get("specversion")) is None:
            raise DecodeError(BadReason.MISSING, "no CloudEvent: type or specversion is missing (binary mode has them "
                              "in Kafka headers, which are not read: send structured mode)")  # fmt: skip
        if kind == _RESPONSE:
            return None
        if kind.startswith(_KSERVE):
            return self._inference(row)
        data = _data(row)
        if isinstance(data, (str, bytes)):
            data = msgspec.json.decode(data)
        if not isinstance(data, dict):
            raise DecodeError(BadReason.MISSING, "no data, or data that is no JSON object")
        stand_in = {"ts": row.get("time"), "request_id": text(row.get("id"))}
        given = {name: value for name, value in data.items() if value is not None}
        event = self._native.element(msgspec.json.encode({**stand_in, **given}))
        event.path = path_of(event.path)
        if event.credential is not None and looks_secret(event.credential):
            event.credential = hash_secret(event.credential)
        return event

    def _inference(self, row: dict[str, Any]) -> AccessEvent:
        time = first(row, "time")
        if time is None:
            raise DecodeError(BadReason.MISSING, "no time")
        headers = _metadata(row.get("metadata"))
        namespace, service = text(row.get("namespace")), text(row.get("inferenceservicename"))
        return AccessEvent(
            ts=epoch_s(time),
            endpoint=service,
            principal=text(first(headers, "x-consumer", "x-user-id", "kubeflow-userid")),
            credential=credential_of(headers),
            project=namespace,
            ip=forwarded_client(text(headers.get("x-forwarded-for")) or "", self._hops),
            user_agent=text(headers.get("user-agent")),
            model=service,
            model_version=text(row.get("endpoint")),
            shape=shape_from(_data(row), None),
        )


def _data(row: dict[str, Any]) -> Any:
    """The payload: as it is, or out of base64."""
    packed = row.get("data_base64")
    if not isinstance(packed, str):
        return row.get("data")
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(BadReason.TYPE, "data_base64 is not base64") from error


def _metadata(given: Any) -> dict[str, Any]:
    """Headers that KServe was told to keep: a JSON object within a string, names to lists."""
    try:
        return lowered(msgspec.json.decode(given) if isinstance(given, str) else given)
    except msgspec.DecodeError:
        return {}
