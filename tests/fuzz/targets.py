"""What is fed with hostile input, and what must hold each time.

A target takes a round of inputs and returns how many there were. It raises :class:`AssertionError`, or whatever the
code under test should not have raised.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from random import Random
from typing import Any

import httpx
import msgspec
import numpy as np
from tests.contract.format_cases import JSON_CASES, Case
from tests.contract.format_cases_more import MORE_CASES
from tests.fuzz.gateways import Gateways
from tests.fuzz.hostile import MARK, Hostile
from tests.fuzz.target import Target

from gatewatch.catalog import Catalog
from gatewatch.decide import records_io
from gatewatch.decide.decider import Decider
from gatewatch.detect.population import PopulationTask
from gatewatch.detect.reading import Ours
from gatewatch.detect.task import DetectTask
from gatewatch.errors import BadReason, StateError
from gatewatch.events import formats, rollup
from gatewatch.events.batch import decode as decode_batch
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import BadElement, Decoded, Format
from gatewatch.flow import Flow
from gatewatch.ingest import dead
from gatewatch.ingest.bounds import TimeBounds
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.cut import pieces
from gatewatch.ingest.raw import columns_of
from gatewatch.ingest.read import read
from gatewatch.ingest.routing import route
from gatewatch.log.base import Headers, TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.metrics import Metrics
from gatewatch.receive.app import Receiver
from gatewatch.receive.writer import Writer
from gatewatch.records import (
    Alert,
    Contribution,
    Decision,
    Explanation,
    Finding,
    FindingBatch,
    Incident,
    Scope,
)
from gatewatch.registry import Entry, load_all
from gatewatch.settings import ReceiveSettings, Settings, Source
from gatewatch.testing.kafka_batches import GZIP, HEADER_BYTES, LZ4, ZSTD, GuardedReader, batch, sealed
from gatewatch.testing.routed import SEED, routed_log
from gatewatch.testing.routed import sealed as seal

CASES: tuple[Case, ...] = (*JSON_CASES, *MORE_CASES)
TP = TopicPartition("access", 0)
VALUES = 100  # of a round
ROUND_S = 10.0  # CPU of one round of the smallest kind: a hundred times what it takes; what is quadratic takes longer
LINE = '203.0.113.9 - alice [17/May/2015:10:05:03 +0000] "GET /v1/models?key=x HTTP/1.1" 200 512 "-" "curl/8"'


class Reading(Target):
    """A format, and everything that ingest does with what it read."""

    def __init__(self, case: Case) -> None:
        self.name = f"format {case.name}"
        self._form: Format = case.make()
        self._case = case
        self._cleaner = Cleaner(SEED)
        (self._good,) = self._form.decode([case.raw]).events

    def round(self, random: Random) -> int:
        """Some values between two good ones."""
        hostile = Hostile(random)
        entry = self._case.entry if random.random() < 0.7 else self._case.secret
        made = [hostile.value(entry) for _ in range(VALUES)]
        good = [self._case.raw, *(v.data for v in made), self._case.raw]
        began = time.thread_time()
        decoded = self._form.decode(good)
        assert decoded.events[0] == decoded.events[-1] == self._good, "a good value beside a bad one is not read"
        _check_places(decoded, good)
        for at, value in enumerate(made, start=1):
            lived = decoded.value_index.count(at)
            assert lived >= value.good, f"a bad element cost its siblings: {lived} of {value.good} live"
        _check_onward(self._cleaner, decoded)
        _check_read(self._form, good, decoded)
        assert time.thread_time() - began < ROUND_S, "it took too long"
        return len(made)


class Lines(Target):
    """The text format."""

    name = "format combined"

    def __init__(self) -> None:
        self._form = formats.get("combined")
        self._cleaner = Cleaner(SEED)

    def round(self, random: Random) -> int:
        """Lines that are damaged, between good ones."""
        hostile = Hostile(random)
        bad = [hostile.damaged(LINE.encode()) for _ in range(VALUES)]
        values = [b"\n".join((LINE.encode(), line.replace(b"\n", b" "), LINE.encode())) for line in bad]
        decoded = self._form.decode(values)
        assert all(decoded.value_index.count(at) >= 2 for at in range(len(values))), "a bad line cost its neighbours"
        _check_places(decoded, values)
        _check_onward(self._cleaner, decoded)
        return len(values)


class Whole(Target):
    """Ingest, every detector and decide, on one format."""

    def __init__(self, case: Case) -> None:
        self.name = f"flow {case.name}"
        self._case, self._entries = case, _entries()
        settings = Settings.model_validate({"kafka": {"partitions": 2}})
        self._flow = Flow(settings, Source(topic="access", format=case.make().name), entries=self._entries)

    def round(self, random: Random) -> int:
        """A chunk of values through everything."""
        hostile = Hostile(random)
        values = [hostile.value(self._case.entry).data for _ in range(3 * VALUES)]
        outcome = self._flow.feed([self._case.raw, *values])
        assert outcome.events >= 1
        for letter in outcome.dead:
            assert (letter.topic, letter.partition) == ("access", 0)
            assert letter.offset >= 0
            assert letter.index >= 0
            assert MARK not in letter.detail
        for alert in outcome.alerts:
            json.loads(alert.model_dump_json())
            assert "\n" not in alert.summary
            assert "\x1b" not in alert.summary
        value = self._flow.metrics.registry.get_sample_value
        for name in self._entries:
            assert not value("gatewatch_detector_errors_total", {"detector": name}), f"detector {name} raised"
        return len(values)


class Routed(Target):
    """Records of `routed`: whoever can write there can end a worker with a clear error, and nothing else."""

    name = "records of routed"

    def __init__(self) -> None:
        self._entries = _entries()
        self._settings = Settings.model_validate({"kafka": {"partitions": 1}})
        rows = [
            msgspec.json.encode(
                AccessEvent(ts=1.7e9 + i, principal=f"p{i % 5}", ip="192.0.2.7", status=200, auth="success")
            )
            for i in range(200)
        ]
        log = routed_log(self._settings, rows, size=50)
        self._records: list[tuple[bytes | None, Headers]] = [
            (value, headers)
            for chunk in log.read(self._settings.kafka.topic("routed"))
            for value, headers in zip(chunk.values, chunk.headers, strict=True)
        ]

    def round(self, random: Random) -> int:
        """The log with damaged records in it."""
        hostile = Hostile(random)
        task = DetectTask.build(0, self._settings, self._entries, SEED, Metrics())
        offset = 0
        for value, headers in self._records:
            for _ in range(2):
                damaged = None if value is None else hostile.damaged(value)
                mixed = _mixed(random, hostile, value, damaged, headers)
                _only(StateError, task.apply, offset, *_sealed(random, self._settings, "routed", *mixed))
                offset += 1
        assert not task.quarantined, f"{task.quarantined} raised"
        return offset


class RolledUp(Target):
    """Records of `rollups`."""

    name = "records of rollups"

    def __init__(self) -> None:
        self._entries = _entries()
        self._settings = Settings.model_validate({"kafka": {"partitions": 1}})
        rows = [
            msgspec.json.encode(
                AccessEvent(ts=1.7e9 + i, principal="p", ip="192.0.2.7", status=200, endpoint="/v1/chat")
            )
            for i in range(400)
        ]
        self._records = _rollups_of(self._settings, self._entries, rows)

    def round(self, random: Random) -> int:
        """The log with damaged records in it."""
        hostile = Hostile(random)
        task = PopulationTask.build(self._settings, self._entries, SEED, Metrics())
        offset = 0
        for value, headers in self._records[:20]:
            damaged = None if value is None else hostile.damaged(value)
            mixed = _mixed(random, hostile, value, damaged, headers)
            _only(StateError, task.apply, offset, *_sealed(random, self._settings, "rollups", *mixed))
            offset += 1
        assert not task.quarantined, f"{task.quarantined} raised"
        return offset


class Findings(Target):
    """Records of `findings`, and the other topics that workers and commands read."""

    name = "records of findings"

    def __init__(self) -> None:
        self._entries = _entries()
        self._settings = Settings()
        self._corpus = _findings()
        self._decider = Decider(self._settings, self._entries, Catalog())
        self._offset = 0

    def round(self, random: Random) -> int:
        """Batches that are bent or damaged."""
        hostile = Hostile(random)
        n = 20
        for _ in range(n):
            entry = hostile.bent(random.choice(self._corpus))
            raw = json.dumps(entry).encode()
            raw = hostile.damaged(raw) if random.random() < 0.3 else raw
            read = _only(StateError, records_io.read_batch, raw, "findings-0 offset 1")
            if read is not None:
                self._offset += 1
                decided = self._decider.apply(
                    msgspec.structs.replace(read[0], routed_offset=self._offset), self._offset
                )
                told: list[Alert | Incident | Decision] = [*decided.alerts, *decided.incidents, *decided.decisions]
                for record in told:
                    records_io.write(record)
            for reader in (
                records_io.read_alert, records_io.read_decision, records_io.read_incident, records_io.read_letter,
                records_io.read_finding,
            ):  # fmt: skip
                _only(StateError, reader, raw, "somewhere")
        if self._offset > 20_000:
            self._decider, self._offset = Decider(self._settings, self._entries, Catalog()), 0
        return n


class Batches(Target):
    """Batches of Kafka as a broker hands them over: compressed and not, damaged before they were sealed."""

    name = "batches of Kafka"

    def round(self, random: Random) -> int:
        """Damaged batches, each between two good ones."""
        hostile = Hostile(random)
        for n in range(20):
            values = [hostile.value(random.choice(CASES).entry).data for _ in range(4)]
            bad = batch(2, values, random.choice((0, 0, GZIP, LZ4, ZSTD)))
            bad = bad[:HEADER_BYTES] + hostile.damaged(bad[HEADER_BYTES:])
            reader = GuardedReader(TP, values_only=n % 2 == 0)
            began = time.thread_time()
            read = reader.read(batch(0, [b"a", b"b"]) + sealed(bad) + batch(6, [b"c"]))
            assert time.thread_time() - began < ROUND_S, "it took too long"
            offsets = [offset for offset, _value in read]
            assert n % 2 or offsets == sorted(set(offsets)), "offsets go back"
            assert (read[:2], read[-1]) == ([(0, b"a"), (1, b"b")], (6, b"c")), "a bad batch cost its neighbours"
            assert all(MARK not in told.why for told in reader.found.values())
        return 20


class Received(Target):
    """Bodies and headers of the receiver."""

    name = "bodies of the receiver"

    def __init__(self) -> None:
        self._log = MemoryLog()
        with closing(self._log.admin()) as admin:
            admin.create([TopicSpec("llm", 1)])
        self._token = "secret-one"

    def round(self, random: Random) -> int:
        """Requests on one event loop."""
        return asyncio.run(self._requests(random, 40))

    async def _requests(self, random: Random, n: int) -> int:
        hostile = Hostile(random)
        settings = ReceiveSettings.model_validate(
            {"sources": {"a": {"topic": "llm", "token_env": "FUZZ_TOKEN"}}, "body_bytes": 100_000, "elements": 100}
        )
        with closing(Writer(self._log, 5.0)) as writer:
            app = Receiver(settings, writer, Metrics()).app()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gw") as client:
                for _ in range(n):
                    body, headers = self._request(random, hostile)
                    path = random.choice(("/v1/logs", "/v1/logs/a/%2e%2e/b", "/v1/traces"))
                    answer = await client.post(path, content=body, headers=headers)
                    assert answer.status_code in {200, 400, 401, 413, 415, 429}, answer.status_code
                    assert MARK not in answer.text
                    answer.json()
        return n

    def _request(self, random: Random, hostile: Hostile) -> tuple[bytes, dict[bytes, bytes]]:
        body = hostile.value(random.choice(CASES).entry).data
        kind = random.randrange(8)
        headers = {b"Authorization": f"Bearer {self._token}".encode()}
        if kind == 0:
            body, headers[b"Content-Encoding"] = gzip.compress(bytes(50_000_000), 1), b"gzip"
        elif kind == 1:
            body, headers[b"Content-Encoding"] = (
                gzip.compress(body),
                random.choice((b"gzip", b"deflate", b"br", b"x-gzip")),
            )
        elif kind == 2:
            body, headers[b"Content-Encoding"] = hostile.damaged(gzip.compress(body)), b"gzip"
        elif kind == 3:
            headers[b"Content-Type"] = random.choice((b"application/x-protobuf", b"\xff", b"a" * 5000))
        elif kind == 4:
            headers[b"Authorization"] = random.choice((b"Bearer \xff", b"", b"Bearer " + b"a" * 5000, b"Basic x"))
        elif kind == 5:
            body = body * random.choice((1, 100, 2000))
        return body[:5_000_000], headers


def makers() -> dict[str, Callable[[], Target]]:
    """Every target by its name, to be made when it is fed: some hold tables of 100 MB."""
    found: dict[str, Callable[[], Target]] = {}
    for case in CASES:
        found[f"format {case.name}"] = partial(Reading, case)
    found[Lines.name] = Lines
    for case in CASES:
        if case.name != "native with a map":  # the same after ingest as native
            found[f"flow {case.name}"] = partial(Whole, case)
    return found | {target.name: target for target in (Batches, Routed, RolledUp, Findings, Received, Gateways)}


@cache
def _entries() -> dict[str, Entry]:
    return load_all()


def _only(allowed: type[Exception], call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives; ``None`` where it raises what it may."""
    try:
        return call(*args)
    except allowed as error:
        text = str(error)
    assert MARK not in text, "an error quotes what a stranger wrote"
    return None


