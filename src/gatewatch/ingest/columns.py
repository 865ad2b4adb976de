"""A list of events becomes columns, cleaned in one place for every format.

Per column there is one list comprehension, and whatever else is done to strings is done by Arrow, or once for each
*distinct* value of the batch. That is where the microseconds of ingest go, so measure before adding to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gatewatch.events.address import canonical_ip, network_of
from gatewatch.events.batch import FLOATS, KEY_OF, AuthCode, Flag
from gatewatch.events.event import STRING_CAP, TEXT_CAP, AccessEvent, Shape
from gatewatch.ingest.hide import Hider
from gatewatch.state.hashing import HashSeed, hash_column

Columns = dict[str, pa.Array]

AUTH_CODES: dict[str | None, int] = {
    None: AuthCode.UNKNOWN,
    "success": AuthCode.SUCCESS,
    "failure": AuthCode.FAILURE,
    "none": AuthCode.NONE,
}
_LONG = frozenset({"path", "endpoint", "user_agent"})  # cut at TEXT_CAP, the others at STRING_CAP
_CACHE_CAP = 100_000  # distinct addresses remembered between batches: some 30 MB


@dataclass(slots=True)
class Cleaner:
    """Turns events into cleaned columns; remembers what it worked out for values it has seen.

    Args:
        seed: for the keyed hashes.
        locate: (asn, country) of an address, where a MaxMind file is configured.
        field_names: keep the field names of shapes.
    """

    seed: HashSeed
    locate: Callable[[str], tuple[int | None, str | None]] | None = None
    field_names: bool = True
    _addresses: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    _hider: Hider = field(default_factory=Hider)

    def columns(self, events: Sequence[AccessEvent]) -> Columns:
        """All columns of ``ROUTED`` except src, offset, index, role and ts.

        ``ts`` comes in ``ts_raw``: bounds are another module's. Cost: about 3 us an event, at 1,000 events.
        """
        out = _numbers(events)
        flags = np.zeros(len(events), np.uint16)
        for name, values in _strings(events).items():
            array, cut = _capped(_text_array(values), TEXT_CAP if name in _LONG else STRING_CAP)
            out[name] = array
            if cut is not None:
                flags |= np.where(cut, np.uint16(Flag.CUT), np.uint16(0))
        self._addresses_into(out)
        for name in ("path", "endpoint"):
            out[name] = _without_query(out[name])
        _shapes_into(out, [e.shape for e in events], field_names=self.field_names)
        self._hider.hide(out)
        _infer_outcome(out)
        flags |= _in_range(out)
        out["flags"] = pa.array(flags)
        self._hashes_into(out)
        return out

    def _addresses_into(self, out: Columns) -> None:
        """Canonical ``ip``, its ``network``, and asn and country where the event has none and a file is configured."""
        raw = out["ip"]
        if raw.null_count == len(raw):
            out["network"] = raw
            return
        encoded = raw.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        known = [self._address(text) for text in distinct]
        out["ip"] = pa.array([k[0] for k in known], pa.string()).take(encoded.indices)
        out["network"] = pa.array([k[1] for k in known], pa.string()).take(encoded.indices)
        if self.locate is not None:
            places = [self.locate(k[0]) if k[0] else (None, None) for k in known]
            asn = pa.array([p[0] if p[0] is not None else -1 for p in places], pa.int64()).take(encoded.indices)
            country = pa.array([p[1] for p in places], pa.string()).take(encoded.indices)
            out["asn"] = pc.if_else(pc.equal(out["asn"], -1), asn.fill_null(-1), out["asn"])
            out["country"] = pc.coalesce(out["country"], country)

    def _address(self, text: str) -> tuple[str | None, str | None]:
        known = self._addresses.get(text)
        if known is None:
            if len(self._addresses) >= _CACHE_CAP:
                self._addresses.clear()
            ip = canonical_ip(text)
            known = self._addresses[text] = (ip, network_of(ip) if ip else None)
        return known

    def _hashes_into(self, out: Columns) -> None:
        for key, name in KEY_OF.items():
            out[key] = pa.array(hash_column(out[name], self.seed))


def _numbers(events: Sequence[AccessEvent]) -> Columns:
    return {
        "ts_raw": pa.array([e.ts for e in events], pa.float64()),
        "status": _int([e.status for e in events]),
        "asn": _int([e.asn for e in events]),
        "auth": pa.array([AUTH_CODES[e.auth] for e in events], pa.int8()),
        "account_known": _code([e.account_known for e in events]),
        "denied": _code([e.denied for e in events]),
        "blocked_by_us": _code([e.blocked_by_us for e in events]),
        "latency_ms": _float([e.latency_ms for e in events]),
        "ttft_ms": _float([e.ttft_ms for e in events]),
        "bytes_in": _float([e.bytes_in for e in events]),
        "bytes_out": _float([e.bytes_out for e in events]),
        "tokens_in": _float([e.tokens_in for e in events]),
        "tokens_out": _float([e.tokens_out for e in events]),
        "cost_usd": _float([e.cost_usd for e in events]),
        "features": _names([e.features for e in events]),
    }


def _strings(events: Sequence[AccessEvent]) -> dict[str, list[str | None]]:
    return {
        "request_id": [e.request_id for e in events],
        "method": [e.method for e in events],
        "path": [e.path for e in events],
        "endpoint": [e.endpoint for e in events],
        "principal": [e.principal for e in events],
        "credential": [e.credential for e in events],
        "account": [e.account for e in events],
        "project": [e.project for e in events],
        "session": [e.session for e in events],
        "ip": [e.ip for e in events],
        "country": [e.country for e in events],
        "user_agent": [e.user_agent for e in events],
        "ja4": [e.ja4 for e in events],
        "error": [e.error for e in events],
        "model": [e.model for e in events],
        "model_version": [e.model_version for e in events],
        "provider": [e.provider for e in events],
    }


def _shapes_into(out: Columns, shapes: list[Shape | None], *, field_names: bool) -> None:
    n = len(shapes)
    if not any(shapes):
        for name in ("shape_hash", "finish_reason", "label"):
            out[name] = pa.nulls(n, pa.string())
        for name in FLOATS:
            if name not in out:
                out[name] = pa.array(np.full(n, np.nan))
        out["refusal"] = pa.array(np.full(n, -1, np.int8))
        out["shape_fields"] = pa.nulls(n, pa.list_(pa.string()))
        return
    some = [s if s is not None else _NO_SHAPE for s in shapes]
    out["shape_hash"] = _capped(_text_array([s.hash for s in some]), STRING_CAP)[0]
    out["finish_reason"] = _capped(_text_array([s.finish_reason for s in some]), STRING_CAP)[0]
    out["label"] = _capped(_text_array([s.label for s in some]), STRING_CAP)[0]
    out["refusal"] = _code([s.refusal for s in some])
    out["shape_depth"] = _float([s.depth for s in some])
    out["shape_keys"] = _float([s.keys for s in some])
    out["shape_longest_array"] = _float([s.longest_array for s in some])
    out["shape_longest_string"] = _float([s.longest_string for s in some])
    out["shape_body_size"] = _float([s.body_size for s in some])
    out["shape_kinds"] = _float([s.kinds for s in some])
    out["confidence"] = _float([s.confidence for s in some])
    out["entropy"] = _float([s.entropy for s in some])
    out["shape_fields"] = _names([s.fields for s in some]) if field_names else pa.nulls(n, pa.list_(pa.string()))


_NO_SHAPE = Shape()


def _float(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.float64()).fill_null(np.nan)
    except pa.ArrowInvalid:  # an integer that a float64 cannot hold exactly
        return pa.array([float(v) if v is not None else None for v in values], pa.float64()).fill_null(np.nan)


def _int(values: list[int | None]) -> pa.Array:
    try:
        return pa.array(values, pa.int64()).fill_null(-1)
    except (OverflowError, pa.ArrowInvalid):
        return pa.array([v if v is not None and abs(v) < 2**62 else None for v in values], pa.int64()).fill_null(-1)


def _code(values: list[bool | None]) -> pa.Array:
    return pa.array(values, pa.bool_()).cast(pa.int8()).fill_null(-1)


def _names(values: list[list[str] | None]) -> pa.Array:
    return pa.array(values, pa.list_(pa.string())) if any(values) else pa.nulls(len(values), pa.list_(pa.string()))


def _text_array(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # lone surrogates, written as escapes by somebody
        return pa.array([v.encode(errors="replace").decode() if v is not None else None for v in values], pa.string())


def _capped(array: pa.Array, cap: int) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    """Cut what is longer than ``cap`` characters, make "" and "-" absent; which rows were cut, if any."""
    lengths = _byte_lengths(array)
    if lengths.size == 0:
        return array, None
    if lengths.min() == 0 and array.null_count < int((lengths == 0).sum()):
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
    if (lengths == 1).any():  # "-" is how access logs write it
        array = pc.if_else(pc.equal(array, "-"), pa.scalar(None, pa.string()), array)
    if lengths.max() <= cap:
        return array, None
    cut = pc.greater(pc.utf8_length(array).fill_null(0), cap).to_numpy(zero_copy_only=False)
    return pc.utf8_slice_codeunits(array, 0, cap), cut


def _byte_lengths(array: pa.Array) -> npt.NDArray[np.int32]:
    offsets = array.buffers()[1]
    if offsets is None:
        return np.zeros(0, np.int32)
    view = np.frombuffer(memoryview(offsets), np.int32)[array.offset : array.offset + len(array) + 1]
    return np.diff(view)


def _without_query(array: pa.Array) -> pa.Array:
    """Query strings and fragments may hold secrets, and split one endpoint into thousands."""
    data = array.buffers()[2]
    if data is None:
        return array
    raw = memoryview(data).tobytes()
    if b"?" not in raw and b"#" not in raw:
        return array
    return pc.replace_substring_regex(array, pattern=r"[?#].*", replacement="")


def _infer_outcome(out: Columns) -> None:
    """Where the gateway did not say: 401 is a failure, 2xx or 3xx with somebody's name a success, 403 a denial."""
    status = out["status"].to_numpy()
    auth = out["auth"].to_numpy().copy()
    named = out["principal"].is_valid().to_numpy(zero_copy_only=False) | out["account"].is_valid().to_numpy(
        zero_copy_only=False
    )
    unknown = auth == AuthCode.UNKNOWN
    auth[unknown & (status == 401)] = AuthCode.FAILURE
    auth[unknown & named & (status >= 200) & (status < 400)] = AuthCode.SUCCESS
    denied = out["denied"].to_numpy().copy()
    denied[(denied == -1) & (status == 403)] = 1
    out["auth"], out["denied"] = pa.array(auth), pa.array(denied)


def _in_range(out: Columns) -> npt.NDArray[np.uint16]:
    """Numbers without sense (negative or endless sizes, a status of 9000) become absent; which rows had one."""
    bad = np.zeros(len(out["status"]), bool)
    for name in FLOATS:
        values = out[name].to_numpy(zero_copy_only=True)
        wrong = (values < 0) | np.isinf(values) if name != "entropy" else np.isinf(values)
        if wrong.any():
            out[name] = pa.array(np.where(wrong, np.nan, values))
            bad |= wrong
    status = out["status"].to_numpy()
    wrong = (status < -1) | (status > 999)
    out["status"] = pa.array(np.where(wrong, -1, status).astype(np.int32))
    bad |= wrong
    return np.where(bad, np.uint16(Flag.OUT_OF_RANGE), np.uint16(0))
