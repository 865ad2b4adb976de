"""The contract of a detector folder, as laws that any folder can be held to. ``check_detector`` runs them all.

    from gatewatch import registry
    from gatewatch.testing.detectors import check_detector

    check_detector(registry.load("my_detector"))

Each law is one short function; its docstring says what it demands, its assertions say what was broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from enum import Enum
from multiprocessing import get_context
from typing import Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel

from gatewatch import registry
from gatewatch.errors import StateError
from gatewatch.events.batch import FLOATS, ROUTED, Batch, Role, decode, encode, schema_id
from gatewatch.records import Opinion, Scope
from gatewatch.registry import Entry
from gatewatch.sdk import Context, Detector, RawFinding
from gatewatch.state.hashing import hash_text
from gatewatch.testing import populations, traffic
from gatewatch.testing.batches import SEED, batch_of, cut
from gatewatch.testing.cases import Told, cases, unmet
from gatewatch.testing.detector_folder import FOLDER_LAWS
from gatewatch.testing.detector_runs import build, bytes_of, findings, lines_of, stream
from gatewatch.testing.populations import POPULATION_LAWS

Law = Callable[[Entry], None]


def check_detector(entry: Entry) -> None:
    """Hold one detector folder to every law.

    Raises:
        AssertionError: it breaks one; the text says which and how.
    """
    for law in laws_of(entry):
        law(entry)


def laws_of(entry: Entry) -> tuple[Law, ...]:
    """Those that apply: of the folder, and of each part that it has."""
    keys = KEY_LAWS if entry.detector is not None else ()
    populations = POPULATION_LAWS if entry.population is not None else ()
    return (*FOLDER_LAWS, *keys, *populations, cases_hold)


def input_is_not_changed(entry: Entry) -> None:
    """All detectors of a task read the same batch."""
    batch = stream(entry)
    before = encode(batch.arrow)
    build(entry).process(batch)
    assert encode(batch.arrow) == before, "the batch was changed"


def cut_does_not_matter(entry: Entry) -> None:
    """However the rows are cut into batches, findings and state are the same, bit for bit: else a replay differs."""
    whole = stream(entry)
    detector = build(entry)
    lines, state = lines_of(detector, [whole]), bytes_of(detector.snapshot())
    for rows in (1, 7, 500):
        other = build(entry)
        assert lines_of(other, list(cut(whole, rows))) == lines, f"other findings at {rows} rows a batch"
        assert bytes_of(other.snapshot()) == state, f"other state at {rows} rows a batch"


def repeats_itself(entry: Entry) -> None:
    """Two detectors given the same rows say the same and know the same."""
    one, two = build(entry), build(entry)
    assert lines_of(one, [stream(entry)]) == lines_of(two, [stream(entry)])
    assert bytes_of(one.snapshot()) == bytes_of(two.snapshot())


def snapshot_goes_on_elsewhere(entry: Entry) -> None:
    """Restored in a new process (other addresses, other ``hash()``), it finds what it would have found here."""
    first, second = traffic.calm(), traffic.attack(first_offset=2000)
    here = build(entry)
    here.process(first)
    saved = here.snapshot()
    message, header = encode(second.arrow), schema_id(second.arrow)
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(_go_on, entry.name, saved, message, header)
        lines = lines_of(here, [second])
        assert there.result() == (lines, bytes_of(here.snapshot()))


def _go_on(
    name: str, saved: Mapping[str, npt.NDArray[Any]], message: bytes, header: bytes
) -> tuple[list[tuple[Any, ...]], dict[str, bytes]]:
    """The new process's part of :func:`snapshot_goes_on_elsewhere`."""
    detector = build(registry.load(name))
    detector.restore(saved)
    return lines_of(detector, [decode(message, header)]), bytes_of(detector.snapshot())


def release_is_part_of_the_log(entry: Entry) -> None:
    """What a person expects holds in every replay and after a snapshot, and changes nothing for other keys."""
    first, second = traffic.calm(), traffic.attack(first_offset=2000)
    keys = [(s, int(k)) for s in build(entry).scopes for k in np.unique(second.column(f"k_{s.value}"))[:8] if k]
    until = traffic.START + traffic.CALM_S + traffic.ATTACK_S
    here, again = build(entry), build(entry)
    for detector in (here, again):
        detector.process(first)
        for scope, key in keys:
            detector.release(scope, key, until)
    there = build(entry)
    there.restore(here.snapshot())
    lines = lines_of(here, [second])
    assert lines_of(again, list(cut(second, 7))) == lines, "other findings in another replay"
    assert lines_of(there, [second]) == lines, "a snapshot forgets what a person expects"
    assert bytes_of(here.snapshot()) == bytes_of(again.snapshot()) == bytes_of(there.snapshot())
    plain, other = build(entry), build(entry)
    for scope in other.scopes:
        other.release(scope, 1, until)
    assert lines_of(other, [first, second]) == lines_of(plain, [first, second]), "a release of one key changed another"


