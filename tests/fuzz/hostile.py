"""Hostile input, drawn from a seed: JSON that is odd, JSON that is none, and bytes that are neither."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

MARK = "pl4nted-c0ntent"  # in every hostile string: it must never be quoted

TIMES: tuple[Any, ...] = (
    0, 1, -1, 86_400, 4_070_908_800, 4_070_908_800_000, 1e11, 1e12, 1e300, -1e300, "1970-01-01T00:00:00Z",
    "2099-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59+14:00", "31/Dec/2099:23:59:59 +0000",
    "01/Jan/0001:00:00:00 +0000", "1e400", "nan", "-", "", None, True, [], {}, [1.5e9], "１７００００００００",
)  # fmt: skip
TEXTS = (
    "",
    "-",
    "null",
    " ",
    "\u0000",
    "a\u0000b",
    "\ud83d",
    "\udcff\ud83d",
    "\u202egnp.exe",
    "\ufeff",
    "a" * 5000,
    "٣٤",
    "½",
    "<script>alert(1)</script>",
    "<!channel> <@U123|x>",
    "{{7*7}} ${jndi:ldap://x}",
    "%s%n%x",
    "\x1b[2J\x1b[31m",
    "x\r\nlevel=error msg=forged",
    '"}],"bad":[{"',
    "'; DROP TABLE alerts;--",
    "=cmd|' /C calc'!A0",
    "*_`~[x](http://e.test)",
    "../../etc/passwd",
    "::ffff:1.2.3.4",
    "::1%eth0",
    "1.2.3.4:99999",
    "999.1.1.1",
    "fe80::%",
    "0x7f.1",
    "1.2.3.4, , ,unknown",
    "Bearer sk-live-" + "a" * 40,
    "a,b;c:d",
    "\\" * 300,
    "\u2028\u2029",
    "e\u0301" * 300,
    "0.005, -",
    "1e999",
    "-0",
    "NaN",
)
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, 1e308, -1e308, 5e-324, -0.0,
    0.1,     float("nan"), float("inf"), float("-inf"), 99, 100, 599, 600, 999, 1000, 9000,
)  # fmt: skip
LITERALS = (b"1e999", b"-1e999", b"0" * 400, b"1" * 400, b"NaN", b"-Infinity", b"0x10", b"01", b".5", b"1.", b"+1",
            b"", b"undefined", b"True", b"'x'", b'"\\ud83d"', b'"\\u0000"', b'"\xff\xfe"', b'"\xc0\xaf"',
            b'"\xed\xa0\x80"', b"[" * 3000, b"[" * 3000 + b"]" * 3000,
            b'{"a":' * 3000 + b"1" + b"}" * 3000)  # fmt: skip
SIGNS = (b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b",", b":", b"\x00", b"\xff")
NAMES = ("ts", "__proto__", "$.ts", "a" * 300, "", "0", "\u0000", "\ud83d", "principal", "shape", "password", "x\n- y")
BOMB = zlib.compress(bytes(64 << 20))  # if anybody unpacked it
_HOLE = "\u0001hole\u0001"


@dataclass(frozen=True, slots=True)
class Value:
    """One Kafka value. ``good`` is how many of its elements are the corpus' own and must live, whatever the others."""

    data: bytes
    good: int = 0


