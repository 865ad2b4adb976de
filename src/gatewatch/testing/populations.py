"""The contract of a detector's part on populations, as laws, and what it takes to run one without a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gatewatch.detect.names import name_of
from gatewatch.detect.rollups import Rollups
from gatewatch.detect.totals import added_up
from gatewatch.events.batch import Batch
from gatewatch.events.rollup import BINS, COUNTS, SPAN_S, WIDTH, Kind, Rollup, bins_of
from gatewatch.records import Opinion, Scope
from gatewatch.registry import Entry
from gatewatch.sdk import Context, PopulationDetector, RawFinding
from gatewatch.settings import DetectorSettings
from gatewatch.state.hashing import hash_text
from gatewatch.testing import traffic
from gatewatch.testing.batches import SEED, batch_of
from gatewatch.testing.cases import cases
from gatewatch.testing.detector_runs import bytes_of

CONTEXT = Context(seed=SEED, partitions=1, alarms_per_day=1.0)
START = 1_767_225_600.0  # 2026-01-01, a whole bucket


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a made-up rollup: what it is about, and the counts and bins that are not zero."""

    kind: Kind = Kind.ALL
    label: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    bins: Mapping[str, Mapping[int, float] | Sequence[float]] = field(default_factory=dict)


def rollup_of(start: float, lines: Sequence[Line]) -> Rollup:
    """A rollup with these rows, in order of kind and name; the key is made from the name."""
    ordered = sorted(lines, key=lambda line: (line.kind, name_of(line.kind, line.label)))
    counts = np.zeros((len(ordered), len(COUNTS)))
    bins = np.zeros((len(ordered), WIDTH), np.float32)
    for i, line in enumerate(ordered):
        for name, value in line.counts.items():
            counts[i, COUNTS.index(name)] = value
        for name, filled in line.bins.items():
            values = filled if isinstance(filled, Mapping) else dict(enumerate(filled))
            for at, value in values.items():
                bins[i, bins_of(name)][at] = value
    names = [0 if line.kind is Kind.ALL else hash_text(name_of(line.kind, line.label), SEED) for line in ordered]
    return Rollup(
        start=start,
        kinds=np.array([line.kind for line in ordered], np.uint8),
        keys=np.array(names, np.uint64),
        labels=tuple(dict(line.label) for line in ordered),
        counts=counts,
        bins=bins,
    )


def rollups_of(batch: Batch) -> list[Rollup]:
    """What one detect task would tell of a batch: every bucket, closed."""
    sums = Rollups(SEED)
    sums.add(batch)
    closed = sums.close(float(batch.ts.max()) + 10 * SPAN_S) if batch.n else None
    return [] if closed is None else list(added_up([closed[1]]))


def build_population(entry: Entry, options: Mapping[str, Any] | None = None) -> PopulationDetector:
    """A fresh part on populations."""
    return entry.build_population(DetectorSettings.model_validate(options or {}), CONTEXT)


def told(detector: PopulationDetector, rollups: Sequence[Rollup]) -> list[tuple[float, RawFinding]]:
    """Process rollups: (event time, finding) of each hit."""
    found: list[tuple[float, RawFinding]] = []
    for rollup in rollups:
        for hit in detector.process(rollup):
            key = name_of(Kind(int(rollup.kinds[hit.row])), rollup.labels[hit.row])
            raw = RawFinding(
                reason=hit.reason, scope=hit.scope, key=key, nats=hit.nats, threshold_nats=hit.threshold_nats,
                observed=hit.observed, expected=hit.expected, window_s=hit.window_s, detail=hit.detail,
            )  # fmt: skip
            found.append((rollup.start + rollup.span_s, raw))
    return found


def stream(entry: Entry) -> list[Rollup]:
    """The kit's calm traffic and attack, then every case of the folder, one after the other."""
    parts = [rollups_of(traffic.joined(traffic.calm(), traffic.attack(first_offset=2000)))]
    parts += [rollups_of(batch_of(case.events)) for case in cases(entry) if case.events]
    shifted: list[Rollup] = []
    for part in parts:
        shift = shifted[-1].start + SPAN_S - part[0].start if shifted else 0.0
        shifted += [replace(rollup, start=rollup.start + shift) for rollup in part]
    return shifted


def rollups_are_not_changed(entry: Entry) -> None:
    """All detectors get the same rollup."""
    detector = build_population(entry)
    for rollup in stream(entry):
        before = (rollup.counts.tobytes(), rollup.bins.tobytes(), rollup.keys.tobytes())
        detector.process(rollup)
        assert (rollup.counts.tobytes(), rollup.bins.tobytes(), rollup.keys.tobytes()) == before, "it was changed"


def population_repeats_itself(entry: Entry) -> None:
    """Two of them given the same rollups say the same and know the same: else a replay differs."""
    one, two = build_population(entry), build_population(entry)
    assert told(one, stream(entry)) == told(two, stream(entry))
    assert bytes_of(one.snapshot()) == bytes_of(two.snapshot())


def population_goes_on_from_its_snapshot(entry: Entry) -> None:
    """Restored half way it finds what it would have found, and knows what it would have known."""
    rollups = stream(entry)
    half = len(rollups) // 2
    here, there = build_population(entry), build_population(entry)
    told(here, rollups[:half])
    saved = here.snapshot()
    frozen = bytes_of(saved)
    assert not any(array.dtype.hasobject for array in saved.values()), "a snapshot holds numbers, not objects"
    there.restore(saved)
    assert told(here, rollups[half:]) == told(there, rollups[half:])
    assert bytes_of(here.snapshot()) == bytes_of(there.snapshot())
    assert bytes_of(saved) == frozen, "the snapshot shares memory with the detector"