def _check_places(decoded: Decoded, values: list[bytes]) -> None:
    """Each element once, with its place, and a dead letter that can be written and quotes nothing."""
    places = list(zip(decoded.value_index, decoded.element_index, strict=True))
    places += [(bad.value_index, bad.element_index) for bad in decoded.bad]
    assert len(places) == len(set(places)), "an element came twice"
    for bad in decoded.bad:
        assert 0 <= bad.value_index < len(values)
        assert bad.reason in BadReason
        assert MARK not in bad.detail, "a dead letter quotes what a stranger wrote"
        letter = dead.dead_letter(bad, TP, bad.value_index, "x", keep_raw=True)
        records_io.read_letter(dead.encode(letter), "here")
    assert all(0 <= event.ts <= 1e11 for event in decoded.events)


def _but_for_depth(bad: BadElement) -> BadElement:
    """A value cut off at a thousand brackets: which of the two is said depends on the depth of Python's stack."""
    if bad.reason not in (BadReason.DEPTH, BadReason.JSON):
        return bad
    return replace(bad, reason=BadReason.JSON, detail="")


def _check_read(form: Format, values: Sequence[bytes | None], decoded: Decoded) -> None:
    """A worker reads the same, by its kernel where it can."""
    part = read(form, values)
    assert [_but_for_depth(bad) for bad in part.bad] == [_but_for_depth(bad) for bad in decoded.bad]
    assert part.element_index.tolist() == decoded.element_index
    ours, theirs = (Cleaner(SEED).cleaned(raw) for raw in (part.raw, columns_of(decoded.events)))
    for name in (*ours, *theirs):
        assert str(ours[name].to_pylist()) == str(theirs[name].to_pylist()), f"{name} is read in two ways"


