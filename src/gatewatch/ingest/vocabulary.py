"""Strings that ingest has seen, each cleaned and hashed once.

Traffic repeats itself: methods, paths, clients, models, most principals and addresses. So a string becomes a code, and
what is done to it is done once for each string, not for each event. Two strings are told apart by their keyed hash, as
all keys are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.address import canonical_ip, network_of
from gatewatch.events.batch import STRINGS, Flag
from gatewatch.events.event import STRING_CAP, TEXT_CAP
from gatewatch.events.secrets import hide_name
from gatewatch.ingest.hide import LENGTH, RUN, beyond_suspicion, hide_in_label, hide_in_text, kinds, pairs
from gatewatch.ingest.places import Locate
from gatewatch.state.hashing import U64, HashSeed, siphash13, siphash13_many
from gatewatch.state.jit import kernel

ABSENT = 0  # the code of what is not there
AS_IS = -1  # no code: the string stands where it came from

# Strings remembered between rounds, and their bytes: some 60 MB with the tables. Then all are forgotten, which costs as
# much as meeting them for the first time.
_MOST_STRINGS = 1 << 18
_MOST_BYTES = 32 << 20
_FIRST_STRINGS, _FIRST_BYTES = 1 << 11, 1 << 16


class Rule(IntEnum):
    """What is done to a string, by what its column is for."""

    NAME = 0
    PATH = 1
    TEXT = 2
    ERROR = 3
    LABEL = 4
    ADDRESS = 5


_RULES = {
    **dict.fromkeys(("principal", "credential", "account", "session"), Rule.NAME),
    **dict.fromkeys(("path", "endpoint"), Rule.PATH),
    "user_agent": Rule.TEXT,
    "error": Rule.ERROR,
    "ip": Rule.ADDRESS,
}
_CAPS = {Rule.PATH: TEXT_CAP, Rule.TEXT: TEXT_CAP}  # the others STRING_CAP
_ANY = 1 << 30
_HIDE: dict[Rule, Callable[[str], str]] = {
    Rule.NAME: hide_name,
    Rule.PATH: hide_in_text,
    Rule.TEXT: hide_in_text,
    Rule.ERROR: hide_in_text,
    Rule.LABEL: hide_in_label,
}
_OF_COLUMN = np.array([_RULES.get(name, Rule.LABEL) for name in STRINGS], np.int64)
# Ids that no two events share are not worth a code
_UNIQUE = np.array([name == "request_id" for name in STRINGS])
# For each rule: characters kept, and what makes a string suspicious
_LIMITS = np.array(
    [
        (
            _CAPS.get(rule, STRING_CAP),
            RUN if rule in {Rule.PATH, Rule.TEXT, Rule.ERROR} else _ANY,
            LENGTH if rule is Rule.NAME else _ANY,
        )
        for rule in Rule
    ],
    np.int64,
)
_DONE, _MORE_STRINGS, _MORE_BYTES = 0, 1, 2  # what the kernel returns
_ADDRESS = int(Rule.ADDRESS)
_DASH = ord("-")  # how access logs write that nothing is there
_TAIL = b"0/24"  # of a network
_WIDER = len(_TAIL)


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


class Vocabulary:
    """Codes of strings. ``hashes``, ``begins``, ``sizes`` and ``flags`` are by code, the bytes are in ``arena``.

    ``networks`` (codes), ``asns`` (-1: not known) and ``countries`` (codes) are those of addresses.

    Args:
        seed: for the keyed hashes.
        locate: (asn, country) of an address, where a MaxMind file is configured.
    """

    def __init__(self, seed: HashSeed, locate: Locate | None = None) -> None:
        self._locate = locate
        self._judge = Judge(
            _OF_COLUMN, _UNIQUE, _LIMITS, pairs(), kinds(), locate is not None, U64(seed.k0), U64(seed.k1)
        )
        self._forget()

    def _forget(self) -> None:
        n = _FIRST_STRINGS
        self._slots = np.zeros(2 * n, np.uint64)
        self._slot_codes = np.zeros(2 * n, np.int32)
        self.hashes = np.zeros(n, np.uint64)
        self.begins = np.zeros(n, np.int64)
        self.sizes = np.zeros(n, np.int32)
        self.flags = np.zeros(n, np.uint16)
        self.networks = np.zeros(n, np.int32)
        self.asns = np.full(n, -1, np.int64)
        self.countries = np.zeros(n, np.int32)
        self._suspects = np.zeros((n, 2), np.int64)
        self.arena = np.zeros(_FIRST_BYTES, np.uint8)
        self._state = np.array([1, 0, 0], np.int64)  # codes given, bytes of the arena taken, suspects
        self.any_flags = False

    def codes(
        self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int32], stops: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """A code for each string ``data[starts[c, i]:stops[c, i]]``, UTF-8, of column c of ``STRINGS`` and row i.

        They are good until the next call. Cost: 20-30 ns a string that is known, 50 ns one that is new and beyond
        suspicion, some us one that is not.
        """
        if self._state[0] > _MOST_STRINGS or self._state[1] > _MOST_BYTES:
            self._forget()
        out = np.zeros(starts.shape, np.int32)
        strings = Strings(data, starts, stops)
        while wants := self._look_up(strings, out):
            if wants == _MORE_STRINGS:
                self._more_strings()
            else:
                self._more_bytes(1)
        if self._state[2]:
            self._clean(strings)
        return out

    def _look_up(self, strings: Strings, out: npt.NDArray[np.int32]) -> int:
        known = Known(
            self._slots,
            self._slot_codes,
            self.hashes,
            self.begins,
            self.sizes,
            self.networks,
            self.arena,
            self._suspects,
            self._state,
        )
        return look_up(strings, self._judge, known, out)

    def _more_strings(self) -> None:
        for name in ("hashes", "begins", "sizes", "flags", "networks", "countries", "_suspects"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self.asns = np.concatenate([self.asns, np.full_like(self.asns, -1)])
        slots, codes = self._slots, self._slot_codes
        self._slots, self._slot_codes = np.zeros(2 * len(slots), np.uint64), np.zeros(2 * len(slots), np.int32)
        move(slots, codes, self._slots, self._slot_codes)

    def _more_bytes(self, least: int) -> None:
        room = len(self.arena)
        while room - len(self.arena) < least:
            room *= 2
        arena = np.zeros(room, np.uint8)
        arena[: self._state[1]] = self.arena[: self._state[1]]
        self.arena = arena

    def _clean(self, strings: Strings) -> None:
        """Give the new strings that the kernel could not judge what their codes stand for."""
        suspects = self._suspects[: self._state[2]].tolist()
        self._state[2] = 0
        view, n = strings.data.data, strings.starts.shape[1]
        first, last = strings.starts.reshape(-1), strings.stops.reshape(-1)
        texts: dict[int, str] = {}
        for code, at in suspects:
            rule = Rule(int(_OF_COLUMN[at // n]))
            text = str(view[first[at] : last[at]], "utf-8")
            cap = int(_LIMITS[rule, 0])
            if len(text) > cap:
                text = text[:cap]
                self.flags[code] = Flag.CUT
                self.any_flags = True
            if rule is Rule.ADDRESS:
                self._address(code, text, texts)
            else:
                texts[code] = _HIDE[rule](without_query(text) if rule is Rule.PATH else text)
        self._store(texts)

    def _address(self, code: int, text: str, texts: dict[int, str]) -> None:
        ip = canonical_ip(text)
        if ip is None:
            return
        texts[code] = ip
        self.networks[code] = self._another(network_of(ip), texts)
        if self._locate is not None:
            asn, country = self._locate(ip)
            self.asns[code] = asn if asn is not None else -1
            if country is not None:
                self.countries[code] = self._another(hide_in_label(country[:STRING_CAP]), texts)

    def _another(self, text: str, texts: dict[int, str]) -> int:
        """The code of a string that nobody looks up."""
        code = int(self._state[0])
        if code == len(self.hashes):
            self._more_strings()
        self._state[0] += 1
        texts[code] = text
        return code

    def _store(self, texts: dict[int, str]) -> None:
        words = [text.encode(errors="replace") for text in texts.values()]
        joined = b"".join(words)
        if not joined:
            return
        used = int(self._state[1])
        if used + len(joined) > len(self.arena):
            self._more_bytes(used + len(joined) - len(self.arena))
        self.arena[used : used + len(joined)] = np.frombuffer(joined, np.uint8)
        self._state[1] += len(joined)
        codes = np.fromiter(texts, np.int64, len(texts))
        sizes = np.fromiter(map(len, words), np.int32, len(words))
        offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)])
        self.begins[codes], self.sizes[codes] = used + offsets[:-1], sizes
        self.hashes[codes] = siphash13_many(np.frombuffer(joined, np.uint8), offsets, self._judge.k0, self._judge.k1)


def without_query(path: str) -> str:
    """Query strings and fragments may hold secrets, and split one endpoint into thousands.

    >>> without_query("/v1/chat?key=s"), without_query("/v1#top")
    ('/v1/chat', '/v1')
    """
    return path.partition("?")[0].partition("#")[0]


@kernel
def look_up(strings: Strings, judge: Judge, known: Known, out: npt.NDArray[np.int32]) -> int:
    """Codes of all strings, new ones for those that are new; suspicious ones go to ``known.suspects``.

    Returns what there must be more of; then it is called again, and finds again what it has done.
    """
    columns, n = strings.starts.shape
    data = strings.data
    for c in range(columns):
        rule = judge.rules[c]
        for i in range(n):
            start, stop = int(strings.starts[c, i]), int(strings.stops[c, i])
            if stop <= start or (stop == start + 1 and data[start] == _DASH):
                continue
            if judge.unique[c] and passes(data, start, stop, rule, judge):
                out[c, i] = AS_IS
                continue
            h = siphash13(data, start, stop, judge.k0, judge.k1)
            # The same string under two rules is two; the odd constant is that of splitmix64
            mine = (h ^ (U64(rule + 1) * U64(0x9E3779B97F4A7C15))) | U64(1)
            at = slot_of(known.slots, mine)
            if known.slots[at] == U64(0):
                if known.state[0] + 2 > known.hashes.shape[0]:
                    return _MORE_STRINGS
                if known.state[1] + 2 * judge.limits[rule, 0] + _WIDER > known.arena.shape[0]:
                    return _MORE_BYTES
                known.slots[at], known.slot_codes[at] = mine, known.state[0]
                learn(data, start, stop, rule, h, judge, known, c * n + i)
            out[c, i] = known.slot_codes[at]
    return _DONE


@kernel
def slot_of(slots: npt.NDArray[np.uint64], mine: np.uint64) -> np.uint64:
    """Where a string is, or would be."""
    mask = U64(slots.shape[0] - 1)
    at = (mine >> U64(1)) & mask
    while slots[at] != U64(0) and slots[at] != mine:
        at = (at + U64(1)) & mask
    return at


@kernel
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
        copy(data, start, stop, known, code)
        known.hashes[code] = h if h != U64(0) else U64(1)
    known.state[0] += 1
    if dot >= 0:
        begin = known.state[1]
        copy(data, start, dot + 1, known, code + 1)
        for j in range(_WIDER):
            known.arena[known.state[1] + j] = _TAIL[j]
        known.state[1] += _WIDER
        known.sizes[code + 1] += _WIDER
        h = siphash13(known.arena, begin, known.state[1], judge.k0, judge.k1)
        known.hashes[code + 1] = h if h != U64(0) else U64(1)
        known.networks[code] = code + 1
        known.state[0] += 1


@kernel
def copy(data: npt.NDArray[np.uint8], start: int, stop: int, known: Known, code: int) -> None:
    """Put the bytes of a code at the end of the arena."""
    used = known.state[1]
    known.begins[code], known.sizes[code] = used, stop - start
    for j in range(stop - start):
        known.arena[used + j] = data[start + j]
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
