"""A record of our own topics that makes no sense is passed over and told of: nobody blinds us with one, or silently."""

from __future__ import annotations

import msgspec
import pytest

from gatewatch.clock import ManualClock
from gatewatch.detect.memory import kind
from gatewatch.detect.task import DetectTask
from gatewatch.detect.worker import DetectWorker
from gatewatch.errors import StateError, UnreadableError
from gatewatch.events.batch import VERSION, encode, schema_id
from gatewatch.log.base import Headers, TopicPartition
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, DeadLetter, FindingBatch, SourceRange
from gatewatch.settings import Settings
from gatewatch.state.saving import Saver
from gatewatch.testing.batches import batch_of
from gatewatch.testing.routed import SEED, routed_log

SETTINGS = Settings.model_validate({"kafka": {"partitions": 1}, "sources": [{"topic": "access", "format": "native"}]})
ROUTED = TopicPartition(SETTINGS.kafka.topic("routed"), 0)
ROLLUPS = TopicPartition(SETTINGS.kafka.topic("rollups"), 0)
LAYOUT = f"1:{SEED.id}".encode()
T0 = 1_790_000_000.0
NOISE = b"\xff\x00noise"


def record(first: int, n: int = 2, **changes: bytes) -> tuple[bytes, Headers]:
    """Source offsets [first, first + n) as a worker of ours writes them, but for some headers."""
    batch = batch_of([{"ts": T0 + first + i, "principal": f"p{first + i}"} for i in range(n)], first_offset=first)
    ranges = [SourceRange("id", 0, first, first + n, T0 + first + n, topic="access")]
    head = {
        H_KIND: b"batch",
        H_SCHEMA: schema_id(batch.arrow),
        H_LAYOUT: LAYOUT,
        H_RANGES: msgspec.msgpack.encode(ranges),
    }
    named = {"schema": H_SCHEMA, "layout": H_LAYOUT, "ranges": H_RANGES}
    head |= {named[name]: value for name, value in changes.items()}
    return encode(batch.arrow), tuple(head.items())


def task() -> DetectTask:
    """One that counts rows."""
    return DetectTask.build(0, SETTINGS, {}, SEED, Metrics())


def refused(one: DetectTask, offset: int, value: bytes, headers: Headers) -> None:
    """As a worker does."""
    with pytest.raises(UnreadableError):
        one.apply(offset, value, headers)
    one.pass_over(offset, headers)


def test_what_a_damaged_record_stood_for_is_lost_and_what_follows_counts() -> None:
    """If this fails, detection refuses everything after one broken record, for ever and without a word."""
    one = task()
    one.apply(0, *record(0))
    refused(one, 1, NOISE, record(2)[1])
    said = one.apply(2, *record(4))
    assert (one.counts.rows, one.counts.lost, one.counts.refused) == (4, 2, 0)
    assert said is not None
    assert said.watermark == T0 + 6


def test_a_damaged_record_that_stands_for_nothing_new_loses_nothing() -> None:
    """If this fails, a zombie's broken record is told as a loss of events that were all seen."""
    one = task()
    one.apply(0, *record(0, 4))
    refused(one, 1, NOISE, record(2)[1])
    assert (one.counts.rows, one.counts.lost) == (4, 0)


def test_where_nobody_knows_what_is_missing_one_gap_is_accepted_and_told() -> None:
    """If this fails, a flipped bit in a header ends the detection of a partition, or any later gap is let in."""
    one = task()
    one.apply(0, *record(0))
    refused(one, 1, *record(2, ranges=b"\x93\x01"))
    one.apply(2, *record(4))
    assert (one.counts.rows, one.counts.lost, one.counts.refused) == (4, 2, 0)
    one.apply(3, *record(8))
    assert (one.counts.rows, one.counts.refused) == (4, 1)


def test_a_stream_that_goes_on_without_a_gap_is_trusted_again() -> None:
    """If this fails, a batch that was sent too early counts before those that it should follow, which are then lost."""
    one = task()
    one.apply(0, *record(0))
    refused(one, 1, *record(0, ranges=b""))
    one.apply(2, *record(2))
    one.apply(3, *record(6))
    assert (one.counts.lost, one.counts.refused) == (0, 1)


def test_doubt_outlives_a_restart() -> None:
    """If this fails, a worker that ends right after a broken record leaves one that refuses all that comes."""
    one = task()
    one.apply(0, *record(0))
    refused(one, 1, *record(2, ranges=b""))
    memory = one.memory()
    again = task()
    assert again.become(type(memory).read(memory.document(), memory.arrays), 2, 0) == 2
    again.apply(2, *record(4))
    assert (again.counts.rows, again.counts.lost, again.counts.refused) == (2, 2, 0)


