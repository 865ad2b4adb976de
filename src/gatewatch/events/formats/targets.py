"""What a request was for: method and path, and never the query, which may hold secrets."""

from __future__ import annotations

import re

_METHOD = re.compile(r"[A-Z]{3,20}")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")


def path_of(target: str | None) -> str | None:
    """The path of a request target: no query, no fragment, and of an absolute one no host and no password.

    >>> [path_of(t) for t in ("/v1/models?key=s", "https://user:pass@api.test/v1#top", "https://api.test?x", "")]
    ['/v1/models', '/v1', '/', None]
    """
    if not target:
        return None
    if "?" not in target and "#" not in target and ":" not in target:
        return target
    path = target.partition("?")[0].partition("#")[0]
    if "://" in path and (origin := _ORIGIN.match(path)):
        return path[origin.end() :] or "/"
    return path or None


def request_line(line: str | None) -> tuple[str | None, str | None]:
    r"""Method and path of ``GET /x HTTP/1.1``, also without the protocol; junk that scanners send has neither.

    >>> request_line("GET /a b?key=s HTTP/1.1"), request_line("GET /"), request_line("\\x16\\x03")
    (('GET', '/a b'), ('GET', '/'), (None, None))
    """
    method, _, rest = (line or "").partition(" ")
    if not rest or not _METHOD.fullmatch(method):
        return None, None
    target, _, protocol = rest.rpartition(" ")
    return method, path_of(target if protocol.startswith("HTTP/") else rest)
