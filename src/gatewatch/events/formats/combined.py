"""The plain access log line of NGINX and Apache, common or combined; a line is an element."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatewatch.errors import BadReason, DecodeError
from gatewatch.events.address import canonical_ip
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import Format
from gatewatch.events.formats.targets import request_line
from gatewatch.events.formats.values import epoch_s

_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
# host ident user [time] "request" status bytes ["referer" "agent"]; quotes within are escaped with a backslash. A user
# may hold blanks and brackets: the time is told by its form, so that no name makes the search for it quadratic.
_LINE = re.compile(
    rf"(\S+) \S+ (.+?) \[(\d+/\w+/\d+:[^\]]+)\] {_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED})?", re.DOTALL
)
_UNAUTHORIZED = 401


class Combined(Format):
    """Time has a resolution of one second and is when the request came (Apache) or ended (NGINX); taken as the end."""

    name = "combined"
    fields = frozenset({
        "ts", "method", "path", "status", "principal", "account", "ip", "user_agent", "auth", "denied", "bytes_out",
    })  # fmt: skip

    def elements(self, value: bytes) -> Iterator[bytes]:
        """Lines; some exports wrap each in a pair of double quotes of its own."""
        return (line for line in value.splitlines() if line.strip())

    def element(self, raw: bytes) -> AccessEvent:
        """One line."""
        line = raw.decode(errors="replace").strip()
        match = _LINE.match(line, 1 if line.startswith('"') else 0)
        if match is None:
            raise DecodeError(BadReason.LINE, "not a common or combined log line")
        host, user, time, request, code, size, _referer, agent = match.groups()
        method, path = request_line(request)
        name = user.strip('"')
        name_or_none = None if name in {"", "-"} else name
        failed = code == str(_UNAUTHORIZED)
        return AccessEvent(
            ts=epoch_s(time),
            method=method,
            path=path,
            status=int(code) if code != "-" else None,
            principal=None if failed else name_or_none,
            account=name_or_none if failed else None,
            ip=canonical_ip(host),
            user_agent=None if agent in {None, "", "-"} else agent.replace('\\"', '"'),
            bytes_out=float(size) if size != "-" else None,
        )
