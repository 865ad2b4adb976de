"""Many events as columns: the unit of work after ingest.

A batch travels as ONE Arrow record-batch message without its schema; :func:`schema_id` stands in a header. Columns that
no row has (no gateway fills them all) do not travel: that saves a third of the bytes and of the time of ingest.
Kernels read columns as numpy views, without a copy, so numbers have no nulls: NaN and -1 say "absent", hash 0 says
"no key".
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.errors import UnreadableError
from gatewatch.events.versions import not_ours

VERSION = b"routed/1"


class Role(IntFlag):
    """Why a row is in this partition: for its principal (WHO), for its network (WHERE), or for both.

    A row with SHOW alone is at home elsewhere and counts nowhere else: it only shows what bodies its endpoint gets.
    """

    WHO = 1
    WHERE = 2
    SHOW = 4


class AuthCode(IntEnum):
    """How authentication ended; UNKNOWN is "the gateway did not say"."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2
    NONE = 3


class Flag(IntFlag):
    """What ingest did to a row."""

    TIME_MOVED = 1  # ts was outside [now - 7 d, now + 5 s]
    CUT = 2  # a string was longer than its cap
    OUT_OF_RANGE = 4  # a number without sense became absent


# Keyed 64-bit hashes of the canonical strings (state/hashing.py); 0 is "no such key".
KEYS = (
    "k_principal", "k_credential", "k_account", "k_ip", "k_network", "k_endpoint", "k_path", "k_model",
    "k_user_agent", "k_country", "k_project", "k_shape",
)  # fmt: skip
# The column that each key is the hash of
KEY_OF = {name: name.removeprefix("k_") if name != "k_shape" else "shape_hash" for name in KEYS}
STRINGS = (
    "request_id", "method", "path", "endpoint", "principal", "credential", "account", "project", "session",
    "ip", "network", "country", "user_agent", "ja4", "error", "model", "model_version", "provider",
    "shape_hash", "finish_reason", "label",
)  # fmt: skip
# -1 is "absent"; auth holds an AuthCode
CODES = ("auth", "account_known", "denied", "blocked_by_us", "refusal")
# NaN is "absent"
FLOATS = (
    "latency_ms", "ttft_ms", "bytes_in", "bytes_out", "tokens_in", "tokens_out", "cost_usd",
    "shape_depth", "shape_keys", "shape_longest_array", "shape_longest_string", "shape_body_size",
    "confidence", "entropy", "shape_kinds",
)  # fmt: skip
LISTS = ("features", "shape_fields")

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("src", pa.uint16()),  # index into the batch's ranges: which source partition
    ("offset", pa.int64()),  # in that source partition
    ("index", pa.int32()),  # of the element within the value
    ("role", pa.uint8()),
    ("flags", pa.uint16()),
    ("ts", pa.float64()),
    *((name, pa.uint64()) for name in KEYS),
    ("status", pa.int32()),  # -1 is "absent", 0 is "the client left"
    ("asn", pa.int64()),
    *((name, pa.int8()) for name in CODES),
    *((name, pa.float64()) for name in FLOATS if name != "shape_kinds"),
    *((name, pa.string()) for name in STRINGS),
    *((name, pa.list_(pa.string())) for name in LISTS),
    ("shape_kinds", pa.float64()),  # later than the rest: a column's place is its bit in schema_id
]
ROUTED = pa.schema([pa.field(name, kind) for name, kind in _FIELDS])


_POSITION = {name: i for i, name in enumerate(ROUTED.names)}
NUMBERS = tuple(name for name, kind in _FIELDS if not (pa.types.is_string(kind) or pa.types.is_list(kind)))
# What stands for an absent value of each numeric column; strings and lists are null.
ABSENT: dict[str, float | int] = {
    "status": -1,
    "asn": -1,
    **dict.fromkeys(KEYS, 0),
    **dict.fromkeys(CODES, -1),
    "auth": int(AuthCode.UNKNOWN),
    **dict.fromkeys(FLOATS, float("nan")),
}


def schema_id(batch: pa.RecordBatch) -> bytes:
    """The version, and a bit for each column of ``ROUTED`` that the batch has."""
    mask = 0
    for name in batch.schema.names:
        mask |= 1 << _POSITION[name]
    return VERSION + b":%x" % mask


class Columns(NamedTuple):
    """Which columns a batch has."""

    schema: pa.Schema
    places: dict[str, int]  # of each column
    numbers: npt.NDArray[np.int64]  # places of NUMBERS, -1 where there is none


