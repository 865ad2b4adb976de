"""Secrets planted wherever a gateway of any format could leak them, and a detector that accuses everybody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tests.contract.format_cases import BODY_TEXT, JSON_CASES, MAP, PLANTED, Case, Json, encoded
from tests.contract.format_cases_more import MORE_CASES

from gatewatch.records import Mode
from gatewatch.registry import Defaults, Entry
from gatewatch.sdk import Batch, Hits, Reason, Scope, Severity
from gatewatch.settings import BlockSettings, Source
from gatewatch.state.jit import mark_compiled
from gatewatch.testing.small import SmallDetector, entry_of

CASES: tuple[Case, ...] = (*JSON_CASES, *MORE_CASES)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJlLW9mLWEtcGxhbnQ"
BASIC = "cGxhbnRlZDpodW50ZXIyLXBsYW50ZWQ="
BEARER = "a8Kx02LmQ9vT2rB7nYc4dW6eH5jP1s"
PASSWORD = "hunter2-planted"
COOKIE = "planted-cookie-of-a-person"
# What has the form of a secret is found wherever it stands; the others only where secrets belong.
FORMED = {"key": PLANTED, "jwt": JWT, "basic": f"Basic {BASIC}", "bearer": f"Bearer {BEARER}"}
FORMLESS = (PASSWORD, COOKIE)
# Parts of what was planted that may be found nowhere. Escapes of JSON and HTML do not change any of them.
NEEDLES = (PLANTED, JWT, BASIC, BEARER, PASSWORD, COOKIE, "maiden-name")
# Fields that hold who it is by their contract: what a gateway writes there without the form of a secret is a name
_WHO = ("principal", "credential", "who", "user_api_key_hash", "credential_uid")


def sources() -> list[tuple[Source, list[bytes]]]:
    """Every format as a source of its own, and what stands in its topic."""
    options: dict[str, Json] = {
        "native with a map": {"map": MAP, "trusted_hops": 1},
        "nginx with its own names": {"trusted_hops": 1},
        "litellm": {"trusted_hops": 2},
    }
    made: list[tuple[Source, list[bytes]]] = []
    for i, case in enumerate(CASES):
        options_of = options.get(case.name, {})
        made.append((Source(topic=f"edge-{i}", format=case.name.split()[0], **options_of), values(case)))
    return [*made, (Source(topic="edge-combined", format="combined"), combined())]


def values(case: Case) -> list[bytes]:
    """Source values of one format: events with secrets, and elements that cannot be read, with secrets too."""
    good = [case.secret, *_each_text(case.entry)]
    for secret in FORMLESS:
        swapped = json.loads(json.dumps(case.secret).replace(PLANTED, secret))
        good.append(_restored(swapped, case.entry, secret))
    bad = [encoded(case.with_value(case.time, secret)) for secret in FORMED.values()]
    bad += [encoded(case.secret)[:-1], json.dumps(BODY_TEXT).encode(), f'{{"{PLANTED}": {PLANTED}'.encode()]
    return [*map(encoded, good), *bad]


def combined() -> list[bytes]:
    """The same for lines of an access log."""
    line = '203.0.113.9 - {user} [24/Nov/2026:03:39:06 +0000] "GET {target} HTTP/1.1" 401 12 "{referer}" "{agent}"'
    plain = {"user": "ada", "target": "/v1/models", "referer": "-", "agent": "curl/8"}
    made = [line.format_map({**plain, name: secret}) for name in plain for secret in FORMED.values() if name != "user"]
    made += [line.format_map({**plain, "user": PLANTED}), line.format_map({**plain, "user": JWT})]
    made += [
        line.format_map({**plain, "target": f"/v1/x?password={secret}#{secret}", "referer": f"https://u:{secret}@a.test/"})
        for secret in (*FORMLESS, *FORMED.values())
    ]  # fmt: skip
    return [text.encode() for text in (*made, f"no line of a log at all: {PLANTED}", f"{made[0][:-1]}\\x22{BODY_TEXT}")]


def _each_text(entry: Json) -> Iterator[Json]:
    """The entry with a secret added to, and put instead of, each of its texts, one at a time."""
    for path, text in list(_texts(entry)):
        for secret in FORMED.values():
            for value in (secret, f"{text} {secret}", f"{text}/{secret}/x"):
                copy = json.loads(json.dumps(entry))
                at: Any = copy
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = value
                yield copy


def _texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(child, (*path, key))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _texts(child, (*path, i))


def _restored(swapped: Any, entry: Any, secret: str) -> Any:
    """The swapped entry, but with names in those fields that hold names."""
    if isinstance(swapped, Mapping):
        return {
            key: f"name-of-{key}" if key in _WHO and secret in str(value) else _restored(value, entry, secret)
            for key, value in swapped.items()
        }
    if isinstance(swapped, list):
        return [_restored(value, entry, secret) for value in swapped]
    return swapped


class Tattle(SmallDetector):
    """Accuses somebody in every row, of each scope in turn, so that all a row holds is told on."""

    name: ClassVar[str] = "tattle"
    scopes: ClassVar[tuple[Scope, ...]] = (
        Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK, Scope.ENDPOINT,
    )  # fmt: skip
    reasons: ClassVar[tuple[Reason, ...]] = (Reason(0, "any", "Was there", "rows", Severity.HIGH, learned=False),)

    def process(self, batch: Batch) -> Hits:
        """A finding for each row."""
        hits = Hits.empty(batch.n)
        for row in range(batch.n):
            self.seen += 1
            named = [i for i, scope in enumerate(self.scopes) if batch.text(scope.value, row) is not None]
            if named:
                at = hits.count[0]
                hits.row[at], hits.scope[at] = row, named[self.seen % len(named)]
                hits.nats[at], hits.since[at] = 20.0, batch.ts[row]
                hits.count[0] += 1
        return hits


def tattle(detector: type[Tattle] = Tattle) -> Entry:
    """In mode block; it has no kernels, which only a folder's name can tell."""
    mark_compiled(detector)
    return entry_of(detector, Defaults(mode=Mode.BLOCK, block=BlockSettings(min_severity=Severity.LOW)))
