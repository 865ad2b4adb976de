"""Event time of several streams as one clock that never goes back."""

from __future__ import annotations

from dataclasses import dataclass, field

SILENT_S = 60.0  # a stream this far behind the newest no longer holds time up: a dead one must not stop the clock


@dataclass(slots=True)
class Watermarks:
    """The slowest of the streams heard of, without those that have fallen silent.

    >>> w = Watermarks()
    >>> w.tell("a", 100.0); w.tell("b", 90.0); w.now
    90.0
    >>> w.tell("a", 200.0); w.now  # b is 110 s behind: it no longer counts
    200.0
    """

    streams: dict[str, float] = field(default_factory=dict)
    _now: float = float("-inf")

    def tell(self, stream: str, watermark: float) -> None:
        """A stream has been read up to this event time. Cost: a dictionary look-up; :attr:`now` does the work."""
        if watermark > self.streams.get(stream, float("-inf")):
            self.streams[stream] = watermark

    @property
    def now(self) -> float:
        """The common event time; -inf before anything was heard."""
        if self.streams:
            newest = max(self.streams.values())
            self._now = max(self._now, min(w for w in self.streams.values() if w >= newest - SILENT_S))
        return self._now
