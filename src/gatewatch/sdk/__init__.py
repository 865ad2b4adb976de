"""What a detector may import. ``docs/add-a-detector.md`` walks through one.

A detector scores rows of one partition, in order, and never looks back: it gets batches of columns, keeps arrays, and
gives findings. It must be a pure function of what it was given: no clock, no randomness outside its state, no I/O.
Cut anyhow into batches, the same rows give the same findings; that, and more, is what ``check_detector`` tests.
"""

from __future__ import annotations

from gatewatch.errors import StateError
from gatewatch.events.batch import AuthCode, Batch, Flag, Role, read_only
from gatewatch.events.kinds import KINDS
from gatewatch.events.rollup import Kind, Rollup, middle_of
from gatewatch.records import Contribution, Explanation, Opinion, Scope, Severity
from gatewatch.sdk.detector import Detector, Lane
from gatewatch.sdk.findings import Hits, RawFinding, Reason
from gatewatch.sdk.part import Context, DetectorConfig, Need, Part
from gatewatch.sdk.population import PopulationDetector, PopulationHit
from gatewatch.sdk.stats import TableStats, pair_stats, table_stats
from gatewatch.sdk.tabled import TableDetector
from gatewatch.sdk.words import Words, templates_of, words_of
from gatewatch.state.calibrator import CALIBRATOR, advance, fresh_calibrators, judged
from gatewatch.state.hashing import HashSeed, hash_text, mix
from gatewatch.state.jit import kernel, scale
from gatewatch.state.keytable import (
    STRIDE,
    Head,
    KeyTable,
    ahead,
    ask_row,
    ask_set,
    find,
    find_or_admit,
    hold,
    is_far,
    is_held,
    look_ahead,
    succeeded_since,
    touch,
    used_rows,
)
from gatewatch.state.pairs import Pairs, add_pair, ask_pair, forget_older, has_pair, is_full, meet, no_pairs
from gatewatch.state.parts import restore_parts, snapshot_parts
from gatewatch.state.rows import Rows, no_rows, rows_of

__all__ = [
    "CALIBRATOR",
    "KINDS",
    "STRIDE",
    "AuthCode",
    "Batch",
    "Context",
    "Contribution",
    "Detector",
    "DetectorConfig",
    "Explanation",
    "Flag",
    "HashSeed",
    "Head",
    "Hits",
    "KeyTable",
    "Kind",
    "Lane",
    "Need",
    "Opinion",
    "Pairs",
    "Part",
    "PopulationDetector",
    "PopulationHit",
    "RawFinding",
    "Reason",
    "Role",
    "Rollup",
    "Rows",
    "Scope",
    "Severity",
    "StateError",
    "TableDetector",
    "TableStats",
    "Words",
    "add_pair",
    "advance",
    "ahead",
    "ask_pair",
    "ask_row",
    "ask_set",
    "find",
    "find_or_admit",
    "forget_older",
    "fresh_calibrators",
    "has_pair",
    "hash_text",
    "hold",
    "is_far",
    "is_full",
    "is_held",
    "judged",
    "kernel",
    "look_ahead",
    "meet",
    "middle_of",
    "mix",
    "no_pairs",
    "no_rows",
    "pair_stats",
    "read_only",
    "restore_parts",
    "rows_of",
    "scale",
    "snapshot_parts",
    "succeeded_since",
    "table_stats",
    "templates_of",
    "touch",
    "used_rows",
    "words_of",
]
