"""What every surface needs that takes signed requests: a body within a limit, and each signature once."""

from __future__ import annotations

from collections import OrderedDict

from starlette.requests import ClientDisconnect, Request

BODY_MAX = 64 * 1024  # Slack sends the whole message along: some 15 kB
REPLAYS_MAX = 10_000  # requests remembered within the five minutes in which a signature holds


class Seen:
    """The signatures of late; bounded, the oldest are forgotten. For one thread."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def again(self, signature: str) -> bool:
        """Whether it was here before; it is from now on."""
        if signature in self._seen:
            return True
        self._seen[signature] = None
        while len(self._seen) > REPLAYS_MAX:
            self._seen.popitem(last=False)
        return False


async def whole_body(request: Request) -> bytes | None:
    """The raw body, or ``None`` where it is too large, or its sender left."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_MAX:
                return None
            parts.append(part)
    except ClientDisconnect:
        return None
    return b"".join(parts)
