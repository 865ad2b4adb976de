"""Sockets of kafka-python that are closed where a connection fails.

The client leaves them to the garbage collector: while a broker is down, a worker would hold one more with every try.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kafka.net import KafkaNetSocket

# The client looks up who makes its sockets by the scheme of its proxy; there is none.
DIRECT = "gatewatch-direct://"


class DirectSocket(KafkaNetSocket):  # type: ignore[misc]  # the library has no types
    """No proxy. Its definition makes it known to the client."""

    SCHEMES: ClassVar = (DIRECT.partition(":")[0],)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """The client's own, and what it lacks."""
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:  # a client that is closed meanwhile ends this with GeneratorExit
            sock.close()
            raise
