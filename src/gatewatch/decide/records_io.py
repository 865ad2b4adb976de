"""Bytes of our topics to records and back; also what commands use."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from gatewatch.errors import StateError
from gatewatch.records import Alert, DeadLetter, Decision, Finding, FindingBatch, Incident, Refusal

M = TypeVar("M", bound=BaseModel)

_BATCH = msgspec.json.Decoder(FindingBatch)
_FINDING = msgspec.json.Decoder(Finding)
_LETTER = msgspec.json.Decoder(DeadLetter)
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Loose(msgspec.Struct):
    """A record of ``findings`` of which one finding cannot be read (a number that JSON does not have, say)."""

    task: int
    routed_offset: int
    watermark: float | None  # null where the task has seen no time yet: JSON has no -inf
    findings: tuple[msgspec.Raw, ...] = ()


_LOOSE = msgspec.json.Decoder(_Loose)


def read_batch(value: bytes, place: str) -> tuple[FindingBatch, int]:
    """A record of ``findings``, and how many of its findings could not be read; the others live.

    Raises:
        StateError: the record itself cannot be read; the text names ``place``.
    """
    try:
        return _BATCH.decode(value), 0
    except _ERRORS:
        pass
    try:
        loose = _LOOSE.decode(value)
    except _ERRORS as error:
        raise StateError(f"{place}: not a record of `findings` that this version writes: {_why(error)}") from error
    findings = tuple(f for raw in loose.findings if (f := _finding(raw)) is not None)
    watermark = float("-inf") if loose.watermark is None else loose.watermark
    batch = FindingBatch(task=loose.task, routed_offset=loose.routed_offset, watermark=watermark, findings=findings)
    return batch, len(loose.findings) - len(findings)


def _finding(raw: msgspec.Raw) -> Finding | None:
    try:
        return _FINDING.decode(raw)
    except _ERRORS:
        return None


def read_finding(value: bytes, place: str) -> Finding:
    """A line of a replay's ``findings.jsonl``.

    Raises:
        StateError: it is none that this version writes.
    """
    try:
        return _FINDING.decode(value)
    except _ERRORS as error:
        raise StateError(f"{place}: not a finding that this version writes: {_why(error)}") from error


def read_alert(value: bytes, place: str) -> Alert:
    """A record of ``alerts``.

    Raises:
        StateError: it is none that this version writes.
    """
    return _parse(Alert, value, place)


def read_decision(value: bytes, place: str) -> Decision:
    """A record of ``decisions``.

    Raises:
        StateError: it is none that this version writes.
    """
    return _parse(Decision, value, place)


def read_incident(value: bytes, place: str) -> Incident:
    """A record of ``incidents``.

    Raises:
        StateError: it is none that this version writes.
    """
    return _parse(Incident, value, place)


def read_letter(value: bytes, place: str) -> DeadLetter:
    """A record of ``dead-letters``.

    Raises:
        StateError: it is none that this version writes.
    """
    try:
        return _LETTER.decode(value)
    except _ERRORS as error:
        raise StateError(f"{place}: not a dead letter that this version writes: {_why(error)}") from error


def write(record: Alert | Decision | Incident) -> bytes:
    """As it stands in its topic."""
    return record.model_dump_json().encode()


def write_refusal(refusal: Refusal, offset: int) -> bytes:
    """As it stands in ``actions``, beside what notify did: told apart by ``kind``."""
    return json.dumps({"kind": "refusal", "findings_offset": offset, **refusal.model_dump(mode="json")}).encode()


def _why(error: Exception) -> str:
    """What is wrong, without what a stranger wrote: msgspec quotes some values."""
    text = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return text.partition("Invalid enum value")[0] or "a value that is none of ours"


def _parse(model: type[M], value: bytes, place: str) -> M:
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        name = model.__name__.lower()
        raise StateError(f"{place}: not a {name} that this version writes: {where}: {first['msg']}") from error
