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
from gatewatch.records import (
    H_KIND,
    H_LAYOUT,
    H_RANGES,
    H_SCHEMA,
    H_SEAL,
    DeadLetter,
    FindingBatch,
    Seal,
    SourceRange,
)
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.saving import Saver
from gatewatch.testing.batches import batch_of
from gatewatch.testing.routed import SEED, routed_log, sealed

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
    value = encode(batch.arrow)
    return value, sealed(SETTINGS, value, tuple(head.items()))


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


NEWER = VERSION.partition(b"/")[0] + b"/999:7"


def test_another_version_is_not_passed_over() -> None:
    """If this fails, an upgrade that reaches ingest first loses everything until detect is upgraded, too."""
    with pytest.raises(StateError, match="upgrade this one") as caught:
        task().apply(0, *record(0, schema=NEWER))
    assert not isinstance(caught.value, UnreadableError)


def forged(first: int, n: int, **changes: bytes) -> tuple[bytes, Headers]:
    """As :func:`record`, by somebody who knows all but the seed."""
    value, headers = record(first, n, **changes)
    theirs = Seal(HashSeed(1, 2), ROUTED.topic).sealed(0, value, headers[:-1])
    return value, theirs


@pytest.mark.parametrize("changes", [{}, {"schema": NEWER}, {"ranges": b""}], ids=["ours", "newer", "no ranges"])
def test_who_does_not_know_the_seed_moves_and_stops_nothing(changes: dict[str, bytes]) -> None:
    """If this fails, whoever may write to `routed` ends detection with one line, or makes it skip what he names."""
    for strange in (forged(2, 100, **changes), (record(2, 100, **changes)[0], record(2, 100, **changes)[1][:-1])):
        one = task()
        one.apply(0, *record(0))
        refused(one, 1, *strange)
        one.apply(2, *record(2))
        one.apply(3, *record(6))
        assert (one.counts.rows, one.counts.lost, one.counts.refused) == (4, 0, 1)


def test_a_seal_holds_for_its_own_place_and_value_only() -> None:
    """If this fails, what was written for one partition counts in another, or headers are put before other rows."""
    value, headers = record(0)
    seal = Seal(SEED, ROUTED.topic)
    assert seal.vouches(0, dict(headers))
    assert seal.fits(value, dict(headers))
    assert not seal.fits(value + b"x", dict(headers))
    assert not seal.vouches(1, dict(headers))
    assert not Seal(SEED, ROLLUPS.topic).vouches(0, dict(headers))
    for name in (H_KIND, H_SCHEMA, H_LAYOUT, H_RANGES, H_SEAL):
        changed = {**dict(headers), name: dict(headers)[name][:-1] + b"?"}
        assert not seal.vouches(0, changed), name
        assert not seal.vouches(0, {k: v for k, v in headers if k != name}), name
    assert seal.vouches(0, {**dict(headers), "of-a-later-version": b"x"}), "a later version may add headers"


def test_only_a_flow_within_one_process_goes_without_seals() -> None:
    """If this fails, a worker takes what a stranger wrote, or a replay pays for proofs that prove nothing."""
    value, headers = record(0)
    bare = tuple(header for header in headers if header[0] != H_SEAL)
    alone = Seal(HashSeed.public("replay"), ROUTED.topic)
    assert alone.sealed(0, value, bare) == bare
    assert alone.vouches(0, dict(bare))
    assert alone.fits(value, dict(bare))
    assert not HashSeed.from_secret("replay").is_public
    assert not Seal(HashSeed.from_secret("replay"), ROUTED.topic).vouches(0, dict(bare))


def test_what_another_version_wrote_and_stands_for_nothing_new_is_passed_over() -> None:
    """If this fails, an upgrade that was taken back stops detection though nothing is missing."""
    one = task()
    one.apply(0, *record(0, 4))
    refused(one, 1, *record(2, schema=NEWER))
    refused(one, 2, *record(0, schema=NEWER, ranges=msgspec.msgpack.encode([])))
    one.apply(3, *record(4))
    assert (one.counts.rows, one.counts.lost, one.counts.refused) == (6, 0, 0)
    with pytest.raises(StateError, match="upgrade this one") as caught:
        one.apply(4, *record(6, schema=NEWER))
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


def test_detection_goes_on_past_every_record_that_nobody_should_have_written() -> None:
    """If this fails, one record that an intruder or a broken worker wrote ends detection at each restart."""
    log, clock, metrics = routed_log(SETTINGS, []), ManualClock(T0), Metrics()
    value, headers = record(2)
    strange: dict[str, tuple[bytes, Headers]] = {
        "garbage": (NOISE, ()),
        "another's layout": record(2, layout=b"12:deadbeef"),
        "no seal": (value, headers[:-1]),
        "a newer version, forged": forged(2, 100, schema=NEWER),
        "all that is to come, forged": forged(
            2, 1, ranges=msgspec.msgpack.encode([SourceRange("id", 0, 2, 1 << 40, T0)])
        ),
        "columns that it does not have": record(0, schema=VERSION + b":7"),
        "no columns": record(0, schema=VERSION + b":zz"),
        "half a batch": (value[: len(value) // 2], headers),
        "half a batch, sealed so": (value[:99], sealed(SETTINGS, value[:99], record(0)[1])),
    }
    producer = log.producer()
    for put, of in [record(0), *strange.values(), record(4)]:
        producer.send(ROUTED.topic, put, partition=0, headers=of)
    one = worker(log, clock, metrics)
    for _ in range(12):  # tables are measured every ten seconds
        one.step(0.0)
        clock.advance(1.0)
    assert one.caught_up
    one.close()
    assert len(letters(log)) == len(strange)
    assert blind(log) == [("record_unreadable", f"records of {ROUTED.topic}")]
    count = metrics.registry.get_sample_value
    assert count("gatewatch_rows_total") == 4.0, "those of the two good ones"
    assert count("gatewatch_ranges_total", {"result": "lost"}) == 2.0, "what one of ours stood for that was cut short"


def values_of(log: MemoryLog, name: str) -> list[bytes]:
    """All of a topic."""
    return [v for c in log.read(SETTINGS.kafka.topic(name)) for v in c.values if v is not None]
