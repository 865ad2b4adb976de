"""What a detect task tells of everything coarser than a key: counts of ten seconds, an endpoint, project or client.

A key has its home partition; an endpoint that takes all the traffic has none, or one partition would do all the work.
So every task adds up its own rows, and only the sums meet (DESIGN section 2, "each event goes to two places").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gatewatch.errors import UnreadableError
from gatewatch.events.versions import not_ours
from gatewatch.records import Release

VERSION = b"rollups/2"
SPAN_S = 10.0  # the grid of time: what has to be seen faster than this is seen on keys
ROWS_MAX = 200  # of one record: below Kafka's limit even where each row has all its bins filled (some 3 kB)


class Kind(IntEnum):
    """What a row of a rollup is about."""

    ALL = 0
    PROJECT = 1
    ENDPOINT = 2  # an endpoint and the model behind it
    CLIENT = 3  # a user agent in an autonomous system


COUNTS = (
    "requests", "client_errors", "server_errors", "denied", "blocked",
    "successes", "failures",  # of logins
    # The first contact of a (network, account) within a week or two ended so; of failures, three a network at most
    "first_failures", "first_successes",
    "unknown_failures",  # those first_failures whose account does not exist
    "recovered",  # those first_failures whose network and account succeeded soon after, each account once an hour
    "account_hours",  # successes, each account once an hour: nobody can buy more of them with one account
    "bytes_in", "bytes_out", "tokens_in", "tokens_out", "cost_usd",
    "outputs", "refusals",  # rows that say how the answer ended, and those of them that refused
)  # fmt: skip
# Bins of each histogram. Sizes and times: half an octave a bin, from the unit in UNITS on.
BINS = {
    "latency_ms": 32, "bytes_in": 32, "bytes_out": 32, "tokens_out": 32, "finish": 8, "confidence": 20, "entropy": 16,
    "template": 64, "principal": 64, "version": 16,
}  # fmt: skip
UNITS = {"latency_ms": 1.0, "bytes_in": 16.0, "bytes_out": 16.0, "tokens_out": 1.0}
ENTROPY_STEP = 0.25  # nats a token
# Bin of each finish reason that model servers agree on; any other word is the last bin.
FINISH = ("stop", "length", "content_filter", "tool_calls", "error", "eos", "cancelled", "other")
_STARTS = dict(zip(BINS, np.cumsum([0, *BINS.values()])[:-1].tolist(), strict=True))
WIDTH = sum(BINS.values())


def bins_of(name: str) -> slice:
    """Where a histogram's bins stand among all ``WIDTH`` of them."""
    return slice(_STARTS[name], _STARTS[name] + BINS[name])


def middle_of(name: str) -> npt.NDArray[np.float64]:
    """(bins,) the value in the middle of each bin of a size or time, in its unit; inverse of the kernel's binning."""
    edges = 2.0 ** (np.arange(BINS[name]) / 2 + 0.25) - 1.0
    return np.asarray(edges * UNITS[name], np.float64)


@dataclass(frozen=True, slots=True)
class Rollup:
    """One closed bucket of event time, over all tasks: what a population detector gets.

    Attributes:
        start: epoch seconds; it covers [start, start + span_s).
        kinds: (rows,) uint8, a :class:`Kind` each; rows are in order of kind and key.
        keys: (rows,) uint64, keyed hashes; 0 for ``ALL``.
        labels: (rows,) names of the key: project, or endpoint and model, or user_agent and asn.
        counts: (rows, len(COUNTS)) float64.
        bins: (rows, WIDTH) float32.
    """

    start: float
    kinds: npt.NDArray[np.uint8]
    keys: npt.NDArray[np.uint64]
    labels: Sequence[dict[str, str]]
    counts: npt.NDArray[np.float64]
    bins: npt.NDArray[np.float32]
    span_s: float = SPAN_S

    def __len__(self) -> int:
        return len(self.keys)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """(rows,) one of :data:`COUNTS`."""
        return self.counts[:, COUNTS.index(name)]

    def histogram(self, name: str) -> npt.NDArray[np.float32]:
        """(rows, bins) one of :data:`BINS`."""
        return self.bins[:, bins_of(name)]

    def rows(self, kind: Kind) -> npt.NDArray[np.intp]:
        """Indices of the rows of one kind."""
        return np.flatnonzero(self.kinds == kind)


class RollupRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One record of ``rollups``: rows of buckets that a task has closed, or only how far it is.

    ``(routed_offset, part)`` rises within a task, so a reader drops what it has applied already. Numbers travel as
    bytes of arrays in the machine's (little endian) order, histograms as the places and values of their filled bins.
    """

    task: int
    routed_offset: int
    part: int
    closed: int  # buckets below this number (of SPAN_S each, since the epoch) are complete once all parts are read
    buckets: bytes = b""  # (rows,) int64
    kinds: bytes = b""  # (rows,) uint8
    keys: bytes = b""  # (rows,) uint64
    labels: tuple[dict[str, str], ...] = ()
    counts: bytes = b""  # (rows, len(COUNTS)) float64
    filled: bytes = b""  # (filled,) uint32: row * WIDTH + bin
    values: bytes = b""  # (filled,) float32
    release: Release | None = None  # what a person said, instead of rows: see of_release


_DECODER = msgspec.msgpack.Decoder(RollupRecord)
_ENCODER = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of several buckets as arrays, all of one length; see :class:`Rollup` for what they hold."""

    buckets: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    keys: npt.NDArray[np.uint64]
    labels: tuple[dict[str, str], ...]
    counts: npt.NDArray[np.float64]
    bins: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.keys)


def together(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Rows(
            np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint64), (),
            np.zeros((0, len(COUNTS))), np.zeros((0, WIDTH), np.float32),
        )  # fmt: skip
    return Rows(
        np.concatenate([rows.buckets for rows in parts]),
        np.concatenate([rows.kinds for rows in parts]),
        np.concatenate([rows.keys for rows in parts]),
        tuple(label for rows in parts for label in rows.labels),
        np.concatenate([rows.counts for rows in parts]),
        np.concatenate([rows.bins for rows in parts]),
    )


def records(task: int, routed_offset: int, closed: int, rows: Rows) -> Iterator[RollupRecord]:
    """The rows cut into records of at most :data:`ROWS_MAX`; only the last one says that the buckets are closed."""
    cuts = range(0, max(len(rows), 1), ROWS_MAX)
    before = int(rows.buckets.min()) if len(rows) else closed
    for part, at in enumerate(cuts):
        piece = slice(at, at + ROWS_MAX)
        filled = np.flatnonzero(rows.bins[piece])
        yield RollupRecord(
            task=task,
            routed_offset=routed_offset,
            part=part,
            closed=closed if at == cuts[-1] else before,
            buckets=rows.buckets[piece].tobytes(),
            kinds=rows.kinds[piece].tobytes(),
            keys=rows.keys[piece].tobytes(),
            labels=rows.labels[piece],
            counts=rows.counts[piece].tobytes(),
            filled=filled.astype(np.uint32).tobytes(),
            values=rows.bins[piece].reshape(-1)[filled].tobytes(),
        )


def of_release(task: int, routed_offset: int, release: Release) -> RollupRecord:
    """Passes on what a person expects of a coarse key; stands before all rows of its offset, and closes nothing."""
    return RollupRecord(task=task, routed_offset=routed_offset, part=-1, closed=0, release=release)


def encode(record: RollupRecord) -> bytes:
    """A record as msgpack."""
    return _ENCODER.encode(record)


def decode(value: bytes, header: bytes | None) -> RollupRecord:
    """The record that :func:`encode` wrote.

    Raises:
        StateError: another version's.
        UnreadableError: not a record at all.
    """
    if header != VERSION:
        raise not_ours("a rollup", header, VERSION)
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"a rollup that cannot be read ({type(error).__name__})") from error


def rows_of(record: RollupRecord) -> Rows:
    """A record's rows as arrays (copies).

    Raises:
        UnreadableError: its columns do not fit together.
    """
    try:
        keys = _array(record.keys[: 8 * ROWS_MAX], np.uint64)
        bins = np.zeros((len(keys), WIDTH), np.float32)
        bins.reshape(-1)[_array(record.filled, np.uint32)] = _array(record.values, np.float32)
        counts = _array(record.counts, np.float64).reshape(len(keys), len(COUNTS))
        rows = Rows(_array(record.buckets, np.int64), _array(record.kinds, np.uint8), keys, record.labels, counts, bins)
    except (ValueError, IndexError) as error:
        raise UnreadableError(f"a rollup whose columns are of no length that fits ({type(error).__name__})") from error
    if not len(rows.buckets) == len(rows.kinds) == len(rows.labels) == len(keys) == len(record.keys) // 8:
        raise UnreadableError("a rollup whose columns are not of one length")
    if not (rows.kinds <= max(Kind)).all() or not np.isfinite(rows.counts).all() or not np.isfinite(rows.bins).all():
        raise UnreadableError("a rollup with numbers that no task writes")
    return rows


def _array(data: bytes, dtype: Any) -> npt.NDArray[Any]:
    return np.frombuffer(data, dtype).copy()