def population_release_is_part_of_the_log(entry: Entry) -> None:
    """What a person expects holds after a snapshot, holds once if it is said twice, and changes no other row."""
    rollups = stream(entry)
    half, until = len(rollups) // 2, rollups[-1].start
    scopes = {scope: Kind[scope.name] for scope in build_population(entry).scopes}
    keys = {(s, int(r.keys[i])) for s, kind in scopes.items() for r in rollups[:half] for i in r.rows(kind)}
    assert keys, "no case has a row of the scopes that are judged"
    here, twice, plain, other = (build_population(entry) for _ in range(4))
    for detector in (here, twice, plain, other):
        told(detector, rollups[:half])
    for scope, key in sorted(keys):
        here.release(scope, key, until)
    for scope, key in sorted(keys) * 2:
        twice.release(scope, key, until)
    there = build_population(entry)
    there.restore(here.snapshot())
    lines = told(here, rollups[half:])
    assert told(there, rollups[half:]) == lines, "a snapshot forgets what a person expects"
    assert told(twice, rollups[half:]) == lines, "said twice it holds otherwise"
    assert bytes_of(here.snapshot()) == bytes_of(twice.snapshot()) == bytes_of(there.snapshot())
    for scope in set(scopes) - {Scope.ALL}:
        other.release(scope, 1, until)
    assert told(other, rollups[half:]) == told(plain, rollups[half:]), "a release of one row changed another"
    assert bytes_of(other.snapshot()) == bytes_of(plain.snapshot())


def population_memory_is_bounded(entry: Entry) -> None:
    """Projects and endpoints without end: no table is overfull, and nothing grows for ever."""
    detector = build_population(entry)
    for i, rollup in enumerate(_names_without_end(40)):
        detector.process(rollup)
        if i == 19:
            before = sum(array.nbytes for array in detector.snapshot().values())
    for name, stats in detector.tables().items():
        assert stats.rows <= stats.capacity, f"{name}: more rows than there is room for"
    after = sum(array.nbytes for array in detector.snapshot().values())
    assert after <= 1.5 * before, f"grew from {before} to {after} bytes"


def _names_without_end(buckets: int) -> Iterator[Rollup]:
    counts = {"requests": 3.0, "successes": 2.0, "failures": 1.0, "first_failures": 1.0, "outputs": 3.0}
    bins = {name: {0: 3.0} for name in BINS}
    for b in range(buckets):
        names = range(400 * b, 400 * b + 400)
        lines = [Line(Kind.ALL, {}, counts, bins)]
        lines += [Line(Kind.PROJECT, {"project": f"p{i}"}, counts, bins) for i in names]
        lines += [Line(Kind.ENDPOINT, {"endpoint": f"/{i}", "model": "m"}, counts, bins) for i in names]
        yield rollup_of(START + 3600.0 * b, lines)


def odd_sums_are_survived(entry: Entry) -> None:
    """Huge and tiny sums, and rows that are all zero: no crash, and every finding's numbers are finite."""
    detector = build_population(entry)
    rng = np.random.default_rng(5)
    for rollup in stream(entry):
        factor = rng.choice(np.array([0.0, 1.0, 1e-9, 1e12]), (len(rollup), 1))
        odd = replace(rollup, counts=rollup.counts * factor, bins=(rollup.bins * factor).astype(np.float32))
        for _, finding in told(detector, [odd]):
            numbers = (finding.nats, finding.threshold_nats, finding.observed, finding.expected)
            assert np.isfinite((*numbers, *finding.detail.values())).all(), f"{finding.reason.name}: {numbers}"


def population_without_fields_is_blind(entry: Entry) -> None:
    """Requests of which nothing is known: no finding, and nobody is called quiet."""
    detector = build_population(entry)
    for scope in detector.scopes:
        assert detector.opinion(scope, 1) in {Opinion.WARMING, Opinion.BLIND}, f"{scope.value} before the first bucket"
    bare = [rollup_of(START + SPAN_S * i, [Line(Kind.ALL, {}, {"requests": 5.0})]) for i in range(200)]
    assert not told(detector, bare), "findings without a single field"
    for scope in detector.scopes:
        assert detector.opinion(scope, 1) in {Opinion.WARMING, Opinion.BLIND}, f"{scope.value} without any field"


def population_explanations_add_up(entry: Entry) -> None:
    """The contributions of each finding add up to its score, and its texts are there."""
    detector = build_population(entry)
    for _, finding in told(detector, stream(entry)):
        explanation = detector.explain(finding)
        total = sum(part.nats for part in explanation.contributions)
        assert abs(total - finding.nats) <= 1e-6 * max(1.0, abs(finding.nats)), f"{finding.reason.name}: parts {total}"
        assert explanation.baseline, f"{finding.reason.name}: no baseline"
        assert explanation.counterfactual, f"{finding.reason.name}: no counterfactual"


POPULATION_LAWS = (
    rollups_are_not_changed,
    population_repeats_itself,
    population_goes_on_from_its_snapshot,
    population_release_is_part_of_the_log,
    population_memory_is_bounded,
    odd_sums_are_survived,
    population_without_fields_is_blind,
    population_explanations_add_up,
)
