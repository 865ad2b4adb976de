"""The kernels of :mod:`gatewatch.ingest.vocabulary`: which strings are known, and what new ones become."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.ingest.hide import beyond_suspicion
from gatewatch.state.hashing import U64, siphash13
from gatewatch.state.jit import kernel
from gatewatch.state.words import copy, equal

AS_IS = -1  # no code: the string stands where it came from
DONE, MORE_STRINGS, MORE_BYTES = 0, 1, 2  # what look_up returns
_DASH = ord("-")  # how access logs write that nothing is there
_TAIL = b"0/24"  # of a network
_WIDER = len(_TAIL)
_MIX = U64(0x9E3779B97F4A7C15)  # the odd constant of splitmix64


class Rule(IntEnum):
    """What is done to a string, by what its column is for."""

    NAME = 0
    PATH = 1
    TEXT = 2
    ERROR = 3
    LABEL = 4
    ADDRESS = 5


_ADDRESS = int(Rule.ADDRESS)


class Strings(NamedTuple):
    """``data[starts[c, i]:stops[c, i]]`` is the string of column c of ``STRINGS`` and row i, UTF-8."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    stops: npt.NDArray[np.int32]


class Judge(NamedTuple):
    """What the kernel must know to tell which strings stay as they are."""

    rules: npt.NDArray[np.int64]  # of each column
    unique: npt.NDArray[np.bool_]  # of each column
    limits: npt.NDArray[np.int64]  # of each rule
    odd: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.uint8]
    located: bool
    k0: np.uint64
    k1: np.uint64


class Known(NamedTuple):
    """The vocabulary, as the kernel sees it. ``state``: codes given, bytes of the arena taken, suspects."""

    slots: npt.NDArray[np.uint64]
    slot_codes: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    begins: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    networks: npt.NDArray[np.int32]
    arena: npt.NDArray[np.uint8]
    suspects: npt.NDArray[np.int64]  # code, and place: column * n + row
    state: npt.NDArray[np.int64]


@kernel
def look_up(strings: Strings, judge: Judge, known: Known, out: npt.NDArray[np.int32]) -> int:
    """Codes of all strings, new ones for those that are new; suspicious ones go to ``known.suspects``.

    Returns what there must be more of; then it is called again, and finds again what it has done.
    """
    columns, n = strings.starts.shape
    data = strings.data
    for c in range(columns):
        rule = judge.rules[c]
        last_start, last_size, last_code = 0, 0, 0
        for i in range(n):
            start, stop = int(strings.starts[c, i]), int(strings.stops[c, i])
            size = stop - start
            if size <= 0 or (size == 1 and data[start] == _DASH):
                continue
            if judge.unique[c] and passes(data, start, stop, rule, judge):
                out[c, i] = AS_IS
                continue
            if size != last_size or not equal(data, start, size, data, last_start):
                last_code = code_of(data, start, stop, rule, judge, known, c * n + i)
                if last_code < 0:
                    return -last_code
                last_start, last_size = start, size
            out[c, i] = last_code
    return DONE


@kernel(inline=True)
def code_of(
    data: npt.NDArray[np.uint8], start: int, stop: int, rule: int, judge: Judge, known: Known, place: int
) -> int:
    """The code of a string, a new one if it is new; where there is no room, what is missing, negative."""
    h = siphash13(data, start, stop, judge.k0, judge.k1)
    mine = (h ^ (U64(rule + 1) * _MIX)) | U64(1)  # the same string under two rules is two
    at = slot_of(known.slots, mine)
    if known.slots[at] == U64(0):
        if known.state[0] + 2 > known.hashes.shape[0]:
            return -MORE_STRINGS
        if known.state[1] + 2 * judge.limits[rule, 0] + _WIDER > known.arena.shape[0]:
            return -MORE_BYTES
        known.slots[at], known.slot_codes[at] = mine, known.state[0]
        learn(data, start, stop, rule, h, judge, known, place)
    return int(known.slot_codes[at])


@kernel(inline=True)
def slot_of(slots: npt.NDArray[np.uint64], mine: np.uint64) -> np.uint64:
    """Where a string is, or would be."""
    mask = U64(slots.shape[0] - 1)
    at = (mine >> U64(1)) & mask
    while slots[at] != U64(0) and slots[at] != mine:
        at = (at + U64(1)) & mask
    return at


@kernel(inline=True)
def passes(data: npt.NDArray[np.uint8], start: int, stop: int, rule: int, judge: Judge) -> bool:
    """Whether a string stays as it is."""
    cap, run, length = judge.limits[rule, 0], judge.limits[rule, 1], judge.limits[rule, 2]
    return stop - start <= cap and beyond_suspicion(data, start, stop, run, length, judge.odd, judge.kinds)


@kernel
def learn(
    data: npt.NDArray[np.uint8],
    start: int,
    stop: int,
    rule: int,
    h: np.uint64,
    judge: Judge,
    known: Known,
    place: int,
) -> None:
    """Give a new string the next code, and of an address the one after that to its network."""
    code = known.state[0]
    dot = last_dot(data, start, stop) if rule == _ADDRESS and not judge.located else -1
    if dot < 0 and (rule == _ADDRESS or not passes(data, start, stop, rule, judge)):
        suspect = known.state[2]
        known.suspects[suspect, 0], known.suspects[suspect, 1] = code, place
        known.state[2] += 1
    else:
        store(data, start, stop, known, code)
        known.hashes[code] = h if h != U64(0) else U64(1)
    known.state[0] += 1
    if dot >= 0:
        begin = known.state[1]
        store(data, start, dot + 1, known, code + 1)
        for j in range(_WIDER):
            known.arena[known.state[1] + j] = _TAIL[j]
        known.state[1] += _WIDER
        known.sizes[code + 1] += _WIDER
        h = siphash13(known.arena, begin, known.state[1], judge.k0, judge.k1)
        known.hashes[code + 1] = h if h != U64(0) else U64(1)
        known.networks[code] = code + 1
        known.state[0] += 1


@kernel
def store(data: npt.NDArray[np.uint8], start: int, stop: int, known: Known, code: int) -> None:
    """Put the bytes of a code at the end of the arena."""
    used = known.state[1]
    known.begins[code], known.sizes[code] = used, stop - start
    copy(data, start, stop - start, known.arena, used)
    known.state[1] += stop - start


@kernel
def last_dot(data: npt.NDArray[np.uint8], start: int, stop: int) -> int:
    """Where the last dot of an IPv4 address in its one spelling is; -1 where it is anything else."""
    dots = 0
    dot = start - 1
    value = 0
    for at in range(start, stop + 1):
        byte = data[at] if at < stop else 46
        if byte == 46:
            digits = at - dot - 1
            if digits < 1 or digits > 3 or value > 255 or (digits > 1 and data[dot + 1] == 48):
                return -1
            if at < stop:
                dots += 1
                dot = at
                value = 0
        elif 48 <= byte <= 57:
            value = value * 10 + byte - 48
        else:
            return -1
    return dot if dots == 3 else -1


@kernel
def move(
    slots: npt.NDArray[np.uint64],
    codes: npt.NDArray[np.int32],
    to_slots: npt.NDArray[np.uint64],
    to_codes: npt.NDArray[np.int32],
) -> None:
    """All entries of one table into a larger one."""
    for i in range(slots.shape[0]):
        if slots[i] != U64(0):
            at = slot_of(to_slots, slots[i])
            to_slots[at], to_codes[at] = slots[i], codes[i]
