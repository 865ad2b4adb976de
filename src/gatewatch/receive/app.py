"""The receiver's HTTP surface. The bearer token says which source it is; the paths only suit what senders can be told.

| path | for |
|---|---|
| POST /v1/logs, /v1/logs/{anything} | LiteLLM ``generic_api``, Kong ``http-log``, all that post log records |
| POST /v1/traces | OTLP/HTTP exporters, with JSON encoding |

A body goes to the source's topic as one value, whatever it is; 200 means that Kafka has it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewatch.errors import LogError, RecordTooLargeError
from gatewatch.metrics import Metrics
from gatewatch.receive.body import BodyError, unpacked, values_of
from gatewatch.receive.writer import Writer
from gatewatch.settings import ReceiveSettings

BUSY_S = 1  # what Retry-After says when too much is in flight: an acknowledgement takes milliseconds
FAILED_S = 5  # and when the broker fails: a restart of one takes about 15 s
_PROTOBUF = (
    "OTLP as protobuf is not read: set the exporter's encoding to JSON (collector: `otlphttp: {encoding: json}`; SDKs: "
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/json)"
)
_log = structlog.get_logger("gatewatch.receive")


class Receiver:
    """Routes over one writer.

    Args:
        settings: limits and sources.
        writer: where bodies go.
        metrics: of this process.

    Raises:
        ConfigError: a token is not where the settings say.
    """

    def __init__(self, settings: ReceiveSettings, writer: Writer, metrics: Metrics) -> None:
        self._settings, self._writer, self._metrics = settings, writer, metrics
        self._tokens = {
            f"Bearer {source.token(name).get_secret_value()}".encode(): source.topic
            for name, source in settings.sources.items()
        }
        self._in_flight = 0  # bytes; touched by the event loop only
        metrics.receiver()

    def app(self) -> Starlette:
        """What an HTTP server serves."""
        logs = [Route(path, self._logs, methods=["POST"]) for path in ("/v1/logs", "/v1/logs/{rest:path}")]
        return Starlette(routes=[*logs, Route("/v1/traces", self._traces, methods=["POST"])])

    async def _traces(self, request: Request) -> Response:
        if "protobuf" in request.headers.get("content-type", ""):
            self._metrics.received("refused")
            return _problem(415, _PROTOBUF)
        return await self._take(request, {"partialSuccess": {}})

    async def _logs(self, request: Request) -> Response:
        return await self._take(request, {"ok": True})

    async def _take(self, request: Request, answer: Mapping[str, object]) -> Response:
        """One request from its token to Kafka's acknowledgement."""
        topic = self._topic(request)
        if topic is None:
            self._metrics.received("refused")
            return _problem(401, "wrong or missing bearer token", {"WWW-Authenticate": "Bearer"})
        held = _Held(self, _declared(request))
        try:
            nbytes = await self._write(request, topic, held)
        except BodyError as error:
            self._metrics.received("busy" if error.status == 429 else "refused")
            retry = {"Retry-After": str(BUSY_S)} if error.status == 429 else {}
            return _problem(error.status, error.problem, retry)
        except ClientDisconnect:
            self._metrics.received("refused")
            return _problem(400, "the body ended early")
        except RecordTooLargeError as error:
            self._metrics.received("refused")
            return _problem(413, str(error))
        except LogError as error:
            self._metrics.received("failed")
            _log.warning("a body could not be written", topic=topic, error=str(error))
            return _problem(503, "Kafka does not take it now", {"Retry-After": str(FAILED_S)})
        finally:
            held.release()
        self._metrics.received("ok", nbytes)
        return JSONResponse(answer)

    async def _write(self, request: Request, topic: str, held: _Held) -> int:
        """Bytes that were written.

        Raises:
            BodyError: not taken; why, and what to do.
            LogError: Kafka did not acknowledge it.
        """
        held.grow(0)
        limit = self._settings.body_bytes
        body = await unpacked(request.stream(), request.headers.get("content-encoding", ""), limit, held.grow)
        values = values_of(body, self._settings.elements)
        if values:
            await self._writer.write(topic, values)
        return len(body)

    def _topic(self, request: Request) -> str | None:
        """The topic of the token that was shown; every token is compared, in constant time."""
        given = request.headers.get("authorization", "").encode("latin-1")  # the bytes that were sent
        found = None
        for token, topic in self._tokens.items():
            if hmac.compare_digest(given, token):
                found = topic
        return found

    def hold(self, nbytes: int) -> bool:
        """Take so many bytes of what may be in flight, or less than none; whether they are to be had."""
        if nbytes > 0 and self._in_flight + nbytes > self._settings.in_flight_bytes:
            return False
        self._in_flight += nbytes
        return True


class _Held:
    """What one request has of the bytes in flight: what it declared, or what it turned out to be if that is more."""

    def __init__(self, receiver: Receiver, declared: int) -> None:
        self._receiver, self._declared = receiver, declared
        self._held = self._seen = 0

    def grow(self, nbytes: int) -> None:
        """So many more bytes were read.

        Raises:
            BodyError: too much is in flight.
        """
        self._seen += nbytes
        more = max(self._seen, self._declared) - self._held
        if not self._receiver.hold(more):
            raise BodyError(429, "too much is in flight: try again")
        self._held += more

    def release(self) -> None:
        """All of it is done."""
        self._receiver.hold(-self._held)
        self._held = 0


def _declared(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)