def _check_onward(cleaner: Cleaner, decoded: Decoded) -> None:
    """Columns, routing and the record on `routed`, and back."""
    n = len(decoded.events)
    columns = cleaner.columns(decoded.events)
    ts, _moved = TimeBounds(None).move(columns.numbers["ts_raw"])
    assert np.isfinite(ts).all()
    columns.place(
        ts=ts,
        src=np.zeros(n, np.uint16),
        offset=np.asarray(decoded.value_index, np.int64),
        index=np.asarray(decoded.element_index, np.int32),
    )
    batch, starts = route(columns, 3)
    assert starts[-1] == batch.num_rows
    back = 0
    for q in range(3):
        low, high = int(starts[q]), int(starts[q + 1])
        if low < high:
            for piece in pieces(batch.slice(low, high - low), 1000, 512 * 1024):
                again = decode_batch(piece.value, piece.schema)
                again.arrow.validate(full=True)  # also that every string is UTF-8
                assert all(math.isfinite(t) for t in again.ts)
                back += again.n
    assert back == batch.num_rows


def _mixed(
    random: Random, hostile: Hostile, value: bytes | None, damaged: bytes | None, headers: Headers
) -> tuple[bytes | None, Headers]:
    """A record of which a part is damaged, or missing, or whole."""
    kind = random.randrange(6)
    if kind == 0:
        return value, headers
    if kind < 3:
        return damaged, headers
    at = random.randrange(len(headers))
    name, content = headers[at]
    others = headers[:at] + headers[at + 1 :]
    if kind == 3:
        return value, others
    return random.choice((value, damaged, None)), (*others, (name, hostile.damaged(content)))


