"""Which events all partitions see: few of each endpoint, of callers who authenticated and were served."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import numpy as np

from gatewatch.clock import ManualClock
from gatewatch.events.batch import Role, decode
from gatewatch.events.formats.native import Native
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.read import read
from gatewatch.ingest.shown import MANY, OFTEN_S, SELDOM_S, SLOTS, Shown
from gatewatch.ingest.worker import IngestWorker
from gatewatch.log.base import TopicPartition, TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.records import H_KIND, H_RANGES, H_SCHEMA, SourceRange
from gatewatch.settings import KafkaSettings, Settings
from gatewatch.testing.chaos.check import Topics, applied_rows
from gatewatch.testing.routed import SEED, SOURCE, routed_log

T = 1_770_000_000.0
_RANGES = msgspec.msgpack.Decoder(list[SourceRange])


def event(ts: float, endpoint: str = "/chat", **more: Any) -> dict[str, Any]:
    """A request with a body, of somebody known, served."""
    return {"ts": ts, "principal": "app", "ip": "203.0.113.7", "endpoint": endpoint, "status": 200} | {
        "shape": {"hash": "s", "fields": [":obj"], "body_size": 100},
        **more,
    }


def chosen(shown: Shown, events: Sequence[dict[str, Any]], cleaner: Cleaner | None = None) -> list[bool]:
    """Which of some events are shown."""
    cleaner = cleaner or Cleaner(SEED)
    columns = cleaner.cleaned(read(Native(), [msgspec.json.encode(e) for e in events]).raw)
    columns.place(ts=columns.numbers["ts_raw"])
    mask = shown.choose(columns)
    return [False] * len(events) if mask is None else mask.tolist()


def test_one_body_of_an_endpoint_in_ten_seconds() -> None:
    """If this fails, a busy site's events are sent to every partition."""
    events = [event(T + 0.1 * i, f"/e{i % 3}") for i in range(3000)]
    shown = np.array(chosen(Shown(4), events))
    assert 3 * 29 <= shown.sum() <= 3 * 30
    for e in range(3):
        at = np.array([ev["ts"] for ev in events])[e::3][shown[e::3]]
        assert np.diff(at).min() >= OFTEN_S


def test_what_is_known_well_is_shown_seldom() -> None:
    """If this fails, a small site pays for all partitions for ever."""
    events = [event(T + OFTEN_S * i) for i in range(2 * MANY)]
    shown = np.flatnonzero(chosen(Shown(4), events))
    assert shown[: MANY - 1].tolist() == list(range(1, MANY))
    assert set(np.diff(shown[MANY:]).tolist()) == {int(SELDOM_S / OFTEN_S)}


def test_where_rows_are_cut_does_not_matter() -> None:
    """If this fails, a replay shows other events than live traffic did."""
    events = [event(T + 1.7 * i, f"/e{i % 5}") for i in range(400)]
    whole = chosen(Shown(4), events)
    one, cleaner = Shown(4), Cleaner(SEED)
    parts = [chosen(one, events[i : i + 7], cleaner) for i in range(0, len(events), 7)]
    assert [mark for part in parts for mark in part] == whole


def test_who_is_not_known_or_not_served_teaches_nobody() -> None:
    """If this fails, whoever has no key can fill all partitions with bodies of his own."""
    others: list[dict[str, Any]] = [
        {"principal": None},
        {"status": 400},
        {"status": 401, "auth": "failure"},
        {"auth": "none"},
        {"shape": None},
        {"endpoint": None},
    ]
    for other in others:
        assert not any(chosen(Shown(4), [{**event(T + 20.0 * i), **other} for i in range(9)]))
    assert not any(chosen(Shown(1), [event(T + 20.0 * i) for i in range(9)]))


def test_made_up_paths_are_not_shown_and_push_nothing_out() -> None:
    """If this fails, a scanner with a key multiplies its own traffic, and hides what others send."""
    paths = [event(T + 0.01 * i, f"/made-up-{i}") for i in range(3 * SLOTS)]
    real = [event(T + 10.0 * i) for i in range(30)]
    events = sorted([*real, *paths], key=lambda e: e["ts"])
    marks = chosen(Shown(4), events)
    of_real = [mark for mark, e in zip(marks, events, strict=True) if e["endpoint"] == "/chat"]
    assert not any(mark for mark, e in zip(marks, events, strict=True) if e["endpoint"] != "/chat")
    assert sum(of_real) >= len(real) - 1


