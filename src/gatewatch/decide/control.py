"""What detect must know of our orders, and of what people expect, as sealed records for every partition of `routed`.

A credential's rows lie with its principal, so nobody knows from an order alone which partitions its key is in: all
hear of it. Orders are few (guards let 30 a minute pass).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gatewatch.log.base import Headers
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, Control, Decision, Mode, Release, Seal, layout_of
from gatewatch.settings import KafkaSettings
from gatewatch.state.hashing import HashSeed


@dataclass(frozen=True, slots=True)
class Controls:
    """Where control records go, and what tells detect that they are ours.

    Where no gateway obeys (``obeyed`` is false), detect hears of no orders: each would be called ineffective.
    """

    topic: str
    partitions: int
    layout: bytes
    seal: Seal
    obeyed: bool = True

    @classmethod
    def of(cls, kafka: KafkaSettings, seed: HashSeed, *, obeyed: bool = True) -> Controls:
        """For an installation, of which ``seed`` is the hash seed."""
        topic = kafka.topic("routed")
        return cls(topic, kafka.partitions, layout_of(kafka.partitions, seed), Seal(seed, topic), obeyed)

    def records(self, said: Decision | Release) -> list[tuple[bytes, Headers]]:
        """Value and headers of what each partition is told; none where there is nothing to tell."""
        if isinstance(said, Release):
            return self._sealed(msgspec.msgpack.encode(said), b"release")
        value = self.value(said)
        return [] if value is None else self._sealed(value, b"control")

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

    def _sealed(self, value: bytes, kind: bytes) -> list[tuple[bytes, Headers]]:
        headers = ((H_KIND, kind), (H_LAYOUT, self.layout), (H_RANGES, msgspec.msgpack.encode([])))
        return [(value, self.seal.sealed(partition, value, headers)) for partition in range(self.partitions)]
