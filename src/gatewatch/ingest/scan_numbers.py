"""Decimal numbers of JSON, read to the float that is nearest to what was written, or not at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gatewatch.state.jit import kernel
from gatewatch.state.words import byte

PLACES = 22  # the largest power of ten that a float64 holds
_EXACT = 1 << 53  # up to here a float64 holds every integer
_DIGITS = 18  # more could overflow an int64
_POINT, _ZERO, _NINE, _EXPONENT, _MINUS = b".09e-"


@kernel(inline=True)
def number_at(
    data: npt.NDArray[np.uint8], at: int, tens: npt.NDArray[np.float64], whole_only: bool
) -> tuple[int, float]:
    """A number without sign, or with an exponent below zero: where it ends, or -1, and what it is."""
    begin = at
    digits = 0
    while _ZERO <= byte(data, at) <= _NINE:
        digits = digits * 10 + byte(data, at) - _ZERO
        at += 1
    whole = at - begin
    places = 0
    if byte(data, at) == _POINT:
        at += 1
        while _ZERO <= byte(data, at) <= _NINE and whole + places <= _DIGITS:
            digits = digits * 10 + byte(data, at) - _ZERO
            at += 1
            places += 1
        if places == 0:
            return -1, np.nan
    if whole + places > _DIGITS or (whole > 1 and byte(data, begin) == _ZERO):
        return -1, np.nan
    if whole_only:
        return (at, float(digits)) if places == 0 and byte(data, at) != _EXPONENT and digits <= _EXACT else (-1, np.nan)
    if byte(data, at) == _EXPONENT:
        at, power = power_at(data, at)
        places += power
    if at < 0 or places > PLACES:
        return -1, np.nan
    value = quotient(digits, tens[places])
    return (-1 if np.isnan(value) else at), value


@kernel
def power_at(data: npt.NDArray[np.uint8], at: int) -> tuple[int, int]:
    """An exponent below zero, as Python writes a small price: 1.35e-05; where it ends, or -1."""
    if byte(data, at + 1) != _MINUS:
        return -1, 0
    at += 2
    power = 0
    while _ZERO <= byte(data, at) <= _NINE and power <= PLACES:
        power = power * 10 + byte(data, at) - _ZERO
        at += 1
    return (-1 if byte(data, at - 1) == _MINUS else at), power


@kernel
def quotient(digits: int, ten: float) -> float:
    """``digits / ten`` as a reader of decimal numbers rounds it; NaN where that cannot be told.

    Beyond 2^53 the quotient is worked out to twice the precision (Dekker 1971), and given only where its second half
    is not next to the middle between two numbers.
    """
    high = np.float64(digits)
    if digits <= _EXACT or ten == 1.0:
        return high / ten
    low = np.float64(digits - np.int64(high))
    first = high / ten
    product = first * ten
    a, b = halves(first)
    c, d = halves(ten)
    error = ((a * c - product) + a * d + b * c) + b * d
    second = ((high - product) - error + low) / ten
    total = first + second
    rest = second - (total - first)
    return total if total + rest * (1.0 + 1e-9) == total else np.nan


@kernel
def halves(x: float) -> tuple[float, float]:
    """A number as the sum of two of 26 bits (Veltkamp)."""
    c = 134217729.0 * x
    high = c - (c - x)
    return high, x - high