@pytest.mark.parametrize("layout", [b"", b"12:deadbeef"])
def test_a_strangers_record_moves_nothing(layout: bytes) -> None:
    """If this fails, whoever may write a line to `routed` makes us skip what our own workers are about to send."""
    one = task()
    one.apply(0, *record(0))
    refused(one, 1, *record(2, 100, layout=layout))
    one.apply(2, *record(2))
    one.apply(3, *record(6))
    assert (one.counts.rows, one.counts.lost, one.counts.refused) == (4, 0, 1)


def test_another_version_is_not_passed_over() -> None:
    """If this fails, an upgrade that reaches ingest first loses everything until detect is upgraded, too."""
    newer = VERSION.partition(b"/")[0] + b"/999:7"
    with pytest.raises(StateError, match="same version") as caught:
        task().apply(0, *record(0, schema=newer))
    assert not isinstance(caught.value, UnreadableError)


def test_what_claims_another_version_and_stands_for_nothing_new_is_passed_over() -> None:
    """If this fails, one line that names a version stops detection for as long as `routed` is kept."""
    newer = VERSION.partition(b"/")[0] + b"/999:7"
    one = task()
    one.apply(0, *record(0, 4))
    refused(one, 1, *record(2, schema=newer))
    refused(one, 2, *record(0, schema=newer, ranges=msgspec.msgpack.encode([])))
    one.apply(3, *record(4))
    assert (one.counts.rows, one.counts.lost, one.counts.refused) == (6, 0, 0)
    with pytest.raises(StateError, match="same version") as caught:
        one.apply(4, *record(6, schema=newer))
    assert not isinstance(caught.value, UnreadableError), "a worker that was upgraded before us has more to say"


def worker(log: MemoryLog, clock: ManualClock, metrics: Metrics) -> DetectWorker:
    """One that keeps snapshots and watches."""
    saver = Saver(kind(SETTINGS), log, SETTINGS, SEED, clock=clock, metrics=metrics)
    return DetectWorker(
        log, SETTINGS, {}, SEED, member="d", clock=clock, metrics=metrics, saver=saver, watch=True
    )  # fmt: skip


def letters(log: MemoryLog) -> list[DeadLetter]:
    """All dead letters."""
    values = [v for c in log.read(SETTINGS.kafka.topic("dead-letters")) for v in c.values if v is not None]
    return [msgspec.json.decode(value, type=DeadLetter) for value in values]


def blind(log: MemoryLog) -> list[tuple[str, str]]:
    """Reason and key of what the worker says it cannot see."""
    values = [v for c in log.read(SETTINGS.kafka.topic("findings")) for v in c.values if v is not None]
    found = [f for v in values for f in msgspec.json.decode(v, type=FindingBatch).findings]
    return [(f.reason, f.key) for f in found if f.detector == "gatewatch"]


def test_a_worker_tells_of_it_once_in_every_way_and_goes_on() -> None:
    """If this fails, one line written to an internal topic stops detection at each restart, or is lost in silence."""
    secret = b"key-of-a-customer"
    events = [
        msgspec.json.encode({"ts": T0 + i, "principal": "al", "ip": "192.0.2.1", "status": 200}) for i in range(20)
    ]
    log, clock, metrics = routed_log(SETTINGS, events), ManualClock(T0), Metrics()
    at = log.topic(ROUTED.topic).partitions[0].end
    for tp in (ROUTED, ROLLUPS):
        log.extend(tp, [secret])
    first = worker(log, clock, metrics)
    for _ in range(6):
        first.step(0.0)
        clock.advance(1.0)
    first.close()
    assert sorted((x.topic, x.offset, x.reason, x.size, x.raw) for x in letters(log)) == [
        (ROLLUPS.topic, 0, "record", len(secret), None),
        (ROUTED.topic, at, "record", len(secret), None),
    ]
    assert sorted(blind(log)) == [("record_unreadable", f"records of {tp.topic}") for tp in (ROLLUPS, ROUTED)]
    for of in ("routed", "rollups"):
        assert metrics.registry.get_sample_value("gatewatch_unreadable_records_total", {"of": of}) == 1.0
    assert all(secret not in v for name in ("dead-letters", "findings") for v in values_of(log, name))
    second = worker(log, clock, Metrics())
    for _ in range(6):
        second.step(0.0)
        clock.advance(1.0)
    assert second.caught_up
    second.close()
    assert len(letters(log)) == 2


def values_of(log: MemoryLog, name: str) -> list[bytes]:
    """All of a topic."""
    return [v for c in log.read(SETTINGS.kafka.topic(name)) for v in c.values if v is not None]