class Hostile:
    """A source of hostile input. The same seed gives the same input.

    Args:
        random: what is drawn from.
    """

    def __init__(self, random: Random) -> None:
        self.random = random

    def leaf(self) -> Any:
        """One value where a text or a number is expected."""
        kind = self.random.randrange(8)
        if kind < 3:
            return self.random.choice(TEXTS) + (MARK if self.random.random() < 0.3 else "")
        if kind < 6:
            return self.random.choice(NUMBERS)
        return self.random.choice((None, True, False, self.time()))

    def time(self) -> Any:
        """What is hardly a time. A copy: what is bent once must not be bent for ever."""
        return deepcopy(self.random.choice(TIMES))

    def tree(self, depth: int = 0) -> Any:
        """Any JSON, small."""
        kind = self.random.randrange(10)
        if depth > 4 or kind < 6:
            return self.leaf()
        if kind < 8:
            return [self.tree(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(NAMES): self.tree(depth + 1) for _ in range(self.random.randrange(4))}

    def bent(self, entry: Any) -> Any:
        """A good entry with some places changed; every change may meet any type."""
        copy = json.loads(json.dumps(entry))
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 8))):
            self._bend(copy)
        return copy

    def element(self, entry: Any) -> tuple[bytes, bool]:
        """An element made from a good entry, and whether it is JSON, so that it can have neighbours in an array."""
        bent = self.bent(entry)
        if self.random.random() < 0.25:  # a literal that Python cannot write
            self._bend(bent, _HOLE)
            literal = self.random.choice(LITERALS)
            return _dumped(bent).replace(_dumped(_HOLE), literal), False
        raw = _dumped(bent)
        kind = self.random.randrange(12)
        if kind == 0:
            return self.damaged(raw), False
        if kind == 1:  # the same key twice
            name, value = _dumped(self.random.choice(NAMES)), _dumped(self.leaf())
            return raw[:-1] + (b"," if len(raw) > 2 else b"") + name + b":" + value + b"," + name + b":1}", True
        return raw, True

    def damaged(self, raw: bytes) -> bytes:
        """Bytes changed, cut, repeated or spliced."""
        data = bytearray(raw)
        for _ in range(self.random.choice((1, 1, 2, 10))):
            at = self.random.randrange(len(data) + 1)
            kind = self.random.randrange(6)
            if kind == 0:
                data[at : at + 1] = bytes([self.random.randrange(256)])
            elif kind == 1:
                del data[at : at + self.random.randrange(20)]
            elif kind == 2:
                data[at:at] = self.random.choice(LITERALS)
            elif kind == 3:
                del data[at:]
            elif kind == 4:
                data[at:at] = data[: self.random.randrange(40)]
            else:
                data[at:at] = self.random.choice(
                    (b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b",", b":", b"\x00", b"\xff")
                )
        return bytes(data)

    def value(self, entry: Any) -> Value:
        """One Kafka value around hostile elements."""
        raw, whole = self.element(entry)
        good = _dumped(entry)
        kind = self.random.randrange(14)
        if kind < 5:
            return Value(raw)
        if kind < 8 and whole:
            return Value(b"[" + good + b"," + raw + b", " + good + b"]", 2)
        if kind < 11 and b"\n" not in raw and b"\r" not in raw:
            return Value(good + b"\n" + raw + b"\r\n" + good, 2)
        return Value(self._packed(raw))

    def _packed(self, raw: bytes) -> bytes:
        """What is no JSON at all."""
        make: tuple[Callable[[], bytes], ...] = (
            lambda: gzip.compress(raw, 1),
            lambda: BOMB,
            lambda: b"\xef\xbb\xbf" + raw,
            lambda: raw.decode(errors="replace").encode("utf-16"),
            lambda: self.random.randbytes(self.random.randrange(200)),
            lambda: b"[" + raw,
            lambda: b"[" * self.random.randrange(5000),
            lambda: b"[" + b"," * self.random.randrange(300),
            lambda: b"\n" * 100 + raw + b"\x00" * 10,
            lambda: raw * 5,
        )
        return self.random.choice(make)()

    def _bend(self, copy: Any, value: Any = None) -> None:
        """Change one place, found by a walk down."""
        at = copy
        while True:
            names: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not names:
                if isinstance(at, dict):
                    at[self.random.choice(NAMES)] = value if value is not None else self.tree()
                return
            name = self.random.choice(names)
            inner = at[name]
            if isinstance(inner, (dict, list)) and inner and self.random.random() < 0.8:
                at = inner
                continue
            kind = self.random.randrange(6)
            if value is not None:
                at[name] = value
            elif kind == 0 and isinstance(at, dict):
                del at[name]
            elif kind == 1 and isinstance(at, dict):
                at[self.random.choice(NAMES)] = self.tree()
            elif kind == 2:
                at[name] = self.time()
            elif kind == 3:
                at[name] = self.tree()
            else:
                at[name] = self.leaf()
            return


def _dumped(value: Any) -> bytes:
    """As Python programs write JSON: NaN and lone surrogates included."""
    return json.dumps(value, separators=(",", ":")).encode()
