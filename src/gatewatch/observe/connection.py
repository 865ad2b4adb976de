"""One HTTP connection whose requests must come whole within a time, and how many of them there is room for.

uvicorn waits for ever for a request that has begun, so a few hundred callers who send a byte now and then (slowloris)
would take all the connections there are.
"""

from __future__ import annotations

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # a head is one packet or two; nginx and Envoy give up on theirs after 60 s, and speak to strangers
BODY_S = 60.0  # the largest body that is taken, 64 MiB, at 9 Mbit/s; senders give up after 10 to 30 s
OWN_FILES = 128  # of a role beside its connections: the broker's, logs, modules; some 25 were counted


class Connection(H11Protocol):
    """uvicorn's own, which ends itself when a request is not whole in time. The deadline of one is never moved."""

    _deadline: asyncio.TimerHandle | None = None
    _awaited: type[h11.IDLE | h11.SEND_BODY] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """A caller who says nothing is not waited for either."""
        super().connection_made(transport)
        self._wait_for(h11.IDLE)

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The next request may have begun, behind this one."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._wait_for(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait_for(h11.SEND_BODY)
        else:
            begun = state is h11.IDLE and bool(self.conn.trailing_data[0])
            self._wait_for(h11.IDLE if begun else None)

    def _wait_for(self, part: type[h11.IDLE | h11.SEND_BODY] | None) -> None:
        if part is self._awaited:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaited = part
        within_s = HEAD_S if part is h11.IDLE else BODY_S
        self._deadline = self.loop.call_later(within_s, self.transport.abort) if part is not None else None


def room_for(connections: int) -> int:
    """So many connections, or as many as the system has file descriptors for; the soft limit is raised if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most - OWN_FILES, 1)