def test_time_that_goes_back_does_not_end_it() -> None:
    """If this fails, after one file of a later day the next ones show nothing."""
    shown, cleaner = Shown(4), Cleaner(SEED)
    assert sum(chosen(shown, [event(T + 86_400.0 + 20.0 * i) for i in range(9)], cleaner)) == 8
    assert sum(chosen(shown, [event(T + 20.0 * i) for i in range(9)], cleaner)) == 9


def test_each_event_is_at_home_once_for_each_role_and_shown_once_elsewhere() -> None:
    """If this fails, a request counts twice in a partition, or where it does not belong."""
    settings = Settings(kafka=KafkaSettings(partitions=4))
    values = [
        msgspec.json.encode(event(T + 3.0 * i, principal=f"app-{i % 9}", ip=f"198.51.{i % 9}.7")) for i in range(300)
    ]
    log = routed_log(settings, values, size=37)
    rows: dict[int, list[tuple[int, int]]] = {}
    for chunk in log.read(settings.kafka.topic("routed")):
        for value, headers in zip(chunk.values, chunk.headers, strict=True):
            head = dict(headers)
            if head[H_KIND] == b"batch" and value is not None:
                batch = decode(value, head[H_SCHEMA])
                (covers,) = _RANGES.decode(head[H_RANGES])
                for offset, role in zip(batch.column("offset").tolist(), batch.role.tolist(), strict=True):
                    assert covers.start <= offset < covers.stop
                    rows.setdefault(offset, []).append((chunk.tp.partition, role))
    assert sorted(rows) == list(range(300))
    shown = 0
    for copies in rows.values():
        assert len({q for q, _ in copies}) == len(copies)
        assert [sum(role >> bit & 1 for _, role in copies) for bit in (0, 1)] == [1, 1]
        if any(role == Role.SHOW for _, role in copies):
            assert len(copies) == 4
            shown += 1
    assert 60 <= shown <= 90


def test_a_worker_that_starts_again_shows_other_events_and_each_still_counts_once() -> None:
    """If this fails, a killed ingest makes partitions count a request twice, or as shown and as their own."""
    settings = Settings(kafka=KafkaSettings(partitions=4), sources=(SOURCE,))
    values = [
        msgspec.json.encode(event(T + 3.0 * i, principal=f"app-{i % 9}", ip=f"198.51.{i % 9}.7")) for i in range(300)
    ]
    log, clock, tp = MemoryLog(), ManualClock(), TopicPartition(SOURCE.topic, 0)
    with closing(log.admin()) as admin:
        admin.create([TopicSpec(SOURCE.topic, 1), *specs(settings)])
    first = IngestWorker(log, settings, SEED, member="i", clock=clock, metrics=Metrics(), history=True)
    log.extend(tp, values[:74])
    drain(first)
    clock.advance(2.0)
    first.step(0.0)  # commits
    log.extend(tp, values[74:150])
    drain(first)
    first.close(flush=False)  # as if it were killed: what it sent is not committed
    log.extend(tp, values[150:])
    second = IngestWorker(log, settings, SEED, member="i", clock=clock, metrics=Metrics(), history=True)
    drain(second)
    second.close()
    home, shown, again = applied_rows(Topics(log, settings)("routed"))
    calm, _shown, none = applied_rows(Topics(routed_log(settings, values), settings)("routed"))
    assert not none
    assert again, "nothing was sent twice"
    assert {(q, offset): n for (q, _, _, offset, _), n in home.items()} == {
        (q, offset): 1 for q, _, _, offset, _ in calm
    }
    assert set(shown.values()) == {1}
    assert not set(home) & set(shown)


def drain(worker: IngestWorker) -> None:
    """All there is to read goes to `routed`."""
    while worker.step(0.0) or not worker.caught_up:
        worker.flush()
