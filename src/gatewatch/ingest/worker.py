"""The ingest role: reads sources, writes routed batches, ticks and dead letters, commits what is safe.

A turn of :meth:`IngestWorker.step` polls, and cuts a round of batches when enough has come or 20 ms have passed.
Nothing is decoded before its round, so partitions that are taken away meanwhile are simply dropped. Any send error ends
the worker without a flush; it starts again from the committed offset and detect trims what it has already.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.clock import Clock
from gatewatch.errors import LogError
from gatewatch.events.batch import VERSION, Flag
from gatewatch.events.formats import get as get_format
from gatewatch.ingest import dead
from gatewatch.ingest.align import too_far_ahead
from gatewatch.ingest.bounds import TimeBounds
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.compile import compile_kernels
from gatewatch.ingest.cut import pieces
from gatewatch.ingest.places import locator
from gatewatch.ingest.ranges import Ranges, Stream
from gatewatch.ingest.raw import Raw, joined
from gatewatch.ingest.read import Read, read
from gatewatch.ingest.rounds import rounds
from gatewatch.ingest.routing import route
from gatewatch.ingest.shown import Shown
from gatewatch.ingest.sight import Sight
from gatewatch.log.base import LAST_FLUSH_S, Chunk, Headers, Log, TopicPartition
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_READ_AT, H_SCHEMA, Seal, SourceRange, layout_of
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.watch.needs import Needed
from gatewatch.watch.reporter import Reporter

TICK_S = 1.0  # DESIGN section 2: time goes on when traffic stops
COMMIT_S = 1.0  # a restart re-sends at most this much; committing more often costs a request each
ROUND_BYTES = 4 << 20  # undecoded bytes of one round: about 9,000 events of 450 B, some 60 MB while they are columns
POLL_RECORDS = 5000  # at most, however small they are
ALIGN_S = 0.5  # how often source partitions are compared
_LEAST_MEAN_BYTES = 1.0  # of a value: empty ones must not divide by zero


class IngestWorker:
    """Reads every topic in ``sources`` as one member of the group ``<prefix>.ingest``.

    Args:
        log: where from and to.
        settings: sources, batch limits, what is kept.
        seed: of the keyed hashes; the same in every worker of an installation.
        member: stable id in the group.
        clock: injected time.
        metrics: what to count on.
        warm_s: where the group has committed nothing yet, begin with what was written this long ago, not with all.
        history: everything is history (replay): "now" is the data's own time and ticks are the caller's; nothing is
            ever paused for what it holds.
        needs: fields to watch for, and everything else that would make us blind; ``None`` says nothing of it.
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        seed: HashSeed,
        *,
        member: str,
        clock: Clock,
        metrics: Metrics,
        warm_s: float | None = None,
        history: bool = False,
        needs: Sequence[Needed] | None = None,
    ) -> None:
        compile_kernels()
        self._log, self._clock, self._metrics = log, clock, metrics
        self._settings, self._kafka = settings.ingest, settings.kafka
        self._formats = {source.topic: get_format(source.format, source=source) for source in settings.sources}
        self._cleaner = Cleaner(seed, locator(settings.ingest), field_names=settings.ingest.field_names)
        self._shown = Shown(self._kafka.partitions)
        self._bounds = TimeBounds(None if history else clock)
        self._history, self._warm_s = history, warm_s
        self._layout = layout_of(self._kafka.partitions, seed)
        self._routed, self._dead_topic = self._kafka.topic("routed"), self._kafka.topic("dead-letters")
        self._seal = Seal(seed, self._routed)
        self._ranges = Ranges(self._kafka.partitions)
        self._pending: list[Chunk] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._mean_bytes = _LEAST_MEAN_BYTES
        self._next_offset: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self.events_read = 0
        self.event_times = (np.inf, -np.inf)  # oldest and newest, after bounds
        self._dead_in_flight = 0
        self._dead_lock = threading.Lock()
        now = clock.monotonic()
        self._tick_at, self._commit_at, self._align_at = now + TICK_S, now + COMMIT_S, now
        metrics.sources(tuple(self._formats))
        self._producer = log.producer()
        self._consumer = log.consumer(
            [source.topic for source in settings.sources],
            group=f"{self._kafka.prefix}.ingest",
            member=member,
            values_only=True,
        )
        reporter = None if needs is None else Reporter(settings, self._producer, member, clock, metrics)
        self._sight = Sight(
            settings, self._consumer, clock, metrics, reporter=reporter, needs=needs or (), halts=not history
        )

    @property
    def caught_up(self) -> bool:
        """Whether nothing is waiting: neither here nor in the source, but for what cannot be read."""
        unread = {tp for tp, records in self._consumer.lag().items() if records}
        return not self._pending and not unread - self._sight.halted

    @property
    def assigned(self) -> int:
        """Source partitions that are ours."""
        return len(self._ranges.streams())

    def step(self, timeout_s: float) -> int:
        """One turn; returns how many values were read.

        Raises:
            LogError: the worker must end, by ``close(flush=False)``.
        """
        wait = min(timeout_s, self._settings.batch_time) if self._pending else timeout_s
        limit = int(max(10.0, min(POLL_RECORDS, ROUND_BYTES / self._mean_bytes)))
        polled = self._consumer.poll(wait, limit)
        self._producer.check()
        if polled.lost or polled.revoked:
            self._give_up([*polled.lost, *polled.revoked])
        if polled.assigned:
            self._take_over(polled.assigned)
        read = sum(self._queue(chunk) for chunk in polled.chunks)
        now = self._clock.monotonic()
        if self._pending and (
            self._pending_bytes >= ROUND_BYTES or now - self._pending_since >= self._settings.batch_time
        ):
            self.flush()
        self._sight.turn(self._next_offset, history=self._bounds.history)
        if now >= self._align_at:
            self._align()
            self._align_at = now + ALIGN_S
        if now >= self._tick_at and not self._history:
            self.tick()
            self._tick_at = now + TICK_S
        if now >= self._commit_at:
            self._commit()
            self._commit_at = now + COMMIT_S
        return read

    def flush(self) -> None:
        """Decode and send everything that is pending, in rounds of bounded size."""
        chunks, size, self._pending, self._pending_bytes = self._pending, self._pending_bytes, [], 0
        if size < ROUND_BYTES:  # as it mostly is: nobody needs to look at each value
            if chunks:
                self._send_round(chunks)
            return
        for round_ in rounds(chunks, ROUND_BYTES):
            self._send_round(round_)

    def tick(self) -> None:
        """Tell every routed partition how far we have read, with or without rows since the last time."""
        if not self._ranges.streams():
            return
        self._set_idle_watermarks()
        for q in range(self._kafka.partitions):
            self._send(q, b"", b"tick", self._ranges.take(q))

    def close(self, *, flush: bool = True) -> None:
        """Leave. With ``flush`` everything read is sent, acknowledged and committed first."""
        try:
            if flush:
                self.flush()
                self.tick()
                self._producer.flush(LAST_FLUSH_S)
                self._commit()
        finally:
            self._producer.close(flush=False)  # what was not acknowledged in time is not waited for again
            self._consumer.close()

    def _queue(self, chunk: Chunk) -> int:
        """Put a chunk aside for the next round; a hole before it is looked at."""
        tp = chunk.tp
        if not self._ranges.owns(tp):
            return 0
        chunk = self._sight.admit(chunk)
        if not chunk.offsets:
            return 0
        expected = self._next_offset.get(tp, chunk.offsets[0])
        if chunk.offsets[0] > expected:
            beginning = self._consumer.beginning_offsets([tp]).get(tp, expected)
            if beginning > expected:  # else compaction or transaction markers: nothing is missing
                self.flush()
                self._ranges.hole(tp, beginning)
                self._sight.lost(tp, beginning - expected)
        self._next_offset[tp] = chunk.offsets[-1] + 1
        size = sum(map(len, filter(None, chunk.values)))
        self._mean_bytes = max(_LEAST_MEAN_BYTES, 0.8 * self._mean_bytes + 0.2 * size / len(chunk.values))
        if not self._pending:
            self._pending_since = self._clock.monotonic()
        self._pending.append(chunk)
        self._pending_bytes += size
        return len(chunk.values)

    def _send_round(self, chunks: Sequence[Chunk]) -> None:
        """Decode, clean, route and send some chunks; then they count as read."""
        streams = self._ranges.streams()
        index_of = {stream.tp: i for i, stream in enumerate(streams)}
        parts = [self._read(chunk) for chunk in chunks]
        raw = joined([part.raw for part in parts])
        if raw.n:
            src = np.repeat([index_of[chunk.tp] for chunk in chunks], [part.n for part in parts])
            offset = np.concatenate(
                [
                    np.asarray(chunk.offsets, np.int64)[part.value_index]
                    for chunk, part in zip(chunks, parts, strict=True)
                ]
            )
            index = np.concatenate([part.element_index for part in parts])
            batch, starts = self._columns(raw, src, offset, index, streams)
        for chunk in chunks:
            self._ranges.advance(chunk.tp, chunk.offsets[-1] + 1, -np.inf)
        if raw.n:
            self._send_batches(batch, starts, streams)

    def _read(self, chunk: Chunk) -> Read:
        """Events of one chunk; bad elements go to dead letters."""
        form = self._formats[chunk.tp.topic]
        part = read(form, chunk.values)
        part.bad += dead.unreadable(chunk)
        for bad in part.bad:
            letter = dead.dead_letter(
                bad,
                chunk.tp,
                chunk.offsets[bad.value_index],
                form.name,
                keep_raw=self._settings.raw_dead_letters,
            )
            self._send_dead(dead.encode(letter))
            self._metrics.dead_letter(chunk.tp.topic, bad.reason.value)
        self._sight.decoded(chunk.tp, part)
        self.events_read += part.n
        self._metrics.events(chunk.tp.topic, part.n, part.dead)
        return part

    def _columns(
        self,
        raw: Raw,
        src: npt.NDArray[np.int64],
        offset: npt.NDArray[np.int64],
        index: npt.NDArray[np.int64],
        streams: list[Stream],
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """All copies of all rows, by routed partition; streams learn their newest event time."""
        columns = self._cleaner.cleaned(raw)
        ts, moved = self._bounds.move(columns.numbers["ts_raw"])
        if moved.any():
            columns.numbers["flags"] |= np.where(moved, np.uint16(Flag.TIME_MOVED), np.uint16(0))
            self._metrics.moved_rows(int(moved.sum()))
        self.event_times = (min(self.event_times[0], float(ts.min())), max(self.event_times[1], float(ts.max())))
        for i in np.unique(src):
            stream = streams[int(i)]
            stream.watermark = max(stream.watermark, float(ts[src == i].max()))
        columns.place(ts=ts, src=src.astype(np.uint16), offset=offset, index=index.astype(np.int32))
        return route(columns, self._kafka.partitions, self._shown.choose(columns))

    def _send_batches(self, batch: pa.RecordBatch, starts: npt.NDArray[np.int64], streams: list[Stream]) -> None:
        for q in range(self._kafka.partitions):
            low, high = int(starts[q]), int(starts[q + 1])
            if low == high:
                continue
            part = batch.slice(low, high - low)
            for piece in pieces(part, self._settings.batch_rows, self._settings.batch_bytes):
                stops = None if piece.stops is None else {streams[i].tp: stop for i, stop in piece.stops.items()}
                self._send(q, piece.value, b"batch", self._ranges.take(q, stops), piece.schema)
                self._metrics.batch(piece.rows, len(piece.value))

    def _send(self, q: int, value: bytes, kind: bytes, ranges: list[SourceRange], schema: bytes = VERSION) -> None:
        headers: Headers = (
            (H_KIND, kind),
            (H_SCHEMA, schema),
            (H_LAYOUT, self._layout),
            (H_RANGES, msgspec.msgpack.encode(ranges)),
            (H_READ_AT, f"{self._clock.now():.3f}".encode()),
        )
        headers = self._seal.sealed(q, value, headers)
        on_ack = partial(self._on_ack, q, ranges)
        self._producer.send(self._routed, value, partition=q, headers=headers, on_ack=on_ack)

    def _on_ack(self, q: int, ranges: list[SourceRange], _offset: int) -> None:
        self._ranges.acknowledged(q, ranges)

    def _send_dead(self, value: bytes) -> None:
        with self._dead_lock:
            self._dead_in_flight += 1
        self._producer.send(self._dead_topic, value, on_ack=self._dead_acked)

    def _dead_acked(self, _offset: int) -> None:
        with self._dead_lock:
            self._dead_in_flight -= 1

    def _commit(self) -> None:
        """Commit what every routed partition has, and every dead letter of which is safe."""
        safe = self._ranges.committable()
        with self._dead_lock:
            if self._dead_in_flight:
                return
        for tp, offset in safe.items():
            self._consumer.mark(tp, offset)
        self._consumer.commit()

    def _take_over(self, tps: Sequence[TopicPartition]) -> None:
        """Open streams at what the group has committed, and start reading."""
        names = sorted({tp.topic for tp in tps})
        with closing(self._log.admin()) as admin:
            topics = admin.describe(names)
        for name in names:
            # Else the offset that was committed of the old one would open the new one's ranges, and what is before it
            # would count as seen.
            if name not in topics or topics[name].id != self._consumer.topic_ids.get(name):
                raise LogError(f"topic {name!r} was deleted and made again since this worker joined: start it again")
        committed = self._consumer.committed(tps)
        beginnings = self._consumer.beginning_offsets(tps)
        new = [tp for tp in tps if tp not in committed]
        if self._warm_s is not None and new:
            committed |= self._consumer.offsets_at(new, self._clock.now() - self._warm_s)
        for tp in tps:
            start = self._ranges.open(tp, topics[tp.topic].id, committed.get(tp), beginnings[tp])
            self._consumer.seek(tp, start)
            self._next_offset[tp] = start
        self._consumer.resume(tps)
        self._sight.own(self._next_offset.keys())
        for tp in tps:
            if (gone := beginnings[tp] - committed.get(tp, beginnings[tp])) > 0:
                self._sight.lost(tp, gone)

    def _give_up(self, tps: Sequence[TopicPartition]) -> None:
        """Drop what was read of partitions that are somebody else's now."""
        gone = set(tps)
        self._ranges.close(gone)
        self._paused -= gone
        self._pending = [chunk for chunk in self._pending if chunk.tp not in gone]
        self._pending_bytes = sum(len(v) for c in self._pending for v in c.values if v is not None)
        for tp in gone:
            self._next_offset.pop(tp, None)
        self._sight.own(self._next_offset.keys())

    def _align(self) -> None:
        """Pause source partitions that are too far ahead in event time, resume those that are no longer.

        One that is paused because it cannot be read holds nobody up.
        """
        halted = self._sight.halted
        streams = [stream for stream in self._ranges.streams() if stream.tp not in halted]
        lag = self._consumer.lag()
        self._metrics.source_lag(lag)
        self._metrics.sends_in_flight(self._producer.in_flight)
        if len(streams) < 2 and not self._paused:
            return
        ahead = too_far_ahead({s.tp: s.watermark for s in streams}, lag, self._settings.align)
        if ahead - self._paused:
            self._consumer.pause(ahead - self._paused)
        if back := self._paused - ahead - halted:
            self._consumer.resume(back)
        self._paused = ahead

    def _set_idle_watermarks(self) -> None:
        """A source partition that is read to its end has been seen up to now; of one that is paused nobody knows."""
        if self._bounds.history or self._pending:
            return
        lag, halted = self._consumer.lag(), self._sight.halted
        for stream in self._ranges.streams():
            if lag.get(stream.tp, 1) == 0 and stream.tp not in halted:
                stream.watermark = max(stream.watermark, self._bounds.now)