def snapshot_is_a_copy(entry: Entry) -> None:
    """What happens after a snapshot was taken must not change it, nor any pickled object hide in it."""
    detector = build(entry)
    detector.process(traffic.calm())
    saved = detector.snapshot()
    before = bytes_of(saved)
    detector.process(traffic.attack())
    assert bytes_of(saved) == before, "the snapshot shares memory with the detector"
    assert not any(array.dtype.hasobject for array in saved.values()), "a snapshot holds numbers, not objects"


def foreign_snapshot_is_refused(entry: Entry) -> None:
    """State of another capacity must end in a StateError, not in nonsense."""
    other = Context(seed=SEED, partitions=4000, alarms_per_day=1.0)
    saved = entry.build(None, other).snapshot()
    try:
        build(entry).restore(saved)
    except StateError:
        return
    raise AssertionError("restored the snapshot of a detector of another capacity")


def memory_is_bounded(entry: Entry) -> None:
    """A flood of keys, each once and each failing five times, moves no byte count, nor is a table overfull."""
    for keys, repeats in ((60_000, 1), (20_000, 5)):
        detector = build(entry)
        detector.process(traffic.calm())
        before = {name: stats.nbytes for name, stats in detector.tables().items()}
        detector.process(traffic.flood(keys, repeats))
        after = detector.tables()
        assert {name: stats.nbytes for name, stats in after.items()} == before, (
            f"tables grew at {repeats} failures a key"
        )
        assert all(stats.rows <= stats.capacity for stats in after.values()), "more rows than there is room for"


def flood_does_not_hide_customers(entry: Entry) -> None:
    """After a flood of keys the customers are still known, and what they do wrong is still found."""
    calm, attack = traffic.calm(), traffic.attack()
    quiet = build(entry)
    quiet.process(calm)
    known = {key for key in _customers(quiet.scopes) if quiet.opinion(*key) is not Opinion.WARMING}
    found = {(f.scope, f.key) for _, _, f in findings(quiet, attack)}
    for keys, repeats in ((60_000, 1), (20_000, 5)):
        flooded = build(entry)
        flooded.process(calm)
        flooded.process(traffic.flood(keys, repeats))
        lost = {key for key in known if flooded.opinion(*key) is Opinion.WARMING}
        assert not lost, f"{len(lost)} of {len(known)} customers' rows lost at {repeats} failures a key"
        missed = found - {(f.scope, f.key) for _, _, f in findings(flooded, attack)}
        missed = {(scope, key) for scope, key in missed if (scope, hash_text(key, SEED)) in known}
        assert not missed, f"not found after a flood: {missed}"


def _customers(scopes: tuple[Scope, ...]) -> Iterator[tuple[Scope, int]]:
    calm = traffic.calm()
    for scope in scopes:
        if scope.value in calm.arrow.schema.names:
            texts = set(calm.arrow.column(scope.value).to_pylist()) - {None}
            yield from ((scope, hash_text(text, SEED)) for text in sorted(texts))


