"""One suite for all formats: what an entry means, that siblings live, that nothing leaks, that no bytes can stop it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.format_cases import BODY_TEXT, JSON_CASES, NATIVE, PLANTED, Case, Json, Path, encoded
from tests.contract.format_cases_more import MORE_CASES

from gatewatch.clock import ManualClock
from gatewatch.errors import BadReason, ConfigError
from gatewatch.events import formats
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.base import ELEMENT_BYTES, ELEMENTS, VALUE_BYTES, Decoded
from gatewatch.ingest.bounds import FUTURE_S, PAST_S, TimeBounds
from gatewatch.ingest.columns import Cleaner, Columns
from gatewatch.settings import Source
from gatewatch.state.hashing import HashSeed

EVERY = pytest.mark.parametrize("case", [*JSON_CASES, *MORE_CASES], ids=lambda case: case.name)
SURROGATE = "\ud83d"  # half of a pair, as Python escapes what it could not decode


def _known(event: AccessEvent) -> Json:
    """The fields that an event has."""
    return {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}


def _one(case: Case, entry: Any) -> AccessEvent:
    return _one_of(case, encoded(entry))


def _one_of(case: Case, raw: bytes) -> AccessEvent:
    decoded = case.make().decode([raw])
    assert decoded.bad == []
    (event,) = decoded.events
    return event


def _columns(events: Sequence[AccessEvent]) -> Columns:
    return Cleaner(HashSeed(1, 2)).columns(events)


def _places(decoded: Decoded) -> list[tuple[int, int]]:
    return list(zip(decoded.value_index, decoded.element_index, strict=True))


@EVERY
def test_an_entry_means_what_its_contract_says(case: Case) -> None:
    """If this fails, a gateway's entries are read as something else, and every detector judges fiction."""
    found = _known(_one(case, case.entry))
    assert found.keys() == case.expected.keys()
    assert found == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in case.expected.items()}


@EVERY
def test_a_format_declares_what_it_fills(case: Case) -> None:
    """If this fails, `gatewatch check` calls a detector blind that is not, or the other way round."""
    assert {*_known(_one(case, case.entry)), *_known(_one(case, case.secret))} <= case.make().fields


@EVERY
def test_object_array_and_lines_give_the_same_events(case: Case) -> None:
    """If this fails, what a gateway sends depends on how it batches."""
    raw = case.raw
    spread = json.dumps(case.entry, indent=2).encode()
    values = [raw, b"[" + raw + b", " + raw + b"]", raw + b"\n" + raw + b"\r\n\n", spread, b" [\n" + raw + b"\n]\n"]
    decoded = case.make().decode(values)
    assert decoded.bad == []
    assert _places(decoded) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (4, 0)]
    assert all(event == decoded.events[0] for event in decoded.events)


@EVERY
def test_nothing_is_no_event_and_no_error(case: Case) -> None:
    """If this fails, a compacted source fills dead letters with tombstones."""
    decoded = case.make().decode([None, b"", b"  \n", b"[]", case.raw, None])
    assert (decoded.bad, _places(decoded)) == ([], [(4, 0)])
    assert case.make().decode([]).events == []


