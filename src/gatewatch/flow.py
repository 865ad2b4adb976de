"""The whole flow in one process, on the memory log: what `demo`, `replay` and most tests run.

The same roles as on Kafka, one turn each after every chunk of input, with the data's own time. So a replay is
deterministic: the same values in the same chunks give the same alerts and decisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import msgspec

from gatewatch.ahead import ahead
from gatewatch.catalog import Catalog
from gatewatch.clock import ManualClock
from gatewatch.decide.worker import DecideWorker
from gatewatch.detect.worker import DetectWorker
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.files import FileChunk
from gatewatch.log.held import HeldLog, Send
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import Alert, DeadLetter, Decision, Finding, FindingBatch, Incident
from gatewatch.registry import Entry, load_all
from gatewatch.settings import Settings, Source
from gatewatch.state.hashing import HashSeed

# Replays of one file give the same hashes everywhere; a live installation has a secret of its own.
REPLAY_SEED = HashSeed.public("replay")
COMMITS_S = 2.0  # a turn: past every role's commit interval, and tables are measured at each fifth only
_OWN_TOPICS = ("rollups", "findings", "alerts", "decisions", "incidents", "verdicts", "actions", "dead-letters")


@dataclass(slots=True)
class Outcome:
    """What one chunk of input caused."""

    events: int = 0
    dead: list[DeadLetter] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What ingest made of one chunk of input."""

    events: int
    sends: list[Send]


class Flow:
    """Ingest, detect and decide, turn by turn.

    Args:
        settings: as for workers; ``sources`` and Kafka are not used.
        source: topic name and format of the input.
        entries: detector folders; default all on the search path.
        seed: of the keyed hashes.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        *,
        entries: Mapping[str, Entry] | None = None,
        seed: HashSeed = REPLAY_SEED,
    ) -> None:
        self.settings = settings.model_copy(update={"sources": (source,)})
        self.entries = dict(entries) if entries is not None else load_all()
        self._topic = source.topic
        self._clock = ManualClock()
        self._ingest_clock = ManualClock()  # ingest may be a turn ahead
        self.log = MemoryLog(forget=(source.topic, self._own("routed"), self._own("rollups")))
        admin = self.log.admin()
        admin.create([TopicSpec(source.topic, 1), TopicSpec(self._own("routed"), settings.kafka.partitions)])
        admin.create([TopicSpec(self._own(name), 1) for name in _OWN_TOPICS])
        self.metrics = Metrics()
        self._held = HeldLog(self.log)
        self.ingest = IngestWorker(
            self._held, self.settings, seed, member="flow", clock=self._ingest_clock, metrics=self.metrics, history=True
        )
        self.detect = DetectWorker(
            self.log, self.settings, self.entries, seed, member="flow", clock=self._clock, metrics=self.metrics
        )
        catalog = Catalog.load(settings.catalog)
        self.decide = DecideWorker(
            self.log, settings, self.entries, catalog, member="flow", clock=self._clock, metrics=self.metrics
        )
        self._read: dict[str, int] = {}
        self.feed([])

    def feed(self, values: Sequence[bytes]) -> Outcome:
        """Push values (each an object, an array or lines, by the source's format) through the whole flow."""
        return self._judge(self._take_in(values))

    def feed_all(self, chunks: Iterable[FileChunk]) -> Iterator[tuple[FileChunk, Outcome]]:
        """The same for each chunk of some files. Ingest reads the next one while detect and decide judge this one.

        The outcomes are those of :meth:`feed`: nothing that ingest sends is in the log before its turn.
        """
        with closing(ahead((chunk, self._take_in(chunk.values)) for chunk in chunks)) as reading:
            for chunk, taken in reading:
                yield chunk, self._judge(taken)

    def warm(self, values: Sequence[bytes]) -> Outcome:
        """History: detectors learn from it, nothing is said of it. Feed it first, then what is newer."""
        self.detect.silence(math.inf)
        outcome = self.feed(values)
        self.detect.silence(self.ingest.event_times[1])
        return outcome

    def finish(self) -> Outcome:
        """End the input; what is still on its way comes out. The flow cannot be used after that."""
        outcome = self.feed([])
        for worker in (self.ingest, self.detect, self.decide):
            worker.close()
        return outcome

    def _own(self, name: str) -> str:
        return self.settings.kafka.topic(name)

    def _take_in(self, values: Sequence[bytes]) -> _Taken:
        """Ingest's part of a turn; what it sends is held."""
        self.log.extend(TopicPartition(self._topic, 0), values)
        before = self.ingest.events_read
        while self.ingest.step(0.0) or not self.ingest.caught_up:
            self.ingest.flush()
        self.ingest.tick()
        self._ingest_clock.advance(COMMITS_S)
        return _Taken(self.ingest.events_read - before, self._held.take())

    def _judge(self, taken: _Taken) -> Outcome:
        """The others' part: they do all there is to do, in order, and what came out is collected."""
        for send in taken.sends:
            send()
        while self.detect.step(0.0):
            pass
        while self.decide.step(0.0):
            pass
        self._clock.advance(COMMITS_S)
        return self._collect(taken.events)

    def _collect(self, events: int) -> Outcome:
        outcome = Outcome(events=events)
        for value in self._new("dead-letters"):
            outcome.dead.append(msgspec.json.decode(value, type=DeadLetter))
        for value in self._new("findings"):
            outcome.findings += msgspec.json.decode(value, type=FindingBatch).findings
        outcome.alerts = [Alert.model_validate_json(value) for value in self._new("alerts")]
        outcome.incidents = [Incident.model_validate_json(value) for value in self._new("incidents")]
        outcome.decisions = [Decision.model_validate_json(value) for value in self._new("decisions")]
        return outcome

    def _new(self, name: str) -> Iterator[bytes]:
        """Values of one of our topics since the last time."""
        topic = self._own(name)
        for chunk in self.log.read(topic, start={0: self._read.get(topic, 0)}):
            self._read[topic] = chunk.offsets[-1] + 1
            yield from (value for value in chunk.values if value is not None)