def late_rows_are_no_burst(entry: Entry) -> None:
    """Calm traffic that arrives out of order (half of it an hour late) raises nothing that it does not in order."""
    calm = traffic.calm()
    in_order = {(f.scope, f.key) for _, _, f in findings(build(entry), calm)}
    late = Batch(pa.concat_batches([calm.arrow.slice(calm.n // 2), calm.arrow.slice(0, calm.n // 2)]))
    told = {(f.scope, f.key) for _, _, f in findings(build(entry), late)}
    assert told <= in_order, f"accused for being late: {told - in_order}"


def repeated_rows_are_survived(entry: Entry) -> None:
    """Rows that come twice (a gateway that retries) raise nothing on calm traffic, and break nothing on any."""
    calm = traffic.calm().take(np.repeat(np.arange(2000), 2))
    told = [f for _, _, f in findings(build(entry), calm) if f.reason.severity.rank >= 2]
    assert not told, f"accused for being repeated: {[(f.scope, f.key, f.reason.name) for f in told]}"
    whole = stream(entry)
    _check_numbers(findings(build(entry), whole.take(np.repeat(np.arange(whole.n), 2))))


def rows_shown_count_nowhere(entry: Entry) -> None:
    """A row that is only shown to a partition is judged and counted in another one; few detectors learn from it."""
    plain = stream(entry)
    twice = np.repeat(np.arange(plain.n), 2)
    roles = plain.role[twice].copy()
    roles[1::2] = int(Role.SHOW)
    doubled = plain.take(twice)
    at = doubled.arrow.schema.get_field_index("role")
    shown = Batch(doubled.arrow.set_column(at, ROUTED.field("role"), pa.array(roles)))
    lines = [(line[0] / 2, *line[1:]) for line in lines_of(build(entry), [shown])]
    assert all(row == int(row) for row, *_ in lines), "a finding on a row that is only shown"
    if entry.detector is not None and not entry.detector.learns_from_shown:
        assert lines == lines_of(build(entry), [plain]), "rows that are only shown change what is found"


def our_refusals_teach_nothing(entry: Entry) -> None:
    """What is refused because we said so accuses nobody and teaches nothing, or a block would prolong itself."""
    calm, wild = traffic.calm(), traffic.attack(first_offset=2000)
    arrow = wild.arrow
    for name, value in (("status", 403), ("blocked_by_us", 1)):
        column = pa.array(np.full(wild.n, value), ROUTED.field(name).type)
        arrow = arrow.set_column(arrow.schema.get_field_index(name), ROUTED.field(name), column)
    blocked, free = build(entry), build(entry)
    for detector in (blocked, free):
        detector.process(calm)
    assert not findings(blocked, Batch(arrow)), "accused for what we refused"
    assert lines_of(blocked, [wild]) == lines_of(free, [wild]), "learned from what we refused"


def odd_numbers_are_survived(entry: Entry) -> None:
    """NaN, infinities, negative and huge sizes: no crash, and every finding's numbers are finite."""
    whole = stream(entry)
    rng = np.random.default_rng(5)
    odd = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, 5e-324])
    arrow = whole.arrow
    for name in FLOATS:
        arrow = arrow.set_column(
            arrow.schema.get_field_index(name), ROUTED.field(name), pa.array(rng.choice(odd, whole.n))
        )
    codes = pa.array(rng.choice(np.array([-1, 0, 200, 401, 999, 2**31 - 1]), whole.n).astype(np.int32))
    arrow = arrow.set_column(arrow.schema.get_field_index("status"), ROUTED.field("status"), codes)
    detector = build(entry)
    _check_numbers(findings(detector, Batch(arrow)))
    detector.process(traffic.attack())


def _check_numbers(told: list[tuple[int, float, RawFinding]]) -> None:
    for _, _, f in told:
        numbers = (f.nats, f.threshold_nats, f.observed, f.expected, f.window_s, *f.detail.values())
        assert np.isfinite(numbers).all(), f"{f.reason.name} on {f.key}: {numbers}"


def absent_fields_mean_blind(entry: Entry) -> None:
    """Rows with a time and nothing else: no crash, no finding, and the opinion is "blind", never "quiet"."""
    n = 200
    alone = {name: traffic.calm(n).arrow.column(name) for name in ("src", "offset", "index", "role", "flags", "ts")}
    batch = Batch(pa.RecordBatch.from_arrays(list(alone.values()), names=list(alone)))
    detector = build(entry)
    assert not findings(detector, batch), "findings without a single field"
    for scope in detector.scopes:
        opinion = detector.opinion(scope, hash_text("anybody", SEED))
        assert opinion is Opinion.BLIND, f"{scope.value}: {opinion} without any field"


def fresh_detector_has_no_opinion(entry: Entry) -> None:
    """Before any row nobody is quiet: "no opinion" is never the same as "normal"."""
    detector = build(entry)
    for scope in detector.scopes:
        opinion = detector.opinion(scope, hash_text("anybody", SEED))
        assert opinion in {Opinion.WARMING, Opinion.BLIND}, f"{scope.value}: {opinion} before the first row"
    empty = Batch(traffic.calm(100).arrow.slice(0, 0))
    assert len(detector.process(empty)) == 0


def accused_keys_are_no_longer_quiet(entry: Entry) -> None:
    """While a key is being accused, its opinion is "finding"."""
    detector, whole = build(entry), stream(entry)
    for batch in cut(whole, 1):
        for _, _, f in findings(detector, batch):
            assert detector.opinion(f.scope, hash_text(f.key, SEED)) is Opinion.FINDING, f"{f.scope.value} {f.key}"


def findings_are_bounded(entry: Entry) -> None:
    """A key under attack is told of now and then, not for every row: at most one finding a key in 20 rows here."""
    told = findings(build(entry), stream(entry))
    by_key: dict[tuple[Scope, str], int] = {}
    for _, _, f in told:
        by_key[f.scope, f.key] = by_key.get((f.scope, f.key), 0) + 1
    for key, n in by_key.items():
        assert n <= 25, f"{n} findings on {key} in ten minutes"


def options_work_both_ways(entry: Entry) -> None:
    """Every switch on and off, every named choice: the detector runs, and its scores still add up."""
    for options in _variants(entry.parts[0].Config):
        detector = build(entry, options)
        _check_explanations(detector, findings(detector, stream(entry)))


def _variants(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if kind is bool:
            values: list[Any] = [True, False]
        elif get_origin(kind) is Literal:
            values = list(get_args(kind))
        elif isinstance(kind, type) and issubclass(kind, Enum):
            values = list(kind)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            values = list(_variants(kind))
        else:
            values = []
        yield from ({name: value} for value in values)


def explanations_add_up(entry: Entry) -> None:
    """The contributions of each finding add up to its score, and its texts are there."""
    detector = build(entry)
    _check_explanations(detector, findings(detector, stream(entry)))
    for case in cases(entry):
        detector = build(entry)
        _check_explanations(detector, findings(detector, batch_of(case.events)))


def _check_explanations(detector: Detector, told: list[tuple[int, float, RawFinding]]) -> None:
    for _, _, f in told:
        explanation = detector.explain(f)
        total = sum(part.nats for part in explanation.contributions)
        assert abs(total - f.nats) <= 1e-6 * max(1.0, abs(f.nats)), f"{f.reason.name}: parts {total}, score {f.nats}"
        assert explanation.baseline, f"{f.reason.name}: no baseline"
        assert explanation.counterfactual, f"{f.reason.name}: no counterfactual"
        assert all(part.name and part.text for part in explanation.contributions)


def cases_hold(entry: Entry) -> None:
    """At least two attacks and two benign cases, and each comes out as its expectation says."""
    found = list(cases(entry))
    attacks = sum(case.attack for case in found)
    assert attacks >= 2, f"{attacks} attack cases"
    assert len(found) - attacks >= 2, f"{len(found) - attacks} benign cases"
    for case in found:
        assert bool(case.expect.alerts) or not case.attack, f"{case.name}: an attack that nobody need see"
        told = [Told(entry.name, f.scope, f.key, f.reason.name, ts) for ts, f in _found(entry, batch_of(case.events))]
        mine = case.expect.model_copy(
            update={"alerts": tuple(a for a in case.expect.alerts if a.detector == entry.name)}
        )
        assert not (wrong := unmet(mine, told)), f"{case.name}: {'; '.join(wrong)}"


def _found(entry: Entry, batch: Batch) -> list[tuple[float, RawFinding]]:
    """What both parts of a folder find."""
    on_keys = [] if entry.detector is None else [(ts, f) for _, ts, f in findings(build(entry), batch)]
    if entry.population is None:
        return on_keys
    return on_keys + populations.told(populations.build_population(entry), populations.rollups_of(batch))


KEY_LAWS: tuple[Law, ...] = (
    input_is_not_changed,
    cut_does_not_matter,
    repeats_itself,
    snapshot_goes_on_elsewhere,
    release_is_part_of_the_log,
    snapshot_is_a_copy,
    foreign_snapshot_is_refused,
    memory_is_bounded,
    flood_does_not_hide_customers,
    late_rows_are_no_burst,
    repeated_rows_are_survived,
    rows_shown_count_nowhere,
    our_refusals_teach_nothing,
    odd_numbers_are_survived,
    absent_fields_mean_blind,
    fresh_detector_has_no_opinion,
    accused_keys_are_no_longer_quiet,
    findings_are_bounded,
    options_work_both_ways,
    explanations_add_up,
)
LAWS: tuple[Law, ...] = (*FOLDER_LAWS, *KEY_LAWS, cases_hold)  # of a folder with a part on keys only
