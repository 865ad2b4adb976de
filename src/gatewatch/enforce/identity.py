"""Who asks: the keys that a request names, as events name them.

Every line of a header counts. A proxy may add a line below the one that a client sent, and who looks at the first only
believes the client.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewatch.events.address import canonical_ip
from gatewatch.events.event import STRING_CAP
from gatewatch.events.formats.headers import SECRET_HEADERS
from gatewatch.events.secrets import hash_secret, hide_name
from gatewatch.records import Scope
from gatewatch.settings import Identify

Keys = list[tuple[Scope, str]]


class Identity:
    """Reads headers as one gateway sets them.

    Args:
        identify: where the gateway says who asks.
    """

    def __init__(self, identify: Identify) -> None:
        self._ip = identify.ip_header.lower().encode()
        self._trusted_hops = identify.trusted_hops
        self._principal = identify.principal_header.lower().encode() if identify.principal_header else None
        # A key that was blocked under one name may not come in under another: gateways take several
        self._secrets = frozenset(name.lower().encode() for name in (identify.secret_header, *SECRET_HEADERS))

    def keys(self, headers: Iterable[tuple[bytes, bytes]]) -> Keys:
        """What the headers of a request (names in lower case) say of itself. Cost: 2 us, and 1 us for each secret."""
        found: Keys = []
        chain: list[str] = []
        for name, value in headers:
            if name == self._ip:
                chain += _text(value).split(",")
            if name == self._principal and value:
                found.append((Scope.PRINCIPAL, hide_name(_text(value)[:STRING_CAP])))
            if name in self._secrets and value:
                found.append((Scope.CREDENTIAL, hash_secret(_text(value))))
        hop = len(chain) - 1 - self._trusted_hops
        if hop >= 0 and (ip := canonical_ip(chain[hop].strip())) is not None:
            found.append((Scope.IP, ip))
        return found


def _text(value: bytes) -> str:
    """A header's text: UTF-8, as gateways log it, else byte by byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
