"""The meaning of elementwise primitives that read bits: shifts, counts, total order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import elementwise as e
from ..ops.operands import bit_width
from ..types import dtype_category, is_complex
from . import means

Array = Any
NumPy = Callable[..., Any]


def _unsigned(x: Array) -> Array:
    """The bits of whole-byte integers and floats as unsigned integers."""
    return np.asarray(x).view(f"u{x.dtype.itemsize}")


def _total_order_key(x: Array) -> Array:
    """Integers ordered as floats are totally: -NaN < -inf < ... < -0 < 0 < ... < inf < NaN."""
    if dtype_category(x.dtype) != "float":
        return x
    bits = _unsigned(x)
    is_negative = np.signbit(x)
    highest = np.asarray(1 << (8 * x.dtype.itemsize - 1), bits.dtype)
    return np.where(is_negative, ~bits, bits | highest)


def _in_total_order(compare: NumPy) -> NumPy:
    return lambda x, y: compare(_total_order_key(x), _total_order_key(y))


@means(e.eq_to)
def eq_to(x: Array, y: Array) -> Array:
    equal = _in_total_order(np.equal)
    return equal(x.real, y.real) & equal(x.imag, y.imag) if is_complex(x.dtype) else equal(x, y)


means(e.lt_to)(_in_total_order(np.less))
means(e.le_to)(_in_total_order(np.less_equal))


@means(e.population_count)
def population_count(x: Array) -> Array:
    return np.bitwise_count(_masked(x)).astype(x.dtype)


@means(e.clz)
def clz(x: Array) -> Array:
    """Leading zeros: smear the highest bit downwards, then count what is above it."""
    bits, width = _masked(x), bit_width(x.dtype)
    for shift in (1, 2, 4, 8, 16, 32):
        bits = bits | (bits >> np.uint64(shift))
    return (width - np.bitwise_count(bits).astype(np.int64)).astype(x.dtype)


def _masked(x: Array) -> Array:
    """The bits of integers of any width, in uint64."""
    width = bit_width(x.dtype)
    return np.asarray(x).astype(np.int64).astype(np.uint64) & np.uint64((1 << width) - 1)


def _shift(of: NumPy) -> NumPy:
    """A shift by any count, which is read as unsigned."""

    def meaning(x: Array, y: Array) -> Array:
        width = bit_width(x.dtype)
        count = np.minimum(_masked(y), np.uint64(width))
        return of(x, count, width).astype(x.dtype)

    return meaning


means(e.shift_left)(
    _shift(lambda x, n, width: np.where(n < width, _masked(x) << np.minimum(n, np.uint64(63)), 0))
)
means(e.shift_right_logical)(
    _shift(lambda x, n, width: np.where(n < width, _masked(x) >> np.minimum(n, np.uint64(63)), 0))
)
means(e.shift_right_arithmetic)(
    _shift(lambda x, n, width: _signed(x) >> np.minimum(n, np.uint64(width - 1)).astype(np.int64))
)


def _signed(x: Array) -> Array:
    """Integers of any width read as signed ones, in int64."""
    width = bit_width(x.dtype)
    wide = _masked(x).astype(np.int64)
    unused = np.int64(64 - width)
    return (wide << unused) >> unused
