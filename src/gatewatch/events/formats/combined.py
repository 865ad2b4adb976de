"""The plain access log line of NGINX and Apache, common or combined; a line is an element."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import canonical_ip
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format

# host ident user [time] "request" status bytes ["referer" "agent"]; quotes within are escaped with a backslash
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rf"(\S+) (\S+) (.+?) \[([^\]]+)\] {_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED})?")
_TIME = "%d/%b/%Y:%H:%M:%S %z"
_METHOD = re.compile(r"[A-Z]{3,20}")


class Combined(Format):
    """Time has a resolution of one second and is when the request came (Apache) or ended (NGINX); taken as the end."""

    name = "combined"
    fields = frozenset(
        {"ts", "method", "path", "status", "principal", "account", "ip", "user_agent", "auth", "bytes_out"}
    )

    def elements(self, value: bytes) -> Iterator[bytes]:
        """Lines; shippers may wrap each in a pair of double quotes."""
        return (line for line in value.splitlines() if line.strip())

    def element(self, raw: bytes) -> AccessEvent:
        """One line."""
        line = raw.decode(errors="replace").strip()
        match = _LINE.match(line)
        if match is None and line.startswith('"'):
            match = _LINE.match(line[1:])
        if match is None:
            raise DecodeError(BadReason.LINE, "not a common or combined log line")
        host, _ident, user, time, request, status, size, _referer, agent = match.groups()
        method, path = _request(request)
        name = None if user == "-" else user.strip('"') or None
        code = int(status) if status != "-" else None
        failed = code == 401
        return AccessEvent(
            ts=_epoch_s(time),
            method=method,
            path=path,
            status=code,
            principal=None if failed else name,
            account=name if failed else None,
            ip=canonical_ip(host),
            user_agent=_plain(agent),
            bytes_out=float(size) if size != "-" else None,
        )


def _request(text: str) -> tuple[str | None, str | None]:
    """Method and path; junk that scanners send has neither. The query string is dropped."""
    parts = text.split(" ")
    if len(parts) < 2 or not _METHOD.fullmatch(parts[0]):
        return None, None
    target = " ".join(parts[1:-1]) if len(parts) > 2 and parts[-1].startswith("HTTP/") else " ".join(parts[1:])
    return parts[0], target.partition("?")[0].partition("#")[0] or None


def _plain(text: str | None) -> str | None:
    return None if text in (None, "", "-") else text.replace('\\"', '"') if text is not None else None


def _epoch_s(text: str) -> float:
    try:
        return datetime.strptime(text, _TIME).timestamp()  # noqa: DTZ007 - the format has the zone
    except ValueError as error:
        raise DecodeError(BadReason.TIME, "the time is not as in 17/May/2015:10:05:03 +0000") from error
