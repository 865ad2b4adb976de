"""The CrowdSec bouncer API, so that existing bouncers (nginx, HAProxy, Traefik, firewall, Cloudflare) work unchanged.

Endpoints, parameters and answers by contracts.md 12.3 (read from CrowdSec 1.7's source; tried with Debian's bouncers):
``/v1/decisions/stream`` gives each bouncer what changed since its last successful pull, ``/v1/decisions`` answers for
one address, exactly the four bytes ``null`` where there is nothing.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from ipaddress import ip_address, ip_network

import msgspec
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from gatewatch.clock import Clock
from gatewatch.enforce.ledger import Entry, Ledger, Told, longest
from gatewatch.events.address import Network, parse_network
from gatewatch.records import Action, Scope
from gatewatch.settings import Bouncer

ORIGIN = "gatewatch"
Types = Mapping[Action, str]
TYPES: Types = {Action.BLOCK: "ban", Action.CHALLENGE: "captcha", Action.THROTTLE: "throttle"}
# LAPI's own names where it has them; most bouncers ask only for the first two
SCOPES = {Scope.IP: "Ip", Scope.NETWORK: "Range", Scope.ACCOUNT: "username"}
OVERLAP_S = 2.0  # deletions this much older than the last pull are told again, as LAPI does
_CURSORS = 1000  # bouncers remembered: (key, address) pairs; a forgotten one gets the full set again
Handler = Callable[[Request], Awaitable[Response]]


class Bouncers:
    """Routes of the API over one ledger.

    Args:
        ledger: what is active.
        keys: name of each bouncer and its API key.
        ready: whether the ledger is whole; until then bouncers get 503 and keep what they have.
        types: what each bouncer is told instead of our actions; by default :data:`TYPES`.
    """

    def __init__(
        self,
        ledger: Ledger,
        keys: Mapping[str, SecretStr],
        clock: Clock,
        ready: Callable[[], bool],
        types: Mapping[str, Types] | None = None,
    ) -> None:
        self._ledger, self._clock, self._ready = ledger, clock, ready
        self._keys = {name: key.get_secret_value().encode() for name, key in keys.items()}
        self._types = types or {}
        self._cursors: OrderedDict[tuple[str, str], float] = OrderedDict()

    def routes(self) -> list[Route]:
        """For a Starlette app."""
        return [
            Route("/v1/decisions/stream", self._guarded(self._stream), methods=["GET", "HEAD"]),
            Route("/v1/decisions", self._guarded(self._decisions), methods=["GET", "HEAD"]),
            Route("/v1/usage-metrics", self._guarded(self._usage), methods=["POST"]),
            Route("/health", self._health, methods=["GET", "HEAD"]),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self._name(request) is None:
                return JSONResponse({"message": "access forbidden"}, 403)
            if not self._ready():
                return JSONResponse({"message": "decisions are still being read"}, 503, {"Retry-After": "1"})
            return await handler(request)

        return guarded

    def _name(self, request: Request) -> str | None:
        """Which bouncer it is; every key is compared, in constant time."""
        given = request.headers.get("x-api-key", "").encode("latin-1")  # the bytes that were sent
        found = None
        for name, key in self._keys.items():
            if hmac.compare_digest(given, key):
                found = name
        return found

    async def _stream(self, request: Request) -> Response:
        now = self._clock.now()
        cursor = (self._name(request) or "", request.client.host if request.client else "")
        since = self._cursors.get(cursor)
        types = self._types_for(request)
        told = _told(_wanted(request, types), types)
        if request.query_params.get("startup") == "true":
            new, deleted = self._live(now, told), []
        elif since is None:  # we were restarted and it was not: it may have what has ended meanwhile
            new, deleted = self._live(now, told), self._ledger.changes(float("-inf"), now, told)[1]
        else:
            new = self._ledger.changes(since, now, told)[0]
            deleted = self._ledger.changes(since - OVERLAP_S, now, told)[1]
        answer = {"new": [_row(e, now, types) for e in new], "deleted": [_row(e, now, types) for e in deleted]}
        if request.method == "HEAD":
            return Response(media_type="application/json")
        return _Written(msgspec.json.encode(answer), lambda: self._pulled(cursor, now))

    def _live(self, now: float, told: Told) -> list[Entry]:
        return sorted(longest(self._ledger.live(now), told).values(), key=lambda e: e.number)

    def _types_for(self, request: Request) -> Types:
        return self._types.get(self._name(request) or "", TYPES)

    def _pulled(self, cursor: tuple[str, str], at: float) -> None:
        """The answer was written whole: the next delta begins at this pull."""
        self._cursors[cursor] = at
        self._cursors.move_to_end(cursor)
        if len(self._cursors) > _CURSORS:
            self._cursors.popitem(last=False)

    async def _decisions(self, request: Request) -> Response:
        now = self._clock.now()
        try:
            asked = _asked(request)
        except ValueError as error:
            return JSONResponse({"message": f"invalid filter: {error}"}, 500)
        types = self._types_for(request)
        wanted = _wanted(request, types, default=None)
        told = _told(lambda e: wanted(e) and asked(e), types)
        rows = [_row(e, now, types) for e in self._live(now, told)]
        return Response(msgspec.json.encode(rows) if rows else b"null", media_type="application/json")

    async def _usage(self, request: Request) -> Response:
        await request.body()
        return Response(status_code=201)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "up"})


class _Written(Response):
    """Calls back once the whole body has been sent."""

    def __init__(self, content: bytes, written: Callable[[], None]) -> None:
        super().__init__(content, media_type="application/json")
        self._written = written

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        self._written()


def types_of(bouncer: Bouncer) -> Types:
    """What a bouncer is told for each action."""
    return {Action.BLOCK: "ban", Action.CHALLENGE: bouncer.challenge_as, Action.THROTTLE: bouncer.throttle_as}


def _row(entry: Entry, now: float, types: Types) -> dict[str, str | int]:
    decision = entry.decision
    return {
        "id": entry.number,
        "uuid": decision.id,
        "origin": ORIGIN,
        "type": types[decision.action],
        "scope": SCOPES.get(decision.scope, decision.scope.value),
        "value": decision.value,
        "duration": go_duration(entry.ends - now),
        "scenario": f"{ORIGIN}/{decision.detector or 'manual'}",
    }


def go_duration(seconds: float) -> str:
    """Whole seconds as Go writes them: bouncers parse nothing else.

    >>> go_duration(3598.7), go_duration(-5.2), go_duration(14398)
    ('59m58s', '-5s', '3h59m58s')
    """
    whole = int(seconds)
    sign, whole = ("-", -whole) if whole < 0 else ("", whole)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return sign + (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{left}s"


def _told(wanted: Callable[[Entry], bool], types: Types) -> Told:
    """A bouncer knows a scope, a value and a type, and nothing of which decision they come from."""

    def told(entry: Entry) -> Hashable:
        decision = entry.decision
        return (decision.scope, decision.value, types[decision.action]) if wanted(entry) else None

    return told


def _wanted(request: Request, types: Types, default: str | None = "ip,range") -> Callable[[Entry], bool]:
    """What ``scopes``, ``origins``, ``type`` and the scenario filters leave."""
    query = request.query_params
    scopes_text = query.get("scopes", default)
    scopes = {s.strip().lower() for s in scopes_text.split(",")} if scopes_text else None
    origins = query.get("origins")
    containing = _words(query.get("scenarios_containing"))
    without = _words(query.get("scenarios_not_containing"))

    def wanted(entry: Entry) -> bool:
        row_scope = SCOPES.get(entry.decision.scope, entry.decision.scope.value).lower()
        scenario = f"{ORIGIN}/{entry.decision.detector or 'manual'}"
        return (
            (scopes is None or row_scope in scopes)
            and (not origins or ORIGIN in origins.split(","))
            and (not query.get("type") or query["type"] == types[entry.decision.action])
            and (not containing or any(word in scenario for word in containing))
            and not any(word in scenario for word in without)
        )

    return wanted


def _words(text: str | None) -> list[str]:
    return [word for word in (text or "").split(",") if word]


def _asked(request: Request) -> Callable[[Entry], bool]:
    """The filter of ``ip``, ``range`` (with ``contains``), or ``scope`` and ``value``.

    Raises:
        ValueError: not an address or a range.
    """
    query = request.query_params
    if (text := query.get("ip")) is not None:
        address = _network(ip_address(text))
        return lambda e: (
            e.decision.scope in {Scope.IP, Scope.NETWORK}
            and address.network_address in ip_network(e.decision.value, strict=False)
        )
    if (text := query.get("range")) is not None:
        network = _network(text)
        inside = query.get("contains", "true") == "true"

        def in_range(entry: Entry) -> bool:
            if entry.decision.scope not in {Scope.IP, Scope.NETWORK}:
                return False
            other = ip_network(entry.decision.value, strict=False)
            if other.version != network.version:
                return False
            wide, narrow = (other, network) if inside else (network, other)
            return narrow.subnet_of(wide)  # type: ignore[arg-type] # both are of one version here

        return in_range
    scope, value = query.get("scope"), query.get("value")
    return lambda e: (
        (scope is None or SCOPES.get(e.decision.scope, e.decision.scope.value).lower() == scope.lower())
        and (value is None or e.decision.value == value)
    )


def _network(text: object) -> Network:
    """As ledgers spell it: a gateway that listens on IPv6 asks for ``::ffff:203.0.113.9``.

    Raises:
        ValueError: it is none.
    """
    network = parse_network(str(text))
    if network is None:
        raise ValueError("not an address or a range")
    return network
