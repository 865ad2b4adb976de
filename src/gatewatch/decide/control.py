"""What detect must know of our orders, and of what people expect, as records for every partition of `routed`.

A credential's rows lie with its principal, so nobody knows from an order alone which partitions its key is in: all
hear of it. Orders are few (guards let 30 a minute pass).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gatewatch.log.base import Headers
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, Control, Decision, Mode, Release
from gatewatch.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Controls:
    """Where control records go, and under which layout.

    Where no gateway obeys (``obeyed`` is false), detect hears of no orders: each would be called ineffective.
    """

    topic: str
    partitions: int
    headers: Headers
    release_headers: Headers
    obeyed: bool = True

    @classmethod
    def of(cls, kafka: KafkaSettings, seed_id: str, *, obeyed: bool = True) -> Controls:
        """For an installation; ``seed_id`` is that of its hash seed."""
        layout = f"{kafka.partitions}:{seed_id}".encode()
        rest = ((H_LAYOUT, layout), (H_RANGES, msgspec.msgpack.encode([])))
        return cls(
            kafka.topic("routed"),
            kafka.partitions,
            ((H_KIND, b"control"), *rest),
            ((H_KIND, b"release"), *rest),
            obeyed,
        )

    def record(self, said: Decision | Release) -> tuple[bytes, Headers] | None:
        """Value and headers of what detect is told; ``None`` where there is nothing to tell."""
        if isinstance(said, Release):
            return msgspec.msgpack.encode(said), self.release_headers
        value = self.value(said)
        return None if value is None else (value, self.headers)

    def value(self, decision: Decision) -> bytes | None:
        """What an order, or its removal, says to detect; ``None`` where it stops nobody."""
        if decision.mode is not Mode.BLOCK or not self.obeyed:
            return None
        return msgspec.msgpack.encode(
            Control(
                decision_id=decision.id,
                scope=decision.scope,
                key=decision.value,
                start=decision.start,
                until=decision.until,
                removed=decision.removed is not None,
            )
        )