def columns_of(schema: pa.Schema) -> Columns:
    """The columns of a schema.

    Raises:
        TypeError: one of another type than in ``ROUTED``: kernels read numbers straight from memory.
    """
    places = {name: i for i, name in enumerate(schema.names)}
    for name in NUMBERS:
        if name in places and schema.field(name).type != ROUTED.field(name).type:
            raise TypeError(f"column {name!r} is not of the type that a batch has")
    return Columns(schema, places, np.array([places.get(name, -1) for name in NUMBERS], np.int64))


@lru_cache(maxsize=1024)  # one for each set of fields that some gateway fills
def _columns(header: bytes) -> Columns:
    version, _, mask = header.partition(b":")
    if version != VERSION:
        raise not_ours("a batch in `routed`", version, VERSION)
    try:
        bits = int(mask, 16)
    except ValueError as error:
        raise UnreadableError("a batch of a schema that names no columns") from error
    return columns_of(pa.schema([field for i, field in enumerate(ROUTED) if bits >> i & 1]))


def encode(batch: pa.RecordBatch) -> bytes:
    """The batch as one Arrow IPC message.

    Cost: about 60 us a call, plus copying.
    """
    value: bytes = batch.serialize().to_pybytes()
    return value


def decode(value: bytes, header: bytes) -> Batch:
    """The batch that :func:`encode` wrote, by its :func:`schema_id`.

    It is checked through: Arrow follows whatever offsets a record holds, out of its own memory where they are wrong.
    Cost: about 15 us a call, and 0.05 us a row.

    Raises:
        StateError: the schema is another version's.
        UnreadableError: it is no batch.
    """
    columns = _columns(header)
    try:
        arrow = pa.ipc.read_record_batch(pa.py_buffer(value), columns.schema)
        arrow.validate(full=True)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise UnreadableError(f"a batch that cannot be read ({type(error).__name__})") from error
    return Batch(arrow, columns)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written, as a batch's own columns are: kernels are compiled for each mixture of the two."""
    view = array.view()
    view.flags.writeable = False
    return view


_LEAST_ROOM = 1024
_nothing: dict[str, npt.NDArray[Any]] = {}


def _absent(name: str, n: int) -> npt.NDArray[Any]:
    """(n,) values that stand for an absent column; all batches share them."""
    values = _nothing.get(name)
    if values is None or len(values) < n:
        room = max(_LEAST_ROOM, 1 << (n - 1).bit_length())
        values = read_only(np.full(room, ABSENT[name], ROUTED.field(name).type.to_pandas_dtype()))
        _nothing[name] = values
    return values[:n]


class Batch:
    """Columns of one routed batch.

    Attributes are numpy views: ``ts`` float64, ``role`` uint8, the keys uint64, ``status`` int32, codes int8, sizes
    float64; all of length ``n``. :meth:`text` gives one string of one row, for the few rows that become findings.
    """

    def __init__(self, arrow: pa.RecordBatch, columns: Columns | None = None) -> None:
        self.arrow = arrow
        self.n = arrow.num_rows
        self.columns = columns_of(arrow.schema) if columns is None else columns
        self.memo: dict[str, Any] = {}  # what was worked out about it once, for all detectors
        self._places = self.columns.places
        self._views: dict[str, npt.NDArray[Any]] = {}

    def has(self, name: str) -> bool:
        """Whether any row of the batch may have it."""
        return name in self._places

    def column(self, name: str) -> npt.NDArray[Any]:
        """One numeric column: a read-only view without a copy, or absent values throughout.

        Cost: about 1 us the first time; all detectors share the view.
        """
        view = self._views.get(name)
        if view is None:
            at = self._places.get(name)
            if at is None:
                view = _absent(name, self.n)
            else:
                view = self.arrow.column(at).to_numpy(zero_copy_only=True)
                view.flags.writeable = False
            self._views[name] = view
        return view

    def text(self, name: str, row: int) -> str | None:
        """The string in one row, or ``None``. Cost: about 1 us: for findings, not for loops over rows."""
        return self.arrow.column(name)[row].as_py() if name in self._places else None

    def texts(self, name: str, row: int) -> list[str]:
        """The strings of a list column in one row."""
        return (self.arrow.column(name)[row].as_py() or []) if name in self._places else []

    def take(self, rows: npt.NDArray[np.integer]) -> Batch:
        """Those rows, in that order."""
        return Batch(self.arrow.take(pa.array(rows)), self.columns)

    @cached_property
    def ts(self) -> npt.NDArray[np.float64]:
        """When each request ended, epoch seconds, after ingest moved it into bounds."""
        return self.column("ts").astype(np.float64, copy=False)

    @cached_property
    def role(self) -> npt.NDArray[np.uint8]:
        """:class:`Role` bits of each row."""
        return self.column("role").astype(np.uint8, copy=False)