def _sealed(
    random: Random, settings: Settings, name: str, value: bytes | None, headers: Headers
) -> tuple[bytes | None, Headers]:
    """Most of them as if a worker of ours had gone mad: what nobody sealed is read no further."""
    return (value, headers) if random.randrange(8) == 0 else (value, seal(settings, value, headers, name=name))


def _rollups_of(settings: Settings, entries: dict[str, Entry], rows: list[bytes]) -> list[tuple[bytes | None, Headers]]:
    """Records as a detect task writes them."""
    log = routed_log(settings, rows, size=50)
    task = DetectTask.build(0, settings, entries, SEED, Metrics())
    ours = Ours.of(settings.kafka, SEED, "rollups", 0)
    found: list[tuple[bytes | None, Headers]] = []
    for chunk in log.read(settings.kafka.topic("routed")):
        for offset, value, headers in zip(chunk.offsets, chunk.values, chunk.headers, strict=True):
            task.apply(offset, value, headers)
            values = [rollup.encode(record) for record in task.closed()]
            found += [(value, ours.headers(value, rollup.VERSION)) for value in values]
    return found


def _findings() -> list[Any]:
    """Batches with a finding of each scope, as JSON."""
    batches = []
    for i, scope in enumerate(Scope):
        finding = Finding(
            id=f"{i:016x}", detector="rate_spike", version=1, scope=scope, key="192.0.2.7", reason="burst",
            title="Burst", ts=1.7e9, since=1.7e9 - 60.0, nats=30.0, threshold_nats=12.0,
            observed=900.0, expected=30.0, unit="requests a minute", window_s=60.0, learned=True, warm=True,
            sample="access-0-5-0", project="search",
            explanation=Explanation((Contribution("rate", 30.0, "much"),), "usual", "less"),
            context={"ip": "192.0.2.7", "principal": "alice", "user_agent": "curl/8", "share": "0.01"},
        )  # fmt: skip
        batch = FindingBatch(task=0, routed_offset=i, watermark=1.7e9, findings=(finding,))
        batches.append(json.loads(msgspec.json.encode(batch)))
    return batches
