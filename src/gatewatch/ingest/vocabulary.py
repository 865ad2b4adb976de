"""Strings that ingest has seen, each cleaned and hashed once.

Traffic repeats itself: methods, paths, clients, models, most principals and addresses. So a string becomes a code, and
what is done to it is done once for each string, not for each event. Two strings are told apart by their keyed hash, as
all keys are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gatewatch.events.address import canonical_ip, network_of
from gatewatch.events.batch import STRINGS, Flag
from gatewatch.events.event import STRING_CAP, TEXT_CAP
from gatewatch.events.secrets import hide_name
from gatewatch.ingest.hide import LENGTH, RUN, hide_in_label, hide_in_text, kinds, pairs
from gatewatch.ingest.places import Locate
from gatewatch.ingest.vocabulary_kernel import MORE_STRINGS, Judge, Known, Rule, Strings, look_up, move
from gatewatch.state.hashing import U64, HashSeed, siphash13_many

ABSENT = 0  # the code of what is not there

# Strings remembered between rounds, and their bytes: some 60 MB with the tables. Then all are forgotten, which costs as
# much as meeting them for the first time.
_MOST_STRINGS = 1 << 18
_MOST_BYTES = 32 << 20
_FIRST_STRINGS, _FIRST_BYTES = 1 << 11, 1 << 16


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
            if wants == MORE_STRINGS:
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