BAD_ELEMENTS: dict[str, bytes] = {
    "another type": b"17",
    "text": b'"GET / HTTP"',
    "null": b"null",
    "a list": b"[1]",
    "no fields": b"{}",
    "broken": b'{"ts" 1}',
    "too deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@EVERY
@pytest.mark.parametrize("bad", BAD_ELEMENTS.values(), ids=BAD_ELEMENTS)
def test_a_bad_element_costs_no_sibling(case: Case, bad: bytes) -> None:
    """If this fails, one broken entry hides the 999 others of its batch."""
    raw = case.raw
    array, lines = b"[" + raw + b"," + bad + b"," + raw + b"]", raw + b"\n" + bad + b"\n" + raw
    decoded = case.make().decode([array, raw, lines])
    assert _places(decoded) == [(0, 0), (0, 2), (1, 0), (2, 0), (2, 2)]
    assert [(b.value_index, b.element_index, b.raw) for b in decoded.bad] == [(0, 1, bad), (2, 1, bad)]


@EVERY
def test_a_truncated_array_is_told_and_stops_nothing(case: Case) -> None:
    """If this fails, half a record vanishes in silence, or takes the next one with it."""
    raw = case.raw
    decoded = case.make().decode([b"[" + raw + b"," + raw[: len(raw) // 2], raw])
    assert _places(decoded)[-1] == (1, 0)
    assert [b.value_index for b in decoded.bad] == [0]
    assert decoded.bad[0].reason is BadReason.JSON


@EVERY
def test_limits_have_reasons(case: Case) -> None:
    """If this fails, one huge element or array takes the worker's memory, or disappears without a word."""
    huge = encoded(case.entry | {"padding": "x" * ELEMENT_BYTES})
    deep = encoded(case.entry)[:-1] + b',"deep":' + b"[" * 5000 + b"]" * 5000 + b"}"
    decoded = case.make().decode([b"[" + huge + b"," + case.raw + b"]", deep, case.raw])
    assert [(b.value_index, b.element_index, b.reason) for b in decoded.bad] == [
        (0, 0, BadReason.SIZE),
        (1, 0, BadReason.DEPTH),
    ]
    assert _places(decoded) == [(0, 1), (2, 0)]


def test_an_array_ends_at_its_limit() -> None:
    """If this fails, a value of a million elements stops everybody else's for seconds."""
    decoded = NATIVE.make().decode([b"[" + b'{"ts":1},' * ELEMENTS + b'{"ts":1}]'])
    assert len(decoded.events) == ELEMENTS
    assert [(b.element_index, b.reason) for b in decoded.bad] == [(ELEMENTS, BadReason.SIZE)]


@EVERY
def test_a_value_has_a_limit(case: Case) -> None:
    """If this fails, one message of a gigabyte is taken apart before anybody asks how large it is."""
    decoded = case.make().decode([b"[" + case.raw + b" " * VALUE_BYTES + b"]", case.raw])
    assert [(b.value_index, b.reason) for b in decoded.bad] == [(0, BadReason.SIZE)]
    assert _places(decoded) == [(1, 0)]


@EVERY
def test_absent_has_many_spellings(case: Case) -> None:
    """If this fails, every anonymous caller is one principal called "-", and alerts."""
    for path, name in case.optional.items():
        missing = _known(_one(case, case.without(path)))
        assert name not in missing, path
        for nothing in case.absent:
            assert _known(_one(case, case.with_value(path, nothing))) == missing, (path, nothing)


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5, -1e300, 10**400, 1e300])
def test_numbers_without_sense_cost_no_event(case: Case, value: float) -> None:
    """If this fails, a broken size hides a request, or becomes the largest one ever seen."""
    for path, name in case.numbers.items():
        event = _one(case, case.with_value(path, value))
        column = _columns([event])[name].to_numpy(zero_copy_only=False)
        if name == "status":
            assert column[0] == -1, path
        else:
            assert np.isnan(column[0]) or column[0] > 1e200, path


@EVERY
def test_an_overflowing_number_is_absent(case: Case) -> None:
    """If this fails, 1e999, which JSON allows and no float holds, hides the request that brought it."""
    for path, name in case.numbers.items():
        raw = encoded(case.with_value(path, 123454321)).replace(b"123454321", b"1e999")
        decoded = case.make().decode([raw])
        assert decoded.bad == [], path
        assert getattr(decoded.events[0], name) is None, path


@EVERY
def test_a_time_that_is_none_is_a_dead_letter(case: Case) -> None:
    """If this fails, an event lands in 1970 or in the year 58000, and moves everybody's clock."""
    for value in case.bad_times:
        decoded = case.make().decode([encoded(case.with_value(case.time, value)), case.raw])
        assert len(decoded.events) == 1, value
        assert [b.reason for b in decoded.bad] in ([BadReason.TIME], [BadReason.MISSING]), value
    for entry in (case.without(case.time), case.with_value(case.time, None)):
        assert case.make().decode([encoded(entry)]).bad[0].reason in {BadReason.TIME, BadReason.MISSING}


@EVERY
@pytest.mark.parametrize("ts", [86_400.0, 4_070_908_800.0], ids=["1970", "2099"])
def test_a_time_that_cannot_be_is_read_and_moved_by_ingest(case: Case, ts: float) -> None:
    """If this fails, a gateway whose clock is wrong is invisible, or one event of it moves everybody's time."""
    event = _one(case, case.with_value(case.time, _spelled(case, ts)))
    assert abs(event.ts - ts) < 10.0  # some formats add how long it took
    now = case.expected["ts"]
    live = np.full(50, now)
    live[7] = event.ts
    inside, moved = TimeBounds(ManualClock(now)).move(live)
    assert np.flatnonzero(moved).tolist() == [7]
    assert now - PAST_S <= inside[7] <= now + FUTURE_S


def _spelled(case: Case, ts: float) -> Any:
    """A time as the entry's own is written."""
    own: Any = case.entry
    for step in case.time:
        own = own[step]
    if isinstance(own, str) and not own.isdigit():
        return datetime.fromtimestamp(ts, UTC).isoformat()
    unit = 10.0 ** round(math.log10(float(own) / case.expected["ts"]))
    return str(round(ts * unit)) if isinstance(own, str) else type(own)(ts * unit)


@EVERY
def test_of_a_key_that_comes_twice_the_last_counts(case: Case) -> None:
    """If this fails, who can put a second "status" into an entry hides it, or makes it two things for two readers."""
    first = encoded(case.with_value(case.time, _spelled(case, 1_600_000_000.0)))
    assert _one(case, case.entry) == _one_of(case, first[:-1] + b"," + case.raw[1:])


@EVERY
def test_names_of_fields_are_never_more_than_names(case: Case) -> None:
    """If this fails, a key that a client chose is taken for a field of the gateway's, or ends the worker."""
    names = [
        "' OR 1=1 --",
        "\x1b[2J",
        "a\r\nlevel=error",
        "<script>",
        "${jndi:x}",
        "__proto__",
        "__class__",
        "",
        "." * 200,
        "$.ts",
        "*",
        "\ud800",
    ]
    entry = {**{name: {"x": PLANTED} for name in names}, **case.entry}
    assert _one(case, entry) == _one(case, case.entry)


@EVERY
def test_secrets_and_content_never_come_out(case: Case) -> None:
    """If this fails, customers' keys and prompts stand in a Kafka topic, in alerts and in Slack."""
    decoded = case.make().decode([encoded(case.secret)])
    assert decoded.bad == []
    columns = {name: column.to_pylist() for name, column in _columns(decoded.events).items()}
    in_bulk = case.name.startswith("native")  # names and paths of the native format are cleaned with the columns only
    for place in (repr(columns), "" if in_bulk else repr(decoded.events)):
        assert PLANTED not in place
        assert BODY_TEXT not in place
    if case.credential is not None:
        assert columns["credential"] == [case.credential]


@EVERY
def test_bodies_leave_their_shape(case: Case) -> None:
    """If this fails, payload drift is blind on a gateway that does send bodies."""
    bodies = {"apisix", "litellm", "native", "native with a map", "kong", "cloudevents"}
    shape = _one(case, case.secret).shape
    assert (shape is not None) == (case.name in bodies)
    if shape is not None:
        assert (shape.finish_reason, shape.refusal) == ("stop", False)
        assert shape.fields is not None
        assert any("role" in fact for fact in shape.fields)


@EVERY
def test_errors_quote_nothing_of_the_entry(case: Case) -> None:
    """If this fails, dead letters and logs hold what strangers wrote."""
    values = [{"x": PLANTED}, [PLANTED], PLANTED, f"{PLANTED}' - at `$.ts`", f"x' {PLANTED} 'y"]
    entries = [case.with_value(path, v) for path in _leaves(case.entry) for v in values]
    broken = [encoded(case.entry | {"x": PLANTED})[:-1], f'{{"{PLANTED}": {PLANTED}'.encode(), PLANTED.encode()]
    decoded = case.make().decode([*map(encoded, entries), *broken])
    assert len(decoded.bad) >= len(broken)
    assert not [b.detail for b in decoded.bad if PLANTED in b.detail]


@EVERY
def test_a_hostile_byte_does_not_hide_the_request(case: Case) -> None:
    """If this fails, a client that sends one byte of broken UTF-8 in its user agent is invisible to every detector."""
    paths = [path for path, name in case.optional.items() if name in {"user_agent", "principal", "model"}]
    assert paths
    for path in paths:
        good = encoded(case.with_value(path, "agent"))
        values = [
            good.replace(b'"agent"', b'"ag\xff\xfeent"'),
            good.replace(b'"agent"', encoded(f"agent{SURROGATE}")),
            good.replace(b'"agent"', encoded("\u0000agent\ud83d\ude00")),
            b"\xef\xbb\xbf" + good,
            b"[" + case.raw + b"," + good.replace(b'"agent"', b'"\xffagent"') + b"]",
        ]
        decoded = case.make().decode(values)
        assert decoded.bad == []
        assert _places(decoded) == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]
        assert _columns(decoded.events)["ts_raw"].null_count == 0


@EVERY
def test_a_path_holds_no_query(case: Case) -> None:
    """If this fails, one endpoint is thousands, and tokens in query strings become fields."""
    column = _columns([_one(case, case.secret)])["path"].to_pylist()[0]
    assert column is None or not set("?#@") & set(column)


@EVERY
def test_reading_twice_gives_the_same(case: Case) -> None:
    """If this fails, a replay differs from what was live."""
    values = [encoded(case.entry), encoded(case.secret), b"[1," + case.raw + b"]"]
    form = case.make()
    assert form.decode(values) == form.decode(values) == case.make().decode(values)


SLOW = [" ", " [", "\\", '"', ",", "-", "0", "a@", "a.b-", "invalid ", "aB1", "1.2.3.4,", SURROGATE]
REPEATS = 10_000


@EVERY
def test_no_text_takes_quadratic_time(case: Case) -> None:
    """If this fails, one request with a long header stalls its partition for minutes: a denial of service."""
    form = case.make()
    for text in SLOW:
        entry = case.entry
        for path in _leaves(case.entry):
            if path != case.time:
                entry = dataclasses.replace(case, entry=entry).with_value(path, f"1{text * REPEATS}x,")
        raw = encoded(entry)
        for value in (raw, b"[" + raw[:-20]):
            began = time.thread_time()
            form.decode([value[:ELEMENT_BYTES]])
            assert time.thread_time() - began < 0.5, text  # linear: some 50 ms; quadratic: seconds


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(
        ["-", "", "0.005, -", "1e999", "nan", "2026-11-24T03:37:45Z", "1.2.3.4\u0000", "a, b", "::1%\u0000"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@EVERY
@given(data=st.data())
def test_no_bytes_can_stop_it(case: Case, data: st.DataObject) -> None:
    """If this fails, one message ends the worker, again and again: a poison pill."""
    value = data.draw(st.binary(max_size=60) | st.binary(max_size=60).map(lambda b: b'[{"ts":1},' + b))
    raw = case.raw
    at = data.draw(st.integers(0, len(raw)))
    damaged = raw[:at] + data.draw(st.binary(max_size=4)) + raw[at + data.draw(st.integers(0, 8)) :]
    decoded = case.make().decode([value, damaged, raw])
    assert _places(decoded)[-1] == (2, 0)
    _columns(decoded.events)


@EVERY
@given(data=st.data())
def test_no_value_can_stop_it_and_siblings_do_not_matter(case: Case, data: st.DataObject) -> None:
    """If this fails, what an event means depends on its neighbours, or a strange field ends the worker."""
    leaves = _leaves(case.entry)
    entries = [
        case.with_value(path, data.draw(JSON)) for path in data.draw(st.lists(st.sampled_from(leaves), max_size=4))
    ]
    values: list[bytes | None] = [*map(encoded, entries), encoded([*entries, case.entry]), case.raw]
    together = case.make().decode(values)
    alone = [case.make().decode([value]) for value in values]
    assert repr(together.events) == repr([event for part in alone for event in part.events])
    assert [b.detail for b in together.bad] == [b.detail for part in alone for b in part.bad]
    assert all(0 <= event.ts <= 1e11 for event in together.events)
    places = [*_places(together), *((b.value_index, b.element_index) for b in together.bad)]
    assert len(places) == len(set(places)) == 2 * len(entries) + 2
    columns = _columns(together.events)
    assert not any(math.isinf(v) for v in columns["latency_ms"].to_pylist())


def _leaves(entry: Json, path: Path = ()) -> list[Path]:
    found: list[Path] = []
    for name, value in entry.items():
        found += _leaves(value, (*path, name)) if isinstance(value, dict) and value else [(*path, name)]
    return found


def test_an_unknown_format_names_the_nearest() -> None:
    """If this fails, a typing error in the config is a riddle."""
    with pytest.raises(ConfigError, match="did you mean 'apisix'"):
        formats.get("apisx")
    with pytest.raises(ConfigError, match=r"there are: .*native"):
        formats.get("zzz")
    with pytest.raises(ConfigError, match="map"):
        formats.get("nginx", source=Source(topic="t", format="nginx", map={"ts": "$.t"}))
    assert [formats.get(name).name for name in formats.names()] == formats.names()
