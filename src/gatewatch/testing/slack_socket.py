"""Slack's side of Socket Mode on loopback: a WebSocket that sends presses and collects what is acknowledged."""

from __future__ import annotations

import json
import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


class SocketStandIn:
    """Listens; ``url`` is what ``apps.connections.open`` should answer."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.connections = 0
        self._live: list[ServerConnection] = []
        self._changed = threading.Condition()
        self._server = serve(self._talk, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/link"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def press(self, payload: dict[str, Any], envelope: str) -> None:
        """Send one press over the newest connection."""
        frame = {"type": "interactive", "envelope_id": envelope, "accepts_response_payload": True, "payload": payload}
        self._live[-1].send(json.dumps(frame))

    def drop(self) -> None:
        """Close the newest connection, as Slack does every few hours."""
        self._live[-1].close()

    def await_connections(self, n: int, timeout_s: float) -> bool:
        """Whether there were so many, in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.connections >= n, timeout_s)

    def await_acknowledged(self, envelope: str, timeout_s: float) -> bool:
        """Whether that press was acknowledged in time."""
        with self._changed:
            return self._changed.wait_for(lambda: envelope in self.acknowledged, timeout_s)

    def close(self) -> None:
        """End."""
        self._server.shutdown()

    def _talk(self, connection: ServerConnection) -> None:
        with self._changed:
            self.connections += 1
            self._live.append(connection)
            self._changed.notify_all()
        connection.send(json.dumps({"type": "hello", "num_connections": 1}))
        try:
            for frame in connection:
                answer = json.loads(frame)
                with self._changed:
                    self.acknowledged.append(answer["envelope_id"])
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
